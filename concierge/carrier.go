package concierge

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

const (
	// maxCarried is how many queues are delivered at once, to all concierges
	// together: each takes a page of memory and may wait for carryTime.
	maxCarried = 64
	// maxWorkers of them go to one concierge.
	maxWorkers = 8
	// carryPage is how many bytes of a queue are read at once.
	carryPage = 32 << 10
	// carryTime is how long an answer to one message is waited for.
	carryTime = 20 * time.Second
	// maxUnanswered is how many messages a concierge may leave without an answer
	// before the connection to it is made anew: each costs memory.
	maxUnanswered = 16
	// idleCarrier is how long a connection is kept that nothing needs.
	idleCarrier = time.Minute
	// firstPause and longestPause are between attempts.
	firstPause   = 500 * time.Millisecond
	longestPause = 5 * time.Minute
)

// pause returns how long to wait after so many failures in a row: twice as long
// each time, and by chance somewhat less, so that not all come at once.
func pause(failures int) time.Duration {
	d := firstPause << min(failures-1, 20)
	return time.Duration(float64(min(d, longestPause)) * (0.75 + rand.Float64()/4))
}

// carrier delivers to one concierge over one connection, which all queues share.
// Of one queue one message is under way at a time: the next is sent when it is
// known to be there, so their order is kept whatever is refused or repeated.
type carrier struct {
	forwards *forwards
	to       namesvc.AccountID
	users    int // lanes; guarded by forwards.mu

	mu         sync.Mutex
	ready      []*lane
	workers    int
	failures   int
	again      time.Time // not connected to before that
	why        error
	idle       *time.Timer
	unanswered int

	dialing sync.Mutex // held while connecting
	client  *Client
}

// wake says that a lane may have entries up to a number; 0: look.
func (c *carrier) wake(n *lane, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.gone || seq != 0 && seq <= n.at {
		return
	}
	n.news = true
	if !n.listed {
		c.list(n)
	}
}

// list puts a lane among those to be done; c.mu is held.
func (c *carrier) list(n *lane) {
	n.listed, n.rest = true, nil
	c.ready = append(c.ready, n)
	if c.workers < min(maxWorkers, len(c.ready)) && c.forwards.spawn(c.work) {
		c.workers++
	}
}

// leave forgets a lane; one that is being done ends with its page.
func (c *carrier) leave(n *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.gone = true
	if n.rest != nil {
		n.rest.Stop()
		n.rest = nil
	}
}

// standing returns up to where a lane is delivered, why the last attempt failed,
// whether there is more, and whether the lane is no more.
func (c *carrier) standing(n *lane) (at uint64, why string, more, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n.at, n.err, n.listed, n.gone
}

// work does what is ready until nothing is.
func (c *carrier) work() {
	ctx := c.forwards.server.ctx
	for {
		c.mu.Lock()
		if len(c.ready) == 0 || ctx.Err() != nil {
			c.workers--
			c.rest()
			c.mu.Unlock()
			break
		}
		n := c.ready[0]
		c.ready = c.ready[1:]
		n.news = false // from here on, another waking is news
		gone := n.gone
		c.mu.Unlock()
		if gone {
			continue
		}
		select {
		case c.forwards.busy <- struct{}{}:
			more, err := c.carry(ctx, n)
			<-c.forwards.busy
			c.settle(n, more, err)
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		c.hangUp()
	}
}

// rest hangs up later if nothing comes; c.mu is held.
func (c *carrier) rest() {
	if c.workers > 0 {
		return
	}
	if c.idle == nil {
		c.idle = time.AfterFunc(idleCarrier, func() {
			c.mu.Lock()
			working := c.workers > 0
			c.mu.Unlock()
			if !working {
				c.hangUp()
			}
		})
		return
	}
	c.idle.Reset(idleCarrier)
}

// settle says what becomes of a lane that was done.
func (c *carrier) settle(n *lane, more bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.listed = false
	switch {
	case n.gone:
	case errors.Is(err, stream.ErrNotFound): // of the queue here
		n.gone = true
	case err != nil:
		if errors.Is(err, stream.ErrAhead) {
			n.at = 0 // it was made anew
		}
		n.err = err.Error()
		if err == errLate {
			return
		}
		n.failures++
		n.listed = true
		wait := c.forwards.pause(n.failures)
		if until := time.Until(c.again); c.why != nil && until > 0 {
			wait = until + wait/16
		}
		n.rest = time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !n.gone {
				c.list(n)
			}
		})
	default:
		if n.failures, n.err = 0, ""; more || n.news {
			c.list(n) // behind the others
		}
	}
}

// errLate is why nothing is tried any more.
var errLate error = wire.Errorf(wire.Stale, "time is over: fetch what is left from here")

// carry delivers a page of a queue and trims what was taken. It reports whether
// there is more. ErrNotFound says that the queue is gone here; what the other end
// does not find is an elsewhereError.
func (c *carrier) carry(ctx context.Context, n *lane) (more bool, err error) {
	s := c.forwards.server
	at, _, _, _ := c.standing(n)
	page, err := s.store.Range(ctx, n.id, at, carryPage)
	if err != nil || len(page.Entries) == 0 {
		c.reached(n, page.Last())
		return false, err
	}
	if s.now().After(n.last) {
		return false, errLate
	}
	client, err := c.connect(ctx)
	if err != nil {
		return true, elsewhereError{err}
	}
	taken, failed := page.After, error(nil)
	for _, e := range page.Entries {
		if failed = c.deliver(ctx, client, n, e); failed != nil {
			failed = elsewhereError{failed}
			break
		}
		taken = e.Seq
	}
	if taken > page.After {
		if err := s.store.Trim(ctx, n.id, taken); err != nil {
			return true, err
		}
	}
	c.reached(n, taken)
	return taken < page.Head, failed
}

// reached notes up to where a lane is delivered.
func (c *carrier) reached(n *lane, at uint64) {
	c.mu.Lock()
	n.at = max(n.at, at)
	c.mu.Unlock()
}

// elsewhereError is an error of the other concierge, or on the way to it. It
// wraps nothing: that a queue is not found there says nothing of ours.
type elsewhereError struct{ err error }

func (e elsewhereError) Error() string { return "the new concierge: " + e.err.Error() }

// deliver appends one entry there, under the id that its writer chose.
func (c *carrier) deliver(ctx context.Context, client *Client, n *lane, e stream.Entry) error {
	actx, cancel := context.WithTimeout(ctx, carryTime)
	defer cancel()
	r, err := stream.Append(actx, client, stream.ID(n.address), stream.Message{ID: e.ID, Body: e.Body})
	result := "new"
	switch {
	case errors.Is(err, stream.ErrReused):
		// Its writer gave the id to another message too, and that one is there.
		result, err = "reused", nil
	case err != nil:
		result = "failed"
		if actx.Err() != nil && ctx.Err() == nil {
			c.missed(client)
		}
	case r.Again:
		result = "again"
	}
	c.forwards.figures.messages.WithLabelValues(result).Inc()
	if err == nil {
		n.delivered.Add(1)
	}
	return err
}

// missed notes that an answer did not come.
func (c *carrier) missed(client *Client) {
	c.mu.Lock()
	c.unanswered++
	end := c.unanswered >= maxUnanswered
	c.mu.Unlock()
	if end {
		client.Close()
	}
}

// connect returns the connection, made if need be. After a failure the next
// attempt waits, for all queues together.
func (c *carrier) connect(ctx context.Context) (*Client, error) {
	c.dialing.Lock()
	defer c.dialing.Unlock()
	if c.client != nil {
		if c.client.Err() == nil {
			return c.client, nil
		}
		c.client.Close()
		c.client = nil
	}
	c.mu.Lock()
	why := c.why
	if !time.Now().Before(c.again) {
		why = nil
	}
	c.mu.Unlock()
	if why != nil {
		return nil, why
	}
	client, err := c.forwards.server.dial(ctx, c.to)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.failures++; c.failures == 1 {
			c.forwards.server.logger.Warn("a concierge that messages are to be forwarded to is not reached", "service", c.to, "error", err)
		}
		c.why, c.again = err, time.Now().Add(c.forwards.pause(c.failures))
		return nil, err
	}
	c.why, c.failures, c.unanswered, c.client = nil, 0, 0, client
	return client, nil
}

// hangUp ends the connection.
func (c *carrier) hangUp() {
	c.dialing.Lock()
	defer c.dialing.Unlock()
	if c.client != nil {
		c.client.Close()
		c.client = nil
	}
}

// dial connects, as a guest, to the concierge that an account is.
func (s *Server) dial(ctx context.Context, to namesvc.AccountID) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	svc, urls, err := s.serviceAt(ctx, to)
	if err != nil {
		return nil, err
	}
	err = wire.Errorf(wire.NotFound, "the concierge's entry has no URL")
	for _, u := range urls {
		var client *Client
		if client, err = dial(ctx, u, svc, nil, s.reach); err == nil {
			return client, nil
		}
	}
	return nil, err
}
