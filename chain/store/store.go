package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// Window is how many of the newest heights are kept: 100 seconds of readers
// that lag behind, at one block a second.
const Window = 100

var (
	// ErrGone reports a height that is no longer kept, or never was.
	ErrGone = errors.New("height is no longer kept")
	// ErrNotYet reports a height above the newest one.
	ErrNotYet = errors.New("height is not committed yet")
	// ErrClosed reports the use of a Store or Reader after its end.
	ErrClosed = errors.New("store is closed")
	// ErrStale reports a Prepared that does not continue the newest state: it
	// was committed already, or another one was.
	ErrStale = errors.New("prepared block does not follow the newest state")
	// ErrBroken reports that the disk failed while a block was written, or fails
	// in the background. What was there before can still be read. After a block
	// that failed, the store takes no other until it is opened again.
	ErrBroken = errors.New("store cannot write to its disk")
)

// Options says how to open a store.
type Options struct {
	// Chain is the id of the chain that the folder is for.
	Chain string
	// CacheBytes is the memory for what was read, a quarter of it for values, a
	// quarter for lower pages of the tree, the rest for blocks of the database; 0
	// means 256 MiB. The upper pages of the tree are held beside it.
	CacheBytes int64
	// Logger takes what the database has to say; nil discards it.
	Logger *slog.Logger
	// FS is the file system; nil means the machine's. vfs.NewMem gives a store
	// in memory.
	FS vfs.FS
}

// State is what a store holds: the height of the newest block and the root
// after it. It is zero before the first block.
type State struct {
	Height uint64
	Root   [32]byte
}

// A Store is one open folder. Its methods may be called from any goroutine;
// blocks are committed one after the other.
type Store struct {
	db         *pebble.DB
	lock       *pebble.Lock
	background *health
	pages      pageCache
	values     *recent[statetree.Key]
	deep       *recent[statetree.PageID] // the pages that are not in pages
	writing    sync.Mutex                // held while a block is written

	mu     sync.Mutex
	state  State
	kept   heights
	newest *view          // as of state
	views  map[*view]bool // the newest and those that Readers hold
	broken error          // why no block can be written any more
	closed bool

	restoring bool // a Restore is under way: no block is taken
}

// State returns the newest durable state.
func (s *Store) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Get returns the value of a key in the newest state, nil if it has none.
func (s *Store) Get(key statetree.Key) ([]byte, error) {
	view, state, err := s.hold()
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", key, err)
	}
	defer s.drop(view)
	c, err := s.cursor(view, state.Height)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", key, err)
	}
	defer c.close()
	v, err := c.value(&key)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(v.data), nil
}

// Heights returns the heights that can be read: all from oldest to newest, and
// the marked ones, ascending, of which some may be in that range too.
func (s *Store) Heights() (oldest, newest uint64, marked []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.oldest, s.state.Height, slices.Clone(s.kept.marked)
}

// hold returns the newest view, of which the caller becomes a user.
func (s *Store) hold() (*view, State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, State{}, ErrClosed
	}
	s.newest.join()
	return s.newest, s.state, nil
}

// drop ends the caller's use of a view.
func (s *Store) drop(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.leave() {
		delete(s.views, v)
	}
}

// Close ends the use of the folder. Readers that are still open fail with
// ErrClosed from then on; reads that are under way are waited for.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	views, broken := s.views, s.broken
	s.views = nil
	s.mu.Unlock()
	for v := range views {
		v.close()
	}
	if broken != nil {
		// Pebble cannot be closed in order after a failed commit. The folder
		// stays locked until the process ends, which it should.
		return fmt.Errorf("close store: %w", broken)
	}
	if err := errors.Join(guard(s.db.Close), s.lock.Close()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
