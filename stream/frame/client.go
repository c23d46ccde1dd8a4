package frame

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// A Client is the other end of a Server. It is a stream.Log, so what is written
// for a store works across a connection. Its methods may be called from any
// goroutine. It does not connect again; whoever made the connection does.
type Client struct {
	conn Conn
	out  *outbox
	ping *time.Timer

	mu      sync.Mutex
	next    uint64 // request
	waiting map[uint64]func(Frame, error)
	subs    map[stream.ID]*Subscription
	ended   error
	done    chan struct{} // closed when it has ended

	held atomic.Int64 // bytes of pages that nobody has taken yet
}

// Dial begins to speak over a connection, which it closes if that fails. ctx is
// for the beginning only.
func Dial(ctx context.Context, conn Conn) (*Client, error) {
	c := &Client{
		conn:    conn,
		waiting: make(map[uint64]func(Frame, error)),
		subs:    make(map[stream.ID]*Subscription),
		done:    make(chan struct{}),
	}
	c.out = newOutbox(conn, func(err error) { c.fail(fmt.Errorf("%w (write: %w)", ErrEnded, err)) })
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c.out.put(Encode(&Hello{Least: Version, Most: Version}))
	welcome, err := c.greeting()
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("begin connection: %w", err)
	}
	every := min(max(time.Duration(welcome.Ping)*time.Second, time.Second), pingEvery)
	c.mu.Lock()
	c.ping = time.AfterFunc(every, func() {
		c.out.put(Encode(&Ping{}))
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended == nil {
			c.ping.Reset(every)
		}
	})
	c.mu.Unlock()
	go c.readLoop()
	return c, nil
}

func (c *Client) greeting() (*Welcome, error) {
	b, err := c.conn.ReadFrame(MaxFrame)
	if err != nil {
		return nil, err
	}
	f, err := Decode(b)
	if err != nil {
		return nil, err
	}
	switch f := f.(type) {
	case *Welcome:
		if f.Version != Version {
			return nil, wire.Errorf(wire.Invalid, "server answers with version %d, which was not offered", f.Version)
		}
		return f, nil
	case *Bye:
		return nil, received(f.Code, f.Text, nil)
	}
	return nil, wire.Errorf(wire.Invalid, "server answers Hello with a frame of kind %d", f.kind())
}

// Close ends the connection, after what was sent. What waits for answers fails.
func (c *Client) Close() error {
	c.out.finish(nil)
	c.fail(fmt.Errorf("%w (closed here)", ErrEnded))
	return nil
}

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended, or nil if it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// fail ends everything that waits.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return
	}
	c.ended = wire.Errorf(wire.Unavailable, "%w", err)
	if c.ping != nil {
		c.ping.Stop()
	}
	waiting, subs := c.waiting, c.subs
	c.waiting, c.subs = nil, nil
	close(c.done)
	c.mu.Unlock()
	for _, done := range waiting {
		done(nil, c.ended)
	}
	for _, s := range subs {
		s.fail(c.ended)
	}
}

func (c *Client) readLoop() {
	for {
		b, err := c.conn.ReadFrame(MaxFrame)
		var f Frame
		if err == nil {
			f, err = Decode(b)
		}
		if err == nil {
			err = c.handle(f)
		}
		if err != nil {
			c.fail(fmt.Errorf("%w (%w)", ErrEnded, err))
			c.out.finish(nil)
			c.conn.Close()
			return
		}
	}
}

// handle takes one frame of the server's.
func (c *Client) handle(f Frame) error {
	switch f := f.(type) {
	case *Done:
		return c.answer(f.Request, f, nil)
	case *Page:
		return c.answer(f.Request, f, nil)
	case *State:
		return c.answer(f.Request, f, nil)
	case *Failed:
		return c.answer(f.Request, nil, received(f.Code, f.Text, f.Head))
	case *Pushed:
		if s := c.subscription(f.Stream); s != nil {
			return s.push(f)
		}
	case *Heard:
		if s := c.subscription(f.Stream); s != nil && s.heard != nil {
			s.heard(f.Body)
		}
	case *Ended:
		if s := c.subscription(f.Stream); s != nil {
			s.fail(received(f.Code, f.Text, nil))
		}
	case *Ping:
		c.out.offer(Encode(&Pong{Token: f.Token})) // a server that takes nothing gets none
	case *Pong:
	case *Bye:
		return received(f.Code, f.Text, nil)
	default:
		return wire.Errorf(wire.Invalid, "servers do not send frames of kind %d", f.kind())
	}
	return nil
}

func (c *Client) answer(request uint64, f Frame, err error) error {
	c.mu.Lock()
	done := c.waiting[request]
	delete(c.waiting, request)
	c.mu.Unlock()
	if done == nil {
		return wire.Errorf(wire.Invalid, "server answers request %d, which nobody made", request)
	}
	done(f, err)
	return nil
}

func (c *Client) subscription(id stream.ID) *Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs[id]
}

// send sends the request that make makes of a number; done gets the answer.
func (c *Client) send(make func(request uint64) Frame, done func(Frame, error)) {
	c.out.wait()
	c.mu.Lock()
	if err := c.ended; err != nil {
		c.mu.Unlock()
		done(nil, err)
		return
	}
	c.next++
	request := c.next
	c.waiting[request] = done
	// Under the lock, so that requests go out in the order of their numbers.
	c.out.put(Encode(make(request)))
	c.mu.Unlock()
}

// ask is send for who waits.
func (c *Client) ask(ctx context.Context, make func(request uint64) Frame) (Frame, error) {
	type answer struct {
		f   Frame
		err error
	}
	answers := newAnswers[answer]()
	c.send(make, func(f Frame, err error) { answers <- answer{f, err} })
	select {
	case a := <-answers:
		return a.f, a.err
	case <-ctx.Done():
		return nil, wire.Errorf(wire.Unavailable, "server has not answered (%w)", context.Cause(ctx))
	}
}

func newAnswers[T any]() chan T { return make(chan T, 1) }

var errAnswer = errors.New("server answers with a frame of another kind")

// Submit appends a message; see stream.Log. An error of kind Unavailable means
// that it may have been appended.
func (c *Client) Submit(id stream.ID, m stream.Message, done func(stream.Receipt, error)) {
	if len(m.Body) > stream.MaxBody {
		done(stream.Receipt{}, stream.ErrTooLarge)
		return
	}
	c.send(func(request uint64) Frame {
		f := &Append{Request: request, Stream: id, Message: m.ID, Body: m.Body}
		if m.Expect != nil {
			f.Expect = []stream.Head{*m.Expect}
		}
		return f
	}, func(f Frame, err error) {
		d, ok := f.(*Done)
		switch {
		case err != nil:
			done(stream.Receipt{}, err)
		case !ok:
			done(stream.Receipt{}, errAnswer)
		default:
			done(stream.Receipt{Seq: d.Seq, Again: d.Again}, nil)
		}
	})
}

// Range returns entries after a number; see stream.Log.
func (c *Client) Range(ctx context.Context, id stream.ID, after uint64, max int) (stream.Page, error) {
	f, err := c.ask(ctx, func(request uint64) Frame {
		return &Range{Request: request, Stream: id, After: after, Max: uint64(atLeast(max, 0))}
	})
	if err != nil {
		return stream.Page{}, err
	}
	p, ok := f.(*Page)
	if !ok || p.After < after {
		return stream.Page{}, errAnswer
	}
	return stream.Page{After: p.After, Head: p.Head, Entries: unpacked(p.After, p.Entries)}, nil
}

func atLeast(a, b int) int { return max(a, b) }

// State returns what the server tells of a stream; of its settings not the
// readers, and of its cursors none.
func (c *Client) State(ctx context.Context, id stream.ID) (stream.State, error) {
	s, err := c.Head(ctx, id)
	if err != nil {
		return stream.State{}, err
	}
	return stream.State{
		Settings: stream.Settings{MaxEntries: s.MaxEntries, MaxBytes: s.MaxBytes, TTL: time.Duration(s.TTL) * time.Second},
		Head:     s.Head, Base: s.Base, Bytes: s.Bytes,
	}, nil
}

// Head returns a stream's state as the server tells it, with the signature of its
// head and the cursor of this client's reader. The signature is not checked.
func (c *Client) Head(ctx context.Context, id stream.ID) (*State, error) {
	f, err := c.ask(ctx, func(request uint64) Frame { return &Head{Request: request, Stream: id} })
	if err != nil {
		return nil, err
	}
	s, ok := f.(*State)
	if !ok {
		return nil, errAnswer
	}
	return s, nil
}

// Acknowledge says that this client's reader has processed all up to a number. It
// does not wait: what gets lost is acknowledged with the next.
func (c *Client) Acknowledge(id stream.ID, seq uint64) {
	c.out.wait()
	c.out.put(Encode(&Acknowledge{Stream: id, Seq: seq}))
}

// Announce passes a body, at most stream.MaxAnnouncement bytes, on to all who
// follow the stream now.
func (c *Client) Announce(id stream.ID, body []byte) error {
	if len(body) > stream.MaxAnnouncement {
		return stream.ErrTooLarge
	}
	c.out.wait()
	c.out.put(Encode(&Announce{Stream: id, Body: body}))
	return c.Err()
}
