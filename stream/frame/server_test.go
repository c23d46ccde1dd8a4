package frame_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

var queueID = stream.ID{1, 1}

// fakeWorld is a server of a fake store, for tests in a bubble of their own time.
func fakeWorld(t *testing.T) (*fakeStore, *world) {
	store := newFake(queueID)
	w := &world{t: t, server: frame.NewServer(store, frame.Options{})}
	t.Cleanup(func() { w.server.Close(context.Background()) })
	return store, w
}

func (w *world) greeted(a frame.Authority) frame.Conn {
	w.t.Helper()
	c := w.raw(a)
	say(w.t, c, &frame.Hello{Least: 1, Most: 1})
	hear(w.t, c, &frame.Welcome{})
	return c
}

func TestServer_RefusesWhatIsNotTheProtocol(t *testing.T) {
	long := frame.Encode(&frame.Append{Stream: queueID, Body: make([]byte, stream.MaxBody)})
	for name, b := range map[string][]byte{
		"nothing":                        {},
		"an unknown kind":                {23, 0x80},
		"a kind that is no small number": {0x18, 0x80},
		"a server's frame":               frame.Encode(&frame.Done{Request: 1}),
		"a second Hello":                 frame.Encode(&frame.Hello{Least: 1, Most: 1}),
		"bytes after the end":            append(frame.Encode(&frame.Ping{}), 0),
		"a number that is too long":      {8, 0x81, 0x18, 0x01},
		"too few fields":                 {8, 0x80},
		"a body that is too large":       frame.Encode(&frame.Append{Body: make([]byte, stream.MaxBody+1)}),
		"an id that is too short":        {6, 0x82, 0x01, 0x41, 0x01},
		"two expected heads":             frame.Encode(&frame.Append{Expect: make([]stream.Head, 2)}),
		"a frame that is too large":      append(long, make([]byte, 2000)...),
	} {
		t.Run(name, func(t *testing.T) {
			_, w := fakeWorld(t)
			c := w.greeted(&door{})
			if err := c.WriteFrames([][]byte{b}); err != nil {
				t.Fatal(err)
			}
			if bye := hear(t, c, &frame.Bye{}); bye.Code != wire.Invalid {
				t.Errorf("the server says %v", bye)
			}
			if _, err := c.ReadFrame(frame.MaxFrame); !errors.Is(err, io.EOF) {
				t.Errorf("after Bye: %v", err)
			}
		})
	}
}

func TestServer_BeginsWithHello(t *testing.T) {
	for _, f := range []frame.Frame{&frame.Ping{}, &frame.Hello{Least: 2, Most: 9}, &frame.Hello{}} {
		_, w := fakeWorld(t)
		c := w.raw(&door{})
		say(t, c, f)
		if bye := hear(t, c, &frame.Bye{}); bye.Code != wire.Invalid {
			t.Errorf("the server says %v", bye)
		}
	}
	here, there := frame.Pipe()
	go func() {
		say(t, there, &frame.Bye{Code: wire.Unavailable, Text: "not today"})
	}()
	if _, err := frame.Dial(t.Context(), here); wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "not today") {
		t.Errorf("dial: %v", err)
	}
}

func TestServer_AsksTheAuthorityEachTime(t *testing.T) {
	store, w := fakeWorld(t)
	d := &door{closed: map[frame.Action]bool{frame.ActionRead: true, frame.ActionAppend: true, frame.ActionAnnounce: true}, reader: stream.Reader{1}}
	c := w.greeted(d)
	requests := []frame.Frame{
		&frame.Append{Request: 1, Stream: queueID},
		&frame.Range{Request: 1, Stream: queueID},
		&frame.Subscribe{Request: 1, Stream: queueID},
		&frame.Head{Request: 1, Stream: queueID},
		&frame.Acknowledge{Request: 1, Stream: queueID, Seq: 1},
	}
	for _, f := range requests {
		say(t, c, f)
		if failed := hear(t, c, &frame.Failed{}); failed.Code != wire.Unauthorized || failed.Request != 1 {
			t.Errorf("%T: %v", f, failed)
		}
	}
	say(t, c, &frame.Acknowledge{Stream: queueID, Seq: 1}, &frame.Announce{Stream: queueID}, &frame.Ping{Token: 7})
	if pong := hear(t, c, &frame.Pong{}); pong.Token != 7 {
		t.Errorf("%v", pong)
	}
	if len(store.entries[queueID]) > 0 || len(store.acks) > 0 || store.reads > 0 || store.watchers(queueID) > 0 {
		t.Error("the store was asked all the same")
	}
	d.mu.Lock()
	d.closed = nil
	d.mu.Unlock()
	for _, f := range requests {
		say(t, c, f)
		b, err := c.ReadFrame(frame.MaxFrame)
		if err != nil || frame.Kind(b[0]) == frame.KindFailed {
			t.Errorf("%T: %v %v", f, b, err)
		}
		if frame.Kind(b[0]) == frame.KindDone && b[2] == 1 && f == requests[2] {
			hear(t, c, &frame.Pushed{})
		}
	}
}

// A device that was removed is out: nothing it has sent is done any more.
func TestServe_EndsWithItsContext(t *testing.T) {
	store, w := fakeWorld(t)
	here, there := frame.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.server.Serve(ctx, there, &door{}) }()
	say(t, here, &frame.Hello{Least: 1, Most: 1}, &frame.Append{Request: 1, Stream: queueID})
	hear(t, here, &frame.Welcome{})
	hear(t, here, &frame.Done{})
	cancel()
	if bye := hear(t, here, &frame.Bye{}); bye.Code != wire.Unauthorized {
		t.Errorf("the server says %v", bye)
	}
	here.WriteFrames([][]byte{frame.Encode(&frame.Append{Request: 2, Stream: queueID})})
	if err := <-ended; wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("serve: %v", err)
	}
	if n := len(store.entries[queueID]); n != 1 {
		t.Errorf("%d appends were done", n)
	}
	if n := w.server.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestServer_ClosesInOrder(t *testing.T) {
	_, w := fakeWorld(t)
	c := w.client(&door{})
	if err := w.server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "going away") {
		t.Errorf("the client hears: %v", err)
	}
	_, there := frame.Pipe()
	if err := w.server.Serve(t.Context(), there, &door{}); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("serve after the end: %v", err)
	}
}

// Requests of one connection do not wait for each other's syncs, up to a bound.
func TestServer_TakesManyAppendsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, w := fakeWorld(t)
		defer w.server.Close(context.Background())
		store.hold = true
		c := w.greeted(&door{})
		sent := atomic.Int64{}
		go func() {
			for n := range 1000 {
				if c.WriteFrames([][]byte{frame.Encode(&frame.Append{Request: uint64(n + 1), Stream: queueID})}) != nil {
					return
				}
				sent.Add(1)
			}
		}()
		synctest.Wait()
		if n := len(store.held); n != 256 {
			t.Errorf("%d appends are on their way", n)
		}
		answers := make(chan int)
		go func() {
			n := 0
			for ; n < 1000; n++ {
				hear(t, c, &frame.Done{})
			}
			answers <- n
		}()
		for store.release() > 0 {
			synctest.Wait()
		}
		if n := <-answers; n != 1000 {
			t.Errorf("%d answers", n)
		}
		c.Close()
		synctest.Wait()
	})
}

// A client that takes nothing is cut, and one that says nothing; one that pings
// is not.
func TestServer_CutsTheStalledAndTheSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, w := fakeWorld(t)
		defer w.server.Close(context.Background())
		quiet := w.greeted(&door{})
		stalled := w.greeted(&door{})
		say(t, stalled, &frame.Subscribe{Request: 1, Stream: queueID})
		alive := w.client(&door{})
		for n := range 40 {
			store.Submit(queueID, message(n, stream.MaxBody), func(stream.Receipt, error) {})
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.server.Connections(); n != 2 {
			t.Errorf("after a minute %d connections are left", n)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n := w.server.Connections(); n != 1 {
			t.Errorf("after four minutes %d connections are left", n)
		}
		if bye := hear(t, quiet, &frame.Bye{}); bye.Code != wire.Unavailable {
			t.Errorf("the silent one hears %v", bye)
		}
		if err := alive.Err(); err != nil {
			t.Errorf("the one that pings: %v", err)
		}
		alive.Close()
		synctest.Wait()
	})
}

// countingConn counts what is written, and notes where each frame is in memory.
type countingConn struct {
	frame.Conn
	pushes chan *byte
}

func (c *countingConn) WriteFrames(frames [][]byte) error {
	for _, f := range frames {
		if frame.Kind(f[0]) == frame.KindPushed {
			c.pushes <- &f[0]
		}
	}
	return c.Conn.WriteFrames(frames)
}

// However many follow a stream, an entry is read once and encoded once.
func TestServer_ReadsAndEncodesOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, w := fakeWorld(t)
		defer w.server.Close(context.Background())
		const followers = 100
		pushes := make(chan *byte, followers)
		for range followers {
			here, there := frame.Pipe()
			go w.server.Serve(context.Background(), &countingConn{there, pushes}, &door{})
			c, err := frame.Dial(t.Context(), here)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			subscribe(t, c, queueID, 0)
		}
		synctest.Wait() // until all are up to date
		if n := store.watchers(queueID); n != 1 {
			t.Errorf("%d watch the store", n)
		}
		before := 0
		store.set(func() { before = store.reads })
		store.Submit(queueID, message(1, 100), func(stream.Receipt, error) {})
		first := <-pushes
		for range followers - 1 {
			if p := <-pushes; p != first {
				t.Error("a push was encoded twice")
			}
		}
		store.set(func() {
			if n := store.reads - before; n != 1 {
				t.Errorf("%d reads", n)
			}
		})
	})
}

func TestSubscribe_GoesOnWhenTheStoreDoesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, w := fakeWorld(t)
		defer w.server.Close(context.Background())
		c := w.client(&door{})
		sub := subscribe(t, c, queueID, 0)
		store.set(func() { store.fail = wire.Errorf(wire.Unavailable, "not now") })
		store.Submit(queueID, message(1, 100), func(stream.Receipt, error) {})
		time.Sleep(10 * time.Second)
		store.set(func() {
			if store.reads > 12 {
				t.Errorf("the store was asked %d times in 10 seconds", store.reads)
			}
			store.fail = nil
		})
		if page, err := sub.Next(t.Context()); err != nil || page.Last() != 1 {
			t.Errorf("next: %+v, %v", page, err)
		}
		c.Close()
		synctest.Wait()
	})
}

func TestSubscribe_EndsWithItsStream(t *testing.T) {
	w := newWorld(t, newStore(t))
	id := w.stream(1)
	c := w.client(&door{})
	sub := subscribe(t, c, id, 0)
	w.fill(id, 1, 3, 100)
	if err := w.store.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = sub.Next(t.Context())
	}
	if !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("next: %v", err)
	}
	if _, err := c.Subscribe(t.Context(), id, 0, nil); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("subscribe: %v", err)
	}
	again := w.stream(1)
	if _, err := c.Subscribe(t.Context(), again, 3, nil); !errors.Is(err, stream.ErrAhead) {
		t.Errorf("subscribe ahead: %v", err)
	}
}

func TestSubscribe_IsBounded(t *testing.T) {
	store, w := fakeWorld(t)
	c := w.greeted(&door{})
	failed := 0
	for n := range frame.MaxSubscriptions + 10 {
		id := stream.ID{9, byte(n), byte(n >> 8)}
		store.set(func() { store.watch[id] = map[*stream.Watcher]bool{} })
		say(t, c, &frame.Subscribe{Request: uint64(n + 1), Stream: id})
		b, err := c.ReadFrame(frame.MaxFrame)
		if err != nil {
			t.Fatal(err)
		}
		if frame.Kind(b[0]) == frame.KindFailed {
			failed++
		}
	}
	if failed != 10 {
		t.Errorf("%d were refused", failed)
	}
	id := stream.ID{9, 0, 0}
	say(t, c, &frame.Unsubscribe{Request: 1, Stream: id}, &frame.Subscribe{Request: 2, Stream: queueID})
	hear(t, c, &frame.Done{})
	hear(t, c, &frame.Done{})
	if store.watchers(id) != 0 || store.watchers(queueID) != 1 {
		t.Error("an ended subscription still watches the store")
	}
}

func TestAnnounce_ReachesWhoFollows(t *testing.T) {
	w := newWorld(t, newStore(t))
	id := w.stream(1)
	heard := make(chan string, 10)
	a, b := w.client(&door{}), w.client(&door{})
	if _, err := b.Subscribe(t.Context(), id, 0, func(body []byte) { heard <- string(body) }); err != nil {
		t.Fatal(err)
	}
	if err := a.Announce(id, []byte("is typing")); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "is typing" {
		t.Errorf("heard %q", got)
	}
}

func TestHead_IsSigned(t *testing.T) {
	store := newStore(t)
	w := &world{t: t, store: store, server: frame.NewServer(store, frame.Options{
		Sign: func(m []byte) []byte { return append([]byte("signed "), m[:20]...) },
	})}
	defer w.server.Close(t.Context())
	id := w.stream(1)
	w.fill(id, 1, 5, 100)
	s, err := w.client(&door{}).Head(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	page, err := store.Range(t.Context(), id, 0, stream.MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	if head := stream.Genesis(id).Follow(page.Entries); s.Head != head || string(s.Signature) != "signed "+string(head.Message(id)[:20]) {
		t.Errorf("state is %+v", s)
	}
}

func TestAcknowledge_IsTheReadersOwn(t *testing.T) {
	store, w := fakeWorld(t)
	c := w.greeted(&door{reader: stream.Reader{1}})
	say(t, c, &frame.Acknowledge{Request: 1, Stream: queueID, Seq: 3})
	hear(t, c, &frame.Done{})
	for n := range 100 { // without answers, and written together
		say(t, c, &frame.Acknowledge{Stream: queueID, Seq: uint64(4 + n)})
	}
	say(t, c, &frame.Acknowledge{Request: 2, Stream: queueID, Seq: 200})
	hear(t, c, &frame.Done{})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		found := false
		store.set(func() {
			for _, seq := range store.acks {
				found = found || seq == 103
			}
		})
		if found {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an acknowledgement was lost")
		}
	}
	c = w.greeted(&door{})
	say(t, c, &frame.Acknowledge{Request: 1, Stream: queueID, Seq: 3})
	if f := hear(t, c, &frame.Failed{}); f.Code != wire.Unauthorized {
		t.Errorf("one who is no reader: %v", f)
	}
}

// A server that lies ends its connection, and nothing else.
func TestClient_RefusesAServerThatLies(t *testing.T) {
	for name, lie := range map[string][]byte{
		"an answer to nothing":       frame.Encode(&frame.Done{Request: 99}),
		"a client's frame":           frame.Encode(&frame.Head{}),
		"an unknown kind":            {22, 0x80},
		"a page beyond its head":     frame.Encode(&frame.Page{Request: 1, After: 5, Head: 5, Entries: make([]frame.Entry, 1)}),
		"numbers that run over":      frame.Encode(&frame.Page{Request: 1, After: ^uint64(0), Head: ^uint64(0), Entries: make([]frame.Entry, 2)}),
		"a push that goes back":      frame.Encode(&frame.Pushed{From: 5, After: 4, Head: 4}),
		"an entry that is too large": frame.Encode(&frame.Pushed{Head: 1, Entries: []frame.Entry{{Body: make([]byte, stream.MaxBody+1)}}}),
	} {
		t.Run(name, func(t *testing.T) {
			here, there := frame.Pipe()
			go func() {
				hear(t, there, &frame.Hello{})
				say(t, there, &frame.Welcome{Version: 1})
				hear(t, there, &frame.Range{})
				there.WriteFrames([][]byte{lie})
			}()
			c, err := frame.Dial(t.Context(), here)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Range(t.Context(), queueID, 0, 1000); !errors.Is(err, frame.ErrEnded) {
				t.Errorf("range: %v", err)
			}
			if _, err := stream.Append(t.Context(), c, queueID, message(1, 10)); wire.CodeOf(err) != wire.Unavailable {
				t.Errorf("append after the end: %v", err)
			}
		})
	}
}

func TestClient_ErrorsKeepTheirKind(t *testing.T) {
	w := newWorld(t, newStore(t))
	id := w.stream(1)
	if err := w.store.Configure(t.Context(), id, stream.Settings{MaxEntries: 1}); err != nil {
		t.Fatal(err)
	}
	c := w.client(&door{})
	if _, err := stream.Append(t.Context(), c, id, message(1, 10)); err != nil {
		t.Fatal(err)
	}
	_, err := stream.Append(t.Context(), c, id, message(2, 10))
	if !errors.Is(err, stream.ErrFull) || wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("append to a full stream: %v", err)
	}
	genesis := stream.Genesis(id)
	m := message(2, 10)
	m.Expect = &genesis
	_, err = stream.Append(t.Context(), c, id, m)
	var he *stream.HeadError
	if !errors.As(err, &he) || he.Head.Seq != 1 || wire.CodeOf(err) != wire.Conflict {
		t.Errorf("append on an old head: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("no time"))
	if _, err := c.Range(ctx, id, 0, 10); wire.CodeOf(err) != wire.Unavailable && err != nil {
		t.Errorf("range without time: %v", err)
	}
}
