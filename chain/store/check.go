package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// ErrDamaged reports a store whose contents contradict one another.
var ErrDamaged = errors.New("store is damaged")

// Check reads the whole store and compares it with itself. It recomputes the
// root of the newest height, of the oldest of the window and of each marked one
// from its values, compares every page, and checks that each version stored is
// one that a kept height can see. The error is of kind [ErrDamaged] and says
// what contradicts what; otherwise it is one of reading.
//
// It reads all keys and values once for each of those heights, while blocks may
// go on.
func (s *Store) Check() error {
	r, kept, err := s.pin()
	if err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	defer r.Close()
	if err := r.checkVersions(kept); err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	if r.height == 0 {
		return nil
	}
	heights := append(slices.Clone(kept.marked), kept.oldest, r.height)
	slices.Sort(heights)
	for _, h := range slices.Compact(heights) {
		at := Reader{store: s, view: r.view, height: h, root: kept.roots[h]}
		if err := at.checkTree(); err != nil {
			return fmt.Errorf("check store at height %d: %w", h, err)
		}
	}
	return nil
}

// pin returns a Reader of the newest state, and the heights kept with it.
func (s *Store) pin() (*Reader, heights, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, heights{}, ErrClosed
	}
	s.newest.join()
	return &Reader{store: s, view: s.newest, height: s.state.Height, root: s.state.Root}, s.kept.clone(), nil
}

// checkTree builds the tree as of one height from its values.
func (r *Reader) checkTree() error {
	c, err := r.view.cursor(&r.store.pages, r.height)
	if err != nil {
		return err
	}
	defer c.close()
	pages := 0
	builder := statetree.NewBuilder(func(id statetree.PageID, want []byte) error {
		pages++
		got, err := c.Page(id)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%w: page %s does not follow from the values", ErrDamaged, id)
		}
		return err
	})
	if err := r.Leaves(statetree.Key{}, builder.Add); err != nil {
		return err
	}
	root, err := builder.Finish()
	if err != nil {
		return err
	}
	if root != r.root {
		return fmt.Errorf("%w: the values give root %x, the height has %x", ErrDamaged, root, r.root)
	}
	err = r.each([]byte{pageSpace}, []byte{pageSpace + 1}, func([]byte, []byte) error {
		pages--
		return nil
	})
	if err == nil && pages != 0 {
		err = fmt.Errorf("%w: there are %d pages too many", ErrDamaged, -pages)
	}
	return err
}

// checkVersions checks of each version that some kept height can see it, or that
// it waits for its turn to be deleted with a mark.
func (r *Reader) checkVersions(kept heights) error {
	it, err := r.view.iterator()
	if err != nil {
		return err
	}
	defer r.view.release(it)
	waiting, err := waitingVersions(it, kept)
	if err != nil {
		return err
	}
	for _, space := range []byte{pageSpace, valueSpace} {
		if err := r.checkSpace(it, space, kept, waiting); err != nil {
			return err
		}
	}
	return nil
}

// waitingVersions returns the keys of the versions that are kept for released
// marks, and checks that there are none for what is no mark.
func waitingVersions(it *pebble.Iterator, kept heights) (map[string]bool, error) {
	waiting := make(map[string]bool)
	for ok := it.SeekGE([]byte{keptSpace}); ok && it.Key()[0] == keptSpace; ok = it.Next() {
		key := it.Key()
		if len(key) < 1+2*heightSize {
			return nil, fmt.Errorf("%w: key %x is too short", ErrDamaged, key)
		}
		mark := binary.BigEndian.Uint64(key[1:])
		if slices.Contains(kept.released, mark) {
			waiting[string(key[1+heightSize:])] = true
		} else if !kept.isMarked(mark) {
			return nil, fmt.Errorf("%w: key %x is kept for a height that is not marked", ErrDamaged, key)
		}
	}
	return waiting, it.Error()
}

func (r *Reader) checkSpace(it *pebble.Iterator, space byte, kept heights, waiting map[string]bool) error {
	var last []byte // prefix of the version before, which is newer if it is the same
	var replaced uint64
	deleted := false
	for ok := it.SeekGE([]byte{space}); ok && it.Key()[0] == space; ok = it.Next() {
		key := it.Key()
		if prefixLen(key) == len(key) {
			return fmt.Errorf("%w: key %x is no version of anything", ErrDamaged, key)
		}
		prefix, height := splitVersion(key)
		if height > r.height {
			return fmt.Errorf("%w: key %x is of height %d, the newest is %d", ErrDamaged, key, height, r.height)
		}
		if !bytes.Equal(prefix, last) {
			if deleted {
				return fmt.Errorf("%w: %x was deleted, and nothing older is left that says so", ErrDamaged, last)
			}
			last, replaced = bytes.Clone(prefix), r.height+1
		}
		if !kept.sees(height, replaced) && !waiting[string(key)] {
			return fmt.Errorf("%w: no kept height sees key %x", ErrDamaged, key)
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		deleted, replaced = len(value) == 0, height
	}
	if deleted {
		return fmt.Errorf("%w: %x was deleted, and nothing older is left that says so", ErrDamaged, last)
	}
	return it.Error()
}

// sees reports whether a kept height lies between written and the one before
// replaced.
func (k *heights) sees(written, replaced uint64) bool {
	return replaced > k.oldest || k.mark(replaced-1) >= written
}
