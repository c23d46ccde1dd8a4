package frame

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// topic is a stream that some connections follow. It reads each new entry once
// and hands the same bytes to all who are up to date; who is not reads for
// himself until he is.
type topic struct {
	server *Server
	id     stream.ID
	users  int // under the shard's lock

	watching sync.Mutex
	watched  bool
	stop     func()

	newest  atomic.Uint64 // that the store told of
	look    atomic.Bool   // whatever newest says, look
	pumping atomic.Bool   // a goroutine does, or will
	paused  atomic.Bool   // the store did not answer: not now

	mu       sync.Mutex
	live     map[*subscriber]bool // up to date
	last     uint64               // what they have, if there are any
	whispers [][]byte             // to be passed on, encoded
}

func newTopic(s *Server, id stream.ID) *topic {
	return &topic{server: s, id: id, live: make(map[*subscriber]bool)}
}

// watch has the store tell the topic of the stream, once.
func (t *topic) watch(ctx context.Context) error {
	t.watching.Lock()
	defer t.watching.Unlock()
	if t.watched {
		return nil
	}
	stop, err := t.server.store.Watch(ctx, t.id, t)
	if err != nil {
		return err
	}
	t.watched, t.stop = true, stop
	return nil
}

func (t *topic) unwatch() {
	t.watching.Lock()
	defer t.watching.Unlock()
	if t.watched {
		t.stop()
	}
}

// Woken is told by the store; see stream.Watcher.
func (t *topic) Woken(seq uint64) {
	if seq == 0 {
		t.look.Store(true)
	} else {
		for old := t.newest.Load(); seq > old && !t.newest.CompareAndSwap(old, seq); {
			old = t.newest.Load()
		}
	}
	t.start()
}

// Heard is told by the store; see stream.Watcher.
func (t *topic) Heard(body []byte) {
	frame := Encode(&Heard{Stream: t.id, Body: body})
	t.mu.Lock()
	if len(t.whispers) < maxWhispers {
		t.whispers = append(t.whispers, frame)
	}
	t.mu.Unlock()
	t.start()
}

// start has a goroutine pump, unless one does.
func (t *topic) start() {
	if t.pumping.CompareAndSwap(false, true) {
		go t.pump()
	}
}

// pump passes on what there is until there is nothing more.
func (t *topic) pump() {
	for {
		for t.pumpOnce() {
		}
		t.pumping.Store(false)
		if !t.behind() || !t.pumping.CompareAndSwap(false, true) {
			return
		}
	}
}

func (t *topic) behind() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.whispers) > 0 || len(t.live) > 0 && !t.paused.Load() && (t.look.Load() || t.newest.Load() > t.last)
}

// pumpOnce passes on announcements and one page, and reports whether there may be
// more.
func (t *topic) pumpOnce() bool {
	t.mu.Lock()
	whispers := t.whispers
	t.whispers = nil
	for _, frame := range whispers {
		for s := range t.live {
			s.out.offer(frame) // who has no room need not hear it
		}
	}
	after := t.last
	idle := len(t.live) == 0 || t.paused.Load() || !t.look.Swap(false) && t.newest.Load() <= after
	t.mu.Unlock()
	if idle {
		return false
	}
	page, err := t.server.store.Range(t.server.ctx, t.id, after, stream.MaxPage)
	if err != nil {
		t.fail(err)
		return false
	}
	if page.After > after || len(page.Entries) > 0 {
		t.push(after, page)
	}
	return page.Last() < page.Head || t.newest.Load() > page.Last()
}

// push hands a page to all who are where it begins. Who has no room for it falls
// behind, and goes on by himself.
func (t *topic) push(from uint64, page stream.Page) {
	frame := pushed(t.id, from, page)
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.live {
		switch {
		case s.at >= page.Last(): // has read it by himself
		case s.at == from && s.out.offer(frame):
			s.at = page.Last()
		default:
			delete(t.live, s)
			go s.catchUp()
		}
	}
	t.last = page.Last()
}

// fail deals with a stream that cannot be read: it is gone, or the store does not
// answer now.
func (t *topic) fail(err error) {
	if code := wire.CodeOf(err); code == wire.Unavailable || code == wire.Internal {
		if code == wire.Internal {
			t.server.options.Logger.Error("read stream", "stream", t.id, "error", err)
		}
		t.look.Store(true)
		t.paused.Store(true)
		time.AfterFunc(againAfter, func() {
			t.paused.Store(false)
			if t.server.ctx.Err() == nil {
				t.start()
			}
		})
		return
	}
	frame := ended(t.id, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.live {
		s.out.put(frame)
	}
	clear(t.live)
}

// join makes a subscriber one of those who are up to date, unless he is not.
func (t *topic) join(s *subscriber) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.gone {
		return true
	}
	if len(t.live) == 0 {
		t.last = s.at
	}
	if s.at < t.last {
		return false
	}
	t.live[s] = true
	if t.newest.Load() > t.last || t.look.Load() {
		t.start()
	}
	return true
}

// subscriber is one subscription of one connection.
type subscriber struct {
	topic *topic
	out   *outbox
	turn  chan struct{} // of its connection

	// Under topic.mu, once it has joined; before, of who catches up.
	at   uint64 // what it was sent
	gone bool   // under topic.mu
}

// end ends a subscription: nothing is pushed once it returns.
func (s *subscriber) end() {
	s.topic.mu.Lock()
	gone := s.gone
	s.gone = true
	delete(s.topic.live, s)
	s.topic.mu.Unlock()
	if !gone {
		s.topic.server.drop(s.topic)
	}
}

// catchUp sends pages, as fast as the connection takes them, until the subscriber
// is up to date.
func (s *subscriber) catchUp() {
	for {
		done, err := s.sendPage()
		if done || err != nil && !s.pause() {
			return
		}
	}
}

// sendPage sends the next page once the connection has room, and reports whether
// that was the last. Subscriptions of one connection take turns: otherwise each of
// them would hold a page as soon as there is room for one.
func (s *subscriber) sendPage() (done bool, err error) {
	s.turn <- struct{}{} // whoever has it lets go when the connection ends
	defer func() { <-s.turn }()
	s.out.wait()
	if s.isGone() {
		return true, nil
	}
	t := s.topic
	page, err := t.server.store.Range(t.server.ctx, t.id, s.at, stream.MaxPage)
	if err != nil {
		if code := wire.CodeOf(err); code != wire.Unavailable && code != wire.Internal || errors.Is(err, stream.ErrClosed) {
			s.send(ended(t.id, err))
			return true, nil
		}
		return false, err
	}
	if page.After > s.at || len(page.Entries) > 0 {
		if !s.send(pushed(t.id, s.at, page)) {
			return true, nil
		}
		s.at = page.Last()
	}
	return page.Last() == page.Head && t.join(s), nil
}

// send queues a frame unless the subscription has ended.
func (s *subscriber) send(frame []byte) bool {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	if s.gone {
		return false
	}
	s.out.put(frame)
	return true
}

func (s *subscriber) isGone() bool {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	return s.gone
}

// pause waits for a store that does not answer.
func (s *subscriber) pause() bool {
	timer := time.NewTimer(againAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.topic.server.ctx.Done():
		return false
	}
}

func pushed(id stream.ID, from uint64, p stream.Page) []byte {
	return Encode(&Pushed{Stream: id, From: from, After: p.After, Head: p.Head, Entries: packed(p.Entries)})
}

func ended(id stream.ID, err error) []byte {
	code, text := telling(err)
	return Encode(&Ended{Stream: id, Code: code, Text: text})
}
