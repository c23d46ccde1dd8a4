package frame

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Action is what a connection may or may not do to a stream.
type Action byte

// The actions.
const (
	ActionRead     Action = 1 // Range, Subscribe, Head and, for its reader, Acknowledge
	ActionAppend   Action = 2
	ActionAnnounce Action = 3
)

// An Authority says what the other end of one connection may do. Its methods are
// called by one goroutine, for every request; they should answer from memory.
type Authority interface {
	// May returns nil, or an error of package wire that says why not. What it
	// allowed once, a subscription keeps: to take a right away, end the
	// connection by its context.
	May(a Action, id stream.ID) error
	// Reader returns the reader whose acknowledgements the connection gives.
	Reader() (r stream.Reader, ok bool)
}

// Store is what a Server needs of a stream.Store.
type Store interface {
	stream.Log
	stream.Waker
	Acknowledge(ctx context.Context, id stream.ID, r stream.Reader, seq uint64) error
}

// Options says how a Server serves. The zero value is a good one.
type Options struct {
	// Sign signs stream.Head.Message with the server's key; nil: heads are not
	// signed.
	Sign func(message []byte) []byte
	// Logger takes errors that clients are not told; nil discards them.
	Logger *slog.Logger
}

// A Server serves one store to any number of connections.
type Server struct {
	store   Store
	options Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	sessions map[*session]bool

	seed   maphash.Seed
	shards [topicShards]topicShard
}

// topicShards spreads the locking of what is followed.
const topicShards = 64

type topicShard struct {
	mu     sync.Mutex
	topics map[stream.ID]*topic
}

// NewServer returns a server of a store. Close ends it; the store stays open.
func NewServer(store Store, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{store: store, options: o, sessions: make(map[*session]bool), seed: maphash.MakeSeed()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for i := range s.shards {
		s.shards[i].topics = make(map[stream.ID]*topic)
	}
	s.running.Add(1)
	go s.look()
	return s
}

// errGoing is why a server that is being closed ends its connections.
var errGoing error = wire.Errorf(wire.Unavailable, "server is going away: connect again later")

// Close says Bye to everybody, waits until that is written, for as long as ctx
// allows, and ends all connections.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for session := range s.sessions {
		session.end(errGoing)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	s.cancel()
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for session := range s.sessions {
		session.conn.Close()
	}
	s.mu.Unlock()
	<-done
	return context.Cause(ctx)
}

// Serve serves one connection until it ends, and closes it. It returns nil if the
// other end left in order, and otherwise why it ended; ending ctx ends it.
func (s *Server) Serve(ctx context.Context, conn Conn, authority Authority) error {
	session := newSession(s, conn, authority)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		conn.Close()
		return errGoing
	}
	s.sessions[session] = true
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	stop := context.AfterFunc(ctx, func() {
		session.end(wire.Errorf(wire.Unauthorized, "server has ended the connection: connect again"))
	})
	err := session.run()
	stop()
	session.leave()
	s.mu.Lock()
	delete(s.sessions, session)
	s.mu.Unlock()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Connections returns how many there are now.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// look ends connections whose other end takes nothing or says nothing.
func (s *Server) look() {
	defer s.running.Done()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		s.mu.Lock()
		for session := range s.sessions {
			session.look(now)
		}
		s.mu.Unlock()
	}
}

// topic returns the topic of a stream, made and watched if need be. Each call is
// paired with one of drop.
func (s *Server) topic(ctx context.Context, id stream.ID) (*topic, error) {
	shard := s.shard(id)
	shard.mu.Lock()
	t := shard.topics[id]
	if t == nil {
		t = newTopic(s, id)
		shard.topics[id] = t
	}
	t.users++
	shard.mu.Unlock()
	if err := t.watch(ctx); err != nil {
		s.drop(t)
		return nil, err
	}
	return t, nil
}

func (s *Server) drop(t *topic) {
	shard := s.shard(t.id)
	shard.mu.Lock()
	t.users--
	last := t.users == 0
	if last {
		delete(shard.topics, t.id)
	}
	shard.mu.Unlock()
	if last {
		t.unwatch()
	}
}

func (s *Server) shard(id stream.ID) *topicShard {
	return &s.shards[maphash.Bytes(s.seed, id[:])%topicShards]
}
