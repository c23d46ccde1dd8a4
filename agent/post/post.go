package post

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// Names is what a Post asks of the chain; a *lightclient.Client answers.
type Names interface {
	// Account returns the proven entry of an account, no older than maxAge; the
	// proof has the entries of its concierges too.
	Account(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (namesvc.Entry, lightclient.Proof, error)
	// Pin says which chain it is.
	Pin() verify.Pin
}

// Hops says how foreign concierges are reached.
type Hops int

// The ways.
const (
	// Direct connects to them from here: they see this machine's address.
	Direct Hops = 0
	// Two connects through a tunnel of the own concierge, which sees to whom and
	// how much, while they do not see from where. There is no way around it: if
	// the own concierge does not answer, foreign ones are not reached.
	Two Hops = 1
)

// Options are what a Post is made of.
type Options struct {
	Names Names
	Self  concierge.Identity // this device, as the own concierge is to know it
	// Home is the account whose concierge is the own one; zero for Self's. It says
	// how far foreign ones are looked for: see concierge.ReachOf.
	Home   namesvc.AccountID
	Hops   Hops
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil for time.Now; for the age of answers only
	Rand   io.Reader        // nil for crypto/rand; spreads the waits between attempts
}

// A Post is one device's connections to concierges. Its methods may be called
// from any goroutine.
type Post struct {
	names   Names
	self    concierge.Identity
	home    namesvc.AccountID
	hops    Hops
	logger  *slog.Logger
	now     func() time.Time
	rand    io.Reader
	times   times
	working chan struct{} // room for work: it takes a core

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	purse purse

	mu     sync.Mutex
	closed bool
	woken  chan struct{} // closed by the next Wake
	room   chan struct{} // closed when a connection is let go of
	lines  map[lineKey]*line
	known  map[namesvc.AccountID]whereabouts

	searches map[namesvc.AccountID]*search // under way
}

// New returns a Post; it connects when it is used. Close ends it.
func New(o Options) *Post {
	p := &Post{
		names: o.Names, self: o.Self, home: or(o.Home, o.Self.Account), hops: o.Hops, logger: o.Logger, now: o.Now, rand: o.Rand,
		times: defaultTimes(), working: make(chan struct{}, 1), woken: make(chan struct{}), room: make(chan struct{}),
		lines: map[lineKey]*line{}, known: map[namesvc.AccountID]whereabouts{},
		searches: map[namesvc.AccountID]*search{},
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.rand == nil {
		p.rand = rand.Reader
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// Close ends all connections and everything that is under way, and waits for it:
// after Close no taker is called any more, so it must not be called from one.
func (p *Post) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.lines {
		l.idle.Stop()
	}
	p.mu.Unlock()
	p.cancel(errClosed)
	p.mu.Lock()
	for _, l := range p.lines {
		l.close()
	}
	p.mu.Unlock()
	p.running.Wait()
	return nil
}

// begin returns a context that ends with ctx or with the Post; whoever called it
// calls end. Close waits until then.
func (p *Post) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	p.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		p.running.Done()
	}, nil
}

// Wake says that the network is back: who waits to dial does so now, connections
// that nobody uses are closed, and followed ones must show that they answer.
func (p *Post) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.woken)
	p.woken = make(chan struct{})
	for _, l := range p.lines {
		if l.users == 0 {
			p.drop(l)
		}
	}
}

// wakes returns a channel that the next Wake closes.
func (p *Post) wakes() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.woken
}
