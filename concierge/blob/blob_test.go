package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*11 + i>>12)
	}
	return b
}

func idOf(t testing.TB, b []byte) (chunk.ID, []byte) {
	t.Helper()
	var tree chunk.Tree
	tree.Write(b)
	id, leaves, err := tree.Sum()
	if err != nil {
		t.Fatal(err)
	}
	return id, leaves
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put uploads b for o, whole.
func put(t testing.TB, s *Store, o Owner, b []byte) chunk.ID {
	t.Helper()
	id, _ := idOf(t, b)
	if at, err := s.Receive(id, o, uint64(len(b)), 0, bytes.NewReader(b)); err != nil || at != uint64(len(b)) {
		t.Fatalf("put %d bytes: %d, %v", len(b), at, err)
	}
	return id
}

// files returns the names of all files of a store but its locks.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != lockFile {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// check reads content back and compares.
func check(t testing.TB, s *Store, want []byte) {
	t.Helper()
	id, leaves := idOf(t, want)
	b, err := s.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	got, err := io.ReadAll(b.Content())
	if err != nil || !bytes.Equal(got, want) || b.Size() != uint64(len(want)) {
		t.Errorf("%d bytes come back, %v", len(got), err)
	}
	if got, err := io.ReadAll(b.Leaves()); err != nil || !bytes.Equal(got, leaves) {
		t.Errorf("%d bytes of leaves come back, %v", len(got), err)
	}
}

func keepAll(chunk.ID, Owner) (bool, error)  { return true, nil }
func keepNone(chunk.ID, Owner) (bool, error) { return false, nil }

func TestStore_KeepsContentOfAllSizes(t *testing.T) {
	s := open(t, t.TempDir())
	for _, n := range []int{1, 100, chunk.Size - 1, chunk.Size, chunk.Size + 1, chunk.Size + 31, 2047 * 33, 3*chunk.Size + 17} {
		b := content(n)
		put(t, s, Owner{1}, b)
		check(t, s, b)
	}
}

func TestReceive_GoesOnWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := content(chunk.Size + 1000)
	id, _ := idOf(t, b)
	size := uint64(len(b))
	stopped := io.MultiReader(bytes.NewReader(b[:500]), iotest.ErrReader(errors.New("gone")))
	if at, err := s.Receive(id, Owner{1}, size, 0, stopped); at != 500 || wire.CodeOf(err) != wire.Unavailable {
		t.Fatalf("%d, %v", at, err)
	}
	s = open(t, dir) // also after a restart
	if _, err := s.Get(id); wire.CodeOf(err) != wire.NotFound {
		t.Fatalf("half an upload is read: %v", err)
	}
	if at, err := s.Receive(id, Owner{1}, size, 500, bytes.NewReader(b[500:chunk.Size])); at != chunk.Size || err != nil {
		t.Fatalf("a part: %d, %v", at, err)
	}
	for _, wrong := range []uint64{0, 499, chunk.Size + 1, size, 1 << 62} {
		var other *OffsetError
		if _, err := s.Receive(id, Owner{1}, size, wrong, bytes.NewReader(b)); !errors.As(err, &other) || other.Offset != chunk.Size {
			t.Errorf("from byte %d: %v", wrong, err)
		}
	}
	if at, err := s.Offset(id, Owner{1}, size); at != chunk.Size || err != nil {
		t.Fatalf("offset %d, %v", at, err)
	}
	if at, err := s.Offset(id, Owner{2}, size); at != 0 || err != nil {
		t.Fatalf("somebody else's offset %d, %v", at, err)
	}
	if at, err := s.Receive(id, Owner{1}, size, chunk.Size, bytes.NewReader(b[chunk.Size:])); at != size || err != nil {
		t.Fatalf("the rest: %d, %v", at, err)
	}
	check(t, s, b)
}

func TestReceive_KeepsNoTraceOfLies(t *testing.T) {
	b := content(chunk.Size + 1000)
	id, _ := idOf(t, b)
	for name, lie := range map[string]struct {
		id   chunk.ID
		size int
		body []byte
	}{
		"more than announced": {id, len(b) - 1, b}, "another root": {chunk.ID{9}, len(b), b},
		"other content": {id, len(b), content(len(b) + 1)[1:]}, "endless": {id, 10, bytes.Repeat(b, 9)},
		"less than the root has": {id, chunk.Size, b[:chunk.Size]}, "nothing": {id, 0, nil},
	} {
		dir := t.TempDir()
		s := open(t, dir)
		if _, err := s.Receive(lie.id, Owner{1}, uint64(lie.size), 0, bytes.NewReader(lie.body)); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
		if left := files(t, dir); len(left) != 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
}

func TestReceive_SaysThatTheDiskIsFullAndLeavesNothing(t *testing.T) {
	b := content(chunk.Size)
	id, _ := idOf(t, b)
	for _, at := range []string{"write", "leaves", "sync", "pin", "rename"} {
		dir := t.TempDir()
		s := open(t, dir)
		s.step = func(what string) error {
			if what == at {
				return diskError(&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
			}
			return nil
		}
		if _, err := s.Receive(id, Owner{1}, uint64(len(b)), 0, bytes.NewReader(b)); wire.CodeOf(err) != wire.Exhausted || !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("at %s: %v", at, err)
		}
		if _, err := s.Get(id); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("at %s: it is there: %v", at, err)
		}
		s.step = func(string) error { return nil }
		if _, err := s.Sweep(id[0], keepNone); err != nil {
			t.Error(err)
		}
		if left := files(t, dir); len(left) != 0 {
			t.Errorf("at %s: %v is left", at, left)
		}
	}
	s, err := Open(t.TempDir(), 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Room(1); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("room beside a reserve that is larger than the disk: %v", err)
	}
	if err := open(t, t.TempDir()).Room(1 << 62); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("room for more than the disk has: %v", err)
	}
	if err := open(t, t.TempDir()).Room(1); err != nil {
		t.Errorf("no room for a byte: %v", err)
	}
}

// TestReceive_SurvivesACrashAtEveryStep: a process that ends anywhere leaves
// either nothing that is read or all of it, and the upload can be finished.
func TestReceive_SurvivesACrashAtEveryStep(t *testing.T) {
	b := content(3*chunk.Size + 5)
	id, _ := idOf(t, b)
	size := uint64(len(b))
	var steps []string
	s := open(t, t.TempDir())
	s.step = func(what string) error {
		steps = append(steps, what)
		return nil
	}
	put(t, s, Owner{1}, b)
	if len(steps) < 8 {
		t.Fatalf("only %v", steps)
	}
	crash := errors.New("crash")
	for stop := range steps {
		t.Run(fmt.Sprintf("%d-%s", stop, steps[stop]), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			n := 0
			s.step = func(string) error {
				if n++; n > stop {
					return crash
				}
				return nil
			}
			if _, err := s.Receive(id, Owner{1}, size, 0, bytes.NewReader(b)); !errors.Is(err, crash) {
				t.Fatalf("%v", err)
			}
			s = open(t, dir)
			if blob, err := s.Get(id); err == nil {
				blob.Close()
				check(t, s, b)
			}
			here, err := s.Hold(id, Owner{1}, size)
			if err != nil {
				t.Fatal(err)
			}
			if !here {
				at, err := s.Offset(id, Owner{1}, size)
				if err != nil {
					t.Fatal(err)
				}
				if at, err = s.Receive(id, Owner{1}, size, at, bytes.NewReader(b[at:])); err != nil || at != size {
					t.Fatalf("to finish it: %d, %v", at, err)
				}
			}
			check(t, s, b)
			if left := files(t, dir); len(left) != 2 {
				t.Errorf("there are %v", left)
			}
		})
	}
}

// What a crash of the machine made of the bytes is found, since the disk is read
// again.
func TestReceive_FindsWhatACrashMadeOfItsBytes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := content(chunk.Size + 1000)
	id, _ := idOf(t, b)
	if _, err := s.Receive(id, Owner{1}, uint64(len(b)), 0, bytes.NewReader(b[:5000])); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.incoming(id, Owner{1}), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(id, Owner{1}, uint64(len(b)), 5000, bytes.NewReader(b[5000:])); wire.CodeOf(err) != wire.Invalid {
		t.Fatalf("%v", err)
	}
	put(t, s, Owner{1}, b)
	check(t, s, b)
}

func TestStore_KeepsContentWhileAnybodyPinsIt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := content(5000)
	id := put(t, s, Owner{1}, b)
	if here, err := s.Hold(id, Owner{2}, 5000); !here || err != nil {
		t.Fatal(here, err)
	}
	if _, err := s.Hold(id, Owner{3}, 5001); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("another size: %v", err)
	}
	if here, err := s.Hold(chunk.ID{7}, Owner{3}, 1); here || err != nil {
		t.Errorf("content that is not here: %v, %v", here, err)
	}
	for range 2 { // it is safe to repeat
		if err := s.Release(id, Owner{1}); err != nil {
			t.Fatal(err)
		}
		if err := s.Release(id, Owner{9}); err != nil {
			t.Fatal(err)
		}
		check(t, s, b)
	}
	reading, err := s.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	if err := s.Release(id, Owner{2}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(id); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("nobody pins it: %v", err)
	}
	if got, err := io.ReadAll(reading.Content()); err != nil || !bytes.Equal(got, b) {
		t.Errorf("who was reading it: %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestSweep_LetsGoOfWhatNobodyKeeps(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	stays, goes, lost := content(5000), content(6000), content(7000)
	both := put(t, s, Owner{1}, stays)
	put(t, s, Owner{2}, stays)
	put(t, s, Owner{2}, goes)
	lostID := put(t, s, Owner{2}, lost)
	if err := os.Remove(filepath.Join(s.shard(lostID), pinned(lostID, Owner{2}))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(chunk.ID{5}, Owner{2}, 100, 0, strings.NewReader("part")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.shard(both), "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first := func(_ chunk.ID, o Owner) (bool, error) { return o == Owner{1}, nil }
	var all Swept
	for i := range Shards {
		found, err := s.Sweep(byte(i), first)
		if err != nil {
			t.Fatal(err)
		}
		all.Blobs, all.Bytes, all.Gone = all.Blobs+found.Blobs, all.Bytes+found.Bytes, all.Gone+found.Gone
	}
	if all != (Swept{Blobs: 1, Bytes: 5000, Gone: 2}) {
		t.Errorf("%+v", all)
	}
	check(t, s, stays)
	if err := s.SweepIncoming(first); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 3 { // content, a pin, the notes
		t.Errorf("%v is left", left)
	}
	unsure := func(chunk.ID, Owner) (bool, error) { return false, errors.New("the books are closed") }
	if _, err := s.Sweep(both[0], unsure); err == nil {
		t.Error("it swept without an answer")
	}
	check(t, s, stays)
}

// An upload that is under way is neither swept nor taken twice.
func TestReceive_IsAloneAtItsFile(t *testing.T) {
	s := open(t, t.TempDir())
	b := content(5000)
	id, _ := idOf(t, b)
	in, out := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := s.Receive(id, Owner{1}, 5000, 0, in)
		done <- err
	}()
	out.Write(b[:100])
	if _, err := s.Receive(id, Owner{1}, 5000, 100, bytes.NewReader(b[100:])); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("twice: %v", err)
	}
	if err := s.SweepIncoming(keepNone); err != nil {
		t.Fatal(err)
	}
	out.Write(b[100:])
	out.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	check(t, s, b)
}

// Two stores of one folder, as two processes have, disagree about nothing while
// owners come and go.
func TestStore_TwoOfAFolder(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{open(t, dir), open(t, dir)}
	b := content(9000)
	id, _ := idOf(t, b)
	put(t, stores[0], Owner{255}, b)
	keeps := func(_ chunk.ID, o Owner) (bool, error) { return o[0] == 255, nil }
	var wait sync.WaitGroup
	for i := range 8 {
		s, o := stores[i%2], Owner{byte(i)}
		wait.Go(func() {
			for range 20 {
				if here, err := s.Hold(id, o, 9000); !here || err != nil {
					t.Errorf("hold: %v, %v", here, err)
				}
				if _, err := s.Sweep(id[0], keeps); err != nil {
					t.Error(err)
				}
				if err := s.Release(id, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	check(t, stores[1], b)
	if _, err := stores[0].Sweep(id[0], keepAll); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 2 {
		t.Errorf("%v is left", left)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(pinned(chunk.ID{1}, Owner{2}))
	f.Add("..")
	f.Fuzz(func(t *testing.T, name string) {
		if id, o, ok := parse(name); ok && pinned(id, o) != name {
			t.Errorf("%q is read as %v", name, id)
		}
	})
}

func FuzzContentSize(f *testing.F) {
	f.Add(int64(1))
	f.Add(int64(chunk.Size + chunk.HashSize))
	f.Fuzz(func(t *testing.T, total int64) {
		if n, err := contentSize(total); err == nil && n+chunk.Count(n)*chunk.HashSize != uint64(total) {
			t.Errorf("%d bytes are %d of content", total, n)
		}
	})
}
