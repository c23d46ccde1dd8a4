package frame

import (
	"context"
	"sync"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// A Subscription follows a stream. Whoever made it calls Next for one page after
// the other; if he is slow, what he has not taken is let go of and asked for
// again, so he slows down nobody else on the connection and misses nothing.
type Subscription struct {
	client *Client
	id     stream.ID
	heard  func(body []byte)

	mu     sync.Mutex
	pages  []stream.Page
	bytes  int
	at     uint64 // the last number that was pushed and kept
	lost   bool   // pages were let go of
	wanted bool   // Next waits for a page
	err    error
	signal chan struct{} // has something: Next should look
}

// Subscribe follows a stream from after a number. heard, unless nil, is called
// with what is announced, by the goroutine that reads the connection: it must not
// block. A second subscription of a stream ends the first.
func (c *Client) Subscribe(ctx context.Context, id stream.ID, after uint64, heard func(body []byte)) (*Subscription, error) {
	s := &Subscription{client: c, id: id, heard: heard, at: after, signal: make(chan struct{}, 1)}
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return nil, c.ended
	}
	old := c.subs[id]
	c.subs[id] = s
	c.mu.Unlock()
	if old != nil {
		old.fail(wire.Errorf(wire.Conflict, "another subscription has taken this one's place"))
	}
	if err := s.ask(ctx, after); err != nil {
		c.forget(s)
		return nil, err
	}
	return s, nil
}

func (s *Subscription) ask(ctx context.Context, after uint64) error {
	_, err := s.client.ask(ctx, func(request uint64) Frame {
		return &Subscribe{Request: request, Stream: s.id, After: after}
	})
	return err
}

// forget drops a subscription, unless another has taken its place.
func (c *Client) forget(s *Subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs[s.id] != s {
		return false
	}
	delete(c.subs, s.id)
	return true
}

// push takes what the server pushed, if it follows what is there. What does not
// was on its way when the subscription began anew.
func (s *Subscription) push(f *Pushed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost || s.err != nil || f.From != s.at {
		return nil
	}
	page := stream.Page{After: f.After, Head: f.Head, Entries: unpacked(f.After, f.Entries)}
	if page.Last() == s.at {
		return wire.Errorf(wire.Invalid, "server pushes a page that brings nothing")
	}
	// One page is always kept for whoever waits for it: he gets on, however much
	// others leave lying.
	if full := s.bytes >= maxBuffered || s.client.held.Load() >= maxHeld; full && (!s.wanted || len(s.pages) > 0) {
		s.lost = true
		return nil
	}
	s.hold(page, 1)
	s.pages = append(s.pages, page)
	s.at = page.Last()
	s.tell()
	return nil
}

// hold counts a page that is kept, or with -1 one that is no more; s.mu is held.
func (s *Subscription) hold(p stream.Page, sign int) {
	size := pageCost
	for _, e := range p.Entries {
		size += len(e.Body) + stream.EntryCost
	}
	s.bytes += sign * size
	s.client.held.Add(int64(sign * size))
}

func (s *Subscription) tell() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (s *Subscription) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.tell()
}

// Next returns the next page: what follows the last one, or what Subscribe was
// told. Its After is larger than where the last one ended only if entries were
// trimmed. An error that is not ctx's is the subscription's end.
func (s *Subscription) Next(ctx context.Context) (stream.Page, error) {
	defer s.want(false)
	for {
		s.mu.Lock()
		if len(s.pages) > 0 {
			page := s.pages[0]
			s.pages = s.pages[1:]
			s.hold(page, -1)
			s.mu.Unlock()
			return page, nil
		}
		err, again, at := s.err, s.lost, s.at
		s.lost, s.wanted = false, true
		s.mu.Unlock()
		if err != nil {
			return stream.Page{}, err
		}
		if again {
			if err := s.ask(ctx, at); err != nil {
				s.mu.Lock()
				s.lost = true
				s.mu.Unlock()
				if ctx.Err() == nil {
					s.fail(err)
				}
				return stream.Page{}, err
			}
			continue
		}
		select {
		case <-s.signal:
		case <-ctx.Done():
			return stream.Page{}, context.Cause(ctx)
		}
	}
}

func (s *Subscription) want(page bool) {
	s.mu.Lock()
	s.wanted = page
	s.mu.Unlock()
}

// Close ends the subscription, and lets go of pages that were not taken.
func (s *Subscription) Close() {
	s.fail(wire.Errorf(wire.Unavailable, "subscription was closed"))
	s.mu.Lock()
	for _, page := range s.pages {
		s.hold(page, -1)
	}
	s.pages = nil
	s.mu.Unlock()
	if s.client.forget(s) {
		s.client.send(func(request uint64) Frame {
			return &Unsubscribe{Request: request, Stream: s.id}
		}, func(Frame, error) {})
	}
}
