package pebblestore

import "time"

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
