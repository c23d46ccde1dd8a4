package store_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/chain/store"
)

// Several hundred random blocks, with reopening, dropped blocks and crashes in
// between, against a model that keeps every height in full.
func TestStore_KeepsWhatIsPromisedAndNothingElse(t *testing.T) {
	seeds := uint64(2)
	switch {
	case os.Getenv("CONFAB_LONG") == "1":
		seeds = 40
	case testing.Short():
		seeds = 1
	}
	for seed := range seeds {
		r, m := newSource(seed), newModel()
		fs := vfs.NewCrashableMem()
		s := open(t, fs)
		first := 1 + seed*1000
		for height := first; height < first+340; height++ {
			if r.IntN(10) == 0 { // prepared and dropped: it leaves no trace
				if _, err := s.Prepare(height, r.changes(20)); err != nil {
					t.Fatal(err)
				}
			}
			changes, also := r.changes(12), r.also(m, height)
			commit(t, s, height, changes, also)
			m.commit(t, height, changes, also)
			switch r.IntN(40) {
			case 0:
				closeStore(t, s)
				s = open(t, fs)
			case 1: // the power fails: what is not synced may be lost or not
				crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: rand.New(rand.NewPCG(seed, height))})
				closeStore(t, s)
				fs = crashed
				s = open(t, fs)
			case 2:
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
			}
			m.spotCheck(t, s, r)
		}
		m.check(t, s)
		// Once every mark is released and a window has passed, each key has one
		// version.
		also := store.Also{}
		for h := range m.marked {
			also.Release = append(also.Release, h)
		}
		for height := first + 340; height < first+340+store.Window+2; height++ {
			commit(t, s, height, nil, also)
			m.commit(t, height, nil, also)
			also = store.Also{}
		}
		m.check(t, s)
		checkOneVersionEach(t, s, m)
		closeStore(t, s)
	}
}

func checkOneVersionEach(t *testing.T, s *store.Store, m *model) {
	t.Helper()
	it, err := store.DB(s).NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	counts := make(map[byte]int)
	for ok := it.First(); ok; ok = it.Next() {
		counts[it.Key()[0]]++
	}
	if counts['v'] != m.tree.Len() || counts['k'] != 0 || counts['w'] != 0 || counts['h'] != store.Window {
		t.Errorf("%d values and %v keys by space, after nothing changed for longer than the window", m.tree.Len(), counts)
	}
}
