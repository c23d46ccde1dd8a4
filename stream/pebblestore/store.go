package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// errLowDisk answers appends while the disk has less than the reserve free.
var errLowDisk error = wire.Errorf(wire.Unavailable, "server's disk is nearly full: try again later, and tell its operator to make room")

// Bounds of what waits for the committer.
const (
	maxQueued      = 1 << 13  // requests
	maxQueuedBytes = 16 << 20 // of bodies
)

// A Store is one open folder. It is a stream.Store.
type Store struct {
	dir     string
	db      *pebble.DB
	lock    *pebble.Lock
	options Options

	mu       sync.Mutex
	states   map[stream.ID]*state
	watched  int // of them
	evicting bool

	queue struct {
		mu     sync.Mutex
		work   sync.Cond // there is something to do, or the store closes
		room   sync.Cond // the queue has become shorter
		list   []request
		bytes  int
		closed bool
	}

	lowDisk atomic.Bool
	seconds atomic.Uint64 // of clock, for readers

	// The committer's alone.
	next   uint64 // stream number
	clock  stream.Clock
	broken error
	untidy map[*state]bool // acknowledged, and not yet gone from the database
	ids    idFilters
	tails  []*state // have a tail
	cached int      // bytes in them

	open   sync.RWMutex // held while the database is read
	closed bool         // under open

	stop    chan struct{}
	stopped sync.WaitGroup
}

// request is one thing for the committer to do: an append or an op.
type request struct {
	id   stream.ID
	m    stream.Message
	sum  [32]byte
	done func(stream.Receipt, error)

	op func(*commit) error
}

func newStore(dir string, db *pebble.DB, lock *pebble.Lock, o Options) *Store {
	s := &Store{
		dir: dir, db: db, lock: lock, options: o,
		states: make(map[stream.ID]*state),
		untidy: make(map[*state]bool),
		stop:   make(chan struct{}),
	}
	s.queue.work.L, s.queue.room.L = &s.queue.mu, &s.queue.mu
	return s
}

func (s *Store) start() {
	s.seconds.Store(s.clock.Seconds)
	s.checkDisk()
	s.stopped.Add(2)
	go s.commitLoop()
	go s.tickLoop()
	s.do(func(c *commit) error { c.filterIDs(firstIDs); return nil }, nil)
}

// Close lets what was submitted finish, and closes the folder.
func (s *Store) Close() error {
	s.queue.mu.Lock()
	if s.queue.closed {
		s.queue.mu.Unlock()
		return nil
	}
	s.queue.closed = true
	s.queue.mu.Unlock()
	s.queue.work.Broadcast()
	s.queue.room.Broadcast()
	close(s.stop)
	s.stopped.Wait()
	s.open.Lock()
	defer s.open.Unlock()
	s.closed = true
	if s.broken != nil {
		// Pebble cannot be closed in order after a commit that failed. The folder
		// stays locked until the process ends, which it should.
		return fmt.Errorf("close store %s: %w", s.dir, s.broken)
	}
	if err := errors.Join(guard(s.db.Close), s.lock.Close()); err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// enqueue hands a request to the committer; it waits while too much is waiting,
// unless it must not.
func (s *Store) enqueue(r request, wait bool) {
	q := &s.queue
	q.mu.Lock()
	for wait && !q.closed && (len(q.list) >= maxQueued || q.bytes >= maxQueuedBytes) {
		q.room.Wait()
	}
	if q.closed {
		q.mu.Unlock()
		if r.done != nil {
			r.done(stream.Receipt{}, stream.ErrClosed)
		}
		return
	}
	q.list = append(q.list, r)
	q.bytes += len(r.m.Body)
	first := len(q.list) == 1
	q.mu.Unlock()
	if first {
		q.work.Signal()
	}
}

// do has the committer run op. done, unless nil, is told when what op staged is
// durable.
func (s *Store) do(op func(*commit) error, done func(error)) {
	r := request{op: op}
	if done != nil {
		r.done = func(_ stream.Receipt, err error) { done(err) }
	}
	s.enqueue(r, false)
}

// run is do for who waits.
func (s *Store) run(ctx context.Context, op func(*commit) error) error {
	done := make(chan error, 1)
	s.do(op, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Submit appends a message; see stream.Log.
func (s *Store) Submit(id stream.ID, m stream.Message, done func(stream.Receipt, error)) {
	if len(m.Body) > stream.MaxBody {
		done(stream.Receipt{}, stream.ErrTooLarge)
		return
	}
	if s.lowDisk.Load() {
		done(stream.Receipt{}, errLowDisk)
		return
	}
	s.enqueue(request{id: id, m: m, sum: sha256.Sum256(m.Body), done: done}, true)
}

// State returns a stream's state; see stream.Log.
func (s *Store) State(_ context.Context, id stream.ID) (stream.State, error) {
	st, _, err := s.peek(id)
	if err != nil {
		return stream.State{}, err
	}
	return st.snapshot(), nil
}

// Acknowledge moves a reader's cursor; see stream.Keeper. It does not wait for
// the disk: a cursor that a crash sets back only costs a repetition.
func (s *Store) Acknowledge(_ context.Context, id stream.ID, r stream.Reader, seq uint64) error {
	st, v, err := s.peek(id)
	if err != nil {
		return err
	}
	if !slices.Contains(v.settings.Readers, r) {
		return stream.ErrUnknownReader
	}
	if seq > v.head.head.Seq {
		return stream.ErrAhead
	}
	st.mu.Lock()
	if seq <= st.cursors[r] {
		st.mu.Unlock()
		return nil
	}
	st.cursors[r] = seq
	first := len(st.moved) == 0
	if !slices.Contains(st.moved, r) {
		st.moved = append(st.moved, r)
	}
	st.mu.Unlock()
	if first {
		s.do(func(c *commit) error { return c.settle(st) }, nil)
	}
	return nil
}

// Configure creates or changes a stream; see stream.Keeper.
func (s *Store) Configure(ctx context.Context, id stream.ID, settings stream.Settings) error {
	if err := settings.Check(); err != nil {
		return err
	}
	settings.Readers = slices.Clone(settings.Readers)
	return s.run(ctx, func(c *commit) error { return c.configure(id, settings) })
}

// Trim lets go of entries; see stream.Keeper.
func (s *Store) Trim(ctx context.Context, id stream.ID, upto uint64) error {
	return s.run(ctx, func(c *commit) error { return c.trim(id, upto) })
}

// Delete lets go of a stream; see stream.Keeper.
func (s *Store) Delete(ctx context.Context, id stream.ID) error {
	return s.run(ctx, func(c *commit) error { return c.remove(id) })
}

// watch is one call of Watch.
type watch struct{ watcher stream.Watcher }

// Watch tells w of what happens to a stream; see stream.Waker.
func (s *Store) Watch(_ context.Context, id stream.ID, w stream.Watcher) (func(), error) {
	entry := &watch{w}
	for {
		st, _, err := s.peek(id)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.states[id] != st { // evicted meanwhile
			s.mu.Unlock()
			continue
		}
		if len(st.watchers) == 0 {
			s.watched++
		}
		st.watchers = append(slices.Clip(st.watchers), entry)
		s.mu.Unlock()
		return func() { s.unwatch(st, entry) }, nil
	}
}

func (s *Store) unwatch(st *state, entry *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(st.watchers, entry) {
		return
	}
	st.watchers = slices.DeleteFunc(slices.Clone(st.watchers), func(w *watch) bool { return w == entry })
	if len(st.watchers) == 0 {
		s.watched--
	}
}

func (s *Store) watchersOf(st *state) []*watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.watchers
}

// Announce passes on what is not kept; see stream.Waker.
func (s *Store) Announce(ctx context.Context, id stream.ID, body []byte) error {
	if len(body) > stream.MaxAnnouncement {
		return stream.ErrTooLarge
	}
	st, _, err := s.peek(id)
	if err != nil {
		return err
	}
	// Watchers are called one at a time, which the committer sees to.
	s.do(func(c *commit) error {
		for _, w := range s.watchersOf(st) {
			w.watcher.Heard(body)
		}
		return nil
	}, nil)
	return nil
}

func decodeNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errDamaged
	}
	return binary.BigEndian.Uint64(b), nil
}

// now returns the store's time in seconds.
func (s *Store) now() uint64 { return s.seconds.Load() }

// age is the age of message ids that a time belongs to; see keys.go. The first
// is 1, so that there is one before it.
func age(seconds uint64) uint32 {
	return uint32(seconds/uint64(stream.Remember/time.Second)) + 1
}
