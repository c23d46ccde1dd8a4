package query

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Submit hands an op to the mempool and returns its verdict: the law's reject
// code, or chain.LaneFull, with a sentence. An error means that the mempool
// could not be asked.
type Submit func(ctx context.Context, op []byte) (code uint32, detail string, err error)

// Server answers queries about one chain. Its fields are set before use and
// not changed after.
type Server struct {
	Chain  string
	App    *chain.App
	Store  *store.Store
	Heads  Heads
	Submit Submit
	Logger *slog.Logger

	Explorer bool       // serve pages for people too
	Peers    func() int // how many peers this validator has; nil if it is not known

	// Network is for those who want to join; zero tells them nothing.
	Network Network

	newest atomic.Pointer[onlyStep]
}

// Bounds.
const (
	// maxWait is how long a request may wait for something to happen.
	maxWait = 10 * time.Second
	// maxPageBytes is when a page ends early: rows can be large.
	maxPageBytes = 1 << 20
	// maxWaiting bounds the requests that wait for a block at once; each holds
	// a goroutine and a connection, some 10 kB. Who finds no place gets the
	// answer that others get in the end: not yet. Other requests go on.
	maxWaiting = 1024
	// maxSubmitting bounds the ops that are checked at once: a commit costs
	// milliseconds and 4 MiB of memory.
	maxSubmitting = 8
	// maxLine is how long an op may wait for its turn to be checked: longer
	// than a full mempool's worth of ops takes.
	maxLine = 3 * time.Second
)

// door is a Server with its bounds.
type door struct {
	*Server
	waiting    chan struct{} // one for each request that waits for a block
	submitting chan struct{} // one for each op that is being checked
}

// Handler returns the API. It is safe for the open network: read-only but for
// submission, which is bounded and checked. Who serves it bounds connections,
// headers and the time for each.
func (s *Server) Handler() http.Handler {
	d := &door{Server: s, waiting: make(chan struct{}, maxWaiting), submitting: make(chan struct{}, maxSubmitting)}
	mux := http.NewServeMux()
	handle := func(method, path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			s.answer(w, r, http.StatusOK, v)
		})
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", method)
			s.answer(w, r, http.StatusMethodNotAllowed, Problem{
				Code: wire.Invalid.String(), Text: "this address takes only " + method,
			})
		})
	}
	handle("GET", "/v1/status", d.status)
	handle("GET", "/v1/pin", d.pin)
	handle("GET", "/v1/bundle", d.bundle)
	handle("POST", "/v1/ops", d.submit)
	handle("GET", "/v1/ops/{id}", d.receipt)
	handle("GET", "/v1/accounts/{id}/ops", d.history)
	handle("GET", "/v1/blocks", d.blocks)
	handle("GET", "/v1/checkpoints/{number}", d.checkpoint)
	handle("GET", "/v1/export", d.export)
	handle("GET", "/v1/peers", s.peers)
	handle("GET", "/v1/votes", s.votes)
	handle("GET", "/v1/validators", s.turns)
	mux.HandleFunc("GET /v1/genesis", s.genesis)
	mux.HandleFunc("GET /healthz", s.health)
	if s.Explorer {
		s.newExplorer().mount(mux)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, wire.Errorf(wire.NotFound, "there is nothing at %.80q; see docs/SPEC-bundle.md §6", r.URL.Path))
	})
	return open(mux)
}

// open lets pages of any origin read the API: there are no cookies and no
// secrets here, and a browser verifies what it gets.
func open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store") // an old answer is a wrong one
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Content-Type, Accept")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Status is where the chain stands, as this node sees it. Nothing in it is
// proven.
type Status struct {
	_          struct{} `cbor:",toarray"`
	Chain      string
	Height     uint64
	Time       uint64
	Hash       [32]byte
	Root       [32]byte
	Provable   uint64
	Checkpoint uint64
	Validators int
	Rules      uint32
}

func (s *Server) status(*http.Request) (any, error) {
	mark, _ := s.App.Last()
	st := Status{
		Chain: s.Chain, Height: mark.Height, Time: mark.Time, Hash: mark.Hash, Root: s.Store.State().Root,
		Provable: s.Heads.Newest(), Rules: s.App.Rules(),
	}
	if p, ok := s.App.Params(); ok {
		st.Checkpoint = mark.Height / p.Checkpoint
	}
	if st.Provable > 0 {
		_, set, err := s.Heads.Head(st.Provable)
		if err != nil {
			return nil, err
		}
		st.Validators = set.Len()
	}
	return st, nil
}

// pin proposes a pin. Whoever takes it from here trusts this server once.
func (s *Server) pin(*http.Request) (any, error) {
	height := s.Heads.Newest()
	if height == 0 {
		return nil, wire.Errorf(wire.Unavailable, "the chain has just begun; try again in a moment")
	}
	head, _, err := s.Heads.Head(height)
	if err != nil {
		return nil, err
	}
	return verify.Pin{ChainID: s.Chain, Height: height, Hash: head.Header.Hash()}, nil
}

// age returns how old this node's newest block is, and whether that is too old
// for one that keeps up.
func (s *Server) age() (age time.Duration, stale bool) {
	mark, _ := s.App.Last()
	age = time.Since(time.Unix(int64(mark.Time), 0))
	return age, mark.Height == 0 || age > time.Minute
}

// health says whether this node keeps up: 200 if its newest block is less than
// a minute old.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if _, stale := s.age(); stale {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "stale: the newest block is old; this node is catching up or the chain has stopped\n")
		return
	}
	io.WriteString(w, "ok\n")
}
