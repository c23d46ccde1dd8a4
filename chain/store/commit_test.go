package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/statetree"
)

func TestPrepare_WantsTheNextHeight(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	if _, err := s.Prepare(0, nil); err == nil {
		t.Error("height 0 is prepared")
	}
	commit(t, s, 50, nil, store.Also{})
	for _, height := range []uint64{0, 1, 49, 50, 52, 1 << 63} {
		if _, err := s.Prepare(height, nil); err == nil {
			t.Errorf("height %d is prepared after 50", height)
		}
	}
	commit(t, s, 51, nil, store.Also{})
}

func TestPrepare_RefusesWhatIsNotASortedBatch(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	v := []byte("v")
	if _, err := s.Prepare(1, []statetree.Change{{Key: statetree.Key{2}, Value: v}, {Key: statetree.Key{1}, Value: v}}); !errors.Is(err, statetree.ErrChanges) {
		t.Error(err)
	}
}

func TestPrepare_WritesNothing(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	r, m := newSource(1), newModel()
	commit(t, s, 1, nil, store.Also{})
	m.commit(t, 1, nil, store.Also{})
	for range 5 {
		if _, err := s.Prepare(2, r.changes(50)); err != nil {
			t.Fatal(err)
		}
	}
	m.check(t, s)
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	m.check(t, s)
}

func TestCommit_TakesOneOfTwoThatFollowTheSameState(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	first, err := s.Prepare(1, []statetree.Change{{Key: statetree.Key{1}, Value: []byte("a")}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Prepare(1, []statetree.Change{{Key: statetree.Key{1}, Value: []byte("b")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Commit(store.Also{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*store.Prepared{first, second} {
		if err := p.Commit(store.Also{}); !errors.Is(err, store.ErrStale) {
			t.Errorf("commit: %v", err)
		}
	}
	if v, err := s.Get(statetree.Key{1}); err != nil || string(v) != "b" {
		t.Errorf("value %q, %v", v, err)
	}
}

func TestCommit_RefusesToKeepWhatIsNotThereAndWritesNothing(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	m := newModel()
	for height := uint64(1); height <= 150; height++ {
		commit(t, s, height, nil, store.Also{})
		m.commit(t, height, nil, store.Also{})
	}
	for _, c := range []struct {
		height uint64
		want   error
	}{{152, store.ErrNotYet}, {50, store.ErrGone}, {0, store.ErrGone}} {
		p, err := s.Prepare(151, newSource(1).changes(20))
		if err != nil {
			t.Fatal(err)
		}
		also := store.Also{Keep: []uint64{151, c.height}, Records: []store.Record{{Key: []byte("k"), Value: []byte("v")}}}
		if err := p.Commit(also); !errors.Is(err, c.want) {
			t.Errorf("keep height %d: %v", c.height, err)
		}
		m.check(t, s)
	}
}

// A mark can be set at the last moment: with the block that pushes the height
// out of the window.
func TestCommit_KeepsAHeightThatWouldLeaveWithThisBlock(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	r, m := newSource(8), newModel()
	for height := uint64(1); height <= 300; height++ {
		also := store.Also{}
		if height > store.Window && height%70 == 0 {
			also.Keep = []uint64{height - store.Window}
		}
		changes := r.changes(12)
		commit(t, s, height, changes, also)
		m.commit(t, height, changes, also)
	}
	m.check(t, s)
	if len(m.marked) != 3 {
		t.Fatalf("%d heights are marked", len(m.marked))
	}
}

// Releasing a mark for which more versions were kept than one commit looks at
// takes several; until the last of them the store is right, and so is it when
// it is opened in between.
func TestRelease_TakesBoundedWorkForEachBlock(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	m := newModel()
	height := uint64(0)
	block := func(n int, also store.Also) {
		t.Helper()
		height++
		changes := make(map[statetree.Key][]byte)
		for i := range n {
			changes[statetree.Key{byte(i), byte(i >> 8)}] = fmt.Appendf(nil, "of height %d", height)
		}
		batch := asBatch(changes)
		commit(t, s, height, batch, also)
		m.commit(t, height, batch, also)
	}
	const values = store.ReleaseChunk // and as many pages or more
	block(values, store.Also{Keep: []uint64{1}})
	block(values, store.Also{})
	for range store.Window {
		block(0, store.Also{})
	}
	before := count(t, s, 'k')
	if before <= store.ReleaseChunk {
		t.Fatalf("only %d versions are kept for the mark", before)
	}
	block(0, store.Also{Release: []uint64{1}})
	if after := count(t, s, 'k'); after != before-store.ReleaseChunk {
		t.Errorf("one commit looked at %d versions, not %d", before-after, store.ReleaseChunk)
	}
	m.checkHeight(t, s, 1)
	for range 3 {
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		s = open(t, fs)
		block(0, store.Also{})
	}
	defer closeStore(t, s)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, 'k'); n != 0 {
		t.Errorf("%d versions are still kept for it", n)
	}
	if n := count(t, s, 'v'); n != values {
		t.Errorf("%d values have %d versions", values, n)
	}
}

// count returns the number of keys in the database that begin with space.
func count(t *testing.T, s *store.Store, space byte) (n int) {
	t.Helper()
	it, err := store.DB(s).NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.SeekGE([]byte{space}); ok && it.Key()[0] == space; ok = it.Next() {
		n++
	}
	return n
}

func TestRecords_RangeInOrder(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	var records []store.Record
	for _, k := range []string{"b/2", "a", "b/", "b/1", "b", "b/3", "c", "\xff\xff"} {
		records = append(records, store.Record{Key: []byte(k), Value: []byte("of " + k)})
	}
	commit(t, s, 1, nil, store.Also{Records: append(records, store.Record{Key: []byte("empty"), Value: []byte{}})})
	commit(t, s, 2, nil, store.Also{Records: []store.Record{
		{Key: []byte("b/2"), Value: []byte("again")}, {Key: []byte("c")}, {Key: []byte("never was")},
	}})
	for _, c := range []struct {
		prefix, from string
		limit        int
		want         string
	}{
		{"b/", "", 10, "b/ b/1 b/2 b/3 "},
		{"b/", "", 2, "b/ b/1 "},
		{"b/", "b/1", 2, "b/1 b/2 "},
		{"b/", "b/1\x00", 10, "b/2 b/3 "},
		{"b/", "a", 1, "b/ "},
		{"b/", "c", 10, ""},
		{"", "", 100, "a b b/ b/1 b/2 b/3 empty \xff\xff "},
		{"\xff", "", 10, "\xff\xff "},
		{"", "", 0, ""},
		{"", "", -1, ""},
	} {
		found, err := s.Range([]byte(c.prefix), []byte(c.from), c.limit)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range found {
			got += string(r.Key) + " "
		}
		if got != c.want {
			t.Errorf("range %q from %q, at most %d: %q, want %q", c.prefix, c.from, c.limit, got, c.want)
		}
	}
	for key, want := range map[string][]byte{"b/2": []byte("again"), "c": nil, "b/4": nil, "empty": {}, "": nil} {
		got, err := s.Record([]byte(key))
		if err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("record %q is %q, %v, want %q", key, got, err, want)
		}
	}
}
