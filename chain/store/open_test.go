package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/chain/store"
)

// refuse checks that a folder is refused with an error that says all of words.
func refuse(t *testing.T, dir string, o store.Options, words ...string) {
	t.Helper()
	s, err := store.Open(dir, o)
	if err == nil {
		s.Close()
		t.Fatalf("%s is opened", dir)
	}
	for _, w := range append(words, dir) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestOpen_RefusesTheFolderOfAnotherChain(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	commit(t, s, 7, newSource(1).changes(9), store.Also{})
	state := s.State()
	closeStore(t, s)
	refuse(t, "state", store.Options{Chain: "confab-other", FS: fs}, `belongs to chain "confab-test-1", not to "confab-other"`)
	s = open(t, fs)
	defer closeStore(t, s)
	if s.State() != state {
		t.Errorf("state %+v, was %+v before the refusal", s.State(), state)
	}
}

func TestOpen_RefusesAChainWithoutAName(t *testing.T) {
	for _, chain := range []string{"", strings.Repeat("x", 200)} {
		refuse(t, "state", store.Options{Chain: chain, FS: vfs.NewMem()}, "1 to 128 bytes")
	}
}

func TestOpen_RefusesAnOpenFolder(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{Chain: testChain})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("in the same process", func(t *testing.T) {
		refuse(t, dir, store.Options{Chain: testChain}, "another process is using this folder")
		t.Chdir(filepath.Dir(dir))
		if s, err := store.Open(filepath.Base(dir), store.Options{Chain: testChain}); err == nil {
			s.Close()
			t.Error("opened by a relative path")
		}
	})
	t.Run("in another process", func(t *testing.T) {
		child := exec.Command(os.Args[0], "-test.run=^TestChild_Open$")
		child.Env = append(os.Environ(), "CONFAB_TEST_DIR="+dir)
		out, err := child.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another process is using this folder") {
			t.Errorf("it ended with %v and said %s", err, out)
		}
	})
	closeStore(t, s)
	if s, err = store.Open(dir, store.Options{Chain: testChain}); err != nil {
		t.Fatalf("after it was closed: %v", err)
	}
	closeStore(t, s)
}

// TestChild_Open is the other process of the tests above and below.
func TestChild_Open(t *testing.T) {
	dir := os.Getenv("CONFAB_TEST_DIR")
	if dir == "" {
		t.Skip("it is run by other tests")
	}
	s, err := store.Open(dir, store.Options{Chain: testChain})
	if err != nil {
		t.Fatal(err)
	}
	r := newSource(1)
	for height := s.State().Height + 1; ; height++ {
		commit(t, s, height, r.changes(20), store.Also{Keep: []uint64{height}})
		fmt.Println("committed", height)
	}
}

func TestOpen_RefusesANewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if err := store.DB(s).Set([]byte("i"), []byte("\x02what is to come"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	refuse(t, "state", store.Options{Chain: testChain, FS: fs}, "format 2", "knows 1", "upgrade")
}

func TestOpen_RefusesDamagedRecords(t *testing.T) {
	for _, c := range []struct{ key, value, says string }{
		{"i", "", "identity"},
		{"i", "\x01", "identity"},
		{"i", "\x01\x81\x60\x00", "identity"},
		{"s", "", "state record"},
		{"s", "\x83\x00\x00\x00", "state record"},
		{"h\x00\x00\x00\x00\x00\x00\x00\x09", "", "record of a height"},
		{"h\x00", strings.Repeat("\x00", 33), "record of a height"},
		{"h\x00\x00\x00\x00\x00\x00\x00\x09", strings.Repeat("\x03", 33), "record of a height"},
		{"h\x00\x00\x00\x00\x00\x00\x00\x09", strings.Repeat("\x00", 33), "two roots"},
	} {
		fs := vfs.NewMem()
		s := open(t, fs)
		commit(t, s, 9, newSource(1).changes(9), store.Also{})
		if err := store.DB(s).Set([]byte(c.key), []byte(c.value), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		refuse(t, "state", store.Options{Chain: testChain, FS: fs}, c.says)
	}
	fs := vfs.NewMem()
	s := open(t, fs)
	commit(t, s, 8, nil, store.Also{})
	commit(t, s, 9, nil, store.Also{})
	if err := store.DB(s).Delete([]byte("h\x00\x00\x00\x00\x00\x00\x00\x08"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	refuse(t, "state", store.Options{Chain: testChain, FS: fs}, "height 8", "missing")
}

func TestOpen_RefusesTheDatabaseOfAnotherProgram(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open("state", &pebble.Options{FS: fs, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("i"), []byte("x"), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	refuse(t, "state", store.Options{Chain: testChain, FS: fs}, "another program")
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

func TestOpen_SaysWhyAFolderCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refuse(t, filepath.Join(file, "state"), store.Options{Chain: testChain}, "not a directory")
}

// A creation that was cut short before any one of its writes is completed by the
// next Open.
func TestOpen_CompletesACreationThatWasCutShort(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := newSource(1)
	var crashed []*vfs.MemFS
	s := open(t, errorfs.Wrap(fs, beforeWrites(func() {
		// All or nothing of what was not synced: a file system that journals its
		// folders keeps their changes in order, which a part would not.
		crashed = append(crashed, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100 * r.IntN(2), RNG: r.Rand}))
	})))
	cuts := crashed
	closeStore(t, s)
	if len(cuts) < 10 {
		t.Fatalf("a store is made with %d writes", len(cuts))
	}
	for _, fs := range cuts {
		s := open(t, fs)
		if s.State() != (store.State{}) {
			t.Errorf("a new store has state %+v", s.State())
		}
		commit(t, s, 5, newSource(1).changes(9), store.Also{})
		closeStore(t, s)
	}
}

// beforeWrites calls f before each operation that changes a file or folder.
func beforeWrites(f func()) errorfs.Injector {
	var mu sync.Mutex
	return errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		return nil
	})
}
