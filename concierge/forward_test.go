package concierge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
)

// place is a concierge that can be away, and come back with what it had.
type place struct {
	*world
	who    *fakechain.Actor
	limits Limits
	url    string
	wrap   func(stream.Store) stream.Store

	dir    string
	mu     sync.Mutex
	server *Server
	store  *pebblestore.Store
}

// ServeHTTP implements http.Handler.
func (p *place) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	s := p.server
	p.mu.Unlock()
	if s == nil {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	s.Handler().ServeHTTP(w, r)
}

// place makes a concierge @name, registered with its URL, that is away.
func (w *world) place(name string, limits Limits) *place {
	w.Helper()
	p := &place{world: w, who: fakechain.NewActor(name, namesvc.Service), limits: limits, dir: w.TempDir()}
	ts := httptest.NewUnstartedServer(p)
	ts.EnableHTTP2 = false
	ts.StartTLS()
	p.url = ts.URL
	w.must(w.Register(p.who, namesvc.Handle(name), p.who.Concierge(p.url)))
	w.Skip(1)
	w.Cleanup(func() { p.stop(); ts.Close() })
	return p
}

func (p *place) service() Service {
	e, _ := p.Entry(p.who.ID)
	s, err := ServiceOf(p.ID(), e)
	p.must(err)
	return s
}

func (p *place) start() *place {
	p.Helper()
	store, err := pebblestore.Open(p.dir, pebblestore.Options{CacheBytes: 1 << 20})
	p.must(err)
	var s stream.Store = store
	if p.wrap != nil {
		s = p.wrap(store)
	}
	server := p.serverOf(p.service(), p.who, s, p.limits)
	p.mu.Lock()
	p.store, p.server = store, server
	p.mu.Unlock()
	return p
}

func (p *place) stop() {
	p.mu.Lock()
	server, store := p.server, p.store
	p.server = nil
	p.mu.Unlock()
	if server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server.Close(ctx)
	store.Close()
}

func (p *place) connect(a *fakechain.Actor) *Client {
	p.Helper()
	c, err := p.try(a)
	p.must(err)
	return c
}

func (p *place) try(a *fakechain.Actor) (*Client, error) {
	var id *Identity
	if a != nil {
		id = &Identity{Account: a.ID, Device: a.Device}
	}
	ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, p.url, p.service(), id)
	if err == nil {
		p.Cleanup(func() { c.Close() })
	}
	return c, err
}

// moving is a world in which alice has queues at @old and moves to @new.
func moving(t *testing.T) (old, now *place) {
	w := newWorld(t, cheap())
	w.pause = func(int) time.Duration { return 5 * time.Millisecond }
	generous := cheap()
	generous.QueueRate, generous.QueueBurst, generous.Rate, generous.Burst = 1e6, 1e6, 1e6, 1e6
	old, now = w.place("oldharbor", generous), w.place("lantern", generous)
	w.serve(w.alice, old)
	return old.start(), now
}

// serve has an account name another concierge.
func (w *world) serve(a *fakechain.Actor, by *place) {
	w.Helper()
	w.must(w.Next(w.Sign(a, namesvc.OpRecords, *fakechain.ServedBy(by.who))))
	w.Skip(1)
}

// later cuts a block that much later.
func (w *world) later(d time.Duration) {
	w.Cut(w.Now().Add(d))
	w.Skip(1)
}

func (w *world) eventually(what string, condition func() bool) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("it never came true: %s", what)
		}
	}
}

// texts reads all of a queue.
func (w *world) texts(c *Client, id stream.ID) (out []string) {
	w.Helper()
	for after := uint64(0); ; {
		page, err := c.Range(w.Context(), id, after, stream.MaxPage)
		w.must(err)
		for _, e := range page.Entries {
			out = append(out, string(e.Body))
		}
		if after = page.Last(); after >= page.Head {
			return out
		}
	}
}

// forward has a's device order it, as soon as the old concierge knows of the move.
func (w *world) forward(c *Client, o ForwardOrder) Forwarding {
	w.Helper()
	for {
		f, err := c.Forward(w.Context(), o)
		if wire.CodeOf(err) == wire.Unavailable {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		w.must(err)
		return f
	}
}

func seeds(n int) []Seed {
	out := make([]Seed, n)
	for i := range out {
		out[i] = newSeed()
	}
	return out
}

// make has alice make these queues, and returns their addresses.
func (p *place) make(c *Client, list []Seed) (out []Address) {
	p.Helper()
	for _, s := range list {
		_, err := c.CreateQueue(p.Context(), s, stream.Settings{})
		p.must(err)
		out = append(out, OwnerOf(p.alice.ID, 1).Address(s))
	}
	return out
}

func TestForward_DeliversWhatLateWritersSend(t *testing.T) {
	old, now := moving(t)
	alice, guest := old.connect(old.alice), old.connect(nil)
	list := seeds(2)
	to := old.make(alice, list)
	old.must(write(t.Context(), guest, to[0], "before"))
	old.serve(old.alice, now.start())
	there := now.connect(old.alice)
	now.make(there, list[:1]) // the other is not there yet
	order := ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to}
	f := old.forward(alice, order)
	if f.Queues != 2 || f.To != now.who.ID || f.Until != uint64(order.Until.Unix()) {
		t.Errorf("the order is %+v", f)
	}
	for i := range 50 {
		old.must(write(t.Context(), guest, to[1], fmt.Sprint("blocked ", i)))
		old.must(write(t.Context(), guest, to[0], fmt.Sprint("late ", i)))
	}
	old.eventually("one queue flows while the other cannot", func() bool { return len(old.texts(there, to[0].Queue())) == 51 })
	got := old.texts(there, to[0].Queue())
	if got[0] != "before" || got[1] != "late 0" || got[50] != "late 49" {
		t.Errorf("got %q", got)
	}
	var err error
	old.eventually("the other's trouble is told", func() bool {
		f, err = alice.Forwarding(t.Context())
		old.must(err)
		return f.Waiting == 50 && strings.Contains(f.Error, "no such stream")
	})
	now.make(there, list[1:])
	old.eventually("it is told that nothing waits", func() bool {
		f, err = alice.Forwarding(t.Context())
		old.must(err)
		return f.Waiting == 0
	})
	if f.Delivered != 101 || f.Error != "" {
		t.Errorf("it says %+v", f)
	}
	if got := old.texts(there, to[1].Queue()); len(got) != 50 || got[49] != "blocked 49" {
		t.Errorf("got %q", got)
	}
	if got := old.texts(alice, to[0].Queue()); len(got) != 0 {
		t.Errorf("the old one still has %q", got)
	}
	// Its time is over: who writes is told so.
	old.later(time.Hour + time.Minute)
	if err := write(t.Context(), guest, to[0], "too late"); !Moved(err) || wire.CodeOf(err) != wire.Stale {
		t.Errorf("after the end: %v", err)
	}
	if err := guest.Knock(t.Context(), Knock{Account: old.alice.ID, Generation: 1, Body: []byte("x")}); !Moved(err) {
		t.Errorf("a knock after the end: %v", err)
	}
}

// Ten senders go on while the old concierge and the new one are killed in turn.
// When they are told that alice moved, they write to the new one. Each retries
// with the same id until it is answered.
func TestForward_LosesAndDoublesNothingWhileTenGoOn(t *testing.T) {
	old, now := moving(t)
	alice := old.connect(old.alice)
	const writers = 10
	list := seeds(writers)
	to := old.make(alice, list)
	var sent [writers]atomic.Uint64
	var stop atomic.Bool
	var wait sync.WaitGroup
	var told atomic.Int64
	for i := range writers {
		wait.Go(func() {
			at, client := old, (*Client)(nil)
			for n := uint64(1); !stop.Load(); n++ {
				m := stream.Message{ID: newMessageID(), Body: binary.BigEndian.AppendUint64(nil, n)}
				for {
					err := errors.New("not connected")
					if client == nil || client.Err() != nil {
						client, _ = at.try(nil)
					}
					if client != nil {
						ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
						_, err = stream.Append(ctx, client, stream.ID(to[i]), m)
						cancel()
					}
					if err == nil {
						break
					}
					if Moved(err) {
						at, client = now, nil
						told.Add(1)
						continue
					}
					time.Sleep(2 * time.Millisecond)
				}
				sent[i].Store(n)
			}
		})
	}
	reached := func(n uint64) func() bool {
		base := [writers]uint64{}
		for i := range base {
			base[i] = sent[i].Load()
		}
		return func() bool {
			for i := range base {
				if sent[i].Load() < base[i]+n {
					return false
				}
			}
			return true
		}
	}
	old.eventually("they begin", reached(20))
	old.serve(old.alice, now.start())
	now.make(now.connect(old.alice), list)
	old.forward(alice, ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to})
	old.eventually("they go on", reached(20))
	old.stop()
	old.start()
	old.eventually("they go on after the old one was restarted", reached(20))
	now.stop()
	old.eventually("they go on while the new one is away", reached(20))
	old.stop()
	now.start()
	old.start()
	old.eventually("they go on after both were restarted", reached(20))
	old.later(time.Hour + time.Second)
	old.eventually("all are told", func() bool { return told.Load() == writers })
	old.eventually("they go on at the new one", reached(20))
	stop.Store(true)
	wait.Wait()
	there := now.connect(old.alice)
	for i, a := range to {
		old.eventually("nothing waits", func() bool { return uint64(len(old.texts(there, a.Queue()))) >= sent[i].Load() })
		for n, text := range old.texts(there, a.Queue()) {
			if got := binary.BigEndian.Uint64([]byte(text)); got != uint64(n+1) {
				t.Fatalf("sender %d: in place %d there is number %d", i, n+1, got)
			}
		}
		if n := len(old.texts(there, a.Queue())); uint64(n) != sent[i].Load() {
			t.Errorf("sender %d: %d arrived of %d", i, n, sent[i].Load())
		}
	}
}

func TestForward_PutsWritersOffWhileTheirsIsUnderWay(t *testing.T) {
	old, now := moving(t)
	alice, guest := old.connect(old.alice), old.connect(nil)
	list := seeds(1)
	to := old.make(alice, list)
	old.serve(old.alice, now) // which is away
	old.forward(alice, ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to})
	old.must(write(t.Context(), guest, to[0], "first"))
	old.later(time.Hour + time.Second)
	if err := write(t.Context(), guest, to[0], "second"); wire.CodeOf(err) != wire.Unavailable || Moved(err) {
		t.Errorf("while the first is under way: %v", err)
	}
	now.make(now.start().connect(old.alice), list)
	old.eventually("the writer is told to go on elsewhere", func() bool {
		err := write(t.Context(), guest, to[0], "second")
		if wire.CodeOf(err) != wire.Unavailable && !Moved(err) {
			t.Fatalf("while the first is under way: %v", err)
		}
		return Moved(err)
	})
	if got := old.texts(now.connect(old.alice), to[0].Queue()); len(got) != 1 || got[0] != "first" {
		t.Errorf("there is %q", got)
	}
	// Nobody is put off for long for the sake of a concierge that is away.
	old.stop()
	old.start()
	old.later(linger)
	if err := write(t.Context(), old.connect(nil), to[0], "third"); !Moved(err) {
		t.Errorf("later: %v", err)
	}
}

func TestForward_RefusesWhatItsOwnerMayNotAsk(t *testing.T) {
	old, now := moving(t)
	alice, guest := old.connect(old.alice), old.connect(nil)
	to := old.make(alice, seeds(1))
	good := ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to}
	if _, err := alice.Forward(t.Context(), good); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("while the account is served here: %v", err)
	}
	old.serve(old.alice, now)
	for name, c := range map[string]struct {
		spoil func(*ForwardOrder)
		by    *Client
		want  wire.Code
	}{
		"a guest's":                         {func(*ForwardOrder) {}, guest, wire.Unauthorized},
		"to a service that was not chosen":  {func(o *ForwardOrder) { o.To = old.who.ID }, alice, wire.Invalid},
		"to nobody that there is":           {func(o *ForwardOrder) { o.To = namesvc.AccountID{1} }, alice, wire.Invalid},
		"one that is over":                  {func(o *ForwardOrder) { o.Until = old.now() }, alice, wire.Invalid},
		"one without an end":                {func(o *ForwardOrder) { o.Until = time.Time{} }, alice, wire.Invalid},
		"one of the time before the clocks": {func(o *ForwardOrder) { o.Until = time.Unix(-1, 0) }, alice, wire.Invalid},
		"one of too many queues":            {func(o *ForwardOrder) { o.Addresses = make([]Address, MaxQueues+1) }, alice, wire.Invalid},
	} {
		o := good
		c.spoil(&o)
		if _, err := c.by.Forward(t.Context(), o); wire.CodeOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is nobody's queue here, or somebody else's, is left out; and no order
	// is for ever.
	bob := fakechain.NewActor("rob", namesvc.Person)
	old.must(old.Register(bob, "rob", fakechain.ServedBy(old.who)))
	old.Skip(1)
	_, err := old.connect(bob).CreateQueue(t.Context(), Seed{7}, stream.Settings{})
	old.must(err)
	good.Until = old.now().Add(10 * MaxForward)
	good.Addresses = append(good.Addresses, to[0], OwnerOf(bob.ID, 1).Address(Seed{7}), Address{9})
	f, err := alice.Forward(t.Context(), good)
	old.must(err)
	if f.Queues != 1 || time.Unix(int64(f.Until), 0).After(old.now().Add(MaxForward)) {
		t.Errorf("the order is %+v", f)
	}
	if _, err := old.connect(bob).Forward(t.Context(), good); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("for somebody who did not move: %v", err)
	}
	// An account's orders are kept for months, so it may not give many.
	var last error
	for i := range orderBurst + 1 {
		good.Until = old.now().Add(time.Hour + time.Duration(i)*time.Second)
		if _, last = alice.Forward(t.Context(), good); last != nil {
			break
		}
	}
	if wire.CodeOf(last) != wire.Exhausted {
		t.Errorf("many orders: %v", last)
	}
	if _, err := alice.Forward(t.Context(), ForwardOrder{}); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("one more: %v", err)
	}
}

// silent is a store that never answers appends to one stream.
type silent struct {
	stream.Store
	to *atomic.Pointer[stream.ID]
}

func (s silent) Submit(id stream.ID, m stream.Message, done func(stream.Receipt, error)) {
	if hold := s.to.Load(); hold != nil && *hold == id {
		return
	}
	s.Store.Submit(id, m, done)
}

func TestForward_GoesOnPastAQueueThatIsNotAnswered(t *testing.T) {
	old, now := moving(t)
	alice, guest := old.connect(old.alice), old.connect(nil)
	list := seeds(3)
	to := old.make(alice, list)
	var held atomic.Pointer[stream.ID]
	now.wrap = func(s stream.Store) stream.Store { return silent{s, &held} }
	old.serve(old.alice, now.start())
	there := now.connect(old.alice)
	now.make(there, list)
	stuck := to[0].Queue()
	held.Store(&stuck)
	old.forward(alice, ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to})
	for i := range 20 {
		for _, a := range to {
			old.must(write(t.Context(), guest, a, fmt.Sprint(i)))
		}
	}
	for _, a := range to[1:] {
		old.eventually("the others arrive", func() bool { return len(old.texts(there, a.Queue())) == 20 })
	}
	if got := old.texts(alice, stuck); len(got) != 20 {
		t.Errorf("%d of the unanswered are still here", len(got))
	}
}

// Somebody else answers at the new concierge's URL.
func TestForward_TellsAnImpostorNothing(t *testing.T) {
	old, now := moving(t)
	alice, guest := old.connect(old.alice), old.connect(nil)
	list := seeds(1)
	to := old.make(alice, list)
	honest := now.who.Server
	now.who.Server = old.who.Server
	now.start()
	old.serve(old.alice, now)
	old.forward(alice, ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to})
	old.must(write(t.Context(), guest, to[0], "private"))
	old.eventually("alice is told", func() bool {
		f, err := alice.Forwarding(t.Context())
		old.must(err)
		return f.Waiting == 1 && strings.Contains(f.Error, "does not hold the key")
	})
	now.stop()
	now.who.Server = honest
	now.make(now.start().connect(old.alice), list)
	old.eventually("the real one gets it", func() bool { return len(old.texts(now.connect(old.alice), to[0].Queue())) == 1 })
}

// Nobody asked for anything: the concierge sees that the account moved.
func TestForward_QueuesOfAnAccountThatLeftAreClosedInAWhile(t *testing.T) {
	old, now := moving(t)
	alice, guest := old.connect(old.alice), old.connect(nil)
	to := old.make(alice, seeds(1))
	old.serve(old.alice, now)
	old.eventually("the move is seen", func() bool {
		_, known := old.server.forwards.order(OwnerOf(old.alice.ID, 1))
		return known
	})
	old.must(write(t.Context(), guest, to[0], "a moment later"))
	old.later(leaveFor)
	if err := write(t.Context(), guest, to[0], "late"); !Moved(err) {
		t.Errorf("%v", err)
	}
	// A restart does not change that, and what came before is there for her.
	old.stop()
	old.start()
	if err := write(t.Context(), old.connect(nil), to[0], "late"); !Moved(err) {
		t.Errorf("after a restart: %v", err)
	}
	alice = old.connect(old.alice)
	if got := old.texts(alice, to[0].Queue()); len(got) != 1 {
		t.Errorf("there is %q", got)
	}
	// She has deleted it, and writers are told the same.
	old.must(alice.DeleteQueue(t.Context(), to[0].Queue()))
	if err := write(t.Context(), old.connect(nil), to[0], "late"); !Moved(err) {
		t.Errorf("of a queue that was deleted: %v", err)
	}
	// She comes back.
	old.serve(old.alice, old)
	old.eventually("she is served again", func() bool {
		_, known := old.server.forwards.order(OwnerOf(old.alice.ID, 1))
		return !known
	})
	again := old.make(old.connect(old.alice), seeds(1))
	old.must(write(t.Context(), old.connect(nil), again[0], "welcome"))
	if err := write(t.Context(), old.connect(nil), to[0], "late"); Moved(err) || wire.CodeOf(err) != wire.NotFound {
		t.Errorf("of a queue that was deleted: %v", err)
	}
}

func TestForward_WhoLeftLongAgoIsForgotten(t *testing.T) {
	old, now := moving(t)
	alice := old.connect(old.alice)
	to := old.make(alice, seeds(2))
	old.serve(old.alice, now)
	old.forward(alice, ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to[:1]})
	old.server.forwards.sweep(t.Context())
	if _, err := old.store.State(t.Context(), to[0].Queue()); err != nil {
		t.Fatalf("too early: %v", err)
	}
	old.late.Store(int64(keepMoved + 2*time.Hour))
	old.server.forwards.sweep(t.Context())
	owner := OwnerOf(old.alice.ID, 1)
	for _, id := range []stream.ID{to[0].Queue(), to[1].Queue(), owner.Knocks(), owner.kept(keptRecord, nil), owner.kept(keptForward, nil)} {
		if _, err := old.store.State(t.Context(), id); !errors.Is(err, stream.ErrNotFound) {
			t.Errorf("something is left: %v", err)
		}
	}
	if n := old.server.forwards.moved.Load(); n != 0 {
		t.Errorf("%d queues are remembered", n)
	}
}

// Two processes of one service: what one was told the other does too.
func TestForward_ReplicasKnowOfTheOrder(t *testing.T) {
	old, now := moving(t)
	other := old.serverOf(old.service(), old.who, old.store, old.limits)
	t.Cleanup(func() { other.Close(context.Background()) })
	alice := old.connect(old.alice)
	list := seeds(1)
	to := old.make(alice, list)
	old.serve(old.alice, now.start())
	now.make(now.connect(old.alice), list)
	old.forward(alice, ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to})
	old.eventually("the other process knows", func() bool { return other.forwards.moved.Load() == 1 })
	for i := range 20 {
		old.must(write(t.Context(), old.connect(nil), to[0], fmt.Sprint(i)))
	}
	old.eventually("it arrives once", func() bool { return len(old.texts(now.connect(old.alice), to[0].Queue())) == 20 })
	_, err := alice.Forward(t.Context(), ForwardOrder{})
	old.must(err)
	old.eventually("the other process knows that it ended", func() bool {
		o, _ := other.forwards.order(OwnerOf(old.alice.ID, 1))
		return o.To == namesvc.AccountID{}
	})
}

// Addresses are rights to write, and the store's files give none.
func TestForward_KeepsAddressesSealed(t *testing.T) {
	old, now := moving(t)
	alice := old.connect(old.alice)
	to := old.make(alice, seeds(1))
	old.serve(old.alice, now)
	old.forward(alice, ForwardOrder{To: now.who.ID, Until: old.now().Add(time.Hour), Addresses: to})
	old.stop()
	read := 0
	err := filepath.WalkDir(old.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		read += len(b)
		if bytes.Contains(b, to[0][:]) || bytes.Contains(b, now.who.ID[:]) {
			t.Errorf("%s holds the address, or where it leads", d.Name())
		}
		return err
	})
	old.must(err)
	if read == 0 {
		t.Error("nothing was read")
	}
	// Under another server key the order is read with the former one, and from then
	// on without it; under a third it cannot be read, and its queues are closed.
	first, second := old.who.Server, now.who.Server
	third, err := key.NewServer(rand.Reader)
	old.must(err)
	change := func(to key.Server, former ...key.Server) {
		old.stop()
		old.who.Server, old.former = to, former
		old.must(old.Next(old.Sign(old.who, namesvc.OpRecords, *old.who.Concierge(old.url))))
		old.Skip(1)
		old.start()
	}
	change(second, third, first)
	old.must(write(t.Context(), old.connect(nil), to[0], "x"))
	old.stop()
	old.former = nil
	old.start()
	old.must(write(t.Context(), old.connect(nil), to[0], "y"))
	change(third)
	if err := write(t.Context(), old.connect(nil), to[0], "z"); !Moved(err) {
		t.Errorf("%v", err)
	}
}

func FuzzOrder(f *testing.F) {
	s := newSealer(TagForwardSeal, [32]byte{1})
	owner := Owner{2}
	b, err := s.seal(bytes.NewReader(make([]byte, 24)), owner, wire.Encode(order{Version: 1, Until: 5, Addresses: []Address{{3}}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, got []byte) {
		if o, err := openOrder(s, owner, got); err == nil && (!bytes.Equal(got, b) || o.Until != 5) {
			t.Errorf("%x is an order", got)
		}
		if _, err := openOrder(s, Owner{9}, got); err == nil {
			t.Error("it is an order for another owner too")
		}
	})
}

func TestReach_GoesNowherePrivate(t *testing.T) {
	for _, at := range []string{
		"127.0.0.1:80", "[::1]:80", "10.1.2.3:80", "192.168.0.1:443", "172.16.0.1:1", "169.254.169.254:80", "[fe80::1]:80",
		"[fd00::1]:80", "0.0.0.0:80", "[::]:80", "100.64.0.1:80", "[::ffff:127.0.0.1]:80", "224.0.0.1:1", "[64:ff9b::7f00:1]:80", "localhost:80",
	} {
		conn, err := reach(false)(t.Context(), "tcp", at)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "not one of the public internet") && !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestReachOf_IsWhereTheOwnConciergeIs(t *testing.T) {
	for want, all := range map[Reach][][]string{
		ReachPublic:  {nil, {""}, {"https://harbor.example"}, {"https://1.1.1.1"}, {"https://169.254.1.1"}, {"https://[fe80::1]"}, {"://"}, {"https://localhost.example"}},
		ReachPrivate: {{"https://10.1.2.3:8443"}, {"https://harbor.example", "https://[fd00::1]"}, {"https://[::ffff:192.168.0.1]"}},
		ReachAll:     {{"http://127.0.0.1:7781"}, {"https://[::1]"}, {"https://localhost:1"}, {"https://10.0.0.1", "https://127.1.1.1"}},
	} {
		for _, urls := range all {
			if got := ReachOf(urls); got != want {
				t.Errorf("%q: %d instead of %d", urls, got, want)
			}
		}
	}
}

// In a private network its addresses are reached, and still not this machine's own
// or those that clouds keep their secrets at.
func TestReach_GoesNoFurtherThanItSays(t *testing.T) {
	for at, least := range map[string]Reach{
		"127.0.0.1:1": ReachAll, "[::1]:1": ReachAll, "localhost:1": ReachAll, "169.254.169.254:80": ReachAll, "0.0.0.0:1": ReachAll,
		"[fe80::1]:1": ReachAll, "224.0.0.1:1": ReachAll, "10.255.255.1:1": ReachPrivate, "[fd00::1]:1": ReachPrivate,
	} {
		for _, r := range []Reach{ReachPublic, ReachPrivate, ReachAll} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			conn, err := r.Dialer().by(ctx, "tcp", at)
			cancel()
			if err == nil {
				conn.Close()
			}
			if refused := errors.Is(err, errReach); refused != (r < least) {
				t.Errorf("%s from reach %d: %v", at, r, err)
			}
		}
	}
}
