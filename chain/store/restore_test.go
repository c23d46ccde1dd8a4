package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// grown returns a store of a few dozen blocks with what it should hold.
func grown(t *testing.T, fs vfs.FS) (*store.Store, *model) {
	t.Helper()
	r, m, s := newSource(9), newModel(), open(t, fs)
	for height := uint64(1); height <= 40; height++ {
		changes := r.changes(40)
		commit(t, s, height, changes, store.Also{})
		m.commit(t, height, changes, store.Also{})
	}
	return s, m
}

// pour begins to restore the newest state of one store into another.
func pour(t *testing.T, from, to *store.Store) *store.Restore {
	t.Helper()
	at, err := from.At(from.State().Height)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	r, err := to.Restore(at.Height())
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Leaves(statetree.Key{}, r.Add); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRestore_GivesAStoreThatGoesOnAsTheFirst(t *testing.T) {
	from, m := grown(t, vfs.NewMem())
	defer closeStore(t, from)
	fs := vfs.NewMem()
	to := open(t, fs)
	if v, err := to.Get(statetree.Key{1}); v != nil || err != nil { // the cache knows that there is nothing
		t.Fatal(v, err)
	}
	if err := pour(t, from, to).Commit(from.State().Root, []store.Record{{Key: []byte("a"), Value: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	r := newSource(10)
	for height := uint64(41); height < 41+store.Window+20; height++ {
		changes, also := r.changes(20), store.Also{}
		if height == 45 {
			also.Keep = []uint64{41, 44}
		}
		commit(t, from, height, changes, store.Also{})
		commit(t, to, height, changes, also)
		m.commit(t, height, changes, store.Also{})
		if from.State() != to.State() {
			t.Fatalf("height %d: %v, the first has %v", height, to.State(), from.State())
		}
		if height%50 == 0 {
			closeStore(t, to)
			to = open(t, fs)
		}
	}
	if err := to.Check(); err != nil {
		t.Error(err)
	}
	if v, err := to.Record([]byte("a")); string(v) != "b" || err != nil {
		t.Errorf("the record is %q, %v", v, err)
	}
	for k := range m.tree.All() {
		a, err := from.Get(k)
		b, berr := to.Get(k)
		if !bytes.Equal(a, b) || err != nil || berr != nil {
			t.Fatalf("key %v is %x, the first has %x; %v %v", k, b, a, err, berr)
		}
	}
	if oldest, _, marked := to.Heights(); oldest < 41 || len(marked) != 2 {
		t.Errorf("oldest height %d, marked %v", oldest, marked)
	}
	closeStore(t, to)
}

// TestRestore_LeavesNothingWhenItFails: whatever ends it, the store is empty
// afterwards, also on disk, and can be filled again.
func TestRestore_LeavesNothingWhenItFails(t *testing.T) {
	from, _ := grown(t, vfs.NewMem())
	defer closeStore(t, from)
	for name, end := range map[string]func(t *testing.T, r *store.Restore){
		"aborted": func(t *testing.T, r *store.Restore) {
			if err := errors.Join(r.Abort(), r.Abort()); err != nil {
				t.Error(err)
			}
		},
		"another root": func(t *testing.T, r *store.Restore) {
			if err := r.Commit([32]byte{1}, nil); !errors.Is(err, store.ErrRoot) {
				t.Error(err)
			}
		},
		"out of order": func(t *testing.T, r *store.Restore) {
			if err := r.Add(statetree.Key{}, []byte("v")); !errors.Is(err, statetree.ErrChanges) {
				t.Error(err)
			}
			if err := r.Commit(from.State().Root, nil); !errors.Is(err, statetree.ErrChanges) {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := open(t, vfs.NewMem())
			defer closeStore(t, to)
			end(t, pour(t, from, to))
			empty(t, to)
			if err := pour(t, from, to).Commit(from.State().Root, nil); err != nil {
				t.Error(err)
			}
			if err := to.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// empty checks that a store has nothing but its identity.
func empty(t *testing.T, s *store.Store) {
	t.Helper()
	it, err := store.DB(s).NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if k := it.Key(); len(k) != 1 || k[0] != 'i' {
			t.Fatalf("key %x is left", k)
		}
	}
	if s.State() != (store.State{}) {
		t.Errorf("its state is %v", s.State())
	}
}

// TestRestore_OfACrashLeavesNothingOrAll kills the power in the middle and at
// the end.
func TestRestore_OfACrashLeavesNothingOrAll(t *testing.T) {
	from, _ := grown(t, vfs.NewMem())
	defer closeStore(t, from)
	for seed := range uint64(20) {
		fs := vfs.NewCrashableMem()
		to := open(t, fs)
		r := pour(t, from, to)
		committed := seed%2 == 0
		if committed {
			if err := r.Commit(from.State().Root, nil); err != nil {
				t.Fatal(err)
			}
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed * 5), RNG: rand.New(rand.NewPCG(seed, 1))})
		closeStore(t, to)
		to = open(t, crashed)
		if committed {
			if err := to.Check(); err != nil || to.State() != from.State() {
				t.Errorf("after a crash: %v, %v", to.State(), err)
			}
		} else {
			empty(t, to)
		}
		closeStore(t, to)
	}
}

// TestRestore_FlushesWhatDoesNotFitAndSweepsIt: enough for several batches,
// with the process dying in between.
func TestRestore_FlushesWhatDoesNotFitAndSweepsIt(t *testing.T) {
	fs := vfs.NewMem()
	to := open(t, fs)
	r, err := to.Restore(7)
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte("value"), 4000)
	for i := range 800 { // 16 MB
		if err := r.Add(statetree.Key{byte(i >> 8), byte(i)}, value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := to.Prepare(7, nil); err != nil {
		t.Fatal(err)
	}
	closeStore(t, to) // without an end of the restore
	if err := r.Add(statetree.Key{255}, value); err != nil && !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
	to = open(t, fs)
	defer closeStore(t, to)
	empty(t, to)
}

func TestRestore_WantsAnEmptyStoreAndTakesNoBlockMeanwhile(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	if _, err := s.Restore(0); err == nil {
		t.Error("height 0 is restored")
	}
	r, err := s.Restore(5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restore(5); !errors.Is(err, store.ErrStale) {
		t.Errorf("a second one: %v", err)
	}
	p, err := s.Prepare(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(store.Also{}); !errors.Is(err, store.ErrStale) {
		t.Errorf("a block: %v", err)
	}
	if err := r.Abort(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, 1, nil, store.Also{})
	if _, err := s.Restore(5); !errors.Is(err, store.ErrStale) {
		t.Errorf("over a block: %v", err)
	}
}

func TestReset_EmptiesAStoreThatCanBeginAgain(t *testing.T) {
	fs := vfs.NewMem()
	s, m := grown(t, fs)
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	empty(t, s)
	for k := range m.tree.All() {
		if v, err := s.Get(k); v != nil || err != nil {
			t.Fatalf("key %v is %x, %v", k, v, err)
		}
	}
	commit(t, s, 3, []statetree.Change{{Key: statetree.Key{4}, Value: []byte("v")}}, store.Also{})
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	if s.State().Height != 3 {
		t.Error(s.State())
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, n := range []int{100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			value := bytes.Repeat([]byte{1}, 300)
			for range b.N {
				s, err := store.Open(b.TempDir(), store.Options{Chain: "bench"})
				if err != nil {
					b.Fatal(err)
				}
				r, err := s.Restore(1)
				if err != nil {
					b.Fatal(err)
				}
				var key statetree.Key
				builder := statetree.NewBuilder(func(statetree.PageID, []byte) error { return nil })
				for i := range n {
					key[0], key[1], key[2] = byte(i>>16), byte(i>>8), byte(i)
					if err := errors.Join(builder.Add(key, value), r.Add(key, value)); err != nil {
						b.Fatal(err)
					}
				}
				root, _ := builder.Finish()
				if err := r.Commit(root, nil); err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
		})
	}
}
