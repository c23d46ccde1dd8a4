package frame_test

import (
	"context"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/stream/streamtest"
)

// door is an Authority that tests change.
type door struct {
	mu     sync.Mutex
	closed map[frame.Action]bool
	reader stream.Reader
}

func (d *door) May(a frame.Action, _ stream.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed[a] {
		return wire.Errorf(wire.Unauthorized, "not yours")
	}
	return nil
}

func (d *door) Reader() (stream.Reader, bool) { return d.reader, d.reader != stream.Reader{} }

// world is a store with a server, and connections to it.
type world struct {
	t      testing.TB
	store  stream.Store
	server *frame.Server
}

func newStore(t testing.TB) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open("streams", pebblestore.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newWorld(t testing.TB, store stream.Store) *world {
	t.Helper()
	w := &world{t: t, store: store, server: frame.NewServer(store, frame.Options{})}
	t.Cleanup(func() { w.server.Close(context.Background()) })
	return w
}

// raw connects without a client.
func (w *world) raw(a frame.Authority) frame.Conn {
	here, there := frame.Pipe()
	go w.server.Serve(context.Background(), there, a)
	w.t.Cleanup(func() { here.Close() })
	return here
}

func (w *world) client(a frame.Authority) *frame.Client {
	w.t.Helper()
	c, err := frame.Dial(context.Background(), w.raw(a))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) stream(n byte) stream.ID {
	w.t.Helper()
	id := stream.ID{n, 1}
	if err := w.store.Configure(context.Background(), id, stream.Settings{}); err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) fill(id stream.ID, first, last, size int) {
	w.t.Helper()
	var wait sync.WaitGroup
	for n := first; n <= last; n++ {
		wait.Add(1)
		w.store.Submit(id, message(n, size), func(_ stream.Receipt, err error) {
			if err != nil {
				w.t.Error(err)
			}
			wait.Done()
		})
	}
	wait.Wait()
}

func message(n, size int) stream.Message {
	m := stream.Message{Body: make([]byte, size)}
	for i := range m.Body {
		m.Body[i] = byte(n + i)
	}
	m.ID = stream.MessageID{byte(n >> 16), byte(n >> 8), byte(n)}
	return m
}

// remote is a store whose log is at the other end of a connection.
type remote struct {
	*pebblestore.Store
	*frame.Client
}

func (r remote) Submit(id stream.ID, m stream.Message, done func(stream.Receipt, error)) {
	r.Client.Submit(id, m, done)
}

func (r remote) Range(ctx context.Context, id stream.ID, after uint64, max int) (stream.Page, error) {
	return r.Client.Range(ctx, id, after, max)
}

func (r remote) State(ctx context.Context, id stream.ID) (stream.State, error) {
	state, err := r.Client.State(ctx, id)
	if err != nil {
		return state, err
	}
	whole, err := r.Store.State(ctx, id)
	state.Settings.Readers, state.Cursors = whole.Settings.Readers, maps.Clone(whole.Cursors)
	return state, err
}

func (r remote) Acknowledge(ctx context.Context, id stream.ID, reader stream.Reader, seq uint64) error {
	return r.Store.Acknowledge(ctx, id, reader, seq)
}

func (r remote) Announce(ctx context.Context, id stream.ID, body []byte) error {
	return r.Store.Announce(ctx, id, body)
}

func (r remote) Close() error { return r.Store.Close() }

// Across a connection a store keeps the same contract.
func TestClient_KeepsTheContractOfALog(t *testing.T) {
	streamtest.Run(t, func(t *testing.T) streamtest.Subject {
		fs := vfs.NewMem()
		open := func() (*pebblestore.Store, stream.Store) {
			s, err := pebblestore.Open("streams", pebblestore.Options{FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s, remote{s, newWorld(t, s).client(&door{})}
		}
		s, r := open()
		return streamtest.Subject{
			Store: r,
			Sweep: func(ctx context.Context) error { return s.Sweep(ctx) },
			Pass:  nil, // the store's own test has a clock
			Again: func() stream.Store {
				s.Close()
				s, r = open()
				return r
			},
		}
	})
}

// follow collects a subscription into a tape until it has come to a number.
func follow(t testing.TB, s *frame.Subscription, tape *streamtest.Tape, last uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for tape.Last() < last {
		page, err := s.Next(ctx)
		if err == nil {
			err = tape.Add(page)
		}
		if err != nil {
			t.Fatalf("after entry %d: %v", tape.Last(), err)
		}
	}
}

func subscribe(t testing.TB, c *frame.Client, id stream.ID, after uint64) *frame.Subscription {
	t.Helper()
	s, err := c.Subscribe(context.Background(), id, after, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSubscribe_BringsWhatIsThereAndWhatComes(t *testing.T) {
	w := newWorld(t, newStore(t))
	id := w.stream(1)
	w.fill(id, 1, 500, 1000) // several pages
	sub := subscribe(t, w.client(&door{}), id, 0)
	tape := &streamtest.Tape{}
	follow(t, sub, tape, 500)
	for n := 501; n <= 520; n++ {
		w.fill(id, n, n, 100)
		follow(t, sub, tape, uint64(n))
	}
	for i, e := range tape.Entries {
		if want := message(i+1, len(e.Body)); e.ID != want.ID || string(e.Body) != string(want.Body) {
			t.Fatalf("entry %d is not message %d", e.Seq, i+1)
		}
	}
	if tape.Gone != 0 {
		t.Fatalf("%d entries are said to be gone", tape.Gone)
	}
}

func TestSubscribe_TellsWhatWasTrimmed(t *testing.T) {
	w := newWorld(t, newStore(t))
	id := w.stream(1)
	w.fill(id, 1, 100, 100)
	if err := w.store.Trim(t.Context(), id, 60); err != nil {
		t.Fatal(err)
	}
	tape := &streamtest.Tape{}
	follow(t, subscribe(t, w.client(&door{}), id, 0), tape, 100)
	if tape.Gone != 60 || len(tape.Entries) != 40 {
		t.Fatalf("%d are gone, %d came", tape.Gone, len(tape.Entries))
	}
}

// slowNet is a connection over TCP with small buffers, so that a reader that does
// not read is felt.
func slowNet(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// One that does not read costs the server a bounded queue, holds up nobody, and
// gets everything when he reads again.
func TestSubscribe_SlowReaderFallsBehindAlone(t *testing.T) {
	w := newWorld(t, newStore(t))
	id := w.stream(1)
	here, there := slowNet(t)
	go w.server.Serve(t.Context(), frame.Over(there), &door{})
	slow := frame.Over(here)
	say(t, slow, &frame.Hello{Least: 1, Most: 1}, &frame.Subscribe{Request: 1, Stream: id})
	hear(t, slow, &frame.Welcome{})
	hear(t, slow, &frame.Done{})
	fast := subscribe(t, w.client(&door{}), id, 0)
	tape := &streamtest.Tape{}
	const n = 400 // 25 MB, far above any buffer on the way
	for i := 1; i <= n; i++ {
		w.fill(id, i, i, stream.MaxBody)
		if i%10 == 0 {
			follow(t, fast, tape, uint64(i))
		}
	}
	late := &streamtest.Tape{}
	for late.Last() < n {
		p := hear(t, slow, &frame.Pushed{})
		page := stream.Page{After: p.After, Head: p.Head}
		for i, e := range p.Entries {
			page.Entries = append(page.Entries, stream.Entry{Seq: p.After + 1 + uint64(i), ID: e.Message, Body: e.Body})
		}
		if p.From != late.Last() {
			t.Fatalf("pushed from %d, reader is at %d", p.From, late.Last())
		}
		if err := late.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	w.fill(id, n+1, n+1, 10) // and is up to date again
	if p := hear(t, slow, &frame.Pushed{}); p.After != n || len(p.Entries) != 1 {
		t.Fatalf("pushed %d entries after %d", len(p.Entries), p.After)
	}
}

// A consumer that is slow on the client's side holds up nobody there.
func TestSubscription_SlowConsumerMissesNothing(t *testing.T) {
	w := newWorld(t, newStore(t))
	big, small := w.stream(1), w.stream(2)
	c := w.client(&door{})
	slow, quick := subscribe(t, c, big, 0), subscribe(t, c, small, 0)
	w.fill(big, 1, 100, stream.MaxBody) // six times what a client holds
	w.fill(small, 1, 10, 100)
	follow(t, quick, &streamtest.Tape{}, 10)
	tape := &streamtest.Tape{}
	follow(t, slow, tape, 100)
	w.fill(big, 101, 130, stream.MaxBody)
	follow(t, slow, tape, 130)
}

// say writes frames, and hear reads the next, which must be of a kind.
func say(t testing.TB, c frame.Conn, frames ...frame.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := c.WriteFrames([][]byte{frame.Encode(f)}); err != nil {
			t.Fatal(err)
		}
	}
}

func hear[F frame.Frame](t testing.TB, c frame.Conn, _ F) F {
	t.Helper()
	b, err := c.ReadFrame(frame.MaxFrame)
	if err != nil {
		t.Fatal(err)
	}
	f, err := frame.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := f.(F)
	if !ok {
		t.Fatalf("heard %T: %+v", f, f)
	}
	return got
}
