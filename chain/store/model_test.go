package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// A model is what a store must be: every height ever committed, in full.
type model struct {
	tree    *statetree.Mem
	heights map[uint64]*statetree.Mem
	records map[string][]byte
	state   store.State
	first   uint64
	marked  map[uint64]bool
}

func newModel() *model {
	return &model{
		tree:    statetree.NewMem(),
		heights: make(map[uint64]*statetree.Mem),
		records: make(map[string][]byte),
		marked:  make(map[uint64]bool),
	}
}

// commit makes in the model what a commit makes in a store.
func (m *model) commit(t testing.TB, height uint64, changes []statetree.Change, also store.Also) {
	t.Helper()
	m.tree = m.tree.Clone()
	if _, err := m.tree.Update(changes); err != nil {
		t.Fatal(err)
	}
	m.heights[height] = m.tree
	m.state = store.State{Height: height, Root: m.tree.Root()}
	if m.first == 0 {
		m.first = height
	}
	for _, r := range also.Records {
		if r.Value == nil {
			delete(m.records, string(r.Key))
		} else {
			m.records[string(r.Key)] = r.Value
		}
	}
	for _, h := range also.Keep {
		m.marked[h] = true
	}
	for _, h := range also.Release {
		delete(m.marked, h)
	}
}

// kept reports whether a height is promised to be readable.
func (m *model) kept(h uint64) bool {
	return h >= m.first && h <= m.state.Height && (h+store.Window > m.state.Height || m.marked[h])
}

// check checks that the store is what the model is: the newest state, exactly
// the heights promised, each as it was, and nothing in the database beyond.
func (m *model) check(t testing.TB, s *store.Store) {
	t.Helper()
	if s.State() != m.state {
		t.Fatalf("state %+v, want %+v", s.State(), m.state)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for h := m.first - min(m.first, 1); h <= m.state.Height+1; h++ {
		m.checkHeight(t, s, h)
	}
	m.checkRecords(t, s)
}

// spotCheck checks the same of a few heights.
func (m *model) spotCheck(t testing.TB, s *store.Store, r source) {
	t.Helper()
	if s.State() != m.state {
		t.Fatalf("state %+v, want %+v", s.State(), m.state)
	}
	for range 5 {
		m.checkHeight(t, s, m.state.Height-r.Uint64N(min(m.state.Height, 2*store.Window)))
	}
	m.checkHeight(t, s, m.state.Height)
	m.checkRecords(t, s)
}

func (m *model) checkRecords(t testing.TB, s *store.Store) {
	t.Helper()
	records, err := s.Range(nil, nil, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]byte)
	for _, r := range records {
		got[string(r.Key)] = r.Value
	}
	if !maps.EqualFunc(got, m.records, bytes.Equal) {
		t.Fatalf("records %q, want %q", got, m.records)
	}
}

func (m *model) checkHeight(t testing.TB, s *store.Store, h uint64) {
	t.Helper()
	r, err := s.At(h)
	switch {
	case h > m.state.Height:
		if !errors.Is(err, store.ErrNotYet) {
			t.Fatalf("height %d of %d: %v", h, m.state.Height, err)
		}
		return
	case !m.kept(h):
		if !errors.Is(err, store.ErrGone) {
			t.Fatalf("height %d of %d, marked %v: %v", h, m.state.Height, m.marked, err)
		}
		return
	case err != nil:
		t.Fatalf("height %d of %d: %v", h, m.state.Height, err)
	}
	defer r.Close()
	checkReader(t, r, m.heights[h], h)
}

// checkReader checks that r is the tree: root, all values, some proofs.
func checkReader(t testing.TB, r *store.Reader, tree *statetree.Mem, h uint64) {
	t.Helper()
	if r.Height() != h || r.Root() != tree.Root() {
		t.Fatalf("height %d has root %x, want height %d, root %x", r.Height(), r.Root(), h, tree.Root())
	}
	n := 0
	if err := r.Leaves(statetree.Key{}, func(k statetree.Key, v []byte) error {
		if want, _ := tree.Get(k); !bytes.Equal(v, want) {
			return fmt.Errorf("key %s is %x, want %x", k, v, want)
		}
		if n++; n%7 == int(h%7) {
			checkProof(t, r, k, v)
			k[31] ^= 1
			checkProof(t, r, k, nil)
		}
		return nil
	}); err != nil {
		t.Fatalf("height %d: %v", h, err)
	}
	if n != tree.Len() {
		t.Fatalf("height %d has %d values, want %d", h, n, tree.Len())
	}
}

func checkProof(t testing.TB, r *store.Reader, k statetree.Key, want []byte) {
	t.Helper()
	v, err := r.Get(k)
	if err != nil || !bytes.Equal(v, want) {
		t.Fatalf("height %d: key %s is %x, %v, want %x", r.Height(), k, v, err, want)
	}
	p, err := r.Prove(k)
	if err == nil && v != nil {
		err = statetree.Verify(r.Root(), k, v, p)
	} else if err == nil {
		err = statetree.VerifyAbsent(r.Root(), k, p)
	}
	if err != nil {
		t.Fatalf("height %d, key %s: %v", r.Height(), k, err)
	}
}

// A source makes random blocks of changes to a few dozen keys, some of which
// share long prefixes, so that pages come and go.
type source struct{ *rand.Rand }

func newSource(seed uint64) source { return source{rand.New(rand.NewPCG(seed, 2))} }

func (r source) changes(n int) []statetree.Change {
	changes := make(map[statetree.Key][]byte)
	for range r.IntN(n + 1) {
		k := statetree.Key{}
		if r.IntN(2) == 0 {
			k = sha256.Sum256([]byte{byte(r.IntN(40))})
		} else {
			for range r.IntN(3) {
				k[r.IntN(4)] |= 1 << r.IntN(8)
			}
		}
		changes[k] = nil
		if r.IntN(5) > 1 {
			changes[k] = fmt.Appendf(nil, "value %d", r.IntN(1000))
		}
	}
	return asBatch(changes)
}

func asBatch(changes map[statetree.Key][]byte) []statetree.Change {
	var batch []statetree.Change
	for _, k := range slices.SortedFunc(maps.Keys(changes), statetree.Key.Compare) {
		batch = append(batch, statetree.Change{Key: k, Value: changes[k]})
	}
	return batch
}

// also makes random records, and marks and releases heights that it may.
func (r source) also(m *model, height uint64) store.Also {
	var also store.Also
	for range r.IntN(3) {
		record := store.Record{Key: fmt.Appendf(nil, "history/%02d", r.IntN(30))}
		if r.IntN(4) > 0 {
			record.Value = fmt.Appendf(nil, "of height %d", height)
		}
		also.Records = append(also.Records, record)
	}
	if r.IntN(12) == 0 {
		also.Keep = append(also.Keep, height)
	}
	if h := r.Uint64N(height + 1); r.IntN(20) == 0 && m.kept(h) && h+store.Window > m.state.Height {
		also.Keep = append(also.Keep, h)
	}
	for _, h := range slices.Sorted(maps.Keys(m.marked)) {
		if r.IntN(80) == 0 {
			also.Release = append(also.Release, h)
		}
	}
	if r.IntN(10) == 0 {
		also.Release = append(also.Release, r.Uint64N(height))
	}
	return also
}

const testChain = "confab-test-1"

func open(t testing.TB, fs vfs.FS) *store.Store {
	t.Helper()
	s, err := store.Open("state", store.Options{Chain: testChain, FS: fs, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commit(t testing.TB, s *store.Store, height uint64, changes []statetree.Change, also store.Also) {
	t.Helper()
	p, err := s.Prepare(height, changes)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(also); err != nil {
		t.Fatal(err)
	}
	if got, want := s.State(), (store.State{Height: p.Height(), Root: p.Root()}); got != want {
		t.Fatalf("state %+v, was prepared as %+v", got, want)
	}
}

func closeStore(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
