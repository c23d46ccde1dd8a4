package store

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// A Reader is the state as of one height. It stays what it is while blocks are
// committed and heights pruned, and may be used from many goroutines. It holds
// on to files of the database: close it, and do not keep it for hours.
type Reader struct {
	store  *Store
	view   *view
	height uint64
	root   [32]byte
	once   sync.Once
}

// At returns a Reader of a height. The error is [ErrGone] for one that is not
// kept, [ErrNotYet] for one to come, [ErrClosed] after Close.
func (s *Store) At(height uint64) (*Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root, ok := s.kept.roots[height]
	switch {
	case s.closed:
		return nil, fmt.Errorf("read height %d: %w", height, ErrClosed)
	case height > s.state.Height:
		return nil, fmt.Errorf("read height %d: %w: the newest is %d", height, ErrNotYet, s.state.Height)
	case !ok:
		return nil, fmt.Errorf("read height %d: %w: only the last %d and marked ones are", height, ErrGone, Window)
	}
	s.newest.join()
	return &Reader{store: s, view: s.newest, height: height, root: root}, nil
}

// Close ends the use of the Reader. It returns nil, also when it is repeated.
func (r *Reader) Close() error {
	r.once.Do(func() { r.store.drop(r.view) })
	return nil
}

// Height returns the height that the Reader is of.
func (r *Reader) Height() uint64 { return r.height }

// Root returns the root of the tree as of the height.
func (r *Reader) Root() [32]byte { return r.root }

// Get returns the value of a key, nil if it has none. It is a [statetree.Store]
// together with Page.
func (r *Reader) Get(key statetree.Key) ([]byte, error) {
	c, err := r.store.cursor(r.view, r.height)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", key, err)
	}
	defer c.close()
	data, err := c.Get(key)
	return bytes.Clone(data), err
}

// Page returns a page of the tree, nil if there is none.
func (r *Reader) Page(id statetree.PageID) ([]byte, error) {
	c, err := r.store.cursor(r.view, r.height)
	if err != nil {
		return nil, fmt.Errorf("read page %s: %w", id, err)
	}
	defer c.close()
	data, err := c.Page(id)
	return bytes.Clone(data), err
}

// Prove returns the proof of what the tree says of a key: that it has the value
// that Get returns, or none.
func (r *Reader) Prove(key statetree.Key) (statetree.Proof, error) {
	c, err := r.store.cursor(r.view, r.height)
	if err != nil {
		return statetree.Proof{}, fmt.Errorf("prove key %s: %w", key, err)
	}
	defer c.close()
	return statetree.Prove(c, r.root, key)
}

// Leaves calls yield for each key from a first one on, in ascending order, with
// its value, which is good only until yield returns. It ends with the error of
// yield, if there is one. The root follows from what it yields:
// [statetree.Builder].
func (r *Reader) Leaves(from statetree.Key, yield func(key statetree.Key, value []byte) error) error {
	return r.each(appendValuePrefix(nil, &from), []byte{valueSpace + 1}, func(prefix, value []byte) error {
		return yield(statetree.Key(prefix[1:]), value)
	})
}

// each calls yield for what the keys from lower to upper, not included, are as
// of the height: a prefix, and a value that is not empty.
func (r *Reader) each(lower, upper []byte, yield func(prefix, value []byte) error) error {
	it, err := r.view.iterator()
	if err != nil {
		return fmt.Errorf("read height %d: %w", r.height, err)
	}
	defer r.view.release(it)
	it.SetBounds(lower, upper)
	defer it.SetBounds(nil, nil)
	for ok := it.First(); ok; {
		prefix, height := splitVersion(it.Key())
		if height > r.height {
			ok = it.Next()
			continue
		}
		value, err := it.ValueAndErr()
		if err == nil && len(value) > 0 {
			err = yield(prefix, value)
		}
		if err != nil {
			return err
		}
		if r.view.isShut() {
			return fmt.Errorf("read height %d: %w", r.height, ErrClosed)
		}
		ok = it.NextPrefix()
	}
	return it.Error()
}

// A Record is a key and value of the chain's own, beside the tree: receipts,
// the history of ops. Records are of the newest state; they have no past.
type Record struct {
	Key   []byte
	Value []byte // nil, in a commit, deletes
}

// Record returns the value of a record, nil if there is none.
func (s *Store) Record(key []byte) ([]byte, error) {
	found, err := s.Range(key, nil, 1)
	if err != nil || len(found) == 0 || !bytes.Equal(found[0].Key, key) {
		return nil, err
	}
	return found[0].Value, nil
}

// Range returns the records whose keys begin with prefix, at most limit of them,
// in ascending order. With a from that is not nil, it starts at that key, or at
// the next one if there is none; to go on after the last key of an answer, add
// a zero byte to it.
func (s *Store) Range(prefix, from []byte, limit int) ([]Record, error) {
	v, _, err := s.hold()
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	defer s.drop(v)
	it, err := v.iterator()
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	defer v.release(it)
	prefix = append([]byte{recordSpace}, prefix...)
	start := prefix
	if from = append([]byte{recordSpace}, from...); bytes.Compare(from, prefix) > 0 {
		start = from
	}
	var found []Record
	for ok := it.SeekGE(start); ok && len(found) < limit && bytes.HasPrefix(it.Key(), prefix); ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read records: %w", err)
		}
		found = append(found, Record{Key: bytes.Clone(it.Key()[1:]), Value: append([]byte{}, value...)})
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	return found, nil
}

var (
	_ statetree.Store = (*Reader)(nil)
	_ statetree.Store = (*cursor)(nil)
)
