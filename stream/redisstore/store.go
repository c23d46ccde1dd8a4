package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// A Store is streams on a Redis. It is a stream.Store.
type Store struct {
	client  redis.UniversalClient
	options Options

	queue   queue
	seconds atomic.Uint64         // of the store's clock
	unsafe  atomic.Pointer[error] // why nothing is appended now

	mu     sync.Mutex
	closed bool
	untidy map[stream.ID]bool      // have entries to delete
	heads  map[stream.ID]knownHead // computed before
	bells  map[stream.ID]*bell     // for those who watch
	names  map[string]stream.ID    // of their channels
	news   map[stream.ID]bool      // watched, or not, since Redis was last told

	pubsub  *redis.PubSub
	tell    chan struct{}   // something is in news
	ctx     context.Context // ends when the store closes
	cancel  context.CancelCauseFunc
	stopped sync.WaitGroup
}

func newStore(client redis.UniversalClient, o Options) *Store {
	s := &Store{
		client: client, options: o,
		untidy: make(map[stream.ID]bool),
		heads:  make(map[stream.ID]knownHead),
		bells:  make(map[stream.ID]*bell),
		names:  make(map[string]stream.ID),
		news:   make(map[stream.ID]bool),
		tell:   make(chan struct{}, 1),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.queue.init()
	return s
}

func (s *Store) start() {
	s.pubsub = s.client.Subscribe(s.ctx)
	s.stopped.Add(4)
	go s.sendLoop()
	go s.tickLoop()
	go s.subscribeLoop()
	go s.listen()
}

// Close lets what was submitted finish, and disconnects.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.queue.close()
	s.cancel(stream.ErrClosed)
	s.pubsub.Close()
	s.stopped.Wait()
	return s.client.Close()
}

// tag names a stream inside a key. What is between braces decides the slot.
func (s *Store) tag(id stream.ID) string {
	return s.options.Prefix + ":{" + base64.RawURLEncoding.EncodeToString(id[:]) + "}:"
}

func (s *Store) keys(id stream.ID) []string {
	tag := s.tag(id)
	return []string{tag + "s", tag + "e"}
}

// age is the age of message ids that it is: ages are stream.Remember long.
func (s *Store) age() uint64 { return s.seconds.Load() / uint64(stream.Remember/time.Second) }

// keysWithIDs returns also the keys of the message ids of this age and the last.
func (s *Store) keysWithIDs(id stream.ID, age uint64) []string {
	tag := s.tag(id)
	keys := []string{tag + "s", tag + "e", tag + "d" + strconv.FormatUint(age, 10)}
	if age > 0 {
		keys = append(keys, tag+"d"+strconv.FormatUint(age-1, 10))
	}
	return keys
}

func (s *Store) channel(id stream.ID) string { return s.tag(id) + "w" }

// idLife is how long Redis keeps the message ids of one age, in seconds from its
// first: the age itself, the next, and one more, for clocks that step.
const idLife = 3 * int64(stream.Remember/time.Second)

// Submit appends a message; see stream.Log.
func (s *Store) Submit(id stream.ID, m stream.Message, done func(stream.Receipt, error)) {
	if len(m.Body) > stream.MaxBody {
		done(stream.Receipt{}, stream.ErrTooLarge)
		return
	}
	if err := s.unsafe.Load(); err != nil {
		done(stream.Receipt{}, *err)
		return
	}
	if m.Expect != nil {
		go s.compareAndAppend(id, m, done)
		return
	}
	s.submit(id, m, "", func(r stream.Receipt, _ bool, err error) { done(r, err) })
}

// submit appends if the stream's newest entry has the expected number, and says
// whether it was refused for having another.
func (s *Store) submit(id stream.ID, m stream.Message, expect string, done func(r stream.Receipt, head bool, err error)) {
	age := s.age()
	s.queue.add(request{
		function: "append", keys: s.keysWithIDs(id, age), size: len(m.Body),
		args: []any{pack(m, s.seconds.Load()), expect, s.channel(id), age, idLife},
		done: func(reply []any, err error) {
			if err != nil {
				done(stream.Receipt{}, word(reply) == "head", err)
				return
			}
			seq, err := number(reply, 1)
			done(stream.Receipt{Seq: seq, Again: word(reply) == "again"}, false, err)
			if err == nil && word(reply) == "done" {
				s.wake(id, seq)
			}
		},
	})
}

// compareAndAppend appends on an expected head. Redis compares numbers; the hash
// that belongs to a number never changes, so it can be compared before.
func (s *Store) compareAndAppend(id stream.ID, m stream.Message, done func(stream.Receipt, error)) {
	ctx, cancel := context.WithTimeout(s.ctx, answerTime)
	defer cancel()
	state, err := s.State(ctx, id)
	if err != nil {
		done(stream.Receipt{}, err)
		return
	}
	expect := strconv.FormatUint(m.Expect.Seq, 10)
	if state.Head.Seq == m.Expect.Seq && state.Head != *m.Expect {
		expect = "none" // it is refused, unless it is a retry
	}
	s.submit(id, m, expect, func(r stream.Receipt, head bool, err error) {
		if !head {
			done(r, err)
			return
		}
		go func() { // answers are given one after the other and must not wait
			ctx, cancel := context.WithTimeout(s.ctx, answerTime)
			defer cancel()
			state, err := s.State(ctx, id)
			if err == nil {
				err = &stream.HeadError{Head: state.Head}
			}
			done(stream.Receipt{}, err)
		}()
	})
}

// Range returns entries after a number; see stream.Log.
func (s *Store) Range(ctx context.Context, id stream.ID, after uint64, max int) (stream.Page, error) {
	reply, err := s.call(ctx, "range", s.keys(id), after, min(max, stream.MaxPage), stream.EntryCost)
	if err != nil {
		return stream.Page{}, err
	}
	page := stream.Page{}
	if page.After, err = number(reply, 1); err == nil {
		page.Head, err = number(reply, 2)
	}
	if err != nil {
		return stream.Page{}, err
	}
	page.Entries = make([]stream.Entry, len(reply)-3)
	for i := range page.Entries {
		m, err := packedAt(reply, i+3, packHead)
		if err != nil {
			return stream.Page{}, err
		}
		page.Entries[i] = stream.Entry{Seq: page.After + 1 + uint64(i), ID: stream.MessageID(m[:16]), Body: m[packHead:]}
	}
	return page, nil
}

// Configure creates or changes a stream; see stream.Keeper.
func (s *Store) Configure(ctx context.Context, id stream.ID, settings stream.Settings) error {
	if err := settings.Check(); err != nil {
		return err
	}
	var readers []byte
	for _, r := range settings.Readers {
		readers = append(readers, r[:]...)
	}
	genesis := stream.Genesis(id)
	_, err := s.write(ctx, "configure", s.keys(id), settings.MaxEntries, settings.MaxBytes,
		int64(settings.TTL/time.Second), readers, rand.Text(), genesis.Hash[:])
	s.mark(id)
	return err
}

// Acknowledge moves a reader's cursor; see stream.Keeper.
func (s *Store) Acknowledge(ctx context.Context, id stream.ID, r stream.Reader, seq uint64) error {
	_, err := s.write(ctx, "acknowledge", s.keys(id), r[:], seq)
	s.mark(id)
	return err
}

// Trim lets go of entries; see stream.Keeper.
func (s *Store) Trim(ctx context.Context, id stream.ID, upto uint64) error {
	if _, err := s.write(ctx, "trim", s.keys(id), upto); err != nil {
		return err
	}
	return s.tidy(ctx, id)
}

// Delete lets go of a stream; see stream.Keeper.
func (s *Store) Delete(ctx context.Context, id stream.ID) error {
	_, err := s.write(ctx, "remove", s.keysWithIDs(id, s.age()), s.channel(id))
	s.wake(id, 0)
	return err
}

// mark notes that a stream may have entries to delete.
func (s *Store) mark(id stream.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untidy[id] = true
}

// call runs a function that only reads.
func (s *Store) call(ctx context.Context, function string, keys []string, args ...any) ([]any, error) {
	if s.isClosed() {
		return nil, stream.ErrClosed
	}
	reply, err := s.client.FCall(ctx, prefixOf(function), keys, args...).Slice()
	return s.verdict(reply, err)
}

// write runs a function that writes, in the order of all that is submitted.
func (s *Store) write(ctx context.Context, function string, keys []string, args ...any) ([]any, error) {
	type answer struct {
		reply []any
		err   error
	}
	answered := make(chan answer, 1)
	s.queue.add(request{function: function, keys: keys, args: args, done: func(reply []any, err error) {
		answered <- answer{reply, err}
	}})
	select {
	case a := <-answered:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, unavailable(context.Cause(ctx))
	}
}

func prefixOf(function string) string { return "confab_stream_1_" + function }

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// verdict turns what a function says into an error.
func (s *Store) verdict(reply []any, err error) ([]any, error) {
	switch {
	case s.isClosed() && err != nil:
		return nil, stream.ErrClosed
	case err != nil && strings.Contains(err.Error(), "Function not found"):
		// A server that was emptied, or is new in its cluster.
		if load := s.loadFunctions(s.ctx); load != nil {
			err = errors.Join(err, load)
		}
		return nil, unavailable(err)
	case err != nil:
		return nil, unavailable(err)
	}
	switch word(reply) {
	case "done", "again":
		return reply, nil
	case "missing":
		return reply, stream.ErrNotFound
	case "reused":
		return reply, stream.ErrReused
	case "full":
		return reply, stream.ErrFull
	case "ahead":
		return reply, stream.ErrAhead
	case "reader":
		return reply, stream.ErrUnknownReader
	case "head":
		return reply, wire.Errorf(wire.Conflict, "stream has another head")
	}
	return nil, errDamaged
}

var errDamaged error = wire.Errorf(wire.Internal, "what is on Redis is not what we wrote: restore it from a backup")

// word returns the first word of a function's answer.
func word(reply []any) string {
	if len(reply) == 0 {
		return ""
	}
	w, _ := reply[0].(string)
	return w
}

func number(reply []any, i int) (uint64, error) {
	if i < len(reply) {
		if text, ok := reply[i].(string); ok {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				return n, nil
			}
		}
	}
	return 0, errDamaged
}

// packHead is how many bytes of an entry are before its body; see stream.lua.
const packHead = 16 + 32 + 8

// pack returns what Redis keeps of a message.
func pack(m stream.Message, now uint64) []byte {
	sum := sha256.Sum256(m.Body)
	b := make([]byte, 0, packHead+len(m.Body))
	b = append(b, m.ID[:]...)
	b = append(b, sum[:]...)
	b = binary.BigEndian.AppendUint64(b, now)
	return append(b, m.Body...)
}

// packedAt returns what was packed, or the beginning of it.
func packedAt(reply []any, i, least int) ([]byte, error) {
	text, ok := reply[i].(string)
	if !ok || len(text) < least {
		return nil, errDamaged
	}
	return []byte(text), nil
}
