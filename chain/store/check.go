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

// Check reads the whole store from its disk and compares it with itself, at
// every height it keeps: that the values give the root and exactly the pages
// stored, and that each version stored is one that a kept height can see. The
// error is of kind [ErrDamaged] or [statetree.ErrCorrupt] and says what
// contradicts what; otherwise it is one of reading.
//
// It builds the tree of the oldest height of the window and of each older marked
// one, and from the oldest on makes each block anew. Blocks may go on meanwhile.
func (s *Store) Check() error {
	r, kept, err := s.pin()
	if err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	defer r.Close()
	blocks, err := r.checkVersions(kept)
	if err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	if r.height == 0 {
		return nil
	}
	before, _ := slices.BinarySearch(kept.marked, kept.oldest)
	for _, h := range append(kept.marked[:before], kept.oldest) {
		at := Reader{store: s, view: r.view, height: h, root: kept.roots[h]}
		if err := at.checkTree(); err != nil {
			return fmt.Errorf("check store at height %d: %w", h, err)
		}
	}
	for h := kept.oldest; h < r.height; h++ {
		if err := r.checkBlock(h, kept.roots[h], kept.roots[h+1], blocks[h+1]); err != nil {
			return fmt.Errorf("check store at height %d: %w", h+1, err)
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
	c, err := r.store.cursor(r.view, r.height)
	if err != nil {
		return err
	}
	defer c.close()
	c.direct = true
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

// written is what versions say that a height wrote.
type written struct {
	pages  int
	values []statetree.Key // ascending
}

// checkBlock makes the block above a height anew, from the values it wrote.
func (r *Reader) checkBlock(height uint64, root, next [32]byte, block written) error {
	before, err := r.store.cursor(r.view, height)
	if err != nil {
		return err
	}
	defer before.close()
	before.direct = true
	after, err := r.store.cursor(r.view, height+1)
	if err != nil {
		return err
	}
	defer after.close()
	after.direct = true
	changes := make([]statetree.Change, len(block.values))
	for i, key := range block.values {
		value, err := after.Get(key)
		if err != nil {
			return err
		}
		changes[i] = statetree.Change{Key: key, Value: bytes.Clone(value)}
	}
	delta, err := statetree.Update(before, root, changes)
	if err != nil {
		return err
	}
	if delta.Root != next || len(delta.Pages) != block.pages || len(delta.Values) != len(changes) {
		return fmt.Errorf("%w: its %d values give root %x with %d values and %d pages changed, it has root %x and %d pages",
			ErrDamaged, len(changes), delta.Root, len(delta.Values), len(delta.Pages), next, block.pages)
	}
	for _, w := range delta.Pages {
		data, err := after.Page(w.ID)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, w.Data) {
			return fmt.Errorf("%w: page %s does not follow from the values", ErrDamaged, w.ID)
		}
	}
	return nil
}

// checkVersions checks of each version that some kept height can see it, or that
// it waits for its turn to be deleted with a mark. It returns what was written
// by each height of the window but the oldest.
func (r *Reader) checkVersions(kept heights) (map[uint64]written, error) {
	it, err := r.view.iterator()
	if err != nil {
		return nil, err
	}
	defer r.view.release(it)
	waiting, err := waitingVersions(it, kept)
	if err != nil {
		return nil, err
	}
	blocks := make(map[uint64]written)
	err = r.checkSpace(it, pageSpace, kept, waiting, func(_ []byte, height uint64) {
		block := blocks[height]
		block.pages++
		blocks[height] = block
	})
	if err != nil {
		return nil, err
	}
	return blocks, r.checkSpace(it, valueSpace, kept, waiting, func(prefix []byte, height uint64) {
		block := blocks[height]
		block.values = append(block.values, statetree.Key(prefix[1:]))
		blocks[height] = block
	})
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

// checkSpace does that for all pages or all values, and tells seen of each
// version that a height of the window, not its oldest, has written.
func (r *Reader) checkSpace(it *pebble.Iterator, space byte, kept heights, waiting map[string]bool, seen func([]byte, uint64)) error {
	// The newer version before, if it is of the same page or value.
	var last []byte
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
				break
			}
			last, replaced = bytes.Clone(prefix), r.height+1
		}
		if !kept.sees(height, replaced) && !waiting[string(key)] {
			return fmt.Errorf("%w: no kept height sees key %x", ErrDamaged, key)
		}
		if height > kept.oldest {
			seen(prefix, height)
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if r.view.isShut() {
			return ErrClosed
		}
		deleted, replaced = len(value) == 0, height
	}
	if deleted {
		return fmt.Errorf("%w: %x was deleted, and nothing older is left to say so of", ErrDamaged, last)
	}
	return it.Error()
}

// sees reports whether a kept height lies between written and the one before
// replaced.
func (k *heights) sees(written, replaced uint64) bool {
	return replaced > k.oldest || k.mark(replaced-1) >= written
}
