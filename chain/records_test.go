package chain_test

import (
	"bytes"
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/anchor"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// TestReceipts_ARepeatedOpKeepsItsReceipt: a proposer can put an op into a block
// twice, or one that was in a block before. Its owner must still be told that it
// was accepted.
func TestReceipts_ARepeatedOpKeepsItsReceipt(t *testing.T) {
	m := newMachine(t, testParams())
	m.must(t)
	who := m.register(t, 1)[0]
	op := who.op(namesvc.OpRecords, namesvc.Records{Profile: make([]byte, 32)}, who.device, m.height+10)
	want := chain.ReceiptRecord{Height: m.height + 1, Index: 0, Code: namesvc.Accepted}
	for _, block := range [][][]byte{{op, op}, {[]byte("else"), op}} {
		if _, err := m.Block(block, 1); err != nil {
			t.Fatal(err)
		}
		tx, _ := namesvc.Parse(op)
		if got, ok, err := m.app.Receipt(tx.ID); err != nil || !ok || got != want {
			t.Errorf("after block %d: %+v %v %v, want %+v", m.height, got, ok, err, want)
		}
	}
	// Neither must they appear in the account's history.
	list, err := m.app.History(who.id, 1, 10)
	if err != nil || len(list) != 1 || list[0].Height != want.Height || !bytes.Equal(list[0].Op, op) {
		t.Errorf("the history after the registration: %+v %v", list, err)
	}
}

func TestReceipts_AnOpThatFailedCanSucceedLater(t *testing.T) {
	m := newMachine(t, testParams())
	m.must(t)
	who := m.register(t, 1)[0]
	first := who.op(namesvc.OpRecords, namesvc.Records{Profile: make([]byte, 32)}, who.device, m.height+10)
	second := who.op(namesvc.OpRecords, namesvc.Records{Avatar: make([]byte, 32)}, who.device, m.height+10)
	for _, block := range [][][]byte{{second}, {first}, {second}} {
		if _, err := m.Block(block, 1); err != nil {
			t.Fatal(err)
		}
	}
	tx, _ := namesvc.Parse(second)
	if got, ok, err := m.app.Receipt(tx.ID); err != nil || !ok || got.Code != namesvc.Accepted || got.Height != m.height {
		t.Errorf("%+v %v %v, want accepted at %d", got, ok, err, m.height)
	}
}

func TestBlocks_ListWhatTheLawWasGiven(t *testing.T) {
	p := testParams()
	p.Checkpoint = 3
	m := newMachine(t, p)
	m.must(t)
	who := m.register(t, 1)[0] // blocks 2 and 3
	m.must(t)                  // records checkpoint 1, of block 3
	m.must(t)
	op := who.op(namesvc.OpRecords, namesvc.Records{Profile: make([]byte, 32)}, who.device, m.height+10)
	if _, err := m.Block([][]byte{op, {1}}, 1); err != nil {
		t.Fatal(err)
	}
	list, err := m.app.Blocks(1, 10)
	if err != nil {
		t.Fatal(err)
	}
	var heights []uint64
	for _, b := range list {
		heights = append(heights, b.Height)
	}
	if len(heights) != 4 || heights[0] != 2 || heights[1] != 3 || heights[2] != 4 || heights[3] != 6 {
		t.Fatalf("blocks %v; want those with ops and that with the checkpoint, 2 3 4 6", heights)
	}
	if c := list[2].Checkpoint; c == nil || c.Number != 1 || c.Height != 3 {
		t.Errorf("block 4 recorded %+v, want checkpoint 1 of height 3", c)
	}
	if b := list[3]; len(b.Ops) != 2 || len(b.Codes) != 2 || b.Codes[0] != namesvc.Accepted || b.Codes[1] != namesvc.Malformed {
		t.Errorf("block 6: %d ops, codes %v", len(b.Ops), b.Codes)
	}
}

// TestSeals_AreRepeatedWhoeverHasThem: what one node has seen another may lack,
// and a node that was restarted is no exception.
func TestSeals_AreRepeatedWhoeverHasThem(t *testing.T) {
	p := testParams()
	p.Checkpoint = 60
	m := newMachine(t, p)
	sealed := func() uint64 {
		t.Helper()
		r, err := m.app.ExtendVote(ctx, &abci.RequestExtendVote{Height: int64(m.height + 1)})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.VoteExtension) == 0 {
			return 0
		}
		number, _, err := verify.ParseSealExtension(r.VoteExtension)
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	for m.height < 125 {
		want := m.height / 60
		if m.height%60 >= anchor.Window {
			want = 0
		}
		if got := sealed(); got != want {
			t.Errorf("after block %d checkpoint %d is sealed, want %d", m.height, got, want)
		}
		switch m.must(t); m.height {
		case 61:
			m.app.KeepSeals(1, verify.Seals{Height: 61, Signatures: make([]verify.Signature, 4)})
		case 62:
			m.restart(t)
		}
	}
}

// TestSealed_IsTheNewestAlsoAfterARestart: the seals of the newest checkpoint come a
// block or more after it, and a validator that starts in between must not report
// that nothing is sealed.
func TestSealed_IsTheNewestAlsoAfterARestart(t *testing.T) {
	p := testParams()
	p.Checkpoint = 4
	m := newMachine(t, p)
	want := uint64(0)
	for m.height < 14 { // the third is never sealed
		if m.must(t); m.height%4 == 1 && want < 2 && m.height > 1 {
			want = m.height / 4
			m.app.KeepSeals(want, verify.Seals{Height: m.height, Signatures: make([]verify.Signature, 4)})
			m.must(t)
		}
		m.restart(t)
		if got := m.app.Sealed(); got != want {
			t.Errorf("height %d: the newest sealed is %d, want %d", m.height, got, want)
		}
	}
}

func TestFinalizeBlock_RefusesWhatDoesNotFollow(t *testing.T) {
	m := newMachine(t, testParams())
	for m.height < 3 {
		m.must(t)
	}
	hash := make([]byte, 32)
	for name, req := range map[string]*abci.RequestFinalizeBlock{
		"a height that is committed": {Height: 3, Hash: hash},
		"a height to come":           {Height: 5, Hash: hash},
		"a hash of no hash's size":   {Height: 4, Hash: hash[:20]},
	} {
		if _, err := m.app.FinalizeBlock(ctx, req); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := m.app.Commit(ctx, &abci.RequestCommit{}); err == nil || !strings.Contains(err.Error(), "no finalized block") {
		t.Errorf("commit of nothing: %v", err)
	}
	m.must(t)
}

func TestProcessProposal_RefusesMoreOpsThanARecordHolds(t *testing.T) {
	p := testParams()
	p.Lanes = namesvc.Lanes{Renewals: 1 << 20, Updates: 1 << 20, Commits: 1 << 20, Registrations: 1 << 20}
	m := newMachine(t, p)
	m.must(t)
	commit, _ := newPerson(t, p.Chain).registration("somebody", m)
	many := make([][]byte, 16_001)
	for i := range many {
		many[i] = commit
	}
	if m.accepts(t, many) {
		t.Error("a block of 16,001 ops was taken")
	}
	if !m.accepts(t, many[:16_000]) {
		t.Error("a block of 16,000 ops was refused")
	}
	if got := m.propose(t, many, 1<<40); len(got) > 16_000 {
		t.Errorf("%d ops were proposed", len(got))
	}
	if _, err := m.Block(many[:16_000], 1); err != nil {
		t.Fatal(err)
	}
	if b, ok, err := m.app.Block(m.height); err != nil || !ok || len(b.Ops) != 16_000 {
		t.Errorf("the largest block cannot be read again: %v %v", ok, err)
	}
}
