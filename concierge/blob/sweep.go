package blob

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"github.com/confab-chat/confab/stream/chunk"
)

// Swept is what a sweep of one shard found.
type Swept struct {
	Blobs uint64 // that stay
	Bytes uint64 // of their content
	Gone  int    // let go of
}

// Sweep lets go of what nobody pins in a shard. keeps says whether an owner still
// does; it is asked while nothing of the shard changes, so that a pin whose books
// were written before Hold or Receive is never lost. An error of keeps ends it.
func (s *Store) Sweep(shard byte, keeps func(chunk.ID, Owner) (bool, error)) (found Swept, err error) {
	dir := filepath.Join(s.dir, hex.EncodeToString([]byte{shard}))
	if names, err := readNames(dir); len(names) == 0 {
		return found, err // nothing was ever here
	}
	release, err := s.hold(shard)
	if err != nil {
		return found, err
	}
	defer release()
	names, err := readNames(dir)
	if err != nil {
		return found, err
	}
	held := map[string]bool{}
	for _, name := range names {
		id, o, ok := parse(name)
		if !ok {
			continue
		}
		keep, err := keeps(id, o)
		if err != nil {
			return found, err
		}
		if keep {
			held[id.String()] = true
		} else if err := remove(filepath.Join(dir, name)); err != nil {
			return found, err
		}
	}
	for _, name := range names {
		if _, err := chunk.ParseID(name); err != nil {
			continue
		}
		path := filepath.Join(dir, name)
		if !held[name] {
			if err := remove(path); err != nil {
				return found, err
			}
			found.Gone++
			continue
		}
		st, err := os.Stat(path)
		if err != nil {
			return found, err
		}
		size, err := contentSize(st.Size())
		if err != nil {
			return found, err
		}
		found.Blobs++
		found.Bytes += size
	}
	return found, nil
}

// SweepIncoming lets go of uploads that nobody will finish.
func (s *Store) SweepIncoming(keeps func(chunk.ID, Owner) (bool, error)) error {
	names, err := readNames(filepath.Join(s.dir, incomingDir))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		id, o, ok := parse(name)
		if !ok {
			continue
		}
		keep, err := keeps(id, o)
		if err != nil {
			return err
		}
		if !keep {
			errs = append(errs, s.abandon(id, o))
		}
	}
	return errors.Join(errs...)
}
