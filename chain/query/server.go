package query

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
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
}

// Bounds.
const (
	// maxWait is how long a request may wait for something to happen.
	maxWait = 10 * time.Second
	// maxPage is how many rows one answer has at most.
	maxPage = 1000
	// maxPageBytes is when a page ends early: rows can be large.
	maxPageBytes = 1 << 20
	// maxWaiting bounds the requests that wait at once; each holds a
	// goroutine and a connection, some 10 kB.
	maxWaiting = 4096
	// maxSubmitting bounds the ops that are checked at once: a commit costs
	// milliseconds and 4 MiB of memory.
	maxSubmitting = 8
)

// Handler returns the API. It is safe for the open network: read-only but for
// submission, which is bounded and checked.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	waiting := make(chan struct{}, maxWaiting)
	submitting := make(chan struct{}, maxSubmitting)
	handle := func(pattern string, slots chan struct{}, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			default:
				s.fail(w, r, wire.Errorf(wire.Exhausted, "too many requests at once; try again in a moment"))
				return
			}
			v, err := f(r)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			s.answer(w, r, http.StatusOK, v)
		})
	}
	handle("GET /v1/status", waiting, s.status)
	handle("GET /v1/pin", waiting, s.pin)
	handle("GET /v1/bundle", waiting, s.bundle)
	handle("POST /v1/ops", submitting, s.submit)
	handle("GET /v1/ops/{id}", waiting, s.receipt)
	handle("GET /v1/accounts/{id}/ops", waiting, s.history)
	handle("GET /v1/blocks", waiting, s.blocks)
	handle("GET /v1/checkpoints/{number}", waiting, s.checkpoint)
	mux.HandleFunc("GET /healthz", s.health)
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
		Provable: s.Heads.Newest(), Rules: namesvc.Rules,
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

func (s *Server) bundle(r *http.Request) (any, error) {
	q := r.URL.Query()
	ask := Ask{Chain: q.Has("chain"), Devices: q.Has("devices"), Serving: q.Has("serving")}
	var err error
	if text := q.Get("handle"); text != "" {
		if ask.Handle, err = namesvc.ParseHandle(text); err != nil {
			return nil, wire.Errorf(wire.Invalid, "%w", err)
		}
	}
	if text := q.Get("account"); text != "" {
		id, err := namesvc.ParseAccountID(text)
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "%w", err)
		}
		ask.Account = &id
	}
	if text := q.Get("commit"); text != "" {
		hash, err := opID(text)
		if err != nil {
			return nil, err
		}
		ask.Commit = (*[32]byte)(&hash)
	}
	var after uint64
	for name, into := range map[string]*uint64{"known": &ask.Known, "pin": &ask.Pin, "at": &ask.At, "after": &after} {
		if *into, err = number(q.Get(name)); err != nil {
			return nil, err
		}
	}
	if err := s.wait(r, func() bool { return s.Heads.Newest() > after }); err != nil {
		return nil, err
	}
	return s.Bundle(ask)
}

// Submitted is the answer to a submission: the mempool took the op. It does not
// say that the op will be in a block.
type Submitted struct {
	_  struct{} `cbor:",toarray"`
	ID namesvc.OpID
}

func (s *Server) submit(r *http.Request) (any, error) {
	op, err := io.ReadAll(io.LimitReader(r.Body, namesvc.MaxOp+1))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "read op: %w", err)
	}
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		return nil, &RejectError{Reject: *fault}
	}
	code, detail, err := s.Submit(r.Context(), op)
	switch {
	case err != nil:
		return nil, wire.Errorf(wire.Unavailable, "submit: %w", err)
	case code == chain.LaneFull:
		return nil, wire.Errorf(wire.Exhausted, "%s", detail)
	case code != 0:
		return nil, &RejectError{Reject: namesvc.Reject{Code: namesvc.RejectCode(code), Detail: detail}}
	}
	return Submitted{ID: tx.ID}, nil
}

// RejectError is an op that the law refuses.
type RejectError struct{ Reject namesvc.Reject }

func (e *RejectError) Error() string { return e.Reject.Error() }

// Unwrap gives the error its kind.
func (e *RejectError) Unwrap() error {
	return &wire.Error{Code: e.Reject.Code.Kind(), Text: e.Error()}
}

func (s *Server) receipt(r *http.Request) (any, error) {
	id, err := opID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var rec chain.ReceiptRecord
	var found bool
	werr := s.wait(r, func() bool {
		rec, found, err = s.App.Receipt(id)
		return found || err != nil
	})
	switch {
	case err != nil:
		return nil, err
	case !found && werr != nil:
		return nil, werr
	case !found:
		return nil, wire.Errorf(wire.NotFound, "op %v is in no block", id)
	}
	return rec, nil
}

// Page is some rows of a list.
type Page[T any] struct {
	_    struct{} `cbor:",toarray"`
	Rows []T
	More bool // ask again after the last row
}

func page[T any](rows []T, limit int, size func(T) int) Page[T] {
	total := 0
	for i, row := range rows {
		if total += size(row); total > maxPageBytes && i > 0 {
			return Page[T]{Rows: rows[:i], More: true}
		}
	}
	return Page[T]{Rows: rows, More: len(rows) == limit}
}

func (s *Server) history(r *http.Request) (any, error) {
	id, err := namesvc.ParseAccountID(r.PathValue("id"))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%w", err)
	}
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		return nil, err
	}
	const limit = 200
	rows, err := s.App.History(id, after, limit)
	if err != nil {
		return nil, err
	}
	return page(rows, limit, func(o chain.LoggedOp) int { return len(o.Op) }), nil
}

func (s *Server) blocks(r *http.Request) (any, error) {
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		return nil, err
	}
	const limit = 16 // a block may be megabytes
	rows, err := s.App.Blocks(after, limit)
	if err != nil {
		return nil, err
	}
	return page(rows, limit, func(b chain.BlockRecord) int {
		n := 0
		for _, op := range b.Ops {
			n += len(op)
		}
		return n
	}), nil
}

// Sealed is a checkpoint with its seals, which are empty until two thirds of
// the validators have sealed it.
type Sealed struct {
	_          struct{} `cbor:",toarray"`
	Checkpoint verify.Checkpoint
	Digest     [32]byte
	Seals      *verify.Seals
}

func (s *Server) checkpoint(r *http.Request) (any, error) {
	n, err := number(r.PathValue("number"))
	if err != nil {
		return nil, err
	}
	c, ok, err := s.App.Checkpoint(n)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, wire.Errorf(wire.NotFound, "there is no checkpoint %d yet", n)
	}
	out := Sealed{Checkpoint: c, Digest: c.Digest(verify.ChainTag(s.Chain))}
	if seals, ok, err := s.App.Seals(n); err != nil {
		return nil, err
	} else if ok {
		out.Seals = &seals
	}
	return out, nil
}

// health says whether this node keeps up: 200 if its newest block is less than
// a minute old.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	mark, _ := s.App.Last()
	age := time.Since(time.Unix(int64(mark.Time), 0))
	if mark.Height == 0 || age > time.Minute {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "stale: the newest block is old; this node is catching up or the chain has stopped\n")
		return
	}
	io.WriteString(w, "ok\n")
}

// wait returns when done reports true, a block came too late for the caller's
// patience (the query parameter wait, in seconds), or the caller has gone.
func (s *Server) wait(r *http.Request, done func() bool) error {
	seconds, err := number(r.URL.Query().Get("wait"))
	if err != nil {
		return err
	}
	patience := min(time.Duration(min(seconds, 3600))*time.Second, maxWait)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	// A head becomes provable a little after the app has committed the block
	// before it, and only the latter is announced; hence the ticks between.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, news := s.App.Last()
		if done() {
			return nil
		}
		select {
		case <-news:
		case <-tick.C:
		case <-deadline.C:
			return wire.Errorf(wire.Unavailable, "not yet; ask again")
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
}

func number(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, wire.Errorf(wire.Invalid, "%.40q is not a number", text)
	}
	return n, nil
}

func opID(text string) (namesvc.OpID, error) {
	var id namesvc.OpID
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, wire.Errorf(wire.Invalid, "an op id has %d hexadecimal digits", 2*len(id))
	}
	copy(id[:], b)
	return id, nil
}
