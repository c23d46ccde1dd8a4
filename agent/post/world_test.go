package post

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/talk/message"
)

// patience is how long a test waits for what must happen, on a busy machine too.
const patience = time.Minute

// world is a chain, concierges on it, and people whom they serve.
type world struct {
	*testing.T
	*fakechain.Chain
	harbor, lagoon *house // where alice and bob have their mail at first
	alice, bob     *fakechain.Actor
	blind          atomic.Bool // the chain does not answer
}

// house is a concierge that can be stopped and started again at its address.
type house struct {
	w      *world
	actor  *fakechain.Actor
	store  stream.Store
	limits concierge.Limits
	addr   string

	mu      sync.Mutex
	server  *concierge.Server
	http    *httptest.Server
	dials   atomic.Int64
	tunnels atomic.Int64
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
		return nil, errors.New("nobody answers")
	}
	return s.Node.Bundle(ctx, r)
}

func (w *world) client() *lightclient.Client {
	w.Helper()
	c, err := lightclient.New(lightclient.Config{
		Pin: w.Pin(1), Sources: []lightclient.Source{source{fakechain.Node{Chain: w.Chain, Label: "node"}, w}}, Now: w.Now,
	})
	w.must(err)
	return c
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, Chain: fakechain.New(fakechain.Spec{})}
	w.harbor, w.lagoon = w.house("harbor"), w.house("lagoon")
	w.alice, w.bob = fakechain.NewActor("alice", namesvc.Person), fakechain.NewActor("bob", namesvc.Person)
	w.must(w.Register(w.alice, "alice", fakechain.ServedBy(w.harbor.actor)))
	w.must(w.Register(w.bob, "bob", fakechain.ServedBy(w.lagoon.actor)))
	w.Skip(1)
	return w
}

// house makes a concierge, on the chain and running.
func (w *world) house(name namesvc.Handle) *house {
	w.Helper()
	store, err := pebblestore.Open(w.TempDir(), pebblestore.Options{CacheBytes: 1 << 20})
	w.must(err)
	w.Cleanup(func() { store.Close() })
	h := &house{
		w: w, actor: fakechain.NewActor(string(name), namesvc.Service), store: store, addr: freeAddress(w),
		limits: concierge.Limits{WorkBits: 3, WorkKiB: 8},
	}
	w.must(w.Register(h.actor, name, h.actor.Concierge(h.url())))
	w.Skip(1)
	h.start()
	w.Cleanup(h.stop)
	return h
}

// freeAddress returns an address on this machine where nobody listens.
func freeAddress(w *world) string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	defer l.Close()
	return l.Addr().String()
}

func (h *house) url() string { return "https://" + h.addr }

// start starts it at its address.
func (h *house) start() {
	h.w.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	e, _ := h.w.Entry(h.actor.ID)
	service, err := concierge.ServiceOf(h.w.ID(), e)
	h.w.must(err)
	h.server, err = concierge.New(concierge.Options{
		Service: service, Key: h.actor.Server, Chain: h.w.client(), Store: h.store, Limits: h.limits, Now: h.w.Now, Local: true,
		Logger: slog.New(slog.DiscardHandler),
	})
	h.w.must(err)
	handler := h.server.Handler()
	h.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.dials.Add(1)
		if r.URL.Path == "/v1/tunnel" {
			h.tunnels.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	h.http.Listener.Close()
	for h.http.Listener, err = net.Listen("tcp", h.addr); err != nil; h.http.Listener, err = net.Listen("tcp", h.addr) {
		if h.w.Context().Err() != nil {
			h.w.Fatal(err)
		}
	}
	h.http.EnableHTTP2 = false
	h.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	h.http.StartTLS()
}

// stop ends it, as a crash would: nobody is told goodbye for long.
func (h *house) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	h.server.Close(ctx)
	h.http.Close()
	h.server = nil
}

// post returns a Post of a person, closed at the test's end.
func (w *world) post(a *fakechain.Actor) *Post {
	w.Helper()
	p := New(Options{Names: w.client(), Self: concierge.Identity{Account: a.ID, Device: a.Device}, Now: w.Now})
	w.Cleanup(func() { p.Close() })
	return p
}

func party(a *fakechain.Actor) message.Party {
	return message.Party{Account: a.ID, Generation: 1}
}

// home is where somebody's mail is now.
func (w *world) home(p *Post) Office {
	w.Helper()
	o, err := p.Home(w.Context(), 0)
	w.must(err)
	return o
}

// queue makes a queue for whose Post p is.
func (w *world) queue(p *Post) concierge.Address {
	w.Helper()
	var seed concierge.Seed
	rand.Read(seed[:])
	w.grow(p, seed)
	return concierge.OwnerOf(p.self.Account, 1).Address(seed)
}

// grow makes the queue of a seed.
func (w *world) grow(p *Post, seed concierge.Seed) {
	w.Helper()
	w.must(p.Ask(w.Context(), w.home(p), func(ctx context.Context, c *concierge.Client) error {
		_, err := c.CreateQueue(ctx, seed, stream.Settings{})
		return err
	}))
}

// texts returns messages that say the numbers from one to another.
func texts(from, to int) (ms []stream.Message) {
	for i := from; i <= to; i++ {
		m := stream.Message{Body: fmt.Appendf(nil, "%d", i)}
		rand.Read(m.ID[:])
		ms = append(ms, m)
	}
	return ms
}

// until waits until cond holds, which is looked at now and then.
func (w *world) until(what string, cond func() bool) {
	w.Helper()
	for late := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			w.Fatalf("not in time: %s", what)
		}
	}
}

// inbox takes pages and states, and says what came.
type inbox struct {
	w       *world
	mu      sync.Mutex
	got     map[stream.ID][]string
	errs    []error // of single queues
	states  []State
	poison  stream.ID // this queue is not taken from
	tried   int       // how often it was
	taking  int
	changed chan struct{}
}

func (w *world) inbox() *inbox {
	return &inbox{w: w, got: map[stream.ID][]string{}, changed: make(chan struct{})}
}

func (b *inbox) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *inbox) take(_ context.Context, id stream.ID, page stream.Page) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.tell()
	if id == b.poison {
		b.tried++
		return errors.New("poison")
	}
	for _, e := range page.Entries {
		b.got[id] = append(b.got[id], string(e.Body))
	}
	return nil
}

func (b *inbox) state(s State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.tell()
	b.states = append(b.states, s)
	if s.Connected && s.Err != nil {
		b.errs = append(b.errs, s.Err)
	}
}

// until waits until cond holds, which may look at the inbox.
func (b *inbox) until(what string, cond func() bool) {
	b.w.Helper()
	late := time.After(patience)
	for {
		b.mu.Lock()
		ok, changed := cond(), b.changed
		b.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			b.mu.Lock()
			defer b.mu.Unlock()
			b.w.Fatalf("not in time: %s; states %v", what, b.states)
		}
	}
}

// has waits until a queue has brought just the numbers from 1 to n, in order.
func (b *inbox) has(id stream.ID, n int) {
	b.w.Helper()
	b.until(fmt.Sprintf("%d messages", n), func() bool { return len(b.got[id]) >= n })
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, text := range b.got[id] {
		if text != fmt.Sprint(i+1) {
			b.w.Fatalf("message %d is %q", i+1, text)
		}
	}
	if len(b.got[id]) != n {
		b.w.Fatalf("%d messages instead of %d", len(b.got[id]), n)
	}
}

func (b *inbox) last() State {
	if len(b.states) == 0 {
		return State{}
	}
	return b.states[len(b.states)-1]
}

// follow has a Post read boxes of its home into an inbox; stop ends it.
func (w *world) follow(p *Post, boxes *Boxes, b *inbox) (stop func()) {
	w.Helper()
	return w.followAt(p, w.home(p), boxes, b)
}

func (w *world) followAt(p *Post, o Office, boxes *Boxes, b *inbox) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Follow(ctx, o, boxes, b.take, b.state) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case <-done:
			case <-time.After(patience):
				w.Error("Follow has not ended")
			}
		})
	}
	w.Cleanup(stop)
	return stop
}

// moves puts an account at another concierge, with the chain one block further.
func (w *world) moves(a *fakechain.Actor, to *house) {
	w.Helper()
	w.must(w.Next(w.Sign(a, namesvc.OpRecords, *fakechain.ServedBy(to.actor))))
	w.Skip(1)
}
