//go:build !js

package lightclient_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// theFile returns the one file in a folder with this ending.
func theFile(t *testing.T, dir, ending string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil || len(list) != 1 {
		t.Fatalf("files: %v, %v", list, err)
	}
	return list[0]
}

func TestDirStore_StartsTheNextRunWhereTheLastOneEnded(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	store := lightclient.DirStore{Dir: filepath.Join(t.TempDir(), "not", "there", "yet")}
	w.isAlice(ask(w.keeping(store, w.honest("first")), t.Context()))
	known, err := store.Load(w.Pin(1))
	if err != nil || known == nil || known.Pin() != w.Pin(w.Height()) {
		t.Fatalf("kept is %+v, %v", known, err)
	}
	if info, err := os.Stat(theFile(t, store.Dir, ".trust")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if known, err := store.Load(w.Pin(2)); known != nil || err != nil {
		t.Errorf("another pin has %+v, %v", known, err)
	}
}

func TestDirStore_OnlyRollsForward(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	store := lightclient.DirStore{Dir: t.TempDir()}
	for _, height := range []uint64{3, 5, 4, 5, 2} {
		w.do(store.Save(w.Pin(1), *w.Trust(height)))
	}
	known, err := store.Load(w.Pin(1))
	w.do(err)
	expect(t, "height", known.Height, 5)
}

func TestDirStore_MayBeSharedByPrograms(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	w.Skip(20)
	store := lightclient.DirStore{Dir: t.TempDir()}
	var done sync.WaitGroup
	for i := range uint64(4) {
		done.Go(func() {
			for height := 1 + i; height <= w.Height(); height += 4 {
				if err := store.Save(w.Pin(1), *w.Trust(height)); err != nil {
					t.Error(err)
				}
				if known, err := store.Load(w.Pin(1)); err != nil || known == nil {
					t.Errorf("half a file was read: %v", err)
				}
			}
		})
	}
	done.Wait()
	theFile(t, store.Dir, "") // nothing else is left behind
}

func TestDirStore_RefusesADamagedFile(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	other := newWorld(t, fakechain.Spec{ID: "confab-other"})
	for name, spoil := range map[string]func(b []byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"cut":              func(b []byte) []byte { return b[:len(b)-1] },
		"longer":           func(b []byte) []byte { return append(b, 0) },
		"very large":       func([]byte) []byte { return make([]byte, 1<<20) },
		"of another chain": func([]byte) []byte { return wire.Encode(*other.Trust(3)) },
		"before the pin":   func([]byte) []byte { return wire.Encode(*w.Trust(1)) },
		"another header at the pin": func([]byte) []byte {
			t := *w.Trust(2)
			t.Hash[0] ^= 1
			return wire.Encode(t)
		},
	} {
		store := lightclient.DirStore{Dir: t.TempDir()}
		w.do(store.Save(w.Pin(2), *w.Trust(5)))
		path := theFile(t, store.Dir, ".trust")
		b, err := os.ReadFile(path)
		w.do(err)
		w.do(os.WriteFile(path, spoil(b), 0o600))
		_, err = lightclient.New(lightclient.Config{Pin: w.Pin(2), Sources: []lightclient.Source{w.honest("a")}, Store: store})
		if wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	store := lightclient.DirStore{Dir: t.TempDir()}
	w.do(store.Save(w.Pin(1), *w.Trust(5)))
	w.do(os.Chmod(theFile(t, store.Dir, ".trust"), 0))
	if _, err := store.Load(w.Pin(1)); err == nil && os.Getuid() != 0 {
		t.Error("a file that cannot be read passes for none")
	}
}

// A fork is found by one run and must be known to the next, and to every other
// program that keeps its trust in the same folder.
func TestDirStore_EvidenceStopsLaterRuns(t *testing.T) {
	w, fork := forked(t)
	store := lightclient.DirStore{Dir: t.TempDir()}
	c := w.keeping(store, w.honest("main"), fork)
	_, found := ask(c, t.Context())
	if !errors.Is(found, verify.ErrConflict) {
		t.Fatal(found)
	}
	path := theFile(t, store.Dir, ".evidence")
	b, err := os.ReadFile(path)
	w.do(err)
	e, err := lightclient.DecodeEvidence(b)
	w.do(err)
	if err := e.Check(verify.DefaultRules()); err != nil {
		t.Errorf("the evidence in the file: %v", err)
	}

	open := func(pin uint64) error {
		_, err := lightclient.New(lightclient.Config{Pin: w.Pin(pin), Sources: []lightclient.Source{w.honest("main")}, Store: store})
		return err
	}
	err = open(1)
	if wire.CodeOf(err) != wire.Conflict || !errors.Is(err, verify.ErrConflict) || !strings.HasSuffix(found.Error(), err.Error()) {
		t.Errorf("the next run says\n%v\nthe first said\n%v", err, found)
	}
	for _, part := range []string{path, "do not believe this chain until you know why", "height 10", "main", "fork", "a pin of the block that people agree on"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("it does not say %q: %v", part, err)
		}
	}
	if err := open(9); err != nil {
		t.Errorf("from a pin that people agreed on: %v", err)
	}

	// Damaged evidence is evidence, as far as a careful reader is concerned.
	w.do(os.WriteFile(path, b[:100], 0o600))
	if err := open(1); wire.CodeOf(err) != wire.Conflict || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged evidence: %v", err)
	}
	w.do(os.Rename(path, filepath.Join(t.TempDir(), "away")))
	if err := open(1); err != nil {
		t.Errorf("with the evidence moved away: %v", err)
	}
}

func TestDirStore_KeepsAllEvidenceInItsOwnFolder(t *testing.T) {
	dir := t.TempDir()
	store := lightclient.DirStore{Dir: filepath.Join(dir, "store")}
	pin := verify.Pin{ChainID: "../../../escape", Height: 1}
	var where []string
	for i := range 3 {
		path, err := store.Evidence(lightclient.Evidence{Version: 1, Pin: pin, Height: 7, Found: 5, Sides: [2]lightclient.Side{{Source: string(rune('a' + i))}}})
		if err != nil {
			t.Fatal(err)
		}
		where = append(where, path)
	}
	for _, path := range where {
		if filepath.Dir(path) != store.Dir {
			t.Errorf("evidence is in %s", path)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("evidence of the same second was overwritten: %v", err)
		}
	}
	if _, err := store.Load(pin); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("got %v", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Errorf("beside the folder: %v, %v", list, err)
	}
}

func TestWriteFile_LeavesTheOldOneOrTheNewOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "file")
	for _, text := range []string{"one", "two"} {
		if err := lightclient.WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("got %q, %v", b, err)
		}
	}
	if err := lightclient.WriteFile(dir, []byte("x")); err == nil {
		t.Error("a folder was replaced by a file")
	}
	theFile(t, filepath.Dir(path), "")
	list, _ := os.ReadDir(filepath.Dir(dir))
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".new-") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}
