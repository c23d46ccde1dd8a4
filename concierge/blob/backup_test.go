package blob

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

func TestBackup_IsRestoredWholeAndWithoutWhatIsDamaged(t *testing.T) {
	dir, saved, restored := t.TempDir(), filepath.Join(t.TempDir(), "saved"), filepath.Join(t.TempDir(), "new")
	s := open(t, dir)
	small, large, spoilt, cut, led := content(100), content(3*chunk.Size+17), content(5000), content(6000), content(7000)
	for _, b := range [][]byte{small, large, spoilt, cut, led} {
		put(t, s, Owner{1}, b)
	}
	put(t, s, Owner{2}, small)
	if _, err := s.Receive(chunk.ID{5}, Owner{2}, 100, 0, strings.NewReader("part")); err != nil {
		t.Fatal(err)
	}
	made, err := Backup(t.Context(), dir, saved)
	if err != nil || made.Blobs != 5 {
		t.Fatal(made, err)
	}
	if _, err := Backup(t.Context(), dir, saved); err == nil {
		t.Error("a backup that is there was written into")
	}
	// What is let go of here stays there.
	id, _ := idOf(t, large)
	if err := s.Release(id, Owner{1}); err != nil {
		t.Fatal(err)
	}
	damage := func(b []byte, do func(path string) error) chunk.ID {
		id, _ := idOf(t, b)
		path := open(t, saved).path(id)
		raw, err := os.ReadFile(path)
		if err == nil {
			err = os.Remove(path) // it is the store's own too
		}
		if err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err == nil {
			err = do(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	flip := func(at int64) func(string) error {
		return func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte{0xff, 0xfe}, at)
			return err
		}
	}
	gone := []chunk.ID{
		damage(spoilt, flip(100)), damage(led, flip(7003)),
		damage(cut, func(path string) error { return os.Truncate(path, 6000) }),
	}
	got, err := Restore(t.Context(), saved, restored)
	if err != nil || got.Blobs != 2 || got.Damaged != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	r := open(t, restored)
	check(t, r, small)
	check(t, r, large)
	for _, id := range gone {
		if _, err := r.Get(id); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("what is damaged: %v", err)
		}
		if here, err := r.Hold(id, Owner{1}, 1); here || err != nil {
			t.Errorf("what is damaged is held: %v", err)
		}
	}
	put(t, r, Owner{1}, spoilt) // uploaded again
	check(t, r, spoilt)
	check(t, s, spoilt) // the store that was copied is as it was
	// The pins came along: content stays for the second owner.
	id, _ = idOf(t, small)
	if err := r.Release(id, Owner{1}); err != nil {
		t.Fatal(err)
	}
	check(t, r, small)
	if again, err := Restore(t.Context(), saved, restored); err != nil || again.Blobs != 0 {
		t.Errorf("a second time: %+v, %v", again, err)
	}
}

func TestBackup_CopiesWhereItCannotLink(t *testing.T) {
	from := t.TempDir()
	s := open(t, from)
	b := content(5000)
	id := put(t, s, Owner{1}, b)
	to := filepath.Join(t.TempDir(), "copy")
	if err := copyFile(s.path(id), to); err != nil {
		t.Fatal(err)
	}
	if n, err := copyWhole(to, to+"2", id); n != uint64(5000+chunk.HashSize) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := copyFile(s.path(id), to); err == nil {
		t.Error("it wrote over a file")
	}
}
