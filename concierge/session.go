package concierge

import (
	"context"
	"errors"
	"slices"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// session is one connection: of a guest, who may write to queues whose address
// he has, or of a device of an account, which also reads and keeps its own. Its
// methods but end are called by the goroutine that reads the connection.
type session struct {
	server  *Server
	guest   bool
	account namesvc.AccountID
	device  key.Public
	network [32]byte // where it comes from, as buckets know it
	owner   Owner
	listed  bool // the account names this concierge; otherwise it only drains
	bucket  bucket
	record  record
	cancel  context.CancelCauseFunc
}

// end ends the connection.
func (c *session) end(why error) { c.cancel(why) }

// errRate says that one connection asks too much.
var errRate error = wire.Errorf(wire.Exhausted, "too many requests on this connection: slow down")

// admit charges the connection.
func (c *session) admit(cost float64) error {
	if !c.bucket.take(cost, c.server.limits.Rate, c.server.limits.Burst, c.server.now()) {
		c.server.figures.refused.WithLabelValues("connection").Inc()
		return errRate
	}
	return nil
}

// May implements frame.Authority. Whoever has a queue's address may write: the
// store finds no stream under anything else.
func (c *session) May(a frame.Action, id stream.ID) error {
	if err := c.admit(1); err != nil {
		return err
	}
	if a == frame.ActionAppend || a == frame.ActionAnnounce {
		return nil
	}
	if c.guest {
		return wire.Errorf(wire.Unauthorized, "guests write and do not read: connect as a device of the account")
	}
	if c.owns(id) {
		return nil
	}
	// Another device may have made it a moment ago.
	if err := c.admit(lookCost); err != nil {
		return err
	}
	if r, _, err := readRecord(c.server.ctx, c.server.store, c.owner); err == nil {
		c.record = r
	}
	if c.owns(id) {
		return nil
	}
	return wire.Errorf(wire.NotFound, "account has no such queue here")
}

// lookCost is what a request that reads the disk counts more than others.
const lookCost = 10

func (c *session) owns(id stream.ID) bool {
	return id == c.owner.Knocks() || id == c.owner.Vault() || slices.ContainsFunc(c.record.Queues, func(q Queue) bool { return q.ID == id })
}

// Reader implements frame.Authority.
func (c *session) Reader() (stream.Reader, bool) { return stream.Reader(c.device), !c.guest }

// mail is the store as connections see it: they write under addresses and read
// under queues.
type mail struct {
	stream.Store
	server *Server
}

var errQueueRate error = wire.Errorf(wire.Exhausted, "queue takes no more messages just now: try again in a few seconds")

// Submit implements stream.Log for a writer: id is an Address.
func (m mail) Submit(id stream.ID, msg stream.Message, done func(stream.Receipt, error)) {
	q := Address(id).Queue()
	if !m.server.queueRate.take(q, 1, m.server.now()) {
		m.server.figures.refused.WithLabelValues("queue").Inc()
		done(stream.Receipt{}, errQueueRate)
		return
	}
	lane, err := m.server.forwards.admit(q)
	if err != nil {
		done(stream.Receipt{}, err)
		return
	}
	if lane != nil {
		done = lane.appending(done)
	}
	m.Store.Submit(q, msg, func(r stream.Receipt, err error) {
		switch {
		case err == nil && r.Again:
			m.server.figures.appends.WithLabelValues("again").Inc()
		case err == nil:
			m.server.figures.appends.WithLabelValues("new").Inc()
		default:
			m.server.figures.appends.WithLabelValues(wire.CodeOf(err).String()).Inc()
		}
		done(r, err)
	})
}

// Announce implements stream.Waker for a writer: id is an Address.
func (m mail) Announce(ctx context.Context, id stream.ID, body []byte) error {
	q := Address(id).Queue()
	if !m.server.queueRate.take(q, 1, m.server.now()) {
		return errQueueRate
	}
	return m.Store.Announce(ctx, q, body)
}

// open looks a caller up and returns his session, whose context ends when it
// must.
func (s *Server) open(ctx context.Context, who caller, network [32]byte) (*session, context.Context, error) {
	running, cancel := context.WithCancelCause(s.ctx)
	c := &session{server: s, guest: who.guest, account: who.account, device: who.device, network: network, cancel: cancel}
	if who.guest {
		return c, running, nil
	}
	stand, err := s.members.join(ctx, c)
	if err == nil {
		c.owner, c.listed = OwnerOf(stand.account, stand.generation), stand.listed
		release := s.hold(c.owner)
		c.record, err = settle(ctx, s.store, c.owner, s.shelf(c.owner), stand)
		if err == nil {
			err = s.forwards.stands(ctx, c.owner, stand)
		}
		release()
		if errors.Is(err, stream.ErrNotFound) {
			err = wire.Errorf(wire.Unauthorized, "the account does not name this concierge: run confab concierge switch first")
		}
	}
	if err == nil {
		err = context.Cause(running) // the chain was quicker
	}
	if err != nil {
		s.shut(c)
		return nil, nil, err
	}
	return c, running, nil
}

// shut forgets a session.
func (s *Server) shut(c *session) {
	c.cancel(nil)
	if !c.guest {
		s.members.leave(c)
	}
}
