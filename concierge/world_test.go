package concierge

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
)

// world is a chain with a concierge @harbor and people whom it serves.
type world struct {
	*testing.T
	*fakechain.Chain
	harbor, alice, bob *fakechain.Actor
	store              *pebblestore.Store
	server             *Server
	url                string
	dir                string
	log                *logBuffer
	blind              atomic.Bool // the chain does not answer
	late               atomic.Int64
	pause              func(failures int) time.Duration
	former             []key.Server
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// source is the honest one, unless the world is blind.
type source struct {
	fakechain.Node
	w *world
}

func (s source) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	if s.w.blind.Load() {
		return nil, context.DeadlineExceeded
	}
	return s.Node.Bundle(ctx, r)
}

func cheap() Limits { return Limits{WorkBits: 3, WorkKiB: 8} }

func newWorld(t *testing.T, limits Limits) *world {
	t.Helper()
	w := &world{T: t, Chain: fakechain.New(fakechain.Spec{}), dir: t.TempDir(), log: &logBuffer{}}
	w.harbor = fakechain.NewActor("harbor", namesvc.Service)
	w.alice, w.bob = fakechain.NewActor("alice", namesvc.Person), fakechain.NewActor("bob", namesvc.Person)
	w.must(w.Register(w.harbor, "harbor", w.harbor.Concierge("https://harbor.example")))
	w.must(w.Register(w.alice, "alice", fakechain.ServedBy(w.harbor)))
	w.must(w.Register(w.bob, "bob", fakechain.ServedBy(w.harbor)))
	w.Skip(1)
	store, err := pebblestore.Open(w.dir, pebblestore.Options{CacheBytes: 1 << 20})
	w.must(err)
	w.store = store
	w.server = w.newServer(limits, w.harbor)
	ts := httptest.NewUnstartedServer(w.server.Handler())
	ts.EnableHTTP2 = false
	ts.StartTLS()
	w.url = ts.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		w.server.Close(ctx)
		ts.Close()
		store.Close()
	})
	return w
}

// now is the chain's clock, and how far the world's is ahead of it.
func (w *world) now() time.Time { return w.Now().Add(time.Duration(w.late.Load())) }

func (w *world) newServer(limits Limits, as *fakechain.Actor) *Server {
	w.Helper()
	return w.newServerOn(w.store, [16]byte{}, limits, as)
}

func (w *world) newServerOn(store stream.Store, issue [16]byte, limits Limits, as *fakechain.Actor) *Server {
	w.Helper()
	return w.serverFor(w.service(), issue, as, store, limits)
}

// serverOf starts another concierge.
func (w *world) serverOf(me Service, as *fakechain.Actor, store stream.Store, limits Limits) *Server {
	w.Helper()
	return w.serverFor(me, [16]byte{}, as, store, limits)
}

func (w *world) serverFor(me Service, issue [16]byte, as *fakechain.Actor, store stream.Store, limits Limits) *Server {
	w.Helper()
	chain, err := lightclient.New(lightclient.Config{
		Pin: w.Pin(1), Sources: []lightclient.Source{source{fakechain.Node{Chain: w.Chain, Label: "node"}, w}}, Now: w.now,
	})
	w.must(err)
	s, err := New(Options{
		Service: me, Key: as.Server, Former: w.former, Chain: chain, Store: store, Issue: issue, Limits: limits, Now: w.now, Local: true, pause: w.pause,
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	w.must(err)
	return s
}

func (w *world) service() Service {
	e, ok := w.Entry(w.harbor.ID)
	if !ok {
		w.Fatal("no harbor")
	}
	s, err := ServiceOf(w.ID(), e)
	w.must(err)
	return s
}

func (w *world) dial(a *fakechain.Actor) (*Client, error) {
	var id *Identity
	if a != nil {
		id = &Identity{Account: a.ID, Device: a.Device}
	}
	c, err := Dial(w.Context(), w.url, w.service(), id)
	if err == nil {
		w.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (w *world) connect(a *fakechain.Actor) *Client {
	w.Helper()
	c, err := w.dial(a)
	w.must(err)
	return c
}

func newSeed() (s Seed) {
	rand.Read(s[:])
	return s
}

// queue makes a queue for a.
func (w *world) queue(c *Client, a *fakechain.Actor, s stream.Settings) (Address, Queue) {
	w.Helper()
	seed := newSeed()
	q, err := c.CreateQueue(w.Context(), seed, s)
	w.must(err)
	address := OwnerOf(a.ID, 1).Address(seed)
	if q.ID != address.Queue() {
		w.Fatalf("queue %v does not belong to its address", q.ID)
	}
	return address, q
}

func write(ctx context.Context, c *Client, a Address, text string) error {
	_, err := stream.Append(ctx, c, stream.ID(a), stream.Message{ID: newMessageID(), Body: []byte(text)})
	return err
}

// finished waits until a connection has ended.
func (w *world) finished(c *Client) {
	w.Helper()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		w.Fatal("the connection has not ended")
	}
}

// devices makes these the devices of a; those that are new agree.
func (w *world) devices(a *fakechain.Actor, list ...key.Device) {
	w.Helper()
	e, _ := w.Entry(a.ID)
	expires := uint64(w.Now().Unix()) + 1000
	var body namesvc.DeviceList
	for _, d := range list {
		g := namesvc.Grant{Key: d.Public(), Scopes: namesvc.AllScopes, Expires: expires}
		if d.Public() == a.Device.Public() {
			g.Expires = uint64(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
		}
		consent := d.SignConsent(namesvc.Consent(w.ID(), a.ID, e.DeviceSeq+1, g.Key, g.Scopes, g.Expires))
		if d.Public() != a.Device.Public() {
			g.Consent = consent[:]
		}
		body.Devices = append(body.Devices, g)
	}
	w.must(w.Next(w.Sign(a, namesvc.OpDevices, body)))
	w.Skip(1) // its head carries the state
}

// removeFirst leaves alice with one device that the chain knows already.
func (w *world) removeFirst(stays key.Device) {
	w.Helper()
	_, d, _, err := w.server.members.chain.Devices(w.Context(), w.alice.ID, 0)
	w.must(err)
	dev, ok := d.Find(stays.Public())
	if !ok {
		w.Fatal("the device is not there")
	}
	body := namesvc.DeviceList{Devices: []namesvc.Grant{{Key: dev.Key, Scopes: dev.Scopes, Expires: dev.Expires}}}
	w.must(w.Next(w.Sign(w.alice, namesvc.OpDevices, body)))
	w.Skip(1)
}
