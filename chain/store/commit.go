package store

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A Prepared is a block whose root is known and of which nothing is written.
type Prepared struct {
	store  *Store
	base   State
	height uint64
	delta  *statetree.Delta
	// overwritten has the height of the version that each page and then each
	// value of the delta takes the place of, 0 if there was none.
	overwritten []uint64
}

// Prepare computes what a block with these changes makes of the newest state.
// The height must follow the newest one; the first one of a store is any above
// 0. The changes are as [statetree.Update] wants them.
func (s *Store) Prepare(height uint64, changes []statetree.Change) (*Prepared, error) {
	v, base, err := s.hold()
	if err != nil {
		return nil, fmt.Errorf("prepare height %d: %w", height, err)
	}
	defer s.drop(v)
	if height == 0 || base.Height > 0 && height != base.Height+1 {
		return nil, fmt.Errorf("prepare height %d: the newest is %d", height, base.Height)
	}
	c, err := s.cursor(v, base.Height)
	if err != nil {
		return nil, fmt.Errorf("prepare height %d: %w", height, err)
	}
	defer c.close()
	c.seen = make(map[statetree.PageID]uint64)
	p := &Prepared{store: s, base: base, height: height}
	if p.delta, err = statetree.Update(c, base.Root, changes); err != nil {
		return nil, fmt.Errorf("prepare height %d: %w", height, err)
	}
	if err := p.findOverwritten(c); err != nil {
		return nil, fmt.Errorf("prepare height %d: %w", height, err)
	}
	return p, nil
}

func (p *Prepared) findOverwritten(c *cursor) error {
	p.overwritten = make([]uint64, 0, len(p.delta.Pages)+len(p.delta.Values))
	for i := range p.delta.Pages {
		id := p.delta.Pages[i].ID
		if _, ok := c.seen[id]; !ok { // a page that is new, or was deleted once
			if _, err := c.Page(id); err != nil {
				return err
			}
		}
		p.overwritten = append(p.overwritten, c.seen[id])
	}
	for i := range p.delta.Values {
		v, err := c.value(&p.delta.Values[i].Key)
		if err != nil {
			return err
		}
		p.overwritten = append(p.overwritten, v.height)
	}
	return nil
}

// Height returns the height of the block.
func (p *Prepared) Height() uint64 { return p.height }

// Root returns the root of the tree after the block.
func (p *Prepared) Root() [32]byte { return p.delta.Root }

// Also is what a commit writes beside the tree, in the same batch.
type Also struct {
	// Records are set, or deleted if their value is nil, in this order.
	Records []Record
	// Keep marks heights, which then stay until released. Each must be kept as
	// it is: marked, or one of the newest Window, the block's own included. It
	// is for the caller to bound how many are marked at a time.
	Keep []uint64
	// Release takes the mark from heights; those that have none are ignored.
	Release []uint64
}

// Commit writes the block, durably, in one atomic batch. After an error the
// store is as it was.
//
// Errors: [ErrStale] if the newest state is no longer the one that the block was
// prepared on; [ErrGone] or [ErrNotYet] for a height to keep; [ErrBroken] if the
// disk failed: then it shows when the store is opened again whether the block is
// durable nevertheless.
func (p *Prepared) Commit(also Also) error {
	s := p.store
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(p.base); err != nil {
		return fmt.Errorf("commit height %d: %w", p.height, err)
	}
	b := &block{Prepared: p, batch: s.db.NewBatch(), kept: s.kept.clone()}
	if err := b.fill(also); err != nil {
		b.batch.Close()
		return fmt.Errorf("commit height %d: %w", p.height, err)
	}
	if err := guard(func() error { return s.db.Apply(b.batch, pebble.Sync) }); err != nil {
		// The batch is left to the database, which may still be reading it.
		s.mu.Lock()
		s.broken = fmt.Errorf("%w: %w; check the disk and start again", ErrBroken, err)
		s.mu.Unlock()
		return fmt.Errorf("commit height %d: %w", p.height, s.broken)
	}
	b.batch.Close()
	s.advance(p, b.kept)
	return nil
}

// able reports why the store can write nothing now, if so.
func (s *Store) able() error {
	behind := s.background.err()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.broken != nil:
		return s.broken
	case behind != nil:
		return fmt.Errorf("%w: %w", ErrBroken, behind)
	}
	return nil
}

// writable reports why the store takes no block on this state now, if so.
func (s *Store) writable(base State) error {
	if err := s.able(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.restoring:
		return fmt.Errorf("%w: the store is being filled", ErrStale)
	case s.state != base:
		return fmt.Errorf("%w: it was made for height %d, the newest is %d", ErrStale, base.Height+1, s.state.Height)
	}
	return nil
}

// advance makes what was written the newest state.
func (s *Store) advance(p *Prepared, kept heights) {
	s.pages.commit(p.height, p.delta.Pages)
	s.mu.Lock()
	for i := range p.delta.Values {
		c := &p.delta.Values[i]
		s.values.put(c.Key, version{p.height, bytes.Clone(c.Value)})
	}
	for _, w := range p.delta.Pages {
		if w.ID.Depth() > cachedDepth {
			s.deep.put(w.ID, version{p.height, bytes.Clone(w.Data)})
		}
	}
	old := s.newest
	s.state, s.kept = State{Height: p.height, Root: p.delta.Root}, kept
	s.newest = newView(s.db)
	s.views[s.newest] = true
	s.mu.Unlock()
	s.drop(old)
}

// A block is a Prepared on its way into the database.
type block struct {
	*Prepared
	batch *pebble.Batch
	kept  heights
	err   error // the first of the batch
	buf   []byte
}

// fill writes everything into the batch.
func (b *block) fill(also Also) error {
	if b.base.Height == 0 {
		b.kept.oldest = b.height
	}
	b.kept.roots[b.height] = b.delta.Root
	b.versions()
	for _, r := range also.Records {
		b.buf = append(append(b.buf[:0], recordSpace), r.Key...)
		if r.Value == nil {
			b.delete(b.buf)
		} else {
			b.set(b.buf, r.Value)
		}
	}
	if err := b.prune(also); err != nil {
		return err
	}
	b.set([]byte{stateSpace}, wire.Encode(stateRecord{Height: b.height, Root: b.delta.Root, Oldest: b.kept.oldest}))
	return b.err
}

// versions writes the pages and values of the delta, and the list of what they
// take the place of.
func (b *block) versions() {
	list := writeList{}
	overwritten := b.overwritten
	write := func(prefix, data []byte) {
		n := len(prefix)
		b.buf = appendVersion(prefix, b.height)
		b.set(b.buf, data)
		if overwritten[0] > 0 {
			list = list.add(overwrite{b.buf[:n], overwritten[0], data == nil})
		}
		overwritten = overwritten[1:]
	}
	for _, w := range b.delta.Pages {
		write(appendPagePrefix(b.buf[:0], w.ID), w.Data)
	}
	for i := range b.delta.Values {
		c := &b.delta.Values[i]
		write(appendValuePrefix(b.buf[:0], &c.Key), c.Value)
	}
	if len(list) > 0 {
		b.set(heightKey(writesSpace, b.height), list)
	}
}

// set and delete add to the batch, whose errors are those of its size and
// kind: the first one fails the block.
func (b *block) set(key, value []byte) {
	b.err = cmp.Or(b.err, b.batch.Set(key, value, nil))
}

func (b *block) delete(key []byte) {
	b.err = cmp.Or(b.err, b.batch.Delete(key, nil))
}
