package frame_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// many makes streams in a fake store.
func (f *fakeStore) many(n int) (ids []stream.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		id := stream.ID{7, byte(i), byte(i >> 8)}
		f.watch[id] = map[*stream.Watcher]bool{}
		ids = append(ids, id)
	}
	return ids
}

// A client that follows many streams and takes hardly anything costs a server no
// more than one that follows one.
func TestServer_ManySlowSubscriptionsHoldNoMoreThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, w := fakeWorld(t)
		defer w.server.Close(context.Background())
		ids := store.many(200)
		c := w.greeted(&door{})
		for n, id := range ids {
			say(t, c, &frame.Subscribe{Request: uint64(n + 1), Stream: id})
			hear(t, c, &frame.Done{})
		}
		for n := range 6 {
			for _, id := range ids {
				store.Submit(id, message(n, stream.MaxBody), func(stream.Receipt, error) {})
			}
			synctest.Wait()
		}
		most := 0
		for range 150 { // as it takes one after the other, all of them see room at once
			if _, err := c.ReadFrame(frame.MaxFrame); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			most = max(most, w.server.Waiting())
		}
		if most > frame.MaxMemory {
			t.Errorf("%d KiB wait for one connection", most>>10)
		}
		got := map[stream.ID]uint64{} // and it misses nothing
		for c := w.greeted(&door{}); len(got) < len(ids); {
			id := ids[len(got)]
			say(t, c, &frame.Subscribe{Request: 1, Stream: id})
			hear(t, c, &frame.Done{})
			for got[id] < 6 {
				got[id] += uint64(len(hear(t, c, &frame.Pushed{}).Entries))
			}
		}
		c.Close()
		synctest.Wait()
	})
}

// Large messages of one connection that wait for the disk are few.
func TestServer_HoldsFewLargeAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, w := fakeWorld(t)
		defer w.server.Close(context.Background())
		store.hold = true
		c := w.greeted(&door{})
		go func() {
			for n := range 100 {
				if c.WriteFrames([][]byte{frame.Encode(&frame.Append{Request: uint64(n + 1), Stream: queueID, Body: make([]byte, stream.MaxBody)})}) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := len(store.held); n == 0 || n*stream.MaxBody > frame.MaxMemory/2 {
			t.Errorf("%d of the largest messages wait for the disk", n)
		}
		answers := make(chan bool)
		go func() {
			for range 100 {
				hear(t, c, &frame.Done{})
			}
			close(answers)
		}()
		for store.release() > 0 {
			synctest.Wait()
		}
		<-answers
		c.Close()
		synctest.Wait()
	})
}

// Frames that ask for nothing are answered at the pace of an honest client, and
// no faster.
func TestServer_EndsFloodsOfFramesThatAskForNothing(t *testing.T) {
	for name, f := range map[string]frame.Frame{
		"pings": &frame.Ping{Token: 1}, "pongs": &frame.Pong{Token: 1}, "ends of nothing": &frame.Unsubscribe{Request: 1, Stream: queueID},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, w := fakeWorld(t)
			defer w.server.Close(context.Background())
			c := w.greeted(&door{})
			go func() {
				for range 300 { // a few a minute, for hours
					if c.WriteFrames([][]byte{frame.Encode(f)}) != nil {
						return
					}
					time.Sleep(5 * time.Second)
				}
				for range 300 {
					if c.WriteFrames([][]byte{frame.Encode(f)}) != nil {
						return
					}
				}
			}()
			answers, began := 0, time.Now()
			for {
				b, err := c.ReadFrame(frame.MaxFrame)
				if err != nil {
					t.Fatalf("%s: no Bye: %v", name, err)
				}
				if frame.Kind(b[0]) == frame.KindBye {
					break
				}
				answers++
			}
			if time.Since(began) < 300*5*time.Second {
				t.Errorf("%s: an honest pace was refused after %v", name, time.Since(began))
			}
			if answers > 400 {
				t.Errorf("%s: %d were answered", name, answers)
			}
			if _, err := c.ReadFrame(frame.MaxFrame); !errors.Is(err, io.EOF) {
				t.Errorf("%s: after Bye: %v", name, err)
			}
		})
	}
}

// fakeServer answers a client's subscriptions, and what it pushes is the test's.
func fakeServer(t *testing.T) (*frame.Client, frame.Conn) {
	here, there := frame.Pipe()
	ready := make(chan *frame.Client)
	go func() {
		c, err := frame.Dial(context.Background(), here)
		if err != nil {
			t.Error(err)
		}
		ready <- c
	}()
	hear(t, there, &frame.Hello{})
	say(t, there, &frame.Welcome{Version: frame.Version, Ping: 3600})
	c := <-ready
	t.Cleanup(func() { c.Close() })
	return c, there
}

func followed(t *testing.T, c *frame.Client, there frame.Conn, id stream.ID) *frame.Subscription {
	t.Helper()
	made := make(chan *frame.Subscription)
	go func() {
		s, err := c.Subscribe(context.Background(), id, 0, nil)
		if err != nil {
			t.Error(err)
		}
		made <- s
	}()
	say(t, there, &frame.Done{Request: hear(t, there, &frame.Subscribe{}).Request})
	return <-made
}

func TestSubscription_RefusesPagesThatBringNothing(t *testing.T) {
	c, there := fakeServer(t)
	s := followed(t, c, there, queueID)
	say(t, there, &frame.Pushed{Stream: queueID, Head: 5})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := s.Next(ctx); wire.CodeOf(err) != wire.Unavailable || c.Err() == nil {
		t.Errorf("the empty page is taken: %v, and the connection has %v", err, c.Err())
	}
}

// What a server pushes that nobody takes is bounded for the whole connection, and who does
// wait gets his page all the same.
func TestClient_HoldsLittleOfWhatNobodyTakes(t *testing.T) {
	c, there := fakeServer(t)
	const streams = 64
	var subs []*frame.Subscription
	for n := range streams {
		subs = append(subs, followed(t, c, there, stream.ID{byte(n)}))
	}
	large := frame.Entry{Body: make([]byte, stream.MaxBody)}
	for n := range streams {
		for i := range 32 { // 2 MiB each
			at := uint64(i)
			say(t, there, &frame.Pushed{Stream: stream.ID{byte(n)}, From: at, After: at, Head: at + 1, Entries: []frame.Entry{large}})
		}
	}
	late := followed(t, c, there, stream.ID{255})
	say(t, there, &frame.Pushed{Stream: stream.ID{255}, Head: 1, Entries: []frame.Entry{large}})
	say(t, there, &frame.Ping{Token: 1})
	hear(t, there, &frame.Pong{}) // it has read all that
	if n := c.Held(); n > 10<<20 {
		t.Errorf("%d MiB are held", n>>20)
	}
	got := make(chan error, 1)
	go func() {
		_, err := late.Next(context.Background())
		got <- err
	}()
	again := hear(t, there, &frame.Subscribe{})
	say(t, there, &frame.Done{Request: again.Request},
		&frame.Pushed{Stream: stream.ID{255}, From: again.After, After: again.After, Head: again.After + 1, Entries: []frame.Entry{large}})
	if err := <-got; err != nil {
		t.Error(err)
	}
	go func() { // takes the answers to Unsubscribe's place
		for {
			if _, err := there.ReadFrame(frame.MaxFrame); err != nil {
				return
			}
		}
	}()
	for _, s := range append(subs, late) {
		s.Close()
	}
	if n := c.Held(); n != 0 {
		t.Errorf("%d bytes are held of subscriptions that were closed", n)
	}
}

// Pages without entries, which tell of what was trimmed, take memory too.
func TestSubscription_HoldsFewPagesWithoutEntries(t *testing.T) {
	c, there := fakeServer(t)
	s := followed(t, c, there, queueID)
	for i := range 100_000 {
		at := uint64(i)
		say(t, there, &frame.Pushed{Stream: queueID, From: at, After: at + 1, Head: at + 1})
	}
	say(t, there, &frame.Ping{Token: 1})
	hear(t, there, &frame.Pong{}) // it has read all that
	var taken atomic.Int64
	go func() {
		for {
			if _, err := s.Next(context.Background()); err != nil {
				return
			}
			taken.Add(1)
		}
	}()
	if again := hear(t, there, &frame.Subscribe{}); again.After != uint64(taken.Load()) || taken.Load() > 10_000 {
		t.Errorf("%d pages were held, and it asks for what follows %d", taken.Load(), again.After)
	}
}

// A server that pings and reads nothing does not fill a client's memory.
func TestClient_AnswersPingsOnlyAsTheyAreTaken(t *testing.T) {
	c, there := fakeServer(t)
	s := followed(t, c, there, queueID)
	for n := range 200_000 {
		say(t, there, &frame.Ping{Token: uint64(n)})
	}
	say(t, there, &frame.Pushed{Stream: queueID, After: 1, Head: 1})
	if _, err := s.Next(t.Context()); err != nil { // it has read them all
		t.Fatal(err)
	}
	if n := c.Unwritten(); n > 512<<10 {
		t.Errorf("%d KiB of answers wait", n>>10)
	}
}
