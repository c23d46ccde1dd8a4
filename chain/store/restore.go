package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// ErrRoot reports leaves that do not give the root they were said to give.
var ErrRoot = errors.New("leaves give another root")

// A Restore fills a store that has no block yet from a sorted list of leaves,
// which may be larger than memory: it holds one path of the tree and one batch.
// What it writes is not there for anyone until Commit; Abort takes it back, and
// so does the next Open if neither came. It is for one goroutine, and while it
// lasts the store takes no block.
type Restore struct {
	store   *Store
	height  uint64
	builder *statetree.Builder
	batch   *pebble.Batch
	buf     []byte
	leaves  uint64
	err     error // the first; nothing is added after it
	done    bool
}

// restoreBatch is how many bytes of leaves and pages are handed to the database
// at a time: large enough that a batch costs little beside its contents.
const restoreBatch = 4 << 20

// Restore begins to fill the store with the state as of a height, above 0. The
// store must have no block.
func (s *Store) Restore(height uint64) (*Restore, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.writable(State{})
	if err == nil && height == 0 {
		err = errors.New("heights begin at 1")
	}
	if err != nil {
		return nil, fmt.Errorf("restore height %d: %w", height, err)
	}
	s.mu.Lock()
	s.restoring = true
	s.mu.Unlock()
	r := &Restore{store: s, height: height, batch: s.db.NewBatch()}
	r.builder = statetree.NewBuilder(func(id statetree.PageID, data []byte) error {
		r.buf = appendVersion(appendPagePrefix(r.buf[:0], id), height)
		return r.set(r.buf, data)
	})
	return r, nil
}

// Add adds a leaf above all before it. The error is of kind
// [statetree.ErrChanges] if it is not, or has no value; [ErrBroken] if the disk
// failed. After an error only Abort is left.
func (r *Restore) Add(key statetree.Key, value []byte) error {
	if r.err == nil {
		r.err = r.add(key, value)
	}
	return r.err
}

func (r *Restore) add(key statetree.Key, value []byte) error {
	if err := r.builder.Add(key, value); err != nil {
		return fmt.Errorf("restore height %d: %w", r.height, err)
	}
	r.leaves++
	r.buf = appendVersion(appendValuePrefix(r.buf[:0], &key), r.height)
	if err := r.set(r.buf, value); err != nil {
		return fmt.Errorf("restore height %d: %w", r.height, err)
	}
	return nil
}

// set adds to the batch, and hands it over when it is full.
func (r *Restore) set(key, value []byte) error {
	if err := r.batch.Set(key, value, nil); err != nil {
		return err
	}
	if r.batch.Len() < restoreBatch {
		return nil
	}
	return r.flush(pebble.NoSync)
}

// flush hands the batch to the database. A later one that is synced makes all
// before it durable: they stand before it in the log.
func (r *Restore) flush(o *pebble.WriteOptions) error {
	r.store.writing.Lock()
	defer r.store.writing.Unlock()
	if err := r.store.able(); err != nil {
		return err
	}
	if err := guard(func() error { return r.store.db.Apply(r.batch, o) }); err != nil {
		r.store.mu.Lock()
		defer r.store.mu.Unlock()
		r.store.broken = fmt.Errorf("%w: %w; check the disk and start again", ErrBroken, err)
		return r.store.broken
	}
	r.batch.Close()
	r.batch = r.store.db.NewBatch()
	return nil
}

// Leaves returns how many leaves were added.
func (r *Restore) Leaves() uint64 { return r.leaves }

// Commit makes what was added the store's first and newest state, with records
// beside it, durably and at once. The error is of kind [ErrRoot] if the leaves
// do not give this root; then, and after any other error but [ErrBroken], the
// store is as empty as before.
func (r *Restore) Commit(root [32]byte, records []Record) error {
	if r.done {
		return ErrStale
	}
	if err := r.commit(root, records); err != nil {
		return errors.Join(fmt.Errorf("restore height %d: %w", r.height, err), r.Abort())
	}
	r.done = true
	return nil
}

func (r *Restore) commit(root [32]byte, records []Record) error {
	if r.err != nil {
		return r.err
	}
	got, err := r.builder.Finish()
	if err != nil {
		return err
	}
	if got != root {
		return fmt.Errorf("%w: %x, not %x", ErrRoot, got, root)
	}
	for _, rec := range records {
		if err := r.set(append([]byte{recordSpace}, rec.Key...), rec.Value); err != nil {
			return err
		}
	}
	if err := r.set(heightKey(heightSpace, r.height), append([]byte{plainHeight}, root[:]...)); err != nil {
		return err
	}
	state := stateRecord{Height: r.height, Root: root, Oldest: r.height}
	if err := r.set([]byte{stateSpace}, wire.Encode(state)); err != nil {
		return err
	}
	if err := r.flush(pebble.Sync); err != nil {
		return err
	}
	return r.store.begin(State{Height: r.height, Root: root})
}

// begin makes the first state of a store that was filled the newest one.
func (s *Store) begin(state State) error {
	if err := s.pages.fill(s.db); err != nil {
		return err
	}
	s.values.clear()
	s.deep.clear()
	s.mu.Lock()
	old := s.newest
	s.restoring = false
	s.state = state
	s.kept.oldest = state.Height
	s.kept.roots[state.Height] = state.Root
	s.newest = newView(s.db)
	s.views[s.newest] = true
	s.mu.Unlock()
	s.drop(old)
	return nil
}

// Abort deletes what was added. It may be called after Commit, and then does
// nothing.
func (r *Restore) Abort() error {
	if r.done {
		return nil
	}
	r.done = true
	r.batch.Close()
	s := r.store
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.able()
	if err == nil {
		err = s.sweep()
	}
	s.mu.Lock()
	s.restoring = false
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("undo restore: %w", err)
	}
	return nil
}

// sweep deletes everything but the folder's identity from a store that has no
// state: what a Restore left that did not come to its end.
func (s *Store) sweep() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	dirty := false
	for ok := it.First(); ok && !dirty; ok = it.Next() {
		dirty = !bytes.Equal(it.Key(), []byte{identitySpace})
	}
	if err := it.Close(); err != nil || !dirty {
		return err
	}
	return guard(func() error {
		b := s.db.NewBatch()
		defer b.Close()
		for _, space := range []byte{heightSpace, pageSpace, valueSpace, writesSpace, keptSpace, recordSpace, stateSpace} {
			if err := b.DeleteRange([]byte{space}, []byte{space + 1}, nil); err != nil {
				return err
			}
		}
		return s.db.Apply(b, pebble.Sync)
	})
}

// Reset empties the store: the state, its past and all records. It is for a
// state that was restored into a folder whose other half never came to be; a
// Reader that is open goes on with what it has.
func (s *Store) Reset() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	base := s.State()
	if err := s.writable(base); err != nil {
		return fmt.Errorf("empty store: %w", err)
	}
	if err := s.sweep(); err != nil {
		return fmt.Errorf("empty store: %w", err)
	}
	s.mu.Lock()
	old := s.newest
	s.state, s.kept = State{}, heights{roots: make(map[uint64][32]byte)}
	s.values.clear()
	s.deep.clear()
	s.newest = newView(s.db)
	s.views[s.newest] = true
	s.mu.Unlock()
	s.pages.clear()
	s.drop(old)
	return nil
}
