package pebblestore_test

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/stream/streamtest"
)

func fill(t testing.TB, s *pebblestore.Store, id stream.ID, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		m := stream.Message{ID: stream.MessageID{byte(n), byte(n >> 8)}, Body: bytes.Repeat([]byte{byte(n)}, 100)}
		if _, err := stream.Append(t.Context(), s, id, m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpen_OneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, pebblestore.Options{})
	if _, err := pebblestore.Open(dir, pebblestore.Options{}); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("the second time: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, pebblestore.Options{}).Close()
}

func TestOpen_RefusesANewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, "streams", pebblestore.Options{FS: fs})
	if err := pebblestore.Put(s, []byte("i"), []byte{99}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := pebblestore.Open("streams", pebblestore.Options{FS: fs}); wire.CodeOf(err) != wire.Stale || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("open: %v", err)
	}
}

func TestOpen_RefusesAnotherProgramsDatabase(t *testing.T) {
	fs := vfs.NewMem()
	other := *pebble.DefaultComparer
	other.Name = "another program"
	db, err := pebble.Open("streams", &pebble.Options{FS: fs, Comparer: &other, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := pebblestore.Open("streams", pebblestore.Options{FS: fs}); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("open: %v", err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func TestBackup_IsAStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "streams"), pebblestore.Options{})
	defer s.Close()
	ledger := streamtest.NewLedger()
	id := stream.ID{1}
	configure(t, s, id, stream.Settings{})
	for n := range 100 {
		m := ledger.Message(id, 0, n, 100)
		r, err := stream.Append(t.Context(), s, id, m)
		if err != nil {
			t.Fatal(err)
		}
		ledger.Answered(id, m.ID, r.Seq)
	}
	if err := s.Backup(filepath.Join(dir, "backup")); err != nil {
		t.Fatal(err)
	}
	fill(t, s, id, 1, 10)
	backup := open(t, filepath.Join(dir, "backup"), pebblestore.Options{})
	defer backup.Close()
	if err := ledger.CheckAll(t.Context(), backup); err != nil {
		t.Error(err)
	}
	if state, err := backup.State(t.Context(), id); err != nil || state.Head.Seq != 100 {
		t.Errorf("the backup's state: %+v, %v", state, err)
	}
	if err := s.Backup(filepath.Join(dir, "backup")); err == nil {
		t.Error("a second backup went over the first")
	}
}

func TestCheck_FindsWhatDoesNotBelong(t *testing.T) {
	id := stream.ID{1}
	entry := func(seq uint64) []byte {
		return binary.BigEndian.AppendUint64([]byte{'e', 0, 0, 0, 0, 0, 0, 0, 1}, seq)
	}
	for name, damage := range map[string]func(s *pebblestore.Store) error{
		"another body": func(s *pebblestore.Store) error {
			return pebblestore.Put(s, entry(5), bytes.Repeat([]byte{7}, 164))
		},
		"an entry that is none": func(s *pebblestore.Store) error {
			return pebblestore.Put(s, entry(5), []byte("short"))
		},
		"an entry too many": func(s *pebblestore.Store) error {
			return pebblestore.Put(s, entry(15), bytes.Repeat([]byte{7}, 164))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, "streams", pebblestore.Options{FS: fs})
			configure(t, s, id, stream.Settings{})
			fill(t, s, id, 1, 10)
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := damage(s); err != nil {
				t.Fatal(err)
			}
			s.Close()
			s = open(t, "streams", pebblestore.Options{FS: fs})
			defer s.Close()
			if err := s.Check(t.Context()); wire.CodeOf(err) != wire.Internal {
				t.Errorf("check: %v", err)
			}
		})
	}
}

// Streams that nobody watches are forgotten, and found again.
func TestStore_HoldsFewStreamsInMemory(t *testing.T) {
	s := open(t, "streams", pebblestore.Options{FS: vfs.NewMem()})
	defer s.Close()
	id, watched, me := stream.ID{1}, stream.ID{2}, stream.Reader{1}
	for _, id := range []stream.ID{id, watched} {
		configure(t, s, id, stream.Settings{Readers: []stream.Reader{me}})
		fill(t, s, id, 1, 10)
	}
	if err := s.Acknowledge(t.Context(), id, me, 4); err != nil {
		t.Fatal(err)
	}
	woken := make(ring, 100)
	stop, err := s.Watch(t.Context(), watched, woken)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for n := range pebblestore.MaxStates + 1000 {
		if _, err := s.State(t.Context(), stream.ID{9, byte(n), byte(n >> 8), byte(n >> 16)}); err == nil {
			t.Fatal("a stream that was never made")
		}
	}
	if err := s.Trim(t.Context(), id, 4); err != nil { // the committer comes to it after all else
		t.Fatal(err)
	}
	if n := pebblestore.States(s); n > pebblestore.MaxStates {
		t.Errorf("%d streams are held", n)
	}
	state, err := s.State(t.Context(), id)
	if err != nil || state.Base != 4 || state.Cursors[me] != 4 || state.Head.Seq != 10 {
		t.Errorf("state: %+v, %v", state, err)
	}
	fill(t, s, watched, 11, 11)
	if seq := <-woken; seq != 11 {
		t.Errorf("woken for %d", seq)
	}
}

type ring chan uint64

func (r ring) Woken(seq uint64) { r <- seq }
func (r ring) Heard([]byte)     {}

// What those who watch read from memory is what the database has.
func TestRange_TailIsWhatIsStored(t *testing.T) {
	s := open(t, "streams", pebblestore.Options{FS: vfs.NewMem()})
	defer s.Close()
	id := stream.ID{1}
	configure(t, s, id, stream.Settings{})
	fill(t, s, id, 1, 10)
	stop, err := s.Watch(t.Context(), id, make(ring, 1000))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, id, 11, 40)
	read := func() (pages []stream.Page) {
		for after := range uint64(41) {
			for _, max := range []int{1, 300, 1000, stream.MaxPage} {
				page, err := s.Range(t.Context(), id, after, max)
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, page)
			}
		}
		return pages
	}
	tail := read()
	stop()
	pebblestore.Step(s, 0) // forgets it
	for i, page := range read() {
		if page.After != tail[i].After || page.Last() != tail[i].Last() || page.Head != tail[i].Head {
			t.Fatalf("page %d ends at %d, from memory at %d", i, page.Last(), tail[i].Last())
		}
		for j, e := range page.Entries {
			if m := tail[i].Entries[j]; m.Seq != e.Seq || m.ID != e.ID || !bytes.Equal(m.Body, e.Body) {
				t.Fatalf("entry %d differs", e.Seq)
			}
		}
	}
}

// No read writes, however many readers there are.
func TestRead_WritesNothing(t *testing.T) {
	var writes atomic.Int64
	s := open(t, "streams", pebblestore.Options{Now: epoch, FS: errorfs.Wrap(vfs.NewMem(), beforeWrites(func() { writes.Add(1) }))})
	defer s.Close()
	id := stream.ID{1}
	configure(t, s, id, stream.Settings{TTL: time.Hour})
	fill(t, s, id, 1, 20)
	before := writes.Load()
	for n := range 2000 {
		if _, err := s.Range(t.Context(), id, uint64(n%20), 500); err != nil {
			t.Fatal(err)
		}
		if _, err := s.State(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		stop, err := s.Watch(t.Context(), id, make(ring, 1))
		if err != nil {
			t.Fatal(err)
		}
		stop()
	}
	if n := writes.Load() - before; n != 0 {
		t.Errorf("%d writes", n)
	}
}
