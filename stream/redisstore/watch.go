package redisstore

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/confab-chat/confab/stream"
)

// bell is one stream that this process watches.
type bell struct {
	watchers []*watch // under Store.mu; replaced, never changed

	calling sync.Mutex // watchers are called one at a time
}

type watch struct{ watcher stream.Watcher }

// Watch tells w of what happens to a stream; see stream.Waker.
func (s *Store) Watch(ctx context.Context, id stream.ID, w stream.Watcher) (func(), error) {
	if _, err := s.record(ctx, id); err != nil {
		return nil, err
	}
	entry := &watch{w}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, stream.ErrClosed
	}
	b := s.bells[id]
	if b == nil {
		b = &bell{}
		s.bells[id] = b
		s.names[s.channel(id)] = id
		s.changed(id)
	}
	b.watchers = append(slices.Clip(b.watchers), entry)
	return func() { s.unwatch(id, entry) }, nil
}

// changed has Redis told, soon, whether this process watches a stream. s.mu is
// held.
func (s *Store) changed(id stream.ID) {
	s.news[id] = true
	select {
	case s.tell <- struct{}{}:
	default:
	}
}

// subscribeLoop tells Redis which streams this process watches. Once Redis has
// heard it, whoever watches is told to look, so nothing is missed in between; the
// same happens whenever the connection was lost.
func (s *Store) subscribeLoop() {
	defer s.stopped.Done()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.tell:
		}
		var come, left []string
		s.mu.Lock()
		for id := range s.news {
			if s.bells[id] != nil {
				come = append(come, s.channel(id))
			} else {
				left = append(left, s.channel(id))
			}
		}
		clear(s.news)
		s.mu.Unlock()
		// An error means that there is no connection now; the channels are noted,
		// and asked for when there is one.
		if len(come) > 0 {
			_ = s.pubsub.Subscribe(s.ctx, come...)
		}
		if len(left) > 0 {
			_ = s.pubsub.Unsubscribe(s.ctx, left...)
		}
	}
}

func (s *Store) unwatch(id stream.ID, entry *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bells[id]
	if b == nil {
		return
	}
	b.watchers = slices.DeleteFunc(slices.Clone(b.watchers), func(w *watch) bool { return w == entry })
	if len(b.watchers) == 0 {
		delete(s.bells, id)
		delete(s.names, s.channel(id))
		s.changed(id)
	}
}

// listenBuffer is how many notices may wait for this process; they are handled
// in a microsecond each.
const listenBuffer = 4096

func (s *Store) listen() {
	defer s.stopped.Done()
	for event := range s.pubsub.ChannelWithSubscriptions(redis.WithChannelSize(listenBuffer)) {
		switch e := event.(type) {
		case *redis.Subscription:
			if e.Kind == "subscribe" {
				s.ring(e.Channel, func(w stream.Watcher) { w.Woken(0) })
			}
		case *redis.Message:
			if text, ok := strings.CutPrefix(e.Payload, "w"); ok {
				seq, _ := strconv.ParseUint(text, 10, 64)
				s.ring(e.Channel, func(w stream.Watcher) { w.Woken(seq) })
			} else if body, ok := strings.CutPrefix(e.Payload, "a"); ok {
				s.ring(e.Channel, func(w stream.Watcher) { w.Heard([]byte(body)) })
			}
		}
	}
}

func (s *Store) ring(channel string, tell func(stream.Watcher)) {
	s.mu.Lock()
	b := s.bells[s.names[channel]]
	var watchers []*watch
	if b != nil {
		watchers = b.watchers
	}
	s.mu.Unlock()
	if len(watchers) == 0 {
		return
	}
	b.calling.Lock()
	defer b.calling.Unlock()
	for _, w := range watchers {
		tell(w.watcher)
	}
}

// wake tells this process's watchers at once what Redis will tell them too.
func (s *Store) wake(id stream.ID, seq uint64) {
	s.mu.Lock()
	watched := s.bells[id] != nil
	s.mu.Unlock()
	if watched {
		s.ring(s.channel(id), func(w stream.Watcher) { w.Woken(seq) })
	}
}

// Announce passes on what is not kept; see stream.Waker.
func (s *Store) Announce(ctx context.Context, id stream.ID, body []byte) error {
	if len(body) > stream.MaxAnnouncement {
		return stream.ErrTooLarge
	}
	if s.isClosed() {
		return stream.ErrClosed
	}
	if err := s.client.Publish(ctx, s.channel(id), "a"+string(body)).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// parseTag is the inverse of tag.
func (s *Store) parseTag(tag string) (id stream.ID, ok bool) {
	text := strings.TrimSuffix(strings.TrimPrefix(tag, s.options.Prefix+":{"), "}:")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, false
	}
	return stream.ID(b), true
}
