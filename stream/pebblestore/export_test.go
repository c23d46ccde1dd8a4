package pebblestore

import (
	"time"

	"github.com/confab-chat/confab/stream"
)

// Pass has a store's machine run for so long.
func Pass(s *Store, d time.Duration) {
	for ; d > 0; d -= maxLeap {
		Step(s, min(d, maxLeap))
	}
}

// Step sets the clock of a store's machine.
func Step(s *Store, d time.Duration) {
	done := make(chan error)
	s.do(func(c *commit) error {
		now := s.clock.Wall.Add(d)
		s.options.Now = func() time.Time { return now }
		return c.tick()
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		panic(err)
	}
}

// CheckDisk has a store look at its disk now.
func CheckDisk(s *Store) { s.checkDisk() }

// MaxStates is how many streams a store holds in memory.
const MaxStates = maxStates

// States returns how many it holds.
func States(s *Store) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.states)
}

// Put writes something into the database behind the store's back.
func Put(s *Store, key, value []byte) error { return s.db.Set(key, value, nil) }

// FilterIDs has a store make a filter of its message ids anew, with room for so
// many at first.
func FilterIDs(s *Store, room int) {
	s.do(func(c *commit) error {
		s.ids.now = nil
		c.filterIDs(room)
		return nil
	}, nil)
}

// FilterRoom returns for how many message ids a store's filter is made, 0 while
// it has none.
func FilterRoom(s *Store) (room int) {
	done := make(chan error)
	s.do(func(*commit) error {
		if s.ids.now != nil && s.ids.next == nil {
			room = s.ids.now.room
		}
		return nil
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		panic(err)
	}
	return room
}

// FilterMistakes returns how many of so many ids a filter knows that has other
// ids, as many as it is made for, and how many of those it does not know.
func FilterMistakes(room int) (others, missing int) {
	f := newIDFilter(room)
	for n := range room {
		f.add(idAt{number: 1, id: stream.MessageID{byte(n), byte(n >> 8), byte(n >> 16)}})
	}
	for n := range room {
		id := stream.MessageID{byte(n), byte(n >> 8), byte(n >> 16)}
		if !f.mayHave(idAt{number: 1, id: id}) {
			missing++
		}
		if f.mayHave(idAt{number: 2, id: id}) {
			others++
		}
	}
	return others, missing
}
