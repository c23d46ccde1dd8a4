package pebblestore_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/stream/streamtest"
)

func configure(t testing.TB, s *pebblestore.Store, id stream.ID, settings stream.Settings) {
	t.Helper()
	if err := s.Configure(context.Background(), id, settings); err != nil {
		t.Fatal(err)
	}
}

// beforeWrites calls f before each operation that writes.
type beforeWrites func()

func (beforeWrites) String() string { return "before writes" }

func (f beforeWrites) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		f()
	}
	return nil
}

// The power fails before any one write: what was answered is there, once, under
// its number, and acknowledgements and trims never take more than was theirs.
func TestCrash_AtAnyMomentLosesNothingThatWasAnswered(t *testing.T) {
	type crash struct {
		fs       *vfs.MemFS
		answered map[stream.MessageID]uint64
	}
	me := stream.Reader{1}
	id := stream.ID{1}
	ledger := streamtest.NewLedger()
	var mu sync.Mutex
	var crashes []crash
	answered := map[stream.MessageID]uint64{}
	acked := uint64(0)
	fs, rng := vfs.NewCrashableMem(), rand.New(rand.NewPCG(1, 2))
	s := open(t, "streams", pebblestore.Options{FS: errorfs.Wrap(fs, beforeWrites(func() {
		mu.Lock()
		defer mu.Unlock()
		if len(answered) > 0 && rng.IntN(10) == 0 && len(crashes) < 60 {
			c := crash{fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}), map[stream.MessageID]uint64{}}
			for m, seq := range answered {
				c.answered[m] = seq
			}
			crashes = append(crashes, c)
		}
	}))})
	configure(t, s, id, stream.Settings{Readers: []stream.Reader{me}})
	var all sync.WaitGroup
	for w := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := range 60 {
				m := ledger.Message(id, w, n, 100)
				r, err := stream.Append(context.Background(), s, id, m)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				answered[m.ID] = r.Seq
				if r.Seq > 100 {
					acked = max(acked, r.Seq-100)
				}
				ack := acked
				mu.Unlock()
				if n%10 == 0 {
					if err := s.Acknowledge(context.Background(), id, me, ack); err != nil {
						t.Error(err)
					}
					pebblestore.Step(s, 0)
				}
			}
		}()
	}
	all.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(crashes) < 20 {
		t.Fatalf("only %d crashes were tried", len(crashes))
	}
	for i, c := range crashes {
		again := open(t, "streams", pebblestore.Options{FS: c.fs})
		if err := again.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		state, err := again.State(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if state.Base > 0 && state.Base > state.Cursors[me] {
			t.Fatalf("crash %d: begins at %d, the reader has acknowledged %d", i, state.Base, state.Cursors[me])
		}
		tape := &streamtest.Tape{}
		for tape.Last() < state.Head.Seq {
			page, err := again.Range(t.Context(), id, tape.Last(), stream.MaxPage)
			if err == nil {
				err = tape.Add(page)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		seen := map[stream.MessageID]uint64{}
		for _, e := range tape.Entries {
			seen[e.ID] = e.Seq
		}
		for m, seq := range c.answered {
			if seq > state.Base && seen[m] != seq {
				t.Fatalf("crash %d: message %s was answered as %d, and is at %d", i, m, seq, seen[m])
			}
		}
		again.Close()
	}
}

// A process under 64 writers is killed at random moments, again and again.
func TestCrash_KilledProcessLosesNothingThatWasAnswered(t *testing.T) {
	dir := t.TempDir()
	ledger := streamtest.NewLedger()
	rounds, rng := 4, rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	if os.Getenv("CONFAB_LONG") == "1" {
		rounds = 100
	}
	for round := range rounds {
		killWhileAppending(t, dir, round, time.Duration(50+rng.IntN(250))*time.Millisecond, ledger)
		s := open(t, dir, pebblestore.Options{Reserve: 1})
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := ledger.CheckAll(t.Context(), s); err != nil {
			t.Error(err)
		}
		s.Close()
	}
	if n := ledger.Count(); n < 100*rounds {
		t.Errorf("only %d messages were answered", n)
	}
}

const childWriters = 64

func childStream(n int) stream.ID { return stream.ID{byte(n % 5), 7} }

// killWhileAppending runs a child that appends and says what was answered.
func killWhileAppending(t *testing.T, dir string, round int, after time.Duration, ledger *streamtest.Ledger) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestChild_Append$")
	child.Env = append(os.Environ(), "CONFAB_TEST_DIR="+dir, fmt.Sprintf("CONFAB_TEST_ROUND=%d", round))
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	var kill *time.Timer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if kill == nil {
			kill = time.AfterFunc(after, func() { child.Process.Kill() })
		}
		var which, writer, n int
		var seq uint64
		var id string
		switch _, err := fmt.Sscanf(lines.Text(), "answered %d %d %d %d %s", &which, &writer, &n, &seq, &id); {
		case err == nil && len(id) == 32: // a line that was cut says nothing
			// The ledger learns of all that the child may have sent up to here.
			m := ledger.Message(childStream(which), round*childWriters+writer, n, 300)
			if hex.EncodeToString(m.ID[:]) != id {
				t.Fatalf("child made another message: %s", lines.Text())
			}
			if err := ledger.Answered(childStream(which), m.ID, seq); err != nil {
				t.Error(err)
			}
		case !strings.HasPrefix(lines.Text(), "answered"):
			said += lines.Text() + "\n"
		}
	}
	if err := child.Wait(); err == nil {
		t.Fatalf("the child ended by itself: %s", said)
	}
	// What was sent and not answered may be there too.
	for w := range childWriters {
		for n := range childMessages {
			ledger.Message(childStream(w+n), round*childWriters+w, n, 300)
		}
	}
}

const childMessages = 400

// TestChild_Append is the process that is killed: not a test, unless it is told
// to be.
func TestChild_Append(t *testing.T) {
	dir := os.Getenv("CONFAB_TEST_DIR")
	if dir == "" {
		t.Skip("only for tests that start it")
	}
	var round int
	fmt.Sscan(os.Getenv("CONFAB_TEST_ROUND"), &round)
	s := open(t, dir, pebblestore.Options{Reserve: 1})
	for n := range 5 {
		configure(t, s, childStream(n), stream.Settings{})
	}
	ledger := streamtest.NewLedger()
	lines := make(chan string, 1024)
	go func() {
		for line := range lines {
			os.Stdout.WriteString(line)
		}
	}()
	for w := range childWriters {
		go func() {
			for n := range childMessages {
				id := childStream(w + n)
				m := ledger.Message(id, round*childWriters+w, n, 300)
				r, err := stream.Append(context.Background(), s, id, m)
				if err != nil {
					lines <- fmt.Sprintf("append: %v\n", err)
					return
				}
				lines <- fmt.Sprintf("answered %d %d %d %d %s\n", (w+n)%5, w, n, r.Seq, m.ID)
			}
		}()
	}
	select {} // until it is killed
}

var errDisk = errors.New("no space left")

// failingFS fails what writes to the log, once it is told to.
type failingFS struct{ on atomic.Bool }

func (f *failingFS) String() string { return "failing" }

func (f *failingFS) MaybeError(op errorfs.Op) error {
	if f.on.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".log") {
		return errDisk
	}
	return nil
}

// The disk fails in the middle: who waits is told, nothing more is taken, what
// was there is read, and it is all there when the store opens again.
func TestDisk_FailsInTheMiddle(t *testing.T) {
	mem, failing := vfs.NewCrashableMem(), &failingFS{}
	s := open(t, "streams", pebblestore.Options{FS: errorfs.Wrap(mem, failing)})
	id := stream.ID{1}
	configure(t, s, id, stream.Settings{})
	ledger := streamtest.NewLedger()
	for n := range 50 {
		m := ledger.Message(id, 0, n, 100)
		r, err := stream.Append(t.Context(), s, id, m)
		if err != nil {
			t.Fatal(err)
		}
		ledger.Answered(id, m.ID, r.Seq)
	}
	failing.on.Store(true)
	for n := 50; n < 53; n++ {
		if _, err := stream.Append(t.Context(), s, id, ledger.Message(id, 0, n, 100)); wire.CodeOf(err) != wire.Unavailable {
			t.Fatalf("append: %v", err)
		}
	}
	if err := ledger.CheckAll(t.Context(), s); err != nil {
		t.Error(err)
	}
	if err := s.Close(); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("close: %v", err)
	}
	again := open(t, "streams", pebblestore.Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	defer again.Close()
	if err := ledger.CheckAll(t.Context(), again); err != nil {
		t.Error(err)
	}
}

// fullFS has as much room as it is told.
type fullFS struct {
	vfs.FS
	free atomic.Uint64
}

func (f *fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free.Load()}, nil
}

// A disk that is nearly full takes no appends, but lets readers make room.
func TestDisk_NearlyFull(t *testing.T) {
	fs := &fullFS{FS: vfs.NewMem()}
	fs.free.Store(1 << 30)
	s := open(t, "streams", pebblestore.Options{FS: fs, Reserve: 1 << 20})
	defer s.Close()
	id, me := stream.ID{1}, stream.Reader{1}
	configure(t, s, id, stream.Settings{Readers: []stream.Reader{me}})
	m := stream.Message{ID: stream.MessageID{1}, Body: []byte("one")}
	if _, err := stream.Append(t.Context(), s, id, m); err != nil {
		t.Fatal(err)
	}
	fs.free.Store(1 << 19)
	pebblestore.CheckDisk(s)
	m.ID[0]++
	if _, err := stream.Append(t.Context(), s, id, m); wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "full") {
		t.Errorf("append: %v", err)
	}
	if err := s.Acknowledge(t.Context(), id, me, 1); err != nil {
		t.Error(err)
	}
	if err := s.Trim(t.Context(), id, 1); err != nil {
		t.Error(err)
	}
	fs.free.Store(1 << 30)
	pebblestore.CheckDisk(s)
	if _, err := stream.Append(t.Context(), s, id, m); err != nil {
		t.Error(err)
	}
}
