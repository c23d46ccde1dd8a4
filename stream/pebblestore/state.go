package pebblestore

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// view is what is durable of a stream, apart from its cursors.
type view struct {
	exists   bool
	number   uint64
	settings stream.Settings
	head     place
	base     place  // where it begins for whoever asks
	trimmed  uint64 // entries up to here are gone from the database too
}

// state is a stream in memory.
type state struct {
	id stream.ID

	mu      sync.Mutex
	loaded  bool
	view    view
	cursors map[stream.Reader]uint64
	moved   []stream.Reader // cursors that are not written yet
	tail    []stream.Entry  // the newest entries, for those who watch

	watchers []*watch // under Store.mu; replaced, never changed

	// The committer's alone.
	staged bool
	next   view
	fresh  []stream.Entry
}

// maxStates is how many streams that nobody watches are held in memory, some 400
// bytes each. The rest is a few reads away.
const maxStates = 1 << 16

// find returns the state of an id, which may not exist as a stream.
func (s *Store) find(id stream.ID) (*state, error) {
	s.mu.Lock()
	st := s.states[id]
	if st == nil {
		st = &state{id: id}
		s.states[id] = st
	}
	crowded := len(s.states) > maxStates+s.watched && !s.evicting
	s.evicting = s.evicting || crowded
	s.mu.Unlock()
	if crowded {
		s.do(func(*commit) error { s.evict(); return nil }, nil)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.loaded {
		if err := s.read(func() error { return s.fill(st) }); err != nil {
			return nil, fmt.Errorf("read stream %s: %w", id, err)
		}
		st.loaded = true
	}
	return st, nil
}

// peek returns a stream's state and what is durable of it, or ErrNotFound.
func (s *Store) peek(id stream.ID) (*state, view, error) {
	st, err := s.find(id)
	if err != nil {
		return nil, view{}, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.view.exists {
		return nil, view{}, stream.ErrNotFound
	}
	return st, st.view, nil
}

// evict forgets streams that nobody watches. Only the committer calls it, so no
// stream is forgotten between being changed and being published.
func (s *Store) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicting = false
	for id, st := range s.states {
		if len(s.states) <= maxStates*7/8+s.watched {
			return
		}
		if len(st.watchers) == 0 && !s.untidy[st] && !st.staged {
			delete(s.states, id)
		}
	}
}

// fill reads a state from the database. st.mu is held.
func (s *Store) fill(st *state) error {
	b, closer, err := s.db.Get(streamKey(st.id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var r streamRecord
	err = wire.Decode(b, &r, maxRecord)
	closer.Close()
	if err != nil {
		return fmt.Errorf("%w (%w)", errDamaged, err)
	}
	v := view{exists: true, number: r.Number, settings: r.settings()}
	if v.base, err = s.readBase(st.id, v.number); err != nil {
		return err
	}
	v.trimmed = v.base.head.Seq
	if v.head, err = s.readHead(v); err != nil {
		return err
	}
	if st.cursors, err = s.readCursors(v); err != nil {
		return err
	}
	if least := leastCursor(v, st.cursors); least > v.base.head.Seq {
		if v.base, err = s.placeAt(v, least); err != nil {
			return err
		}
	}
	st.view = v
	return nil
}

func (s *Store) readBase(id stream.ID, number uint64) (place, error) {
	b, closer, err := s.db.Get(numberKey(baseSpace, number))
	if errors.Is(err, pebble.ErrNotFound) {
		return place{head: stream.Genesis(id)}, nil
	}
	if err != nil {
		return place{}, err
	}
	defer closer.Close()
	return decodeBase(b)
}

// readHead returns the place after the last entry.
func (s *Store) readHead(v view) (place, error) {
	prefix := numberKey(entrySpace, v.number)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upperBound(prefix)})
	if err != nil {
		return place{}, err
	}
	defer it.Close()
	if !it.Last() {
		return v.base, it.Error()
	}
	e, err := entryAt(it)
	return e.place, err
}

func (s *Store) readCursors(v view) (map[stream.Reader]uint64, error) {
	cursors := make(map[stream.Reader]uint64, len(v.settings.Readers))
	for _, r := range v.settings.Readers {
		b, closer, err := s.db.Get(cursorKey(v.number, r))
		if err != nil {
			return nil, fmt.Errorf("%w (cursor: %w)", errDamaged, err)
		}
		cursors[r], err = decodeNumber(b)
		closer.Close()
		if err != nil {
			return nil, err
		}
	}
	return cursors, nil
}

// leastCursor returns up to where all readers have acknowledged; 0 if there are
// none.
func leastCursor(v view, cursors map[stream.Reader]uint64) uint64 {
	if len(v.settings.Readers) == 0 {
		return 0
	}
	least := v.head.head.Seq
	for _, r := range v.settings.Readers {
		least = min(least, cursors[r])
	}
	return least
}

// placeAt returns the place after an entry that is durable.
func (s *Store) placeAt(v view, seq uint64) (place, error) {
	switch seq {
	case v.head.head.Seq:
		return v.head, nil
	case v.base.head.Seq:
		return v.base, nil
	}
	b, closer, err := s.db.Get(entryKey(v.number, seq))
	if err != nil {
		return place{}, fmt.Errorf("%w (entry %d: %w)", errDamaged, seq, err)
	}
	defer closer.Close()
	e, err := decodeEntry(seq, b)
	return e.place, err
}

// publish shows readers what the committer has made durable.
func (st *state) publish(watched bool) (tail int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view = st.next
	if !watched || !st.view.exists {
		st.tail = nil
	} else {
		for _, e := range st.fresh {
			st.tail = append(st.tail, e)
			tail += len(e.Body) + entryHead
		}
	}
	clear(st.fresh)
	st.fresh, st.staged = st.fresh[:0], false
	return tail
}

// recent returns the entries after a number if they are all in the tail. st.mu
// is not held.
func (st *state) recent(after uint64, max int) ([]stream.Entry, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.tail) == 0 || st.tail[0].Seq > after+1 {
		return nil, false
	}
	entries := st.tail[min(after+1-st.tail[0].Seq, uint64(len(st.tail))):]
	n, size := 0, 0
	for n < len(entries) {
		if size += len(entries[n].Body) + stream.EntryCost; size > max && n > 0 {
			break
		}
		n++
	}
	return entries[:n:n], true
}

func (st *state) snapshot() stream.State {
	st.mu.Lock()
	defer st.mu.Unlock()
	v := st.view
	return stream.State{
		Settings: v.settings,
		Head:     v.head.head,
		Base:     v.base.head.Seq,
		Bytes:    v.head.end - v.base.end,
		Cursors:  maps.Clone(st.cursors),
	}
}
