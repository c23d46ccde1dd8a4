package post

import (
	"context"
	"errors"
	"net"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// hasty is a Post with little patience.
func (w *world) hasty(p *Post) *Post {
	p.times.dial, p.times.answer, p.times.wake = 2*time.Second, 300*time.Millisecond, 100*time.Millisecond
	return p
}

func TestPost_SaysNothingToAServerWithoutTheKey(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	l.key = key.ServerFromSeed([32]byte{9})
	alice, bob := w.hasty(w.post(w.alice)), w.hasty(w.post(w.bob))
	if n, err := alice.Deliver(t.Context(), party(w.bob), concierge.Address{1}, texts(1, 1)); n != 0 || wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("%d were taken: %v", n, err)
	}
	if err := alice.Knock(t.Context(), party(w.bob), []byte("x"), nil); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("knock: %v", err)
	}
	b := w.inbox()
	w.follow(bob, &Boxes{}, b)
	b.until("refused", func() bool { return wire.CodeOf(b.last().Err) == wire.Unauthorized })
	if l.dials.Load() == 0 || l.heard.Load() != 0 {
		t.Errorf("of %d connections %d said something", l.dials.Load(), l.heard.Load())
	}
}

// blackHole returns a URL whose server takes connections and says nothing.
func (w *world) blackHole() string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.Cleanup(func() { c.Close() })
		}
	}()
	return "https://" + l.Addr().String()
}

func TestDeliver_ToADeadConciergeDelaysNobodyElse(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(alice) // harbor's, which lives
	w.must(w.Next(w.Sign(w.lagoon.actor, namesvc.OpRecords, *w.lagoon.actor.Concierge(w.blackHole()))))
	w.Skip(1)
	carol := w.post(w.bob)
	carol.times.dial = time.Minute // longer than the test has
	ctx, cancel := context.WithCancel(t.Context())
	var dead sync.WaitGroup
	for range 20 {
		dead.Go(func() {
			if n, err := carol.Deliver(ctx, party(w.bob), concierge.Address{1}, texts(1, 1)); n != 0 || wire.CodeOf(err) != wire.Unavailable {
				t.Errorf("%d were taken: %v", n, err)
			}
		})
	}
	w.until("they wait", func() bool {
		carol.mu.Lock()
		defer carol.mu.Unlock()
		for _, l := range carol.lines {
			return l.users == 20
		}
		return false
	})
	w.deliver(carol, w.alice, address, 1, 50)
	cancel()
	dead.Wait()

	bob.times.dial = 300 * time.Millisecond
	if n, err := bob.Deliver(t.Context(), party(w.bob), address, texts(1, 1)); n != 0 || wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("%d were taken: %v", n, err)
	}
}

func TestPost_EndsWithAConciergeThatNeverAnswers(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	got := make(chan struct{}, 1000)
	l.frame = func(_ *liarConn, f frame.Frame) {
		if _, ok := f.(*frame.Append); ok {
			got <- struct{}{}
		}
	}
	before := runtime.NumGoroutine()
	alice, bob := w.hasty(w.post(w.alice)), w.hasty(w.post(w.bob))
	address := concierge.Address{1}
	if n, err := alice.Deliver(t.Context(), party(w.bob), address, texts(1, 20)); n != 0 || !errors.Is(err, errSilent) {
		t.Errorf("deliver: %d, %v", n, err)
	}
	if _, err := alice.Package(t.Context(), party(w.bob), w.bob.Device.Public(), &address); !errors.Is(err, errSilent) {
		t.Errorf("package: %v", err)
	}
	if err := alice.Knock(t.Context(), party(w.bob), []byte("x"), nil); !errors.Is(err, errSilent) {
		t.Errorf("knock: %v", err)
	}
	err := bob.Ask(t.Context(), w.home(bob), func(ctx context.Context, c *concierge.Client) error {
		_, err := c.Kept(ctx)
		return err
	})
	if !errors.Is(err, errSilent) {
		t.Errorf("ask: %v", err)
	}
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	stop := w.follow(bob, &boxes, b)
	b.until("it is said", func() bool { return errors.Is(b.last().Err, errSilent) })
	stop()
	// Who stops waiting stops at once, and what he left costs nothing for long.
	alice.times.answer = 3 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	for len(got) > 0 {
		<-got
	}
	began := make(chan time.Time, 1)
	go func() {
		<-got
		began <- time.Now()
		cancel()
	}()
	if _, err := alice.Deliver(ctx, party(w.bob), address, texts(1, 20)); wire.CodeOf(err) != wire.Unavailable || errors.Is(err, errSilent) {
		t.Errorf("stopped: %v", err)
	}
	if took := time.Since(<-began); took > 2500*time.Millisecond {
		t.Errorf("stopping took %v", took)
	}
	w.until("the abandoned connection is closed", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		for _, l := range alice.lines {
			return l.ended()
		}
		return true
	})
	alice.Close()
	bob.Close()
	w.until("no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// A connection whose other end vanished says nothing; it is found out by Wake.
func TestFollow_WakeFindsADeadConnection(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	var mute atomic.Bool
	l.frame = func(c *liarConn, f frame.Frame) {
		switch f := f.(type) {
		case *frame.Range:
			c.send(&frame.Page{Request: f.Request})
		case *frame.Subscribe:
			c.send(&frame.Done{Request: f.Request})
		}
	}
	l.request = func(c *liarConn, r liarRequest) {
		if !mute.Load() {
			c.answer(r.Number, l.descriptor())
		}
	}
	bob := w.hasty(w.post(w.bob))
	var boxes Boxes
	boxes.Add(stream.ID{1}, 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.until("connected", func() bool { return b.last().Connected })
	bob.Wake() // it answers, and stays
	mute.Store(true)
	dials := l.dials.Load()
	w.until("it connects again", func() bool {
		bob.Wake()
		time.Sleep(150 * time.Millisecond)
		return l.dials.Load() > dials
	})
}

// page is n entries after a number, with a head.
func page(request, after, head uint64, bodies ...string) *frame.Page {
	p := &frame.Page{Request: request, After: after, Head: head}
	for _, s := range bodies {
		p.Entries = append(p.Entries, frame.Entry{Body: []byte(s)})
	}
	return p
}

func TestFollow_BelievesNoImpossibleNumbers(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	bad, good := stream.ID{1}, stream.ID{2}
	l.frame = func(c *liarConn, f frame.Frame) {
		switch f := f.(type) {
		case *frame.Range:
			if f.Stream == bad {
				c.send(page(f.Request, 1<<63, 1<<63+1, "x"))
			} else {
				c.send(page(f.Request, 0, 1, "1"))
			}
		case *frame.Subscribe:
			c.send(&frame.Done{Request: f.Request})
			c.send(&frame.Pushed{Stream: f.Stream, From: f.After, After: 1<<63 + 5, Head: 1<<63 + 6, Entries: []frame.Entry{{Body: []byte("y")}}})
			c.send(&frame.Pushed{Stream: f.Stream, From: 77, After: 77, Head: 78, Entries: []frame.Entry{{Body: []byte("z")}}})
		}
	}
	bob := w.hasty(w.post(w.bob))
	var boxes Boxes
	boxes.Add(bad, 0)
	boxes.Add(good, 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.has(good, 1)
	w.until("it came back some times", func() bool { bob.Wake(); return l.dials.Load() >= 1 })
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.got[bad]) != 0 || len(b.got[good]) != 1 {
		t.Errorf("taken: %v", b.got)
	}
	if at, _ := boxes.After(bad); at != 0 {
		t.Errorf("the cursor is %d", at)
	}
}

// The reader of a queue that is added again begins when the former one has ended
// its subscription: otherwise that end would be the new one's.
func TestFollow_SubscriptionsOfOneQueueDoNotOverlap(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	box := stream.ID{1}
	var mu sync.Mutex
	var order strings.Builder
	subscribed := make(chan struct{}, 100)
	l.frame = func(c *liarConn, f frame.Frame) {
		mu.Lock()
		defer mu.Unlock()
		switch f := f.(type) {
		case *frame.Range:
			order.WriteString("r")
			c.send(page(f.Request, f.After, f.After))
		case *frame.Subscribe:
			order.WriteString("s")
			c.send(&frame.Done{Request: f.Request})
			subscribed <- struct{}{}
		case *frame.Unsubscribe:
			order.WriteString("u")
			c.send(&frame.Done{Request: f.Request})
		}
	}
	bob := w.post(w.bob)
	var boxes Boxes
	w.follow(bob, &boxes, w.inbox())
	const rounds = 30
	for range rounds {
		boxes.Add(box, 0)
		<-subscribed
	}
	mu.Lock()
	defer mu.Unlock()
	// One that is stopped before it hears that it is subscribed says no end.
	if !regexp.MustCompile("^(rsu?)+$").MatchString(order.String()) {
		t.Errorf("asked in the order %s", order.String())
	}
}

// A queue without end does not keep the others waiting, and pages with nothing in
// them are not asked for again and again.
func TestFollow_EndlessQueuesKeepNobodyWaiting(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	endless, empty, good := stream.ID{1}, stream.ID{2}, stream.ID{3}
	var hollow atomic.Int64
	l.frame = func(c *liarConn, f frame.Frame) {
		switch f := f.(type) {
		case *frame.Range:
			switch f.Stream {
			case endless:
				c.send(page(f.Request, f.After, 1<<40, "again"))
			case empty:
				hollow.Add(1)
				c.send(page(f.Request, f.After, 1<<40))
			case good:
				c.send(page(f.Request, f.After, f.After))
			}
		case *frame.Subscribe:
			c.send(&frame.Done{Request: f.Request})
			if f.Stream == good {
				for n := range uint64(100) {
					p := page(0, n, n+1, string(rune('a'+n%26)))
					c.send(&frame.Pushed{Stream: good, From: n, After: n, Head: n + 1, Entries: p.Entries})
				}
			}
		}
	}
	bob := w.post(w.bob)
	var boxes Boxes
	for _, id := range []stream.ID{endless, empty, good} {
		boxes.Add(id, 0)
	}
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.until("the good one", func() bool { return len(b.got[good]) == 100 })
	if n := hollow.Load(); n != 1 {
		t.Errorf("the empty one was asked for %d times", n)
	}
}

// An office that says "rolled" again and again has its queue read ever more
// seldom, not as fast as it can say so.
func TestFollow_RolledAgainAndAgainIsSlowedDown(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	box := stream.ID{1}
	l.frame = func(c *liarConn, f frame.Frame) {
		switch f := f.(type) {
		case *frame.Range:
			if f.After > 0 {
				c.send(&frame.Failed{Request: f.Request, Code: wire.Conflict, Text: stream.ErrAhead.Error()})
			} else {
				c.send(page(f.Request, 0, 1, "x"))
			}
		case *frame.Head:
			c.send(&frame.State{Request: f.Request, Head: stream.Head{Seq: 1}})
		case *frame.Subscribe:
			c.send(&frame.Failed{Request: f.Request, Code: wire.Conflict, Text: stream.ErrAhead.Error()})
		}
	}
	bob := w.post(w.bob)
	var boxes Boxes
	boxes.Add(box, 9)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.until("rolled", func() bool { return len(b.errs) >= 2 })
	time.Sleep(time.Second) // what must not happen takes time
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errs) > 30 {
		t.Errorf("rolled %d times in a second", len(b.errs))
	}
	var rolled *Rolled
	if !errors.As(b.errs[0], &rolled) || *rolled != (Rolled{Box: box, Cursor: 9, Head: 1}) {
		t.Errorf("told %v", b.errs[0])
	}
}

func TestPost_ErrorsOfStrangersAreFitToBeShown(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	evil := "\x1b[2J\u202egone\nroot# "
	l.frame = func(c *liarConn, f frame.Frame) {
		if f, ok := f.(*frame.Append); ok {
			c.send(&frame.Failed{Request: f.Request, Code: wire.Invalid, Text: evil})
		}
	}
	l.request = func(c *liarConn, r liarRequest) {
		c.write(append([]byte{0x18, 33}, wire.Encode(liarAnswer{Number: r.Number, Code: wire.Invalid, Text: evil})...))
	}
	alice := w.post(w.alice)
	_, first := alice.Deliver(t.Context(), party(w.bob), concierge.Address{1}, texts(1, 1))
	second := alice.Knock(t.Context(), party(w.bob), []byte("x"), nil)
	for _, err := range []error{first, second} {
		if wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), "gone") || strings.ContainsAny(err.Error(), "\x1b\u202e\n") {
			t.Errorf("%q", err)
		}
	}
}

func TestKnock_WorksForNobodyElseAndNotForLong(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	d := l.descriptor()
	l.request = func(c *liarConn, r liarRequest) { c.answer(r.Number, d) }
	alice := w.hasty(w.post(w.alice))
	d.Service = w.harbor.actor.ID
	if err := alice.Knock(t.Context(), party(w.bob), []byte("x"), nil); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("another's price: %v", err)
	}
	for _, price := range [][2]uint64{{18, 1024}, {63, 1}, {64, 1}, {1, 1 << 40}, {11, 64 << 10}, {1 << 40, 1 << 40}} {
		d = l.descriptor()
		d.WorkBits, d.WorkMemory = price[0], price[1]
		if err := alice.Knock(t.Context(), party(w.bob), []byte("x"), nil); wire.CodeOf(err) != wire.Exhausted {
			t.Errorf("%v: %v", price, err)
		}
	}
}

func TestPackage_RefusesWhatIsNone(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	size := 0
	l.request = func(c *liarConn, r liarRequest) {
		if r.Op == opFetch {
			c.answer(r.Number, concierge.Package{Body: make([]byte, size)})
		}
	}
	alice := w.post(w.alice)
	address := concierge.Address{1}
	for _, size = range []int{0, concierge.MaxPackage + 1} {
		if p, err := alice.Package(t.Context(), party(w.bob), w.bob.Device.Public(), &address); wire.CodeOf(err) != wire.Invalid || len(p.Body) != 0 {
			t.Errorf("%d bytes: %d, %v", size, len(p.Body), err)
		}
	}
}

// Work is done for one thing at a time, whoever waits.
func TestPost_WorkIsDoneOneAtATime(t *testing.T) {
	w := newWorld(t)
	p := w.post(w.alice)
	var busy sync.Mutex
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			w.must(p.work(t.Context(), concierge.Descriptor{WorkBits: 1, WorkMemory: 8}, func(context.Context, concierge.Descriptor) error {
				if !busy.TryLock() {
					t.Error("two at a time")
					return nil
				}
				defer busy.Unlock()
				runtime.Gosched()
				return nil
			}))
		})
	}
	all.Wait()
	p.working <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.work(ctx, concierge.Descriptor{}, nil); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("stopped while waiting: %v", err)
	}
}

// The number of connections is bounded, and one that lives is had although all
// places are taken by such as do not answer.
func TestLine_ManyDeadConciergesLeaveRoom(t *testing.T) {
	w := newWorld(t)
	alice := w.post(w.alice)
	bob := w.post(w.bob)
	address := w.queue(bob)
	alice.times.dial = time.Second
	hole := w.blackHole()
	var all sync.WaitGroup
	for i := range 3 * maxGuests / 2 {
		o := Office{Service: concierge.Service{Chain: w.ID(), Account: namesvc.AccountID{1, byte(i)}, Generation: 1}, URL: hole}
		all.Go(func() {
			err := alice.try(t.Context(), o, false, func(context.Context, *line) error { return nil })
			if wire.CodeOf(err) != wire.Unavailable {
				t.Errorf("a dead one: %v", err)
			}
		})
	}
	w.until("all places are taken", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return len(alice.lines) >= maxGuests
	})
	w.until("the one that lives has a place", func() bool {
		n, err := alice.Deliver(t.Context(), party(w.bob), address, texts(1, 5))
		return n == 5 && err == nil
	})
	alice.mu.Lock()
	if n := len(alice.lines); n > maxGuests {
		t.Errorf("%d connections", n)
	}
	alice.mu.Unlock()
	all.Wait()
}

// A visit may take long, but not for ever: the concierge must show that it answers.
func TestVisit_EndsWithAConciergeThatFallsSilent(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	described := make(chan struct{}, 1000)
	l.request = func(c *liarConn, r liarRequest) {
		if r.Op == opDescribe {
			if described <- struct{}{}; len(described) < 3 {
				c.answer(r.Number, l.descriptor())
			}
		}
	}
	alice := w.hasty(w.post(w.alice))
	alice.times.probe = 20 * time.Millisecond
	began := time.Now()
	err := alice.Visit(t.Context(), party(w.bob), func(_ context.Context, c *concierge.Client) error {
		_, err := c.Kept(context.Background())
		return err
	})
	if !errors.Is(err, errSilent) || len(described) < 3 {
		t.Errorf("%v after %v; it was asked %d times", err, time.Since(began), len(described))
	}
}

// Nothing of a queue is acknowledged before it is known to be the one that was read,
// however many pages that takes: its entries would be let go of.
func TestFollow_AcknowledgesNothingOfAnotherQueue(t *testing.T) {
	w := newWorld(t)
	l := w.lagoon.impostor()
	box := stream.ID{1}
	var mu sync.Mutex
	var acked, anew bool
	l.frame = func(c *liarConn, f frame.Frame) {
		mu.Lock()
		defer mu.Unlock()
		switch f := f.(type) {
		case *frame.Range:
			anew = anew || f.After == 0
			if f.After < 9 {
				c.send(page(f.Request, f.After, 9, "x"))
			} else {
				c.send(page(f.Request, 9, 9))
			}
		case *frame.Head:
			c.send(&frame.State{Request: f.Request, Head: stream.Head{Seq: 9, Hash: [32]byte{1}}})
		case *frame.Acknowledge:
			acked = acked || !anew
		case *frame.Subscribe:
			c.send(&frame.Done{Request: f.Request})
		}
	}
	bob := w.post(w.bob)
	var boxes Boxes
	boxes.AddAt(box, stream.Head{Seq: 5, Hash: [32]byte{2}})
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.until("it is read from the beginning", func() bool { return len(b.got[box]) >= 9 })
	mu.Lock()
	defer mu.Unlock()
	if acked || !anew {
		t.Errorf("acknowledged before: %v; read anew: %v", acked, anew)
	}
}
