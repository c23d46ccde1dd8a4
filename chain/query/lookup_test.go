package query_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// What a first lookup may take, with up to 100 validators: requests that follow
// one another, and bytes to the client on all its connections, headers included.
const (
	maxRoundTrips  = 3
	maxFirstLookup = 100_000
)

// TestFirstLookup_TakesThreeRoundTripsAtMost has a light client that knows nothing
// but the pin look up a handle, with its concierge, over a chain in which a third of
// the validators is replaced again and again, so that of those that the pin names
// nobody is left. It asks servers over HTTP, where requests and bytes are counted:
// one, two that confirm one another, and two of which the first is dead.
func TestFirstLookup_TakesThreeRoundTripsAtMost(t *testing.T) {
	blocks, validators := 2_000, []int{4, 100}
	if os.Getenv("CONFAB_LONG") != "" {
		blocks, validators = 100_000, []int{4, 16, 100}
	}
	for _, n := range validators {
		c := longChain(t, n, blocks)
		server := serverOf(t, c)
		for _, sources := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("validators=%d/blocks=%d/sources=%d", n, blocks, sources), func(t *testing.T) {
				m := &meter{next: http.DefaultTransport.(*http.Transport).Clone()}
				var from []lightclient.Source
				for i := range sources {
					web := m.serve(t, server.Handler())
					if sources == 3 && i == 0 {
						web.Close()
					}
					s, err := source.NewHTTP(web.URL, &http.Client{Transport: m})
					if err != nil {
						t.Fatal(err)
					}
					from = append(from, s)
				}
				client, err := lightclient.New(lightclient.Config{Pin: c.Pin(1), Sources: from, Now: c.Now})
				if err != nil {
					t.Fatal(err)
				}
				r, err := client.Resolve(t.Context(), "alice", time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := r.Serving(r.Entry.Records.Concierges[0]); err != nil || r.Handle != "alice" || r.Height != c.Height() {
					t.Errorf("@alice is %+v at height %d, %v", r.Meaning, r.Height, err)
				}
				if confirmed := len(r.Agree) > 0; confirmed != (sources > 1) {
					t.Errorf("confirmed by %v; notes %q", r.Agree, r.Notes)
				}
				t.Logf("%d round trips, %d bytes", m.trips.Load(), m.bytes.Load())
				if got := m.trips.Load(); got > maxRoundTrips {
					t.Errorf("%d round trips, at most %d are promised", got, maxRoundTrips)
				}
				if got := m.bytes.Load(); got > maxFirstLookup {
					t.Errorf("%d bytes, at most %d are promised", got, maxFirstLookup)
				}
			})
		}
	}
}

// longChain returns a chain with this many blocks, on which @alice is served by
// @harbor. Five times a third of the validators is replaced, the most that the law
// allows at once.
func longChain(t *testing.T, validators, blocks int) *fakechain.Chain {
	t.Helper()
	c := fakechain.New(fakechain.Spec{Set: fakechain.Equal(0, validators), Fill: 10_000})
	alice, harbor := fakechain.NewActor("alice", namesvc.Person), fakechain.NewActor("harbor", namesvc.Service)
	if err := c.Register(harbor, "harbor", harbor.Concierge("https://harbor.example")); err != nil {
		t.Fatal(err)
	}
	if err := c.Register(alice, "alice", fakechain.ServedBy(harbor)); err != nil {
		t.Fatal(err)
	}
	first := 0
	for every := uint64(blocks / 5); c.Height() <= uint64(blocks); c.Skip(1) {
		if c.Height()%every == every/2 {
			first += validators / 3
			c.SetValidators(fakechain.Equal(first, validators))
		}
	}
	_, old := c.Head(1)
	_, set := c.Head(c.Height())
	for i := range old.Len() {
		for j := range set.Len() {
			if old.At(i).Key == set.At(j).Key {
				t.Fatal("a validator of the pin is still there")
			}
		}
	}
	return c
}

// serverOf returns a server of a chain's newest head, with the state under it in a
// store.
func serverOf(t *testing.T, c *fakechain.Chain) *query.Server {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{Chain: c.ID()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	height := c.Height() - 1 // a head carries the state before it
	r, err := st.Restore(height)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range c.Leaves(c.Height()) {
		if err := r.Add(key, value); err != nil {
			t.Fatal(err)
		}
	}
	head, _ := c.Head(c.Height())
	mark := store.Record{Key: []byte("mark"), Value: wire.Encode(chain.Mark{Height: height})}
	if err := r.Commit(head.Header.AppHash, []store.Record{mark}); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	app, err := chain.New(st, c.ID(), logger)
	if err != nil {
		t.Fatal(err)
	}
	return &query.Server{Chain: c.ID(), App: app, Store: st, Heads: live{c}, Logger: logger}
}

// meter counts what clients ask and what they are sent.
type meter struct {
	next  *http.Transport
	trips atomic.Int64
	bytes atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	m.trips.Add(1)
	return m.next.RoundTrip(r)
}

// serve starts a server whose answers are counted.
func (m *meter) serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	web := httptest.NewUnstartedServer(h)
	web.Listener = meteredListener{web.Listener, m}
	web.Start()
	t.Cleanup(func() { m.next.CloseIdleConnections(); web.Close() })
	return web
}

type meteredListener struct {
	net.Listener
	m *meter
}

// Accept implements net.Listener.
func (l meteredListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return meteredConn{c, l.m}, err
}

type meteredConn struct {
	net.Conn
	m *meter
}

// Write implements net.Conn.
func (c meteredConn) Write(b []byte) (int, error) {
	c.m.bytes.Add(int64(len(b))) // before somebody has them
	return c.Conn.Write(b)
}
