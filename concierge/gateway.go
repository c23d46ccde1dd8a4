package concierge

import (
	"bytes"
	"container/list"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// chainBase is the base URL of the gateway below the concierge's: what stands
// behind it is a path of the query API (SPEC-bundle §6).
const chainBase = "/v1/chain"

const (
	// gatewayTime bounds one question to one source, its waiting (10 s) included.
	gatewayTime = 15 * time.Second
	// maxGatewayAnswer is the most bytes of an answer: the pages of the query API
	// end at 1 MiB and one row, and bundles far before.
	maxGatewayAnswer = 2 << 20
	// gatewayRate and gatewayBurst are the questions of one network.
	gatewayRate  = 20
	gatewayBurst = 400
	// maxAsking is how many questions are under way at once; each may hold an
	// answer in memory.
	maxAsking = 256
	// cacheTime is how long an answer that cannot change is given out again; a
	// source that lied is not repeated for longer.
	cacheTime = 10 * time.Minute
	// cacheBytes bounds the answers that are kept, cacheLargest one of them.
	cacheBytes   = 8 << 20
	cacheLargest = 256 << 10
)

// A forwarded path of the query API, with the parameters that go along.
type forwarded struct {
	pattern string // of net/http, below chainBase
	params  []string
	final   func(q url.Values, body []byte) bool // nil: the answer may change
}

// forwardedPaths is all that the gateway passes on: what a light client and a person
// need. Blocks and exports are for auditors, who ask validators.
func forwardedPaths() []forwarded {
	wait := []string{"wait"}
	always := func(url.Values, []byte) bool { return true }
	ofHeight := func(q url.Values, _ []byte) bool { return q.Has("at") } // a head that is there stays
	return []forwarded{
		{pattern: "GET /v1/bundle", params: []string{"account", "after", "at", "chain", "checkpoint", "commit", "devices", "handle", "known", "pin", "serving", "sponsor", "wait"}, final: ofHeight},
		{pattern: "GET /v1/status"},
		{pattern: "GET /v1/pin"},
		{pattern: "GET /v1/votes"},
		{pattern: "GET /v1/validators", params: []string{"height", "wait"}},
		{pattern: "GET /v1/genesis", final: always},
		{pattern: "GET /v1/checkpoints/{number}"},
		{pattern: "GET /v1/ops/{id}", params: wait, final: always}, // a receipt; without one it is not-found
		{pattern: "GET /v1/accounts/{id}/ops", params: []string{"after", "wait"}},
		{pattern: "POST /v1/ops"},
	}
}

// gateway passes questions about the chain on to sources. It believes nothing and
// vouches for nothing: who asks verifies.
type gateway struct {
	sources []string
	client  *http.Client
	first   atomic.Int64 // the source that answered last
	asking  chan struct{}
	cache   answers
}

// newGateway returns a gateway to sources, base URLs of the query API. They are
// the operator's and not checked for private addresses; redirects are not
// followed.
func newGateway(sources []string, now func() time.Time) *gateway {
	return &gateway{
		sources: sources, asking: make(chan struct{}, maxAsking), cache: answers{now: now, byKey: map[string]*list.Element{}},
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: askTime},
		},
	}
}

// mountGateway serves the gateway below chainBase.
func (s *Server) mountGateway(mux *http.ServeMux) {
	for _, p := range forwardedPaths() {
		method, path, _ := strings.Cut(p.pattern, " ")
		mux.HandleFunc(method+" "+chainBase+path, func(w http.ResponseWriter, r *http.Request) { s.askChain(w, r, p) })
	}
	mux.HandleFunc("OPTIONS "+chainBase+"/", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Content-Type, Accept")
		w.WriteHeader(http.StatusNoContent)
	})
}

// askChain answers one question.
func (s *Server) askChain(w http.ResponseWriter, r *http.Request, p forwarded) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-store") // an old answer is a wrong one
	h.Set("X-Content-Type-Options", "nosniff")
	a, err := s.fromChain(w, r, p)
	if err != nil {
		s.figures.gateway.WithLabelValues(wire.CodeOf(err).String()).Inc()
		a = problemOf(s.tell(err))
	} else {
		s.figures.gateway.WithLabelValues("answered").Inc()
	}
	allow(w, int64(len(a.body)))
	h.Set("Content-Type", a.kind)
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// problemOf is an error as the query API has it.
func problemOf(code wire.Code, text string) answered {
	b := wire.Encode(struct {
		_      struct{} `cbor:",toarray"`
		Code   string
		Reject namesvc.RejectCode
		Text   string
	}{Code: code.String(), Text: text})
	return answered{status: code.HTTPStatus(), kind: "application/cbor", body: b}
}

func (s *Server) fromChain(w http.ResponseWriter, r *http.Request, p forwarded) (answered, error) {
	leave, err := s.enter(remoteHost(r))
	if err != nil {
		return answered{}, err
	}
	defer leave()
	if !s.questions.take(keyOf(remoteHost(r)), 1, s.now()) {
		s.figures.refused.WithLabelValues("gateway").Inc()
		return answered{}, wire.Errorf(wire.Exhausted, "too many questions from your network: ask more slowly, or ask a validator")
	}
	var body []byte
	if r.Method == http.MethodPost {
		if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, namesvc.MaxOp)); err != nil {
			return answered{}, wire.Errorf(wire.Invalid, "the op has not come whole, or has more than %d bytes", namesvc.MaxOp)
		}
	}
	if strings.ContainsFunc(r.PathValue("id")+r.PathValue("number"), notInID) {
		return answered{}, wire.Errorf(wire.Invalid, "an id has letters and digits only")
	}
	given := r.URL.Query()
	q := url.Values{}
	for _, name := range p.params { // and no others
		if given.Has(name) {
			q.Set(name, given.Get(name))
		}
	}
	ask := question{method: r.Method, path: strings.TrimPrefix(r.URL.EscapedPath(), chainBase), query: q, json: wantsJSON(r), body: body}
	return s.gateway.answer(r.Context(), ask, p.final)
}

// notInID reports whether no id has such a character: it must not lead elsewhere at
// the source.
func notInID(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// A question is a request to the query API.
type question struct {
	method, path string
	query        url.Values
	json         bool
	body         []byte
}

func (q question) key() string {
	wait := q.query.Get("wait")
	q.query.Del("wait")
	k := q.path + "?" + q.query.Encode()
	if wait != "" {
		q.query.Set("wait", wait)
	}
	if q.json {
		k += " json"
	}
	return k
}

// answered is an answer that came whole.
type answered struct {
	status int
	kind   string
	body   []byte
}

// again reports whether another source should be asked.
func (a answered) again() bool {
	return a.status == http.StatusTooManyRequests || a.status >= 500
}

// answer asks one source after the other, beginning with the one that answered
// last, until one does.
func (g *gateway) answer(ctx context.Context, q question, final func(url.Values, []byte) bool) (answered, error) {
	if final != nil {
		if a, ok := g.cache.get(q.key()); ok {
			return a, nil
		}
	}
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	default:
		return answered{}, wire.Errorf(wire.Exhausted, "too many questions at once: try again in a moment")
	}
	first := g.first.Load()
	var last answered
	for i := range g.sources {
		n := (int(first) + i) % len(g.sources)
		a, err := g.ask(ctx, g.sources[n], q)
		if ctx.Err() != nil {
			break
		}
		if err == nil && !a.again() {
			g.first.Store(int64(n))
			if final != nil && a.status == http.StatusOK && final(q.query, a.body) {
				g.cache.put(q.key(), a)
			}
			return a, nil
		}
		if err == nil {
			last = a // it may say why
		}
	}
	if last.status != 0 {
		return last, nil
	}
	return answered{}, wire.Errorf(wire.Unavailable, "no source of the chain answers this concierge now: ask another")
}

// errSource is why a source's answer is not passed on.
var errSource error = wire.Errorf(wire.Unavailable, "source does not answer as one")

// ask asks one source.
func (g *gateway) ask(ctx context.Context, base string, q question) (answered, error) {
	ctx, cancel := context.WithTimeout(ctx, gatewayTime)
	defer cancel()
	u := strings.TrimSuffix(base, "/") + q.path
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u, bytes.NewReader(q.body))
	if err != nil {
		return answered{}, errSource
	}
	if q.json {
		r.Header.Set("Accept", "application/json")
	}
	res, err := g.client.Do(r)
	if err != nil {
		return answered{}, errSource
	}
	defer res.Body.Close()
	a := answered{status: res.StatusCode, kind: res.Header.Get("Content-Type")}
	// Anything else, such as a page, is not the chain's, and must not look like ours.
	if !slices.Contains([]string{"application/cbor", "application/json"}, a.kind) || a.status < 200 || a.status >= 300 && a.status < 400 {
		return answered{}, errSource
	}
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxGatewayAnswer+1))
	if err != nil || len(a.body) > maxGatewayAnswer {
		return answered{}, errSource
	}
	return a, nil
}

// answers keeps what cannot change, the least used of it for the shortest time.
type answers struct {
	now func() time.Time

	mu    sync.Mutex
	bytes int
	order list.List // of *cached, the last used first
	byKey map[string]*list.Element
}

type cached struct {
	key   string
	value answered
	until time.Time
}

func (c *answers) get(key string) (answered, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil {
		return answered{}, false
	}
	v := e.Value.(*cached)
	if !c.now().Before(v.until) {
		c.drop(e)
		return answered{}, false
	}
	c.order.MoveToFront(e)
	return v.value, true
}

func (c *answers) put(key string, a answered) {
	if len(a.body) > cacheLargest {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[key]; e != nil {
		c.drop(e)
	}
	c.byKey[key] = c.order.PushFront(&cached{key: key, value: a, until: c.now().Add(cacheTime)})
	c.bytes += c.cost(key, a)
	for c.bytes > cacheBytes {
		c.drop(c.order.Back())
	}
}

// cost is what an answer counts, with what it takes to keep it.
func (c *answers) cost(key string, a answered) int { return len(key) + len(a.body) + 256 }

// drop forgets one; c.mu is held.
func (c *answers) drop(e *list.Element) {
	v := c.order.Remove(e).(*cached)
	delete(c.byKey, v.key)
	c.bytes -= c.cost(v.key, v.value)
}
