package store

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// A view is the database as one commit left it. It serves every height that was
// kept then, whatever is pruned later. The store holds the newest one, and each
// Reader the one that was the newest when it was made.
type view struct {
	mu    sync.Mutex
	quiet sync.Cond // no iterator is out; on mu
	snap  *pebble.Snapshot
	idle  []*pebble.Iterator
	out   int // iterators in use
	users int // the store and Readers
	shut  bool
}

// maxIdle bounds the iterators that a view keeps for the next reader. More than
// this many at once means far more readers than cores.
const maxIdle = 64

func newView(db *pebble.DB) *view {
	v := &view{snap: db.NewSnapshot(), users: 1}
	v.quiet.L = &v.mu
	return v
}

// join adds a user.
func (v *view) join() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.users++
}

// leave takes a user away. The last one closes the view.
func (v *view) leave() (last bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.users--; v.users > 0 {
		return false
	}
	v.closeLocked()
	return true
}

// close closes the view under its users, once they have handed back their
// iterators. What they ask for afterwards is ErrClosed.
func (v *view) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closeLocked()
	for v.out > 0 {
		v.quiet.Wait()
	}
}

// closeLocked lets go of the database. Closing an iterator repeats the error of
// its last read, which the reader has seen; a snapshot has none.
func (v *view) closeLocked() {
	if v.shut {
		return
	}
	v.shut = true
	for _, it := range v.idle {
		it.Close()
	}
	v.idle = nil
	v.snap.Close()
}

func (v *view) isShut() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.shut
}

// iterator hands out an iterator over all keys, to be given back with release.
func (v *view) iterator() (*pebble.Iterator, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut {
		return nil, ErrClosed
	}
	if n := len(v.idle); n > 0 {
		it := v.idle[n-1]
		v.idle = v.idle[:n-1]
		v.out++
		return it, nil
	}
	it, err := v.snap.NewIter(nil)
	if err != nil {
		return nil, err
	}
	v.out++
	return it, nil
}

func (v *view) release(it *pebble.Iterator) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.out--; v.shut || len(v.idle) == maxIdle || it.Error() != nil {
		it.Close()
	} else {
		v.idle = append(v.idle, it)
	}
	if v.out == 0 {
		v.quiet.Broadcast()
	}
}

// A cursor reads pages and values as of one height. It is for one goroutine, and
// what it returns is good until its next read.
type cursor struct {
	store  *Store
	view   *view
	height uint64
	it     *pebble.Iterator
	buf    []byte
	direct bool // read past the caches
	// seen collects the heights of the pages read, if it is not nil.
	seen map[statetree.PageID]uint64
}

// cursor returns a cursor on a view, to be closed.
func (s *Store) cursor(v *view, height uint64) (*cursor, error) {
	it, err := v.iterator()
	if err != nil {
		return nil, err
	}
	return &cursor{store: s, view: v, height: height, it: it}, nil
}

func (c *cursor) close() { c.view.release(c.it) }

// Page implements [statetree.Store].
func (c *cursor) Page(id statetree.PageID) ([]byte, error) {
	v, ok := c.store.pages.get(id, c.height)
	deep := id.Depth() > cachedDepth
	if !ok && deep {
		v, ok = c.store.deep.get(id, c.height)
	}
	if !ok || c.direct {
		var err error
		c.buf = appendPagePrefix(c.buf[:0], id)
		if v, err = c.read(); err != nil {
			return nil, fmt.Errorf("page %s as of height %d: %w", id, c.height, err)
		}
		if deep && !c.direct {
			remember(c, c.store.deep, id, v)
		}
	}
	if c.seen != nil {
		c.seen[id] = v.height
	}
	return v.data, nil
}

// Get implements [statetree.Store].
func (c *cursor) Get(key statetree.Key) ([]byte, error) {
	v, err := c.value(&key)
	return v.data, err
}

// value returns a value as of the cursor's height.
func (c *cursor) value(key *statetree.Key) (v version, err error) {
	if v, cached := c.store.values.get(*key, c.height); cached && !c.direct {
		return v, nil
	}
	c.buf = appendValuePrefix(c.buf[:0], key)
	if v, err = c.read(); err != nil {
		return version{}, fmt.Errorf("value of key %s as of height %d: %w", key, c.height, err)
	}
	if !c.direct {
		remember(c, c.store.values, *key, v)
	}
	return v, nil
}

// remember puts into a cache what a cursor has read, if that is of the newest
// state and no block has been committed since, which may have changed it.
func remember[K comparable](c *cursor, in *recent[K], key K, v version) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == c.view && s.state.Height == c.height {
		in.put(key, version{v.height, bytes.Clone(v.data)})
	}
}

// read reads the version as of the cursor's height of the page or value whose
// prefix is in buf. It has no data if it says "deleted", and no height either if
// there is none at all.
func (c *cursor) read() (v version, err error) {
	c.buf = appendVersion(c.buf, c.height)
	if !c.it.SeekPrefixGE(c.buf) {
		return version{}, c.it.Error()
	}
	_, v.height = splitVersion(c.it.Key())
	if v.data, err = c.it.ValueAndErr(); len(v.data) == 0 {
		v.data = nil
	}
	return v, err
}
