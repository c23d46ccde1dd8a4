package concierge

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	lcsource "github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// validator serves the query API over a fake chain, as far as light clients ask.
type validator struct {
	node  fakechain.Node
	asked atomic.Int64
	last  atomic.Value // of string
	how   atomic.Value // of http.HandlerFunc: instead
}

func newValidator(t *testing.T, c *fakechain.Chain) (*validator, string) {
	v := &validator{node: fakechain.Node{Chain: c, Label: "validator"}}
	ts := httptest.NewServer(v)
	t.Cleanup(ts.Close)
	return v, ts.URL
}

func (v *validator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.asked.Add(1)
	v.last.Store(r.Method + " " + r.URL.RequestURI())
	if how, ok := v.how.Load().(http.HandlerFunc); ok && how != nil {
		how(w, r)
		return
	}
	q := r.URL.Query()
	n := func(name string) uint64 {
		x, _ := strconv.ParseUint(q.Get(name), 10, 64)
		return x
	}
	var out any
	var err error
	switch {
	case r.Method == "POST":
		b, _ := io.ReadAll(r.Body)
		out, err = []any{[]byte("id")}, v.node.Submit(r.Context(), b)
	case strings.HasSuffix(r.URL.Path, "/ops"):
		id, _ := namesvc.ParseAccountID(strings.Split(r.URL.Path, "/")[3])
		rows, more, oerr := v.node.Ops(r.Context(), id, n("after"))
		out, err = []any{rows, more}, oerr
	case r.URL.Path == "/v1/bundle":
		out, err = v.bundle(q, n)
	default:
		out = []any{r.URL.Path}
	}
	w.Header().Set("Content-Type", "application/cbor")
	if err != nil {
		code, reject := wire.CodeOf(err), namesvc.Accepted
		var refused *lightclient.RejectError
		if errors.As(err, &refused) {
			reject = refused.Code
		}
		w.WriteHeader(code.HTTPStatus())
		out = []any{code.String(), reject, err.Error()}
	}
	w.Write(wire.Encode(out))
}

func (v *validator) bundle(q url.Values, n func(string) uint64) (bundle.Bundle, error) {
	r := lightclient.Request{
		Handle: namesvc.Handle(q.Get("handle")), Chain: q.Has("chain"), Devices: q.Has("devices"), Serving: q.Has("serving"), Sponsor: q.Has("sponsor"),
		Known: n("known"), Pin: n("pin"), At: n("at"),
	}
	if id, err := namesvc.ParseAccountID(q.Get("account")); err == nil {
		r.Account = &id
	}
	if b, err := hex.DecodeString(q.Get("commit")); err == nil && len(b) == 32 {
		r.Commit = (*[32]byte)(b)
	}
	return v.node.Chain.Bundle(r)
}

// A light client whose only source is its concierge verifies what comes, through
// the concierge's own certificate.
func TestGateway_IsASourceLikeAValidator(t *testing.T) {
	c := fakechain.New(fakechain.Spec{})
	v, at := newValidator(t, c)
	d := newDepot(t, cheap(), func(o *Options) { o.Sources = []string{at} })
	v.node.Chain = d.Chain // it serves the world's chain
	alice := d.connect(d.alice)
	h, err := lcsource.NewHTTP(alice.ChainURL(), alice.HTTP())
	d.must(err)
	client, err := lightclient.New(lightclient.Config{Pin: d.Pin(1), Sources: []lightclient.Source{h}, Now: d.now})
	d.must(err)
	r, err := client.Resolve(t.Context(), "bob", 0)
	if err != nil || r.Entry.Account != d.bob.ID || r.Source != d.url+"/v1/chain" {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := client.Resolve(t.Context(), "nobody", 0); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("who is not there: %v", err)
	}
	if _, _, _, err := client.Sponsor(t.Context(), d.bob.ID, 0); wire.CodeOf(err) != wire.NotFound || !strings.Contains(err.Error(), "sponsors nobody") {
		t.Errorf("a sponsor: %v", err)
	}
	_, devices, _, err := client.Devices(t.Context(), d.bob.ID, 0)
	if err != nil || len(devices.List) != 1 {
		t.Errorf("devices: %+v, %v", devices, err)
	}
	if _, err := client.Chain(t.Context()); err != nil {
		t.Errorf("the chain: %v", err)
	}
	// Nothing was believed: a gateway that lies is found out.
	v.how.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		other := fakechain.New(fakechain.Spec{})
		b, err := (&validator{node: fakechain.Node{Chain: other}}).bundle(r.URL.Query(), func(string) uint64 { return 1 })
		d.must(err)
		w.Header().Set("Content-Type", "application/cbor")
		w.Write(wire.Encode(b))
	}))
	if r, err := client.Resolve(t.Context(), "bob", 0); err == nil {
		t.Errorf("a lie was believed: %+v", r)
	}
	v.how.Store(http.HandlerFunc(nil))
	// Ops and histories go the same way, refusals with their reasons.
	if err := h.Submit(t.Context(), d.Sign(d.alice, namesvc.OpRecords, *fakechain.ServedBy())); err != nil {
		t.Errorf("submit: %v", err)
	}
	var refused *lightclient.RejectError
	if err := h.Submit(t.Context(), []byte("no op")); !errors.As(err, &refused) || refused.Code != namesvc.Malformed {
		t.Errorf("no op: %v", err)
	}
	if err := h.Submit(t.Context(), make([]byte, namesvc.MaxOp+1)); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("too large an op: %v", err)
	}
	rows, _, err := h.Ops(t.Context(), d.alice.ID, 0)
	if err != nil || len(rows) == 0 {
		t.Errorf("history: %d rows, %v", len(rows), err)
	}
}

// gate is a gateway over sources that answer what a test says.
func gate(t *testing.T, sources ...http.HandlerFunc) (*depot, *http.Client) {
	t.Helper()
	var bases []string
	for _, s := range sources {
		ts := httptest.NewServer(s)
		t.Cleanup(ts.Close)
		bases = append(bases, ts.URL)
	}
	d := newDepot(t, cheap(), func(o *Options) { o.Sources = bases })
	return d, d.connect(nil).HTTP()
}

func (d *depot) ask(c *http.Client, path string) (status int, kind, body string) {
	d.Helper()
	res, err := c.Get(d.url + "/v1/chain" + path)
	d.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	d.must(err)
	return res.StatusCode, res.Header.Get("Content-Type"), string(b)
}

func cborAnswer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/cbor")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

func TestGateway_AsksAnotherSourceIfOneFails(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"unavailable": cborAnswer(503, "x"), "busy": cborAnswer(429, "x"), "a fault": cborAnswer(500, "x"),
		"a page":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html><script>") },
		"a redirect": http.RedirectHandler("http://127.0.0.1:1/", 302).ServeHTTP,
		"a redirect that says CBOR": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			cborAnswer(302, "x")(w, nil)
		},
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/cbor")
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "x")
		},
		"an endless answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/cbor")
			for b := make([]byte, 1<<16); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			d, c := gate(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); bad(w, r) }, cborAnswer(200, "good"))
			for range 3 {
				if status, kind, body := d.ask(c, "/v1/status"); status != 200 || body != "good" || kind != "application/cbor" {
					t.Errorf("%d %s %q", status, kind, body)
				}
			}
			if asked.Load() != 1 {
				t.Errorf("the one that failed was asked %d times", asked.Load())
			}
		})
	}
}

func TestGateway_SaysThatNobodyAnswers(t *testing.T) {
	d, c := gate(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") })
	status, kind, body := d.ask(c, "/v1/status")
	if status != 503 || kind != "application/cbor" || !strings.Contains(body, "no source of the chain answers") || strings.Contains(body, "html") {
		t.Errorf("%d %s %q", status, kind, body)
	}
	d, c = gate(t, cborAnswer(404, "not here"), cborAnswer(200, "here"))
	if status, _, body := d.ask(c, "/v1/bundle?handle=x"); status != 404 || body != "not here" {
		t.Errorf("an answer that is a no: %d %q", status, body)
	}
}

func TestGateway_PassesOnWhatItKnowsAndNothingElse(t *testing.T) {
	var last atomic.Value
	d, c := gate(t, func(w http.ResponseWriter, r *http.Request) {
		last.Store(r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Accept") + r.Header.Get("Cookie") + r.Header.Get("X-Forwarded-For"))
		cborAnswer(200, "x")(w, r)
	})
	for path, want := range map[string]string{
		"/v1/bundle?handle=bob&known=7&secret=1&format=json": "GET /v1/bundle?handle=bob&known=7 application/json",
		"/v1/bundle?handle=bob&handle=eve":                   "GET /v1/bundle?handle=bob ",
		"/v1/ops/" + strings.Repeat("ab", 32) + "?wait=5":    "GET /v1/ops/" + strings.Repeat("ab", 32) + "?wait=5 ",
		"/v1/accounts/abc/ops?after=3":                       "GET /v1/accounts/abc/ops?after=3 ",
		"/v1/checkpoints/7":                                  "GET /v1/checkpoints/7 ", "/v1/pin": "GET /v1/pin ", "/v1/votes?x=1": "GET /v1/votes ",
		"/v1/validators?height=4": "GET /v1/validators?height=4 ", "/v1/genesis": "GET /v1/genesis ",
	} {
		last.Store("")
		if status, _, _ := d.ask(c, path); status != 200 || last.Load() != want {
			t.Errorf("%s: %d, asked %q", path, status, last.Load())
		}
	}
	last.Store("nothing")
	for _, path := range []string{
		"/v1/export", "/v1/blocks", "/v1/peers", "/explorer/", "/", "/healthz", "/v1/ops/..%2f..%2fadmin", "/v1/ops/a%3fb", "/v1/accounts/%2e%2e/ops", "/v1/checkpoints/a%0d%0ab", "/metrics",
	} {
		if status, _, _ := d.ask(c, path); status < 400 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if last.Load() != "nothing" {
		t.Errorf("it asked %q", last.Load())
	}
	r, err := http.NewRequestWithContext(t.Context(), "OPTIONS", d.url+"/v1/chain/v1/ops", nil)
	d.must(err)
	res, err := c.Do(r)
	d.must(err)
	res.Body.Close()
	if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("pages of other origins: %d %v", res.StatusCode, res.Header)
	}
}

func TestGateway_KeepsWhatCannotChange(t *testing.T) {
	var asked atomic.Int64
	d, c := gate(t, func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if r.URL.Path == "/v1/ops/missing" {
			cborAnswer(404, "x")(w, r)
			return
		}
		cborAnswer(200, fmt.Sprint(n))(w, r)
	})
	count := func(path string) int64 {
		before := asked.Load()
		for range 3 {
			d.ask(c, path)
		}
		return asked.Load() - before
	}
	for path, want := range map[string]int64{
		"/v1/ops/a?wait=1": 1, "/v1/genesis": 1, "/v1/bundle?at=7&known=3": 1, "/v1/bundle?at=8&known=3": 1, "/v1/genesis?format=json": 1,
		"/v1/bundle?handle=bob": 3, "/v1/status": 3, "/v1/ops/missing": 3, "/v1/checkpoints/1": 3,
	} {
		if n := count(path); n != want {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	if n := count("/v1/ops/a"); n != 0 {
		t.Errorf("without waiting it was asked for %d times", n)
	}
	d.later(cacheTime + time.Minute)
	if n := count("/v1/ops/a"); n != 1 {
		t.Errorf("later it was asked for %d times", n)
	}
	g := &d.server.gateway.cache
	for i := range 200 {
		g.put(fmt.Sprint(i), answered{body: bytes.Repeat([]byte("x"), 100<<10)})
	}
	g.put("large", answered{body: make([]byte, cacheLargest+1)})
	if _, ok := g.get("199"); !ok || g.bytes > cacheBytes || len(g.byKey) != g.order.Len() || g.byKey["large"] != nil || g.byKey["0"] != nil {
		t.Errorf("%d bytes in %d answers", g.bytes, len(g.byKey))
	}
}

func TestGateway_BoundsOneNetworkAndAll(t *testing.T) {
	hold := make(chan struct{})
	d, c := gate(t, func(w http.ResponseWriter, r *http.Request) {
		<-hold
		cborAnswer(200, "x")(w, r)
	})
	d.server.gateway.asking = make(chan struct{}, 1)
	first := make(chan int)
	go func() {
		status, _, _ := d.ask(c, "/v1/status")
		first <- status
	}()
	d.eventually("one is asking", func() bool { return len(d.server.gateway.asking) == 1 })
	if status, _, _ := d.ask(c, "/v1/status"); status != 429 {
		t.Errorf("one too many: %d", status)
	}
	close(hold)
	if status := <-first; status != 200 {
		t.Errorf("the first: %d", status)
	}
	d.server.questions = newBuckets(0.001, 2)
	d.ask(c, "/v1/status")
	d.ask(c, "/v1/status")
	if status, _, _ := d.ask(c, "/v1/status"); status != 429 {
		t.Errorf("too many: %d", status)
	}
}

func TestGateway_EndsWithItsAsker(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	d, c := gate(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", d.url+"/v1/chain/v1/status", nil)
	d.must(err)
	go func() {
		<-begun
		cancel()
	}()
	if res, err := c.Do(r); err == nil {
		res.Body.Close()
		t.Error("it was answered")
	}
	<-ended
}

func TestGateway_CanBeOff(t *testing.T) {
	d := newDepot(t, cheap())
	if status, _, _ := d.ask(d.connect(nil).HTTP(), "/v1/status"); status != 404 {
		t.Errorf("%d", status)
	}
}
