package concierge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

const (
	// loadTime bounds reading all orders when a server begins.
	loadTime = time.Minute
	// sweepEvery is how often orders that are long over are looked for.
	sweepEvery = time.Hour
)

// forwards knows which accounts have moved away, and has what is written to
// their queues delivered where they said.
type forwards struct {
	server  *Server
	sealer  sealer
	former  []sealer // of server keys that were in use before
	changes *buckets // orders of each owner
	pause   func(failures int) time.Duration
	figures forwardFigures
	busy    chan struct{} // a place for each queue that is being delivered

	moved atomic.Int64 // how many lanes there are: most servers ask no further
	mu    sync.RWMutex
	// seen is up to where the index was read.
	seen     uint64
	owners   map[Owner]*leaver
	lanes    map[stream.ID]*lane
	carriers map[namesvc.AccountID]*carrier
	closed   bool
	news     chan struct{}

	spawning sync.Mutex // between the last goroutine's beginning and the waiting for all
	ended    bool
	running  sync.WaitGroup
}

// leaver is an account that moved.
type leaver struct {
	order order
	lanes []*lane
}

// lane is one queue of it.
type lane struct {
	id        stream.ID
	end       time.Time // writers are told that the owner moved from then on
	last      time.Time // nothing is delivered after that
	address   Address
	carrier   *carrier // nil: what is written waits for the owner's devices
	flying    atomic.Int64
	delivered atomic.Uint64
	stop      func()

	// Guarded by the carrier.
	at       uint64 // up to here it is delivered
	news     bool   // there may be more than was last seen
	listed   bool   // it is among those to be done, or is being done, or rests
	gone     bool   // the queue was deleted, or another order took its place
	failures int
	rest     *time.Timer
	err      string
}

type forwardFigures struct{ messages *prometheus.CounterVec }

func newForwardFigures(r *prometheus.Registry, f *forwards) forwardFigures {
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "confab", Subsystem: "concierge", Name: "forwarded_total",
		Help: "Messages that were forwarded to the owner's new concierge, by what became of them there.",
	}, []string{"result"})
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "confab", Subsystem: "concierge", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	r.MustRegister(messages,
		gauge("moved_accounts", "Accounts that moved away and are still known.", func() int {
			f.mu.RLock()
			defer f.mu.RUnlock()
			return len(f.owners)
		}),
		gauge("forwarding_queues", "Queues with messages that wait to be forwarded.", f.undelivered))
	return forwardFigures{messages}
}

// newForwards returns what was ordered before the server ended the last time, also
// under one of the former server keys.
func newForwards(s *Server, former []key.Server, rest func(failures int) time.Duration) (*forwards, error) {
	if rest == nil {
		rest = pause
	}
	f := &forwards{
		server: s, sealer: newSealer(TagForwardSeal, s.signer.seed()), changes: newBuckets(orderRate, orderBurst), pause: rest,
		busy: make(chan struct{}, maxCarried), news: make(chan struct{}, 1),
		owners: map[Owner]*leaver{}, lanes: map[stream.ID]*lane{}, carriers: map[namesvc.AccountID]*carrier{},
	}
	for _, k := range former {
		f.former = append(f.former, newSealer(TagForwardSeal, k.Seed()))
	}
	f.figures = newForwardFigures(s.registry, f)
	ctx, cancel := context.WithTimeout(s.ctx, loadTime)
	defer cancel()
	if err := s.store.Configure(ctx, forwardsIndex(), stream.Settings{TTL: indexTTL}); err != nil {
		return nil, fmt.Errorf("read orders to forward: %w", err)
	}
	if err := f.read(ctx); err != nil {
		return nil, fmt.Errorf("read orders to forward: %w", err)
	}
	f.spawn(f.follow)
	return f, nil
}

// spawn runs do, unless the server is being closed.
func (f *forwards) spawn(do func()) bool {
	f.spawning.Lock()
	defer f.spawning.Unlock()
	if f.ended {
		return false
	}
	f.running.Go(do)
	return true
}

// close ends all delivering, once the server's context has ended; it goes on at
// the next start.
func (f *forwards) close() {
	f.spawning.Lock()
	f.ended = true
	f.spawning.Unlock()
	f.mu.Lock()
	f.closed = true
	for _, l := range f.lanes {
		l.unwatch()
	}
	carriers := f.carriers
	f.carriers = map[namesvc.AccountID]*carrier{}
	f.mu.Unlock()
	f.running.Wait()
	for _, c := range carriers {
		c.hangUp()
	}
}

// read looks at all orders that changed since the last time.
func (f *forwards) read(ctx context.Context) error {
	for {
		page, err := f.server.store.Range(ctx, forwardsIndex(), f.seen, stream.MaxPage)
		if err != nil {
			return err
		}
		latest := map[Owner]bool{}
		for _, e := range page.Entries {
			if len(e.Body) == len(Owner{}) {
				latest[Owner(e.Body)] = true
			}
		}
		for o := range latest {
			if err := f.reload(ctx, o); err != nil {
				return err
			}
		}
		f.seen = page.Last()
		if page.Last() >= page.Head {
			return nil
		}
	}
}

// Woken implements stream.Watcher for the index.
func (f *forwards) Woken(uint64) {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// Heard implements stream.Watcher.
func (f *forwards) Heard([]byte) {}

// follow reads the index as it grows, and sweeps what is over.
func (f *forwards) follow() {
	ctx := f.server.ctx
	stop, err := f.server.store.Watch(ctx, forwardsIndex(), f)
	if err == nil {
		defer stop()
	} else {
		f.server.logger.Warn("orders that other processes take are only seen hourly", "error", err)
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	f.Woken(0) // what came between the first reading and the watching
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.sweep(ctx)
			f.Woken(0)
		case <-f.news:
			if err := f.read(ctx); err != nil && ctx.Err() == nil {
				f.server.logger.Warn("read orders to forward", "error", err)
			}
		}
	}
}

// sweep forgets accounts that left long ago.
func (f *forwards) sweep(ctx context.Context) {
	f.mu.RLock()
	var old []Owner
	for owner, l := range f.owners {
		if l.order.over(f.server.now()) {
			old = append(old, owner)
		}
	}
	f.mu.RUnlock()
	for _, owner := range old {
		if err := f.forget(ctx, owner); err != nil {
			f.server.logger.Warn("what an account left behind could not be deleted; the next hour tries again", "owner", owner, "error", err)
		}
	}
}

// reload reads the order of an owner and does as it says from now on.
func (f *forwards) reload(ctx context.Context, owner Owner) error {
	body, head, err := newest(ctx, f.server.store, owner.kept(keptForward, nil))
	if errors.Is(err, stream.ErrNotFound) || err == nil && body == nil {
		f.drop(owner)
		return nil
	}
	if err != nil {
		return err
	}
	o, err := openOrder(f.sealer, owner, body)
	if err != nil {
		o, err = f.sealAnew(ctx, owner, body, head, err)
	}
	if err != nil {
		f.server.logger.Warn("an account's order to forward cannot be read; its queues are closed", "owner", owner, "error", err)
		o = order{Version: 1} // it was given, so the account had left
	}
	rec, _, err := readRecord(ctx, f.server.store, owner)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	f.take(owner, o, rec)
	return nil
}

// sealAnew returns an order that was sealed under a former server key, and seals it
// under the one that is in use: the former one need not be kept for ever. why is
// returned if there is no such key.
func (f *forwards) sealAnew(ctx context.Context, owner Owner, body []byte, head stream.Head, why error) (order, error) {
	for _, former := range f.former {
		o, err := openOrder(former, owner, body)
		if err != nil {
			continue
		}
		sealed, err := f.sealer.seal(f.server.rand, owner, wire.Encode(o))
		if err == nil {
			_, err = replace(ctx, f.server.store, owner.kept(keptForward, nil), head, newMessageID(), sealed)
		}
		if err != nil { // or another process was quicker
			f.server.logger.Debug("an order to forward stays under the former server key", "owner", owner, "error", err)
		}
		return o, nil
	}
	return order{}, why
}

// order returns what is known of an owner.
func (f *forwards) order(owner Owner) (order, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	l := f.owners[owner]
	if l == nil {
		return order{}, false
	}
	return l.order, true
}

// take puts an order in the place of the one before.
func (f *forwards) take(owner Owner, o order, rec record) {
	l := &leaver{order: o}
	known := map[stream.ID]bool{}
	add := func(id stream.ID) *lane {
		known[id] = true
		n := &lane{id: id, end: o.end(), last: o.last()}
		l.lanes = append(l.lanes, n)
		return n
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	before := f.owners[owner]
	f.remove(owner)
	if len(f.lanes)+len(o.Addresses)+len(rec.Queues) > maxMoved {
		f.server.logger.Warn("too many queues of accounts that moved: writers of some must find out by themselves", "owner", owner)
		return
	}
	for _, a := range o.Addresses {
		n := add(a.Queue())
		if n.address = a; o.To != (namesvc.AccountID{}) {
			n.carrier = f.carrier(o.To)
		}
	}
	for _, q := range rec.Queues {
		if !known[q.ID] {
			add(q.ID)
		}
	}
	f.owners[owner] = l
	for _, n := range l.lanes {
		f.lanes[n.id] = n
		if before != nil && before.order.To == o.To {
			n.delivered.Store(before.delivered(n.id))
		}
	}
	f.moved.Store(int64(len(f.lanes)))
	f.spawn(func() {
		for _, n := range l.lanes {
			if n.carrier != nil && f.server.ctx.Err() == nil {
				f.begin(n)
			}
		}
	})
}

func (l *leaver) delivered(id stream.ID) uint64 {
	for _, n := range l.lanes {
		if n.id == id {
			return n.delivered.Load()
		}
	}
	return 0
}

// drop forgets the order of an owner.
func (f *forwards) drop(owner Owner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(owner)
	f.moved.Store(int64(len(f.lanes)))
}

// remove is drop for who holds f.mu.
func (f *forwards) remove(owner Owner) {
	l := f.owners[owner]
	if l == nil {
		return
	}
	delete(f.owners, owner)
	for _, n := range l.lanes {
		n.unwatch()
		if c := n.carrier; c != nil {
			c.leave(n)
			if c.users--; c.users == 0 {
				delete(f.carriers, c.to)
				f.spawn(c.hangUp)
			}
		}
		if f.lanes[n.id] == n {
			delete(f.lanes, n.id)
		}
	}
}

// begin has a lane woken by what is appended, and looks at what is there.
func (f *forwards) begin(n *lane) {
	stop, err := f.server.store.Watch(f.server.ctx, n.id, n)
	if err == nil {
		f.mu.Lock()
		if n.stop = stop; f.lanes[n.id] != n || f.closed { // removed meanwhile
			n.unwatch()
		}
		f.mu.Unlock()
	}
	// Without it, appends through this process still wake the lane.
	n.Woken(0)
}

// unwatch is called by who holds forwards.mu.
func (n *lane) unwatch() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// Woken implements stream.Watcher.
func (n *lane) Woken(seq uint64) { n.carrier.wake(n, seq) }

// Heard implements stream.Watcher: what is not kept is not forwarded.
func (n *lane) Heard([]byte) {}

// admit returns the lane of a queue whose owner moved, nil for all others, or why
// nothing may be written to it.
func (f *forwards) admit(id stream.ID) (*lane, error) {
	if f.moved.Load() == 0 {
		return nil, nil
	}
	f.mu.RLock()
	n := f.lanes[id]
	f.mu.RUnlock()
	if n == nil {
		return nil, nil
	}
	now := f.server.now()
	switch {
	case now.Before(n.end):
		return n, nil
	case now.Before(n.end.Add(linger)) && n.underWay():
		return nil, errMoving
	}
	return nil, ErrMoved
}

// underWay reports whether messages of a lane are not delivered yet.
func (n *lane) underWay() bool {
	if n.carrier == nil {
		return false
	}
	_, _, more, _ := n.carrier.standing(n)
	return more || n.flying.Load() > 0
}

// appending returns done for a message that goes into a lane: until it is
// answered the lane counts as under way. Where its owner has deleted the queue
// already, the writer is told that he moved.
func (n *lane) appending(done func(stream.Receipt, error)) func(stream.Receipt, error) {
	n.flying.Add(1)
	return func(r stream.Receipt, err error) {
		if err == nil && n.carrier != nil {
			n.carrier.wake(n, r.Seq)
		}
		n.flying.Add(-1)
		if errors.Is(err, stream.ErrNotFound) {
			err = ErrMoved
		}
		done(r, err)
	}
}

// left reports whether an owner's knock queue is closed, since he moved.
func (f *forwards) left(owner Owner) bool {
	o, known := f.order(owner)
	return known && !f.server.now().Before(o.end())
}

// status returns how the forwarding for an owner stands.
func (f *forwards) status(ctx context.Context, owner Owner) (Forwarding, error) {
	f.mu.RLock()
	l := f.owners[owner]
	f.mu.RUnlock()
	if l == nil {
		return Forwarding{}, nil
	}
	out := Forwarding{To: l.order.To, Until: l.order.Until}
	for _, n := range l.lanes {
		if n.carrier == nil {
			continue
		}
		out.Queues++
		out.Delivered += n.delivered.Load()
		state, err := f.server.store.State(ctx, n.id)
		if errors.Is(err, stream.ErrNotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		at, why, _, _ := n.carrier.standing(n)
		out.Waiting += state.Head.Seq - min(max(state.Base, at), state.Head.Seq)
		if why != "" {
			out.Error = why
		}
	}
	if out.Waiting > 0 && f.server.now().After(l.order.last()) {
		out.Error = "time is over: fetch what is left from here"
	}
	out.Error = out.Error[:min(len(out.Error), maxText)]
	return out, nil
}

// undelivered returns how many lanes have something to deliver.
func (f *forwards) undelivered() (count int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, n := range f.lanes {
		if n.underWay() {
			count++
		}
	}
	return count
}

// carrier returns the carrier to a service; f.mu is held.
func (f *forwards) carrier(to namesvc.AccountID) *carrier {
	c := f.carriers[to]
	if c == nil {
		c = &carrier{forwards: f, to: to}
		f.carriers[to] = c
	}
	c.users++
	return c
}

// serviceAt asks the chain where a concierge is.
func (s *Server) serviceAt(ctx context.Context, id namesvc.AccountID) (Service, []string, error) {
	e, _, p, err := s.members.chain.Devices(ctx, id, time.Minute)
	if err != nil {
		return Service{}, nil, wire.Errorf(wire.Unavailable, "ask the chain about the concierge: %w", err)
	}
	e = e.At(uint64(p.Time.Unix()))
	svc, err := ServiceOf(s.me.Chain, e)
	if err != nil {
		return svc, nil, err
	}
	return svc, e.Records.Service.URLs, nil
}
