package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Backup writes a store of the newest state into a folder that must not be there
// yet, and returns that state. Blocks wait meanwhile, which is short: on the same
// disk the database's files are linked, not copied.
func (s *Store) Backup(dir string) (State, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.able(); err != nil {
		return State{}, fmt.Errorf("back up store: %w", err)
	}
	if err := guard(func() error { return s.db.Checkpoint(dir, pebble.WithFlushedWAL()) }); err != nil {
		return State{}, fmt.Errorf("back up store: %w", err)
	}
	return s.State(), nil
}
