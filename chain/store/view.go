package store

import (
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
	// written has, of values read in the newest state, the heights that wrote
	// them: whoever changes a value has read it, and a commit asks for that.
	written map[statetree.Key]uint64
}

// maxIdle bounds the iterators that a view keeps for the next reader. More than
// this many at once means far more readers than cores.
const maxIdle = 64

// maxWritten bounds what a view remembers: more than the values that a block of
// 2 MiB can change.
const maxWritten = 1 << 14

func newView(db *pebble.DB) *view {
	v := &view{snap: db.NewSnapshot(), users: 1, written: make(map[statetree.Key]uint64)}
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
func (v *view) leave() (last bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.users--; v.users > 0 {
		return false, nil
	}
	return true, v.closeLocked()
}

// close closes the view under its users, once they have handed back their
// iterators. What they ask for afterwards is ErrClosed.
func (v *view) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.closeLocked()
	for v.out > 0 {
		v.quiet.Wait()
	}
	return err
}

func (v *view) closeLocked() error {
	if v.shut {
		return nil
	}
	v.shut = true
	for _, it := range v.idle {
		it.Close() // repeats the error of the last read, which its reader has seen
	}
	v.idle = nil
	return v.snap.Close()
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

// wrote remembers the height that wrote the newest version of a value.
func (v *view) wrote(key statetree.Key, height uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.written) < maxWritten {
		v.written[key] = height
	}
}

// writtenAt returns what wrote was told.
func (v *view) writtenAt(key statetree.Key) (height uint64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	height, ok = v.written[key]
	return height, ok
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
	it     *pebble.Iterator
	view   *view
	pages  *pageCache
	height uint64
	buf    []byte
	// seen collects the heights of the pages read, if it is not nil.
	seen map[statetree.PageID]uint64
}

func (v *view) cursor(pages *pageCache, height uint64) (*cursor, error) {
	it, err := v.iterator()
	if err != nil {
		return nil, err
	}
	return &cursor{it: it, view: v, pages: pages, height: height}, nil
}

func (c *cursor) close() { c.view.release(c.it) }

// Page implements [statetree.Store].
func (c *cursor) Page(id statetree.PageID) ([]byte, error) {
	at, data, ok := c.pages.get(id, c.height)
	if !ok {
		var err error
		c.buf = appendPagePrefix(c.buf[:0], id)
		if at, data, err = c.version(); err != nil {
			return nil, fmt.Errorf("page %s as of height %d: %w", id, c.height, err)
		}
	}
	if c.seen != nil {
		c.seen[id] = at
	}
	return data, nil
}

// Get implements [statetree.Store].
func (c *cursor) Get(key statetree.Key) ([]byte, error) {
	_, data, err := c.value(&key)
	return data, err
}

// value returns a value as of the cursor's height and the height that wrote it.
func (c *cursor) value(key *statetree.Key) (at uint64, data []byte, err error) {
	c.buf = appendValuePrefix(c.buf[:0], key)
	at, data, err = c.version()
	if err != nil {
		return 0, nil, fmt.Errorf("value of key %s as of height %d: %w", key, c.height, err)
	}
	return at, data, nil
}

// version returns the version as of the cursor's height of the page or value
// whose prefix is in buf, and the height that wrote it; nil where there is none
// or it is deleted, height 0 where there is none.
func (c *cursor) version() (height uint64, data []byte, err error) {
	c.buf = appendVersion(c.buf, c.height)
	if !c.it.SeekPrefixGE(c.buf) {
		return 0, nil, c.it.Error()
	}
	_, height = splitVersion(c.it.Key())
	data, err = c.it.ValueAndErr()
	if len(data) == 0 {
		data = nil
	}
	return height, data, err
}
