package concierge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// Options are what a Server is made of.
type Options struct {
	Service Service    // this concierge as its name entry has it, but for the key
	Key     key.Server // the key of that entry
	// Former are keys that the entry had before: orders to forward that were sealed
	// under them are taken over.
	Former []key.Server
	Chain  Chain
	Store  stream.Store // stays open when the server is closed
	// Issue is chosen at random when a store is made, and anew when it is
	// restored from a backup: KeyPackages of another issue are not given out, as
	// some of them may have been since the backup. Servers that share a store
	// have the same.
	Issue  [16]byte
	Limits Limits
	// Media keeps files, and stays open when the server is closed; nil: none are
	// kept.
	Media *blob.Store
	// Sources are whom the gateway to the chain asks, base URLs of the query API;
	// none: there is no gateway.
	Sources []string
	// Sponsor pays for people's registrations; nil: it does not.
	Sponsor *Sponsorship
	// Local lets the concierge reach others on this machine and in private
	// networks, whose URLs anybody may write into an entry: for trying things out.
	Local  bool
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil for time.Now
	Rand   io.Reader        // nil for crypto/rand

	pause func(failures int) time.Duration // of tests
}

// A Server is a concierge: connections, one-shot requests, and what it keeps.
// Several servers may share one store.
type Server struct {
	me        Service
	signer    signer
	store     stream.Store
	issue     [16]byte
	limits    Limits
	logger    *slog.Logger
	now       func() time.Time
	rand      io.Reader
	upgrader  *websocket.Upgrader
	frames    *frame.Server
	members   *members
	packets   sync.Pool
	owners    [ownerLocks]sync.Mutex
	queueRate *buckets
	strangers *buckets // of each network: work to be checked
	figures   *figures
	registry  *prometheus.Registry
	forwards  *forwards
	tokens    *tokens
	reach     dialer        // connects to other services
	checking  chan struct{} // room for checks of work
	meeting   chan struct{} // room for handshakes
	extras

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	all    int
	from   map[netip.Prefix]int
}

// New returns a server; it asks the chain from now on. Close ends it.
func New(o Options) (*Server, error) {
	if o.Service.Chain == "" || o.Service.Account == (namesvc.AccountID{}) || o.Service.Generation == 0 {
		return nil, wire.Errorf(wire.Invalid, "concierge: the service has no chain, account or generation")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	o.Service.Key = o.Key.Public()
	limits := o.Limits.filled()
	o.Limits = limits
	more, err := newExtras(o)
	if err != nil {
		return nil, err
	}
	s := &Server{
		extras: more, me: o.Service, signer: newSigner(o.Key), store: o.Store, issue: o.Issue, limits: limits, logger: o.Logger, now: o.Now, rand: o.Rand,
		strangers: newBuckets(strangerRate, strangerBurst),
		upgrader:  newUpgrader(), queueRate: newBuckets(limits.QueueRate, limits.QueueBurst), registry: prometheus.NewRegistry(),
		reach: reach(o.Local), checking: make(chan struct{}, checkers), meeting: make(chan struct{}, maxHandshakes), from: map[netip.Prefix]int{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.frames = frame.NewServer(mail{o.Store, s}, frame.Options{Logger: o.Logger, Sign: func(m []byte) []byte {
		sig := s.signer.sign("", m) // stream.Head.Message has its tag
		return sig[:]
	}})
	s.figures = newFigures(s.registry, s.frames.Connections)
	s.members = &members{
		chain: o.Chain, me: o.Service, grace: limits.Grace, now: o.Now, logger: o.Logger,
		accounts: map[namesvc.AccountID]*member{}, changed: s.devicesChanged,
	}
	if s.forwards, err = newForwards(s, o.Former, o.pause); err != nil {
		s.cancel()
		return nil, errors.Join(err, s.frames.Close(context.Background()))
	}
	s.tokens = newTokens(s)
	s.running.Go(s.tokens.watch)
	s.running.Go(func() { s.members.watch(s.ctx) })
	if s.media != nil {
		s.running.Go(func() { s.sweep(s.ctx) })
	}
	return s, nil
}

// devicesChanged makes the queues of an account wait for its new devices, and
// closes or opens them when it has moved.
func (s *Server) devicesChanged(ctx context.Context, who standing) {
	o := OwnerOf(who.account, who.generation)
	defer s.hold(o)()
	_, err := settle(ctx, s.store, o, s.shelf(o), who)
	if err == nil {
		err = s.forwards.stands(ctx, o, who)
	}
	if err != nil && wire.CodeOf(err) != wire.NotFound {
		s.logger.Warn("what is kept for an account is not as the chain has it; the next connection tries again", "owner", o, "error", err)
	}
}

// hold keeps other changes of this process to what is kept for an owner out,
// until release is called: compare-and-append is for those of other processes.
func (s *Server) hold(o Owner) (release func()) {
	mu := &s.owners[o[0]%ownerLocks]
	mu.Lock()
	return mu.Unlock
}

// ownerLocks spreads the locking of owners.
const ownerLocks = 64

// shelf is what KeyPackages of an owner are kept under.
func (s *Server) shelf(o Owner) Owner { return TagKept.Sum(o[:], s.issue[:]) }

// Service returns what clients must know of this concierge.
func (s *Server) Service() Service { return s.me }

// Metrics returns the page for Prometheus.
func (s *Server) Metrics() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
}

// Close says goodbye to all connections, for as long as ctx allows, and ends
// them.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.frames.Close(ctx)
	s.cancel()
	s.forwards.close()
	s.running.Wait()
	return err
}

// networkOf returns the network that an address counts for.
func networkOf(host string) netip.Prefix {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 48
	if a = a.Unmap(); a.Is4() {
		bits = 24
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}

// keyOf returns what buckets know a network by.
func keyOf(host string) [32]byte { return sha256.Sum256([]byte(networkOf(host).String())) }

// enter makes room for a connection of a network; leave gives it back.
func (s *Server) enter(host string) (leave func(), err error) {
	n := networkOf(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, wire.Errorf(wire.Unavailable, "concierge is going away: connect again later")
	case s.all >= s.limits.Connections:
		s.figures.refused.WithLabelValues("connections").Inc()
		return nil, wire.Errorf(wire.Exhausted, "concierge has as many connections as it takes: try again later")
	case s.from[n] >= s.limits.PrefixConnections:
		s.figures.refused.WithLabelValues("network").Inc()
		return nil, wire.Errorf(wire.Exhausted, "too many connections from your network: close some")
	}
	s.all++
	s.from[n]++
	s.running.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.from[n]--; s.from[n] == 0 {
			delete(s.from, n)
		}
		s.running.Done()
	}, nil
}

// socket serves GET /v1/socket.
func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	s.accept(w, r, func(ctx context.Context, conn *socket, c *session) { s.serve(ctx, conn, c) })
}

// accept does the handshake of a connection and has it served.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, serve func(context.Context, *socket, *session)) {
	leave, err := s.enter(remoteHost(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	binding, err := channelBinding(r.TLS)
	if err != nil {
		leave()
		s.fail(w, r, err)
		return
	}
	ws, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		leave()
		return // the library has answered
	}
	conn := newSocket(ws, false, &s.packets)
	session, ctx, err := s.welcome(conn, binding, keyOf(remoteHost(r)))
	if err != nil {
		s.figures.sessions.WithLabelValues(wire.CodeOf(err).String()).Inc()
		conn.Close()
		leave()
		return
	}
	s.figures.sessions.WithLabelValues("open").Inc()
	// A goroutine of its own starts with a small stack; the one that did the
	// handshakes ends here with its large one.
	go func() {
		defer leave()
		serve(ctx, conn, session)
	}()
}

// welcome does the handshake.
func (s *Server) welcome(conn *socket, binding []byte, network [32]byte) (*session, context.Context, error) {
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	select {
	case s.meeting <- struct{}{}:
		defer func() { <-s.meeting }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	who, err := meet(conn, s.me, s.signer, binding, s.rand)
	if err != nil {
		return nil, nil, judge(conn, err)
	}
	session, running, err := s.open(ctx, who, network)
	if jerr := judge(conn, err); jerr != nil {
		if err == nil {
			s.shut(session)
		}
		return nil, nil, jerr
	}
	return session, running, nil
}

// serve serves a connection until it ends.
func (s *Server) serve(ctx context.Context, conn frame.Conn, c *session) {
	defer s.shut(c)
	err := s.frames.Serve(ctx, served{Conn: conn, handle: func(r request) answer { return s.handle(c, r) }}, c)
	if why := context.Cause(ctx); why != nil && wire.CodeOf(why) == wire.Unauthorized {
		s.figures.ended.Inc()
	}
	if err != nil {
		s.logger.Debug("connection ended", "error", err)
	}
}

// Connections returns how many clients are connected.
func (s *Server) Connections() int { return s.frames.Connections() }

// Freshness returns the newest head of the chain that the concierge knows, 0
// before the first, and how long ago the chain last answered.
func (s *Server) Freshness() (height uint64, age time.Duration) { return s.members.freshness() }
