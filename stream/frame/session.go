package frame

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// session is one connection of a server.
type session struct {
	server    *Server
	conn      Conn
	authority Authority
	out       *outbox
	heard     atomic.Int64 // Unix nanoseconds of the client's last frame

	turn chan struct{} // one subscription catches up at a time

	// Of the goroutine that reads.
	subs map[stream.ID]*subscriber
	idle time.Time // until then, frames that ask for nothing are paid for

	mu     sync.Mutex
	done   sync.Cond // an append was answered
	flying int       // appends that are not
	bytes  int       // of their bodies
	acks   map[stream.ID]uint64
	acking bool
	reason error // why the server ended it
}

func newSession(s *Server, conn Conn, a Authority) *session {
	c := &session{server: s, conn: conn, authority: a, subs: make(map[stream.ID]*subscriber), turn: make(chan struct{}, 1)}
	c.out = newOutbox(conn, func(error) {})
	c.done.L = &c.mu
	c.heard.Store(time.Now().UnixNano())
	return c
}

// run reads requests until the connection ends.
func (c *session) run() error {
	err := c.greet()
	for err == nil {
		var f Frame
		if f, err = c.read(); err == nil && c.ending() == nil {
			err = c.handle(f)
		}
		if reason := c.ending(); reason != nil {
			err = reason
		}
	}
	if code := wire.CodeOf(err); code == wire.Invalid {
		c.end(err) // it may help whoever writes a client
	}
	return err
}

func (c *session) read() (Frame, error) {
	b, err := c.conn.ReadFrame(MaxRequest)
	if err != nil {
		return nil, err
	}
	c.heard.Store(time.Now().UnixNano())
	return Decode(b)
}

func (c *session) greet() error {
	f, err := c.read()
	if err != nil {
		return err
	}
	hello, ok := f.(*Hello)
	if !ok {
		return wire.Errorf(wire.Invalid, "connection begins with a frame of kind %d, not with Hello", f.kind())
	}
	if hello.Least > Version || hello.Most < Version {
		return wire.Errorf(wire.Invalid, "client speaks versions %d to %d, server speaks %d: upgrade the older of the two", hello.Least, hello.Most, Version)
	}
	c.out.put(Encode(&Welcome{Version: Version, Ping: uint64(pingEvery / time.Second)}))
	return nil
}

// end has the connection end after what is queued, and a Bye that says why.
func (c *session) end(err error) {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = err
	}
	c.done.Broadcast()
	c.mu.Unlock()
	code, text := telling(err)
	c.out.finish(Encode(&Bye{Code: code, Text: text}))
}

// ending returns why the server has ended the connection, if it has.
func (c *session) ending() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// leave lets go of everything once the connection has ended.
func (c *session) leave() {
	c.out.finish(nil)
	for _, s := range c.subs {
		s.end()
	}
}

// look ends a connection that has stalled.
func (c *session) look(now time.Time) {
	if c.out.stalled(now.Add(-stall)) {
		c.end(wire.Errorf(wire.Exhausted, "client takes nothing: connect again and go on from the last entry"))
		c.conn.Close()
	}
	if now.UnixNano()-c.heard.Load() > int64(silence) {
		c.end(wire.Errorf(wire.Unavailable, "client was not heard of: connect again"))
	}
}

// handle does one request. An error ends the connection.
func (c *session) handle(f Frame) error {
	c.out.wait() // who sends requests must also take answers
	switch f := f.(type) {
	case *Append:
		return c.append(f)
	case *Range:
		c.answer(f.Request, c.readRange(f))
	case *Subscribe:
		if err := c.subscribe(f); err != nil {
			c.answer(f.Request, err)
		}
	case *Unsubscribe:
		s := c.subs[f.Stream]
		if s == nil && c.idles() {
			return errIdle
		}
		if s != nil {
			delete(c.subs, f.Stream)
			s.end()
		}
		c.answer(f.Request, nil)
	case *Acknowledge:
		c.acknowledge(f)
	case *Head:
		c.answer(f.Request, c.head(f))
	case *Announce:
		if c.authority.May(ActionAnnounce, f.Stream) == nil {
			// Nobody is told whether it was heard.
			if err := c.server.store.Announce(c.server.ctx, f.Stream, f.Body); err != nil {
				c.server.options.Logger.Debug("announce", "stream", f.Stream, "error", err)
			}
		}
	case *Ping:
		if c.idles() {
			return errIdle
		}
		c.out.put(Encode(&Pong{Token: f.Token}))
	case *Pong:
		if c.idles() {
			return errIdle
		}
	case *Bye:
		return wire.Errorf(f.Code, "client says: %s", f.Text)
	default:
		return wire.Errorf(wire.Invalid, "clients do not send frames of kind %d", f.kind())
	}
	return nil
}

// errIdle ends a connection that costs writes and asks for nothing.
var errIdle error = wire.Errorf(wire.Invalid, "client sends too many frames that ask for nothing, such as pings: one a second will do")

// idles notes one more such frame, and reports whether there are too many.
func (c *session) idles() bool {
	now := time.Now()
	if c.idle.Before(now) {
		c.idle = now
	}
	c.idle = c.idle.Add(idleEach)
	return c.idle.Sub(now) > idleBurst*idleEach
}

// answered says that a request has its answer already.
var answered = errors.New("answered")

// answer sends Done or Failed.
func (c *session) answer(request uint64, err error) {
	switch {
	case err == answered:
	case err == nil:
		c.out.put(Encode(&Done{Request: request}))
	default:
		f := failure(request, err)
		if f.Code == wire.Internal {
			c.server.options.Logger.Error("request", "error", err)
		}
		c.out.put(Encode(f))
	}
}

func (c *session) append(f *Append) error {
	if err := c.authority.May(ActionAppend, f.Stream); err != nil {
		c.answer(f.Request, err)
		return nil
	}
	size := len(f.Body)
	c.mu.Lock()
	for (c.flying >= maxInFlight || c.bytes+size > maxFlyingBytes) && c.reason == nil {
		c.done.Wait()
	}
	c.flying++
	c.bytes += size
	reason := c.reason
	c.mu.Unlock()
	if reason != nil {
		return reason
	}
	m := stream.Message{ID: f.Message, Body: f.Body}
	if len(f.Expect) == 1 {
		m.Expect = &f.Expect[0]
	}
	request := f.Request
	c.server.store.Submit(f.Stream, m, func(r stream.Receipt, err error) {
		if err != nil {
			c.answer(request, err)
		} else {
			c.out.put(Encode(&Done{Request: request, Seq: r.Seq, Again: r.Again}))
		}
		c.mu.Lock()
		c.flying--
		c.bytes -= size
		c.done.Signal()
		c.mu.Unlock()
	})
	return nil
}

func (c *session) readRange(f *Range) error {
	if err := c.authority.May(ActionRead, f.Stream); err != nil {
		return err
	}
	page, err := c.server.store.Range(c.server.ctx, f.Stream, f.After, int(min(f.Max, stream.MaxPage)))
	if err != nil {
		return err
	}
	c.out.put(Encode(&Page{Request: f.Request, After: page.After, Head: page.Head, Entries: packed(page.Entries)}))
	return answered
}

func (c *session) head(f *Head) error {
	if err := c.authority.May(ActionRead, f.Stream); err != nil {
		return err
	}
	state, err := c.server.store.State(c.server.ctx, f.Stream)
	if err != nil {
		return err
	}
	answer := &State{
		Request: f.Request, Head: state.Head, Base: state.Base, Bytes: state.Bytes,
		MaxEntries: state.Settings.MaxEntries, MaxBytes: state.Settings.MaxBytes,
		TTL: uint64(state.Settings.TTL / time.Second),
	}
	if r, ok := c.authority.Reader(); ok {
		answer.Cursor = state.Cursors[r]
	}
	if sign := c.server.options.Sign; sign != nil {
		answer.Signature = sign(state.Head.Message(f.Stream))
	}
	c.out.put(Encode(answer))
	return answered
}

// acknowledge notes an acknowledgement; those of one stream that come while
// others are written are written as one.
func (c *session) acknowledge(f *Acknowledge) {
	err := c.authority.May(ActionRead, f.Stream)
	reader, ok := c.authority.Reader()
	if err == nil && !ok {
		err = stream.ErrUnknownReader
	}
	if err != nil || f.Request != 0 {
		if err == nil {
			err = c.server.store.Acknowledge(c.server.ctx, f.Stream, reader, f.Seq)
		}
		if f.Request != 0 {
			c.answer(f.Request, err)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acks == nil {
		c.acks = make(map[stream.ID]uint64)
	}
	c.acks[f.Stream] = max(c.acks[f.Stream], f.Seq)
	if !c.acking {
		c.acking = true
		go c.writeAcks(reader)
	}
}

func (c *session) writeAcks(r stream.Reader) {
	for {
		c.mu.Lock()
		acks := c.acks
		c.acks = nil
		c.acking = len(acks) > 0
		c.mu.Unlock()
		if len(acks) == 0 {
			return
		}
		for id, seq := range acks {
			ctx, cancel := context.WithTimeout(c.server.ctx, stall)
			if err := c.server.store.Acknowledge(ctx, id, r, seq); err != nil {
				c.server.options.Logger.Debug("acknowledge", "stream", id, "error", err)
			}
			cancel()
		}
	}
}

func (c *session) subscribe(f *Subscribe) error {
	if err := c.authority.May(ActionRead, f.Stream); err != nil {
		return err
	}
	if old := c.subs[f.Stream]; old != nil {
		delete(c.subs, f.Stream)
		old.end()
	}
	if len(c.subs) >= MaxSubscriptions {
		return wire.Errorf(wire.Exhausted, "connection follows %d streams already: use another for more", MaxSubscriptions)
	}
	t, err := c.server.topic(c.server.ctx, f.Stream)
	if err != nil {
		return err
	}
	page, err := c.server.store.Range(c.server.ctx, f.Stream, f.After, stream.MaxPage)
	if err != nil {
		c.server.drop(t)
		return err
	}
	s := &subscriber{topic: t, out: c.out, turn: c.turn, at: page.Last()}
	c.subs[f.Stream] = s
	c.answer(f.Request, nil)
	if page.After > f.After || len(page.Entries) > 0 {
		c.out.put(pushed(f.Stream, f.After, page))
	}
	if page.Last() < page.Head || !t.join(s) {
		go s.catchUp()
	}
	return nil
}
