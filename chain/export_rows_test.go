package chain_test

import (
	"crypto/rand"
	"testing"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TestExport_RowsGiveEveryRootAgain: rows follow from one another, in pages, and
// the last root is the state's, also where empty blocks come after it.
func TestExport_RowsGiveEveryRootAgain(t *testing.T) {
	p := testParams()
	p.Checkpoint = 5
	m := newMachine(t, p)
	m.register(t, 3)
	for range 8 {
		m.must(t)
	}
	rows, more, err := m.app.Export(0)
	if err != nil || more || len(rows) < 3 {
		t.Fatalf("%d rows, more %v, %v", len(rows), more, err)
	}
	for i, r := range rows {
		if i > 0 && (r.Block.Seed != rows[i-1].Root || r.Block.Height <= rows[i-1].Block.Height) {
			t.Errorf("row %d does not follow", i)
		}
	}
	if last := rows[len(rows)-1]; last.Root != m.store.State().Root || last.Block.Height == m.height {
		t.Errorf("the last row, of block %d, has root %x, the state %x", last.Block.Height, last.Root, m.store.State().Root)
	}
	// From anywhere the same rows come.
	for i := range rows {
		again, _, err := m.app.Export(rows[i].Block.Height)
		if err != nil || len(again) != len(rows)-i-1 {
			t.Fatalf("after block %d: %d rows, %v", rows[i].Block.Height, len(again), err)
		}
	}
	if again, more, err := m.app.Export(1 << 40); len(again) > 0 || more || err != nil {
		t.Errorf("after the end: %d rows, %v, %v", len(again), more, err)
	}
}

// TestExport_PagesAreBounded: large blocks make short pages, and nothing is lost
// between them.
func TestExport_PagesAreBounded(t *testing.T) {
	p := testParams()
	p.Lanes.Commits = 1 << 20
	m := newMachine(t, p)
	m.twin = nil
	var heights []uint64
	for range 3 { // each of some 500 kB
		var ops [][]byte
		for range 6000 {
			var hash [32]byte
			rand.Read(hash[:])
			ops = append(ops, namesvc.EncodeCommit(namesvc.Commit{Chain: p.Chain, Expires: m.height + 20, Hash: hash, Payment: 1, Proof: make([]byte, 8)}))
		}
		if _, err := m.Block(ops, 1); err != nil {
			t.Fatal(err)
		}
		heights = append(heights, m.height)
	}
	var got []uint64
	var root [32]byte
	pages := 0
	for after, more := uint64(0), true; more; pages++ {
		var rows []chain.ExportRow
		var err error
		if rows, more, err = m.app.Export(after); err != nil || len(rows) == 0 {
			t.Fatalf("page %d: %d rows, %v", pages, len(rows), err)
		}
		if n := len(wire.Encode(rows)); n > chain.MaxExportPage {
			t.Errorf("page %d has %d bytes", pages, n)
		}
		for _, r := range rows {
			if pages+len(got) > 0 && r.Block.Seed != root {
				t.Errorf("block %d does not follow", r.Block.Height)
			}
			root = r.Root
			got = append(got, r.Block.Height)
		}
		after = got[len(got)-1]
	}
	if pages < 2 || len(got) != len(heights) || root != m.store.State().Root {
		t.Errorf("%d pages with blocks %v, want %v", pages, got, heights)
	}
}

func TestExport_ANodeThatJoinedSaysSo(t *testing.T) {
	old, r := giver(t)
	s := old.offered(t)
	m := newcomer(t, r)
	m.offer(t, s, r.root)
	m.take(t, old, s)
	for r.height < 14 {
		r.block([]*chain.App{old.app, m.app})
	}
	for _, after := range []uint64{0, 8} {
		if _, _, err := m.app.Export(after); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("after %d: %v", after, err)
		}
	}
	mine, _, err := m.app.Export(9)
	theirs, _, oerr := old.app.Export(9)
	if err != nil || oerr != nil || len(mine) == 0 || string(wire.Encode(mine)) != string(wire.Encode(theirs)) {
		t.Errorf("after 9: %d rows, the other has %d; %v %v", len(mine), len(theirs), err, oerr)
	}
}
