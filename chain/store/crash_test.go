package store_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// The power fails before any one write, also in the middle of a commit or of
// work in the background: what comes back is a block, whole, and none older than
// the last that was acknowledged.
func TestCrash_AtAnyMomentLosesNothingThatWasCommitted(t *testing.T) {
	type crash struct {
		fs    *vfs.MemFS
		least uint64
	}
	var crashes []crash
	var acknowledged atomic.Uint64
	fs, rng := vfs.NewCrashableMem(), newSource(12)
	s := open(t, errorfs.Wrap(fs, beforeWrites(func() {
		if least := acknowledged.Load(); least > 0 && rng.IntN(8) == 0 {
			percent := rng.IntN(101)
			crashes = append(crashes, crash{fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng.Rand}), least})
		}
	})))
	r, m := newSource(11), newModel()
	for height := uint64(1); height <= 250; height++ {
		changes, also := r.changes(12), r.also(m, height)
		commit(t, s, height, changes, also)
		acknowledged.Store(height)
		m.commit(t, height, changes, also)
		if height%50 == 0 {
			if err := store.DB(s).Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeStore(t, s)
	if len(crashes) < 30 { // some 400 writes, an eighth of them
		t.Fatalf("only %d crashes were tried", len(crashes))
	}
	for _, c := range crashes {
		again := open(t, c.fs)
		state := again.State()
		if state.Height < c.least {
			t.Fatalf("height %d comes back, %d was acknowledged", state.Height, c.least)
		}
		if state.Root != m.heights[state.Height].Root() {
			t.Fatalf("height %d comes back with another root", state.Height)
		}
		if err := again.Check(); err != nil {
			t.Fatal(err)
		}
		closeStore(t, again)
	}
}

// A process that commits block after block is killed, again and again.
func TestCrash_KilledProcess(t *testing.T) {
	dir := t.TempDir()
	last := uint64(0)
	for range 3 {
		last = killWhileCommitting(t, dir, last)
		s, err := store.Open(dir, store.Options{Chain: testChain})
		if err != nil {
			t.Fatal(err)
		}
		oldest, newest, marked := s.Heights()
		if newest < last || uint64(len(marked)) != newest {
			t.Errorf("heights %d to %d and %d marked, %d was acknowledged", oldest, newest, len(marked), last)
		}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		last = newest
		closeStore(t, s)
	}
}

// killWhileCommitting returns the last height that the process acknowledged.
func killWhileCommitting(t *testing.T, dir string, last uint64) uint64 {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestChild_Open$")
	child.Env = append(os.Environ(), "CONFAB_TEST_DIR="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	height, said := last, ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "committed %d", &height); err != nil {
			said += lines.Text() + "\n"
		}
		if height == last+40 {
			child.Process.Signal(syscall.SIGKILL)
		}
	}
	child.Wait()
	if height < last+40 {
		t.Fatalf("the child ended by itself at height %d: %s", height, said)
	}
	return height
}

var errDisk = errors.New("the disk is gone")

// failingFS fails the operations on files whose names match, once it is told to.
type failingFS struct {
	match func(name string) bool
	kind  errorfs.OpReadWrite
	on    atomic.Bool
}

func (f *failingFS) String() string { return "failing" }

func (f *failingFS) MaybeError(op errorfs.Op) error {
	if f.on.Load() && op.Kind.ReadOrWrite() == f.kind && f.match(op.Path) {
		return errDisk
	}
	return nil
}

// The log cannot be written: the commit fails, what was there can be read, no
// further block is taken, and the folder opens again as if it had not been.
func TestDisk_FailsWhileABlockIsWritten(t *testing.T) {
	mem := vfs.NewCrashableMem()
	failing := &failingFS{match: func(name string) bool { return strings.HasSuffix(name, ".log") }, kind: errorfs.OpIsWrite}
	s := open(t, errorfs.Wrap(mem, failing))
	r, m := newSource(3), newModel()
	for height := uint64(1); height <= 120; height++ {
		changes := r.changes(12)
		commit(t, s, height, changes, store.Also{})
		m.commit(t, height, changes, store.Also{})
	}
	p, err := s.Prepare(121, r.changes(20))
	if err != nil {
		t.Fatal(err)
	}
	failing.on.Store(true)
	if err := p.Commit(store.Also{}); !errors.Is(err, store.ErrBroken) || !strings.Contains(err.Error(), errDisk.Error()) {
		t.Fatalf("commit: %v", err)
	}
	failing.on.Store(false)
	m.check(t, s)
	if err := p.Commit(store.Also{}); !errors.Is(err, store.ErrBroken) {
		t.Fatalf("the next commit: %v", err)
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); !errors.Is(err, store.ErrBroken) {
		t.Errorf("close: %v", err)
	}
	again := open(t, crashed)
	defer closeStore(t, again)
	if h := again.State().Height; h == 121 && again.State().Root == p.Root() {
		return // it was durable after all
	}
	m.check(t, again)
}

// Any one write to a file of data fails while a folder is opened: that is an
// error or of no consequence. (Where Pebble cannot write its list of files, it
// ends the process.)
func TestDisk_FailsWhileTheStoreIsOpened(t *testing.T) {
	whole := vfs.NewMem()
	s := open(t, whole)
	r := newSource(4)
	for height := uint64(1); height <= 20; height++ {
		commit(t, s, height, r.changes(12), store.Also{})
	}
	closeStore(t, s)
	for _, dir := range []string{"state", "new"} {
		failed := 0
		for n := int32(0); ; n++ {
			fs := vfs.NewMem()
			if _, err := vfs.Clone(whole, fs, "state", "state"); err != nil {
				t.Fatal(err)
			}
			var left atomic.Int32
			left.Store(n)
			injector := errorfs.InjectorFunc(func(op errorfs.Op) error {
				data := strings.Contains(op.Path, ".log") || strings.Contains(op.Path, ".sst") ||
					strings.Contains(op.Path, "OPTIONS") || strings.Contains(op.Path, "LOCK")
				if data && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) == -1 {
					return errDisk
				}
				return nil
			})
			s, err := store.Open(dir, store.Options{Chain: testChain, FS: errorfs.Wrap(fs, injector)})
			if err == nil {
				s.Close()
			} else if failed++; !errors.Is(err, errDisk) && !strings.Contains(err.Error(), errDisk.Error()) {
				t.Fatalf("write %d: %v", n, err)
			}
			if left.Load() >= 0 {
				break // fewer writes than that
			}
		}
		if failed == 0 {
			t.Errorf("%s: no failure of a write was noticed", dir)
		}
	}
}

// Tables cannot be written, the log can: blocks are refused before the memory
// for what is not flushed is used up, and taken again when the disk is back.
func TestDisk_FailsInTheBackground(t *testing.T) {
	failing := &failingFS{match: func(name string) bool { return strings.HasSuffix(name, ".sst") }, kind: errorfs.OpIsWrite}
	s := open(t, errorfs.Wrap(vfs.NewMem(), failing))
	defer closeStore(t, s)
	big := func(height uint64) []statetree.Change {
		changes := make(map[statetree.Key][]byte)
		for i := range 16 {
			changes[statetree.Key{byte(i)}] = bytes.Repeat([]byte{byte(height)}, 1<<20)
		}
		return asBatch(changes)
	}
	failing.on.Store(true)
	height := uint64(1)
	var err error
	for ; height < 40; height++ {
		var p *store.Prepared
		if p, err = s.Prepare(height, big(height)); err != nil {
			t.Fatal(err)
		}
		if err = p.Commit(store.Also{}); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrBroken) || !errors.Is(err, errDisk) {
		t.Fatalf("at height %d: %v", height, err)
	}
	failing.on.Store(false)
	for { // the database goes on by itself
		p, err := s.Prepare(height, big(height))
		if err != nil {
			t.Fatal(err)
		}
		if err = p.Commit(store.Also{}); err == nil {
			break
		} else if !errors.Is(err, store.ErrBroken) {
			t.Fatal(err)
		}
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

// flushed returns a file system with a store all of whose data is in tables.
func flushed(t *testing.T, fs vfs.FS) *model {
	t.Helper()
	s := open(t, fs)
	r, m := newSource(3), newModel()
	for height := uint64(1); height <= 130; height++ {
		changes := r.changes(12)
		commit(t, s, height, changes, store.Also{})
		m.commit(t, height, changes, store.Also{})
	}
	if err := store.DB(s).Flush(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	return m
}

func TestDisk_FailsWhileReading(t *testing.T) {
	mem := vfs.NewMem()
	m := flushed(t, mem)
	failing := &failingFS{match: func(name string) bool { return strings.HasSuffix(name, ".sst") }, kind: errorfs.OpIsRead}
	s := open(t, errorfs.Wrap(mem, failing))
	defer closeStore(t, s)
	r, err := s.At(60)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	failing.on.Store(true)
	failed := readAll(t, s, r, m, func(err error) bool { return errors.Is(err, errDisk) })
	if failed == 0 {
		t.Error("nothing was read from the disk")
	}
	failing.on.Store(false)
	m.check(t, s)
}

// readAll reads everything there is in every way, and checks that each answer is
// either right or an error that is expected. It returns the number of errors.
func readAll(t *testing.T, s *store.Store, r *store.Reader, m *model, expected func(error) bool) (failed int) {
	t.Helper()
	judge := func(what string, err error) bool {
		t.Helper()
		if err == nil {
			return true
		}
		if failed++; !expected(err) {
			t.Fatalf("%s: %v", what, err)
		}
		return false
	}
	tree := m.heights[r.Height()]
	for k, want := range tree.All() {
		if v, err := r.Get(k); judge("get", err) && !bytes.Equal(v, want) {
			t.Fatalf("key %s is %x, want %x", k, v, want)
		}
		if p, err := r.Prove(k); judge("prove", err) {
			if err := statetree.Verify(tree.Root(), k, want, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	changes := newSource(99).changes(40)
	want := m.tree.Clone()
	if _, err := want.Update(changes); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Prepare(m.state.Height+1, changes); judge("prepare", err) && p.Root() != want.Root() {
		t.Fatal("the prepared root is wrong")
	}
	n := 0
	err := r.Leaves(statetree.Key{}, func(k statetree.Key, v []byte) error {
		n++
		if want, _ := tree.Get(k); !bytes.Equal(v, want) {
			t.Fatalf("leaf %s is %x, want %x", k, v, want)
		}
		return nil
	})
	if judge("leaves", err) && n != tree.Len() {
		t.Fatalf("%d leaves, want %d", n, tree.Len())
	}
	judge("check", s.Check())
	return failed
}

// Bytes of the tables change on disk: whatever is read is right or an error.
func TestDisk_ChangesBytes(t *testing.T) {
	whole := vfs.NewMem()
	m := flushed(t, whole)
	r := newSource(5)
	damaged := 0
	for range 40 {
		fs := vfs.NewMem()
		if ok, err := vfs.Clone(whole, fs, "state", "state"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		damage(t, fs, r)
		s, err := store.Open("state", store.Options{Chain: testChain, FS: fs})
		if err != nil {
			damaged++
			continue
		}
		if reader, err := s.At(60); err == nil {
			damaged += min(1, readAll(t, s, reader, m, func(error) bool { return true }))
			reader.Close()
		}
		s.Close()
	}
	if damaged < 20 {
		t.Errorf("only %d of 40 damaged folders were noticed", damaged)
	}
}

// damage changes one byte of one table.
func damage(t *testing.T, fs vfs.FS, r source) {
	t.Helper()
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			tables = append(tables, filepath.Join("state", name))
		}
	}
	name := tables[r.IntN(len(tables))]
	info, err := fs.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := r.Int64N(info.Size())
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << r.IntN(8)
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// Contents that contradict one another, as no damage to the disk would make
// them: pages are caught by whoever reads them, all else by Check.
func TestCheck_FindsWhatDoesNotBelong(t *testing.T) {
	value := func(s *store.Store) []byte { // the key of some version of a value
		it, err := store.DB(s).NewIter(&pebble.IterOptions{LowerBound: []byte("v"), UpperBound: []byte("w")})
		if err != nil {
			t.Fatal(err)
		}
		defer it.Close()
		for it.First(); len(it.Value()) == 0; it.Next() {
		}
		return bytes.Clone(it.Key())
	}
	newest := "\xff\xff\xff\xff\xff\xff\xff\x7d" // height 130
	for name, damage := range map[string]func(s *store.Store, db *pebble.DB) error{
		"another value": func(s *store.Store, db *pebble.DB) error {
			return db.Set(value(s), []byte("forged"), pebble.Sync)
		},
		"a value less": func(s *store.Store, db *pebble.DB) error {
			return db.Delete(value(s), pebble.Sync)
		},
		"a value more": func(s *store.Store, db *pebble.DB) error {
			return db.Set([]byte("v"+strings.Repeat("\xee", 32)+newest), []byte("forged"), pebble.Sync)
		},
		"another page": func(s *store.Store, db *pebble.DB) error {
			root := []byte("p\x00" + newest) // the last block changed it
			return db.Set(root, []byte("forged"), pebble.Sync)
		},
		"a page more": func(s *store.Store, db *pebble.DB) error {
			return db.Set([]byte("p\x05\xee\xee\xe0"+newest), []byte("forged"), pebble.Sync)
		},
		"a page that is none": func(s *store.Store, db *pebble.DB) error {
			return db.Set([]byte("p\x05\xee"+newest), []byte("forged"), pebble.Sync)
		},
		"a version that no height sees": func(s *store.Store, db *pebble.DB) error {
			old := value(s)
			copy(old[len(old)-8:], "\xff\xff\xff\xff\xff\xff\xff\xfe")
			return db.Set(old, []byte("old"), pebble.Sync)
		},
		"a version of the future": func(s *store.Store, db *pebble.DB) error {
			next := value(s)
			next[len(next)-1], next[len(next)-2] = 0, 0
			return db.Set(next, []byte("new"), pebble.Sync)
		},
		"a deletion of what was never there": func(s *store.Store, db *pebble.DB) error {
			return db.Set([]byte("v"+strings.Repeat("\xee", 32)+newest), nil, pebble.Sync)
		},
		"a version kept for no mark": func(s *store.Store, db *pebble.DB) error {
			return db.Set(append([]byte("k\x00\x00\x00\x00\x00\x00\x00\x01"), value(s)...), nil, pebble.Sync)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			flushed(t, fs)
			s := open(t, fs)
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			if err := damage(s, store.DB(s)); err != nil {
				t.Fatal(err)
			}
			commit(t, s, 131, nil, store.Also{}) // from here on readers see it
			if err := s.Check(); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("check: %v", err)
			}
			closeStore(t, s)
			s = open(t, fs)
			defer closeStore(t, s)
			if err := s.Check(); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("check after opening it again: %v", err)
			}
		})
	}
}

func TestPrepareAndProve_RefuseADamagedPage(t *testing.T) {
	fs := vfs.NewMem()
	m := flushed(t, fs)
	s := open(t, fs)
	it, err := store.DB(s).NewIter(&pebble.IterOptions{LowerBound: []byte("p"), UpperBound: []byte("q")})
	if err != nil {
		t.Fatal(err)
	}
	root := []byte(nil)
	it.First()
	root = bytes.Clone(it.Key())
	page := bytes.Clone(it.Value())
	it.Close()
	page[len(page)-1] ^= 1
	if err := store.DB(s).Set(root, page, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	if _, err := s.Prepare(m.state.Height+1, newSource(1).changes(30)); !errors.Is(err, statetree.ErrCorrupt) {
		t.Errorf("prepare: %v", err)
	}
	r, err := s.At(m.state.Height)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Prove(statetree.Key{}); !errors.Is(err, statetree.ErrCorrupt) {
		t.Errorf("prove: %v", err)
	}
}
