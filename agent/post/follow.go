package post

import (
	"context"
	"sync"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/stream"
)

// State is how a Follow stands.
type State struct {
	Connected bool
	Since     time.Time // by Options.Now
	// Err says why it is not connected. While it is, Err is about one queue: a
	// *Rolled, *Gap or *Missing.
	Err error
}

// A Taker takes a page of a queue. Nil means that all of it is kept, and the
// concierge may let go of it.
type Taker func(ctx context.Context, box stream.ID, page stream.Page) error

// Follow reads queues of an office, as this device, until ctx ends or the Post is
// closed, and returns which of them it was. It connects, again and again if need
// be, reads each queue from its cursor, and hands take one page at a time: those
// of one queue in their order, those of all queues in turn. What take returned
// nil for is acknowledged and not handed over again by this Follow; an error of
// take has that queue wait and be read again from there, and no other one. take
// gets Follow's context.
//
// While connected it also gets tokens for knocks from the office, now and then.
//
// state, unless nil, is told of changes, by one goroutine at a time; it must not
// block for long. An office whose key or address was changed is found again. One
// Boxes is for one Follow at a time.
func (p *Post) Follow(ctx context.Context, o Office, boxes *Boxes, take func(ctx context.Context, box stream.ID, page stream.Page) error, state func(State)) error {
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f := &follower{
		whole: ctx, post: p, office: o, boxes: boxes, take: take, tell: state,
		turn: make(chan struct{}, 1), catching: make(chan struct{}, maxCatching),
		whispers: make(chan whisper, maxWhispers), since: p.now(), ended: map[stream.ID]<-chan struct{}{},
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { f.listen(ctx) })
	f.run(ctx)
	return context.Cause(ctx)
}

// follower is one Follow.
type follower struct {
	whole    context.Context // of the Follow: takers are not stopped when a connection ends
	post     *Post
	office   Office
	boxes    *Boxes
	take     Taker
	turn     chan struct{} // one taker at a time
	catching chan struct{} // room for queues that are caught up with
	whispers chan whisper

	mu        sync.Mutex // one call of tell at a time
	tell      func(State)
	connected bool
	since     time.Time

	// Of run's goroutine: closed when the last reader of a queue has ended.
	ended map[stream.ID]<-chan struct{}
}

type whisper struct {
	box  stream.ID
	body []byte
}

// listen passes on what is announced, away from the goroutine that reads the
// connection.
func (f *follower) listen(ctx context.Context) {
	for {
		select {
		case w := <-f.whispers:
			f.boxes.heard(w.box, w.body)
		case <-ctx.Done():
			return
		}
	}
}

// say tells how it stands now.
func (f *follower) say(connected bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if connected != f.connected {
		f.connected, f.since = connected, f.post.now()
	}
	if f.tell != nil {
		f.tell(State{Connected: connected, Since: f.since, Err: err})
	}
}

// run connects and reads, again and again.
func (f *follower) run(ctx context.Context) {
	tries := attempts{post: f.post}
	for {
		woken := f.post.wakes()
		tries.try()
		l, _, err := f.post.acquire(ctx, f.office, true)
		dialled := err == nil
		if dialled {
			f.say(true, nil)
			f.read(ctx, l)
			err = l.why()
			f.post.release(l)
		}
		if ctx.Err() != nil {
			return
		}
		f.say(false, heard(ctx, err))
		if !dialled {
			f.office = f.post.renew(ctx, f.office)
		}
		if !tries.wait(ctx, woken) {
			return
		}
	}
}

// reading is a goroutine that reads one queue.
type reading struct {
	version uint64
	cancel  context.CancelFunc
}

// read reads all queues over one line until that or ctx ends.
func (f *follower) read(ctx context.Context, l *line) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	running := map[stream.ID]reading{}
	probes := make(chan time.Duration, 1)
	all.Go(func() { f.post.probe(ctx, l, probes) })
	tick := time.NewTicker(f.post.times.probe)
	defer tick.Stop()
	woken := f.post.wakes()
	for {
		set, changed := f.boxes.look()
		for id, r := range running {
			if b, ok := set[id]; !ok || b.version != r.version {
				r.cancel()
				delete(running, id)
			}
		}
		for id, b := range set {
			if _, ok := running[id]; !ok {
				running[id] = f.start(ctx, &all, l, id, b.version)
			}
		}
		for id, ended := range f.ended {
			if _, ok := running[id]; !ok && isClosed(ended) {
				delete(f.ended, id)
			}
		}
		select {
		case <-changed:
		case <-tick.C:
			offer(probes, f.post.times.answer)
		case <-woken:
			woken = f.post.wakes()
			offer(probes, f.post.times.wake)
		case <-l.client.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// start starts a reader, which waits for the one before it of the same queue:
// two must not subscribe to it at a time, and take never runs ahead of itself.
func (f *follower) start(ctx context.Context, all *sync.WaitGroup, l *line, id stream.ID, version uint64) reading {
	ctx2, cancel := context.WithCancel(ctx)
	before, done := f.ended[id], make(chan struct{})
	f.ended[id] = done
	all.Go(func() {
		defer close(done)
		defer cancel()
		if before != nil {
			<-before
		}
		r := reader{follower: f, line: l, id: id, version: version}
		r.run(ctx2)
	})
	return reading{version: version, cancel: cancel}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func offer[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// describes has the line show that it answers; it is closed if it does not in time.
func (l *line) describes(ctx context.Context, within time.Duration) {
	l.ask(ctx, within, func(ctx context.Context, c *concierge.Client) error {
		_, err := c.Describe(ctx)
		return err
	})
}

// probe has the line show that it answers, each time it is told how long that
// may take; otherwise the line is closed. It also keeps the purse filled.
func (p *Post) probe(ctx context.Context, l *line, within <-chan time.Duration) {
	for {
		p.refill(ctx, l)
		select {
		case t := <-within:
			l.describes(ctx, t)
		case <-ctx.Done():
			return
		}
	}
}
