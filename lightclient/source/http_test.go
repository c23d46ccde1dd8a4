//go:build !js

package source_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// problem is the body of an error (SPEC-bundle §6).
type problem struct {
	_      struct{} `cbor:",toarray"`
	Code   string
	Reject namesvc.RejectCode
	Text   string
}

// serve runs a server that answers everything with handler, and returns a source
// of it and what it was asked last.
func serve(t *testing.T, handler http.HandlerFunc) (*source.HTTP, *http.Request) {
	t.Helper()
	last := new(http.Request)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = *r
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	h, err := source.NewHTTP(s.URL, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	return h, last
}

// answer writes an answer of the query API.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/cbor")
	w.WriteHeader(status)
	w.Write(wire.Encode(v))
}

func TestHTTP_AsksAsTheSpecificationSays(t *testing.T) {
	h, last := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "a bundle") })
	id, hash := namesvc.AccountID{1, 2}, [32]byte{3}
	for _, test := range []struct {
		ask  lightclient.Request
		want string
	}{
		{lightclient.Request{Handle: "alice", Serving: true, Known: 7, Pin: 1}, "handle=alice&known=7&pin=1&serving=1"},
		{lightclient.Request{Account: &id, Devices: true, Pin: 2}, "account=" + id.String() + "&devices=1&pin=2"},
		{lightclient.Request{Commit: &hash, After: 9}, "after=9&commit=" + hex.EncodeToString(hash[:]) + "&wait=5"},
		{lightclient.Request{Chain: true}, "chain=1"},
		{lightclient.Request{At: 5, Known: 3}, "at=5&known=3&wait=5"},
	} {
		b, err := h.Bundle(t.Context(), test.ask)
		if err != nil || string(b) != string(wire.Encode("a bundle")) {
			t.Fatalf("%x, %v", b, err)
		}
		if last.Method != "GET" || last.URL.Path != "/v1/bundle" || last.URL.RawQuery != test.want {
			t.Errorf("asked %s %s", last.Method, last.URL)
		}
	}
}

func TestHTTP_SubmitsTheBytesAsTheyAre(t *testing.T) {
	var body []byte
	h, last := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body = make([]byte, r.ContentLength)
		r.Body.Read(body)
		answer(w, 200, []any{[]byte("id")})
	})
	if err := h.Submit(t.Context(), []byte("an op")); err != nil {
		t.Fatal(err)
	}
	if string(body) != "an op" || last.Method != "POST" || last.URL.Path != "/v1/ops" {
		t.Errorf("sent %s %s %q", last.Method, last.URL, body)
	}
}

func TestHTTP_ReadsPagesOfAHistory(t *testing.T) {
	rows := []lightclient.LoggedOp{{Seq: 3, Height: 5, Time: 7, Bytes: []byte("op")}}
	h, last := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, []any{rows, true}) })
	id := namesvc.AccountID{9}
	got, more, err := h.Ops(t.Context(), id, 2)
	if err != nil || !more || len(got) != 1 || got[0].Height != 5 || string(got[0].Bytes) != "op" {
		t.Errorf("%+v, %v, %v", got, more, err)
	}
	if last.URL.RequestURI() != "/v1/accounts/"+id.String()+"/ops?after=2" {
		t.Errorf("asked %s", last.URL)
	}
	h, _ = serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "no page") })
	if _, _, err := h.Ops(t.Context(), id, 0); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("garbage: %v", err)
	}
}

func TestHTTP_GivesErrorsTheirKind(t *testing.T) {
	for _, code := range []wire.Code{wire.Invalid, wire.Unauthorized, wire.NotFound, wire.Exists, wire.Conflict,
		wire.Stale, wire.Exhausted, wire.Unavailable, wire.Internal} {
		h, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, code.HTTPStatus(), problem{Code: code.String(), Text: "because"})
		})
		if _, err := h.Bundle(t.Context(), lightclient.Request{Chain: true}); wire.CodeOf(err) != code || err.Error() != "because" {
			t.Errorf("%v came as %v: %v", code, wire.CodeOf(err), err)
		}
	}
	h, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 409, problem{Code: "exists", Reject: namesvc.HandleTaken, Text: "the handle is taken"})
	})
	err := h.Submit(t.Context(), []byte("op"))
	var reject *lightclient.RejectError
	if !errors.As(err, &reject) || reject.Code != namesvc.HandleTaken || wire.CodeOf(err) != wire.Exists {
		t.Errorf("a refusal came as %v", err)
	}
	h, _ = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 418, problem{Code: "teapot", Text: "short and stout"})
	})
	if _, err := h.Bundle(t.Context(), lightclient.Request{}); wire.CodeOf(err) != wire.Internal {
		t.Errorf("an unknown kind came as %v", err)
	}
}

// endless writes until nobody reads any more.
func endless(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/cbor")
	w.WriteHeader(status)
	chunk := make([]byte, 1<<16)
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestHTTP_IsBoundedAndPolite(t *testing.T) {
	const escape = "\x1b[2J\u202eevil\u009b31m"
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		kind    wire.Code
		says    string
	}{
		"an endless answer": {func(w http.ResponseWriter, _ *http.Request) { endless(w, 200) }, wire.Invalid, "larger than"},
		"an endless error":  {func(w http.ResponseWriter, _ *http.Request) { endless(w, 500) }, wire.Unavailable, "status 500"},
		"a web page": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<!DOCTYPE html><html>Please log in</html>")
		},
			wire.Unavailable, "text/html"},
		"a web page as an error": {http.NotFound, wire.Unavailable, "status 404"},
		"words for the terminal": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 400, problem{Code: "invalid", Text: escape})
		}, wire.Invalid, "evil"},
		"words for the terminal, as a refusal": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 400, problem{Code: "invalid", Reject: namesvc.Malformed, Text: escape})
		}, wire.Invalid, "evil"},
		"words for the terminal, as a type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/"+escape)
		}, wire.Unavailable, "evil"},
		"words for the terminal, as a place": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://x/\u202eevil")
			w.WriteHeader(302)
		}, wire.Unavailable, "redirects"},
		"a very long error": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 400, problem{Code: "invalid", Text: strings.Repeat("x", 3000)})
		}, wire.Invalid, "xxx"},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("half"))
		}, wire.Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := serve(t, test.handler)
			_, err := h.Bundle(t.Context(), lightclient.Request{Chain: true})
			if wire.CodeOf(err) != test.kind || !strings.Contains(err.Error(), test.says) || len(err.Error()) > 600 {
				t.Errorf("kind %v: %v", wire.CodeOf(err), err)
			}
			for _, r := range err.Error() {
				if !unicode.IsPrint(r) {
					t.Errorf("%q contains %U", err, r)
				}
			}
		})
	}
}

// A source could else send its askers to what only their own machine reaches.
func TestHTTP_FollowsNoRedirect(t *testing.T) {
	var reached atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		answer(w, 200, "a bundle")
	}))
	defer inner.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, client := range []*http.Client{nil, {}} {
			outer := httptest.NewServer(http.RedirectHandler(inner.URL, status))
			defer outer.Close()
			h, err := source.NewHTTP(outer.URL, client)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Bundle(t.Context(), lightclient.Request{Chain: true}); wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), inner.URL) {
				t.Errorf("status %d: %v", status, err)
			}
			if err := h.Submit(t.Context(), []byte("op")); err == nil {
				t.Errorf("status %d: an op was taken", status)
			}
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests were redirected", n)
	}
}

func TestHTTP_EndsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	h, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := h.Bundle(ctx, lightclient.Request{Chain: true}); !errors.Is(err, context.Canceled) || wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestHTTP_SaysInFewWordsThatNobodyIsThere(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	h, err := source.NewHTTP(s.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Bundle(t.Context(), lightclient.Request{Handle: "alice", Pin: 1, Known: 2})
	if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "/v1/bundle") {
		t.Errorf("got %v", err)
	}
	if h.Name() != s.URL {
		t.Errorf("its name is %s", h.Name())
	}
}

// TestClient_OverHTTP resolves a handle of a fake chain over real connections,
// with a liar in front.
func TestClient_OverHTTP(t *testing.T) {
	c := fakechain.New(fakechain.Spec{Start: time.Now().Add(-5 * time.Second)})
	alice := fakechain.NewActor("alice", namesvc.Person)
	if err := c.Register(alice, "alice", nil); err != nil {
		t.Fatal(err)
	}
	c.Skip(1)
	honest := func(w http.ResponseWriter, r *http.Request) {
		b, err := c.Bundle(request(t, r.URL.Query()))
		if err != nil {
			answer(w, wire.CodeOf(err).HTTPStatus(), problem{Code: wire.CodeOf(err).String(), Text: err.Error()})
			return
		}
		answer(w, 200, b)
	}
	liar, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 404, problem{Code: "not-found", Text: "@alice is not registered"})
	})
	first, _ := serve(t, honest)
	second, _ := serve(t, honest)
	client, err := lightclient.New(lightclient.Config{Pin: c.Pin(1), Sources: []lightclient.Source{liar, first, second}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := client.Resolve(t.Context(), "alice", 0)
		if err != nil {
			t.Fatal(err)
		}
		if r.Entry.Account != alice.ID || r.Source != first.Name() || !slices.Equal(r.Agree, []string{second.Name()}) ||
			!slices.Equal(r.Notes, []string{liar.Name() + ": @alice is not registered"}) {
			t.Errorf("%+v", r.Proof)
		}
	}
}

// request reads a request as a server does.
func request(t *testing.T, q url.Values) lightclient.Request {
	var r lightclient.Request
	if h := q.Get("handle"); h != "" {
		var err error
		if r.Handle, err = namesvc.ParseHandle(h); err != nil {
			t.Error(err)
		}
	}
	r.Serving = q.Has("serving")
	for name, into := range map[string]*uint64{"at": &r.At, "known": &r.Known, "pin": &r.Pin} {
		fmt.Sscan(q.Get(name), into)
	}
	return r
}
