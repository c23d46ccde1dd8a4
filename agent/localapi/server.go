package localapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Bounds of what one agent does for its user's programs.
const (
	// maxBody bounds a request: the longest text is 16 KiB, and JSON may write each
	// of its bytes with six.
	maxBody = 128 << 10
	// maxConnections bounds connections to one listener: windows and scripts of one
	// person, each with a follower and some calls.
	maxConnections = 128
	// maxFollowers bounds those who follow at once, below what the agent takes, so
	// that one too many is told so.
	maxFollowers = 32
	maxHeader    = 8 << 10

	headerTime = 10 * time.Second
	bodyTime   = 30 * time.Second
	idleTime   = 2 * time.Minute
	// writeTime is how long somebody may take to read a piece of an answer.
	writeTime = 30 * time.Second
	// beat is how often a quiet stream sends an empty line, which finds out that
	// nobody reads any more.
	beat = 20 * time.Second
	// goodbye is how long calls that run may take when the server ends.
	goodbye = 2 * time.Second
)

// Options are what a Server is made of.
type Options struct {
	Agent  *chat.Agent
	Stop   func()       // ends the agent, soon after it returns
	Logger *slog.Logger // nil discards
}

// A Server answers for a running agent.
type Server struct {
	rows      []row
	follow    func(after uint64) (<-chan chat.Notice, func())
	log       *slog.Logger
	followers chan struct{}

	ctx    context.Context // ends with the server
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	servers []*http.Server
}

// NewServer returns a server that listens nowhere yet: see [Server.Socket] and
// [Server.HTTP].
func NewServer(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return newServer(table(o.Agent, o.Stop), o.Agent.Follow, o.Logger)
}

func newServer(rows []row, follow func(uint64) (<-chan chat.Notice, func()), log *slog.Logger) *Server {
	s := &Server{rows: rows, follow: follow, log: log, followers: make(chan struct{}, maxFollowers)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Socket answers at the socket of an account's home.
func (s *Server) Socket(home string) error {
	l, err := listenSocket(home, s.log)
	if err != nil {
		return err
	}
	s.serve(l, s.handler(nil))
	return nil
}

// HTTP answers at an address of loopback, to those who know the token in the
// home's token file, and returns the base URL. Web pages get in only from one of
// the origins ("https://app.example").
func (s *Server) HTTP(home, addr string, origins []string) (string, error) {
	token, err := loadToken(home)
	if err != nil {
		return "", err
	}
	l, err := listenLoopback(addr)
	if err != nil {
		return "", err
	}
	at := l.Addr().(*net.TCPAddr)
	s.serve(l, s.handler(newGate(token, at, origins)))
	return "http://" + at.String(), nil
}

// handler returns what answers requests, those that the gate lets in. The gate
// of the socket is its folder: nil.
func (s *Server) handler(g *gate) http.Handler {
	mux := http.NewServeMux()
	for _, m := range s.rows {
		mux.HandleFunc("POST /v1/"+m.path, func(w http.ResponseWriter, r *http.Request) {
			s.answer(w, r, m, g == nil)
		})
	}
	mux.HandleFunc("GET /v1/"+events, s.events)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, wire.Errorf(wire.NotFound, "there is no %.10s %.60q; docs/SPEC-localapi.md lists all calls", r.Method, r.URL.Path))
	})
	if g == nil {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done, err := g.admit(w, r)
		switch {
		case err != nil:
			s.fail(w, err)
		case !done:
			mux.ServeHTTP(w, r)
		}
	})
}

func (s *Server) serve(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: 0, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.mu.Lock()
	s.servers = append(s.servers, server)
	s.mu.Unlock()
	s.wg.Go(func() {
		if err := server.Serve(newBounded(l)); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the local API has stopped", "error", err)
		}
	})
}

// Close ends all streams and calls and stops listening.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	s.cancel()
	s.mu.Lock()
	servers := s.servers
	s.mu.Unlock()
	var errs []error
	for _, server := range servers {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, server.Close())
		}
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// read takes the body of a request.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "read request: %w", err)
	}
	return b, nil
}

// decode reads a request's JSON into its shape. What the shape does not have is
// refused: it would be ignored, and whoever sent it would not notice.
func decode(b []byte, q any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		b = []byte("{}")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(q); err != nil {
		return wire.Errorf(wire.Invalid, "read request: %w", err)
	}
	if d.More() {
		return wire.Errorf(wire.Invalid, "read request: more follows after its JSON")
	}
	return nil
}

// answer does one call.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, m row, local bool) {
	b, err := read(w, r)
	if err != nil {
		s.fail(w, err)
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	a := &answer{s: s, w: w}
	q, err := m.decode(b)
	if f, ok := q.(namesFiles); ok && err == nil && !local && f.file() != "" {
		err = wire.Errorf(wire.Unauthorized, "%s: paths of files are taken from the socket only", m.path)
	}
	if err == nil {
		err = m.do(r.Context(), q, a)
	}
	if err != nil {
		a.fail(err)
	}
}

// events streams what happens.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	after := ^uint64(0) // only what is to come
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			s.fail(w, wire.Errorf(wire.Invalid, "after is %.30q: it must be the number of an event", text))
			return
		}
	}
	select {
	case s.followers <- struct{}{}:
		defer func() { <-s.followers }()
	default:
		s.fail(w, wire.Errorf(wire.Exhausted, "%d programs follow already; end one of them", maxFollowers))
		return
	}
	notices, stop := s.follow(after)
	defer stop()
	a := &answer{s: s, w: w}
	a.lines()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for a.err == nil {
		select {
		case n, ok := <-notices:
			if !ok {
				return
			}
			a.line(n)
		case <-tick.C:
			a.write([]byte("\n"))
		case <-r.Context().Done():
			return
		}
	}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, err error) { (&answer{s: s, w: w}).fail(err) }

// problem is an error as it crosses.
type problem struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// tell returns what others may know of an error. What has no kind is our own
// fault, and its cause is in the log.
func (s *Server) tell(err error) (wire.Code, problem) {
	code := wire.CodeOf(err)
	var known *wire.Error
	switch {
	case errors.As(err, &known):
		return code, problem{code.String(), err.Error()}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return wire.Unavailable, problem{wire.Unavailable.String(), err.Error()}
	}
	id := rand.Text()[:8]
	s.log.Error("a call failed", "id", id, "error", err)
	return code, problem{code.String(), "the agent could not do this; its log says why, at id " + id}
}
