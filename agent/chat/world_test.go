package chat

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
)

// patience is how long a test waits for what must happen.
const patience = 25 * time.Second

// world is a chain that goes on by itself, concierges on it, and people.
type world struct {
	testing.TB
	*fakechain.Chain
	harbor, lagoon *house
	blind          atomic.Bool // the chain does not answer
	cutting        sync.Mutex
	people         map[string]*person
	every          time.Duration // how often devices look after what nothing calls for
	hops           post.Hops
}

type node struct {
	fakechain.Node
	w *world
}

func (s node) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	if s.w.blind.Load() {
		return nil, context.DeadlineExceeded
	}
	return s.Node.Bundle(ctx, r)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) client() *lightclient.Client {
	w.Helper()
	c, err := lightclient.New(lightclient.Config{
		Pin: w.Pin(1), Sources: []lightclient.Source{node{fakechain.Node{Chain: w.Chain, Label: "https://node.example"}, w}}, Now: w.Now,
	})
	w.must(err)
	return c
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, Chain: fakechain.New(fakechain.Spec{}), people: map[string]*person{}, every: 2 * time.Second}
	w.harbor, w.lagoon = w.house("harbor"), w.house("lagoon")
	// The chain goes on, faster than clocks do.
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				w.block()
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return w
}

// block cuts a block with these ops, and one that carries the state after it.
func (w *world) block(ops ...[]byte) error {
	w.cutting.Lock()
	defer w.cutting.Unlock()
	if len(ops) == 0 {
		w.Take()
		return nil
	}
	err := w.Next(ops...)
	w.Chain.Skip(1)
	return err
}

// house is a concierge that can be stopped and started again at its address.
type house struct {
	w      *world
	actor  *fakechain.Actor
	name   string
	store  stream.Store
	dir    string
	limits concierge.Limits
	addr   string
	mu     sync.Mutex
	server *concierge.Server
	http   *httptest.Server
	log    *logged
	// How often it was connected to, and asked to connect to others.
	conns, tunnels atomic.Int64
}

func (w *world) house(name namesvc.Handle) *house {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	h := &house{
		w: w, actor: fakechain.NewActor(string(name), namesvc.Service), addr: l.Addr().String(), name: string(name),
		limits: concierge.Limits{WorkBits: 2, WorkKiB: 8}, dir: w.TempDir(), log: &logged{},
	}
	l.Close()
	w.must(w.Register(h.actor, name, h.actor.Concierge("https://"+h.addr)))
	w.Chain.Skip(1)
	h.start()
	w.Cleanup(h.stop)
	return h
}

func (h *house) start() {
	h.w.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server != nil {
		return
	}
	var err error
	h.store, err = pebblestore.Open(filepath.Join(h.dir, "store"), pebblestore.Options{CacheBytes: 1 << 20})
	h.w.must(err)
	files, err := blob.Open(filepath.Join(h.dir, "media"), 0)
	h.w.must(err)
	e, _ := h.w.Entry(h.actor.ID)
	service, err := concierge.ServiceOf(h.w.ID(), e)
	h.w.must(err)
	h.server, err = concierge.New(concierge.Options{
		Service: service, Key: h.actor.Server, Chain: h.w.client(), Store: h.store, Limits: h.limits, Now: h.w.Now,
		Media: files, Local: true,
		Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	h.w.must(err)
	h.http = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v1/tunnel" {
			h.tunnels.Add(1)
		}
		h.server.Handler().ServeHTTP(rw, q)
	}))
	h.http.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			h.conns.Add(1)
		}
	}
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

// expires has a concierge let go of all that waits in a device's queues.
func (h *house) expires(d *device) {
	h.w.Helper()
	d.mu.Lock()
	boxes := slices.Collect(maps.Keys(d.byBox))
	d.mu.Unlock()
	for _, box := range boxes {
		head, err := h.store.State(h.w.Context(), box)
		h.w.must(err)
		h.w.must(h.store.Trim(h.w.Context(), box, head.Head.Seq))
	}
}

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
	h.store.Close()
	h.server = nil
}

// person is somebody with one device or more.
type person struct {
	w     *world
	actor *fakechain.Actor
	name  string
	vault key.Vault
	// documents is the folder of their profile.
	documents string
}

// person returns somebody new, with a handle, served by a concierge.
func (w *world) person(name string, at *house) *person {
	w.Helper()
	p := &person{w: w, actor: fakechain.NewActor(name, namesvc.Person), name: name}
	w.cutting.Lock()
	defer w.cutting.Unlock()
	w.must(w.Register(p.actor, namesvc.Handle(name), fakechain.ServedBy(at.actor)))
	w.Chain.Skip(1)
	w.people[name] = p
	return p
}

// device is a person's agent that runs.
type device struct {
	*Agent
	p    *person
	key  key.Device
	home string
	halt func() // ends Run; it can be asked on
	stop func()
	skew *atomic.Int64 // how far its clock is wrong
}

// sets sets a device's clock wrong.
func (d *device) sets(by time.Duration) { d.skew.Store(int64(by)) }

// device starts an agent of the person's first device.
func (p *person) device() *device {
	p.w.Helper()
	return p.start(p.actor.Device, p.w.TempDir())
}

func (p *person) start(k key.Device, home string) *device {
	w := p.w
	w.Helper()
	d := &device{p: p, key: k, home: home, skew: new(atomic.Int64)}
	level := slog.LevelWarn
	if os.Getenv("CONFAB_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(testLog{w.TB, p.name + "/" + k.Public().String()[:4]}, &slog.HandlerOptions{Level: level}))
	a, err := Open(w.Context(), Options{
		Home: home, Documents: p.documents, Client: w.client(), Account: p.actor.ID, Keys: keyring.Keys{Device: k, Vault: p.vault}, Logger: logger, Every: w.every, Hops: w.hops,
		Now: func() time.Time { return w.Now().Add(time.Duration(d.skew.Load())) },
	})
	w.must(err)
	d.Agent = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	d.halt = func() {
		cancel()
		<-done
	}
	d.stop = sync.OnceFunc(func() {
		d.halt()
		if err := a.Close(); err != nil {
			w.Errorf("close %s: %v", p.name, err)
		}
	})
	w.Cleanup(d.stop)
	return d
}

type testLog struct {
	t    testing.TB
	name string
}

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Logf("%s: %s", l.name, strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			w.Fatalf("it did not happen: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// friends makes two people contacts of each other.
func (w *world) friends(a, b *device) {
	w.Helper()
	_, err := a.AddContact(w.Context(), "@"+b.p.name, "hello, it is "+a.p.name, nil)
	if wire.CodeOf(err) != wire.Unavailable { // then it is left a little later
		w.must(err)
	}
	w.until(b.p.name+" sees the request", func() bool { return b.state(a) == "requested" })
	_, err = b.AcceptContact(w.Context(), "@"+a.p.name)
	w.must(err)
	w.until(a.p.name+" sees the answer", func() bool { return a.state(b) == "accepted" })
}

func (d *device) state(other *device) string {
	c, err := d.Contact(d.p.w.Context(), "@"+other.p.name)
	if err != nil {
		return err.Error()
	}
	return c.State
}

// say sends a text.
func (d *device) say(to *device, text string) Message {
	d.p.w.Helper()
	m, err := d.Send(d.p.w.Context(), "@"+to.p.name, Draft{Text: text})
	d.p.w.must(err)
	return m
}

// sees returns the texts of a conversation, with who said them.
func (d *device) sees(other *device) []string {
	const most = 1000 // of one page
	var all []Message
	for before := Position(""); ; before = all[0].At {
		page, err := d.Messages(d.p.w.Context(), "@"+other.p.name, before, most)
		if err != nil {
			return []string{err.Error()}
		}
		all = append(page.Messages, all...)
		if len(page.Messages) < most {
			break
		}
	}
	var out []string
	for _, m := range all {
		if m.Kind == "moved" {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s", m.From, m.Text))
	}
	return out
}

// reads waits until a device sees exactly these texts.
func (d *device) reads(other *device, want ...string) {
	w := d.p.w
	w.Helper()
	deadline := time.Now().Add(patience)
	for {
		have := d.sees(other)
		if strings.Join(have, "\n") == strings.Join(want, "\n") {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s sees\n  %s\nwant\n  %s", d.p.name, strings.Join(have, "\n  "), strings.Join(want, "\n  "))
		}
		time.Sleep(10 * time.Millisecond)
	}
}
