package post

import (
	"context"
	"errors"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/wire"
)

// dial connects a line and lets those go on who wait for it.
func (p *Post) dial(l *line) {
	ctx, cancel := context.WithTimeout(p.ctx, p.times.dial)
	defer cancel()
	c, err := p.connect(ctx, l.office, l.key.own)
	if p.hops == Two && !l.key.own && exhausted(err) {
		p.dropIdle() // the own concierge may allow fewer tunnels
		c, err = p.connect(ctx, l.office, false)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.client, l.err = c, err
	close(l.ready)
	switch {
	case err != nil:
		p.drop(l)
	case p.closed || p.lines[l.key] != l && l.users == 0:
		l.close() // nobody waits for it any more
	}
}

// exhausted reports whether a quota was used up on the way, although what came of
// it is that nothing was reached.
func exhausted(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(*wire.Error); ok && e.Code == wire.Exhausted {
			return true
		}
	}
	return false
}

// dropIdle closes all connections to foreign concierges that nobody uses.
func (p *Post) dropIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l.users == 0 && !l.key.own {
			p.drop(l)
		}
	}
}

// connect dials an office at one of its URLs after the other.
func (p *Post) connect(ctx context.Context, o Office, own bool) (*concierge.Client, error) {
	dialer, done, err := p.way(ctx, o, own)
	if err != nil {
		return nil, err
	}
	defer done()
	var id *concierge.Identity
	if own {
		id = &p.self
	}
	urls := o.urls()
	deadline, _ := ctx.Deadline()
	var first error
	for i, url := range urls {
		one, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(urls)-i))
		c, err := dialer.Dial(one, url, o.Service, id)
		late := one.Err() != nil
		cancel()
		switch {
		case err == nil:
			return c, nil
		case p.ctx.Err() != nil:
			return nil, errClosed
		case late:
			err = wire.Errorf(wire.Unavailable, "concierge %.200s does not answer: %w", url, err)
		}
		err = said{err}
		p.logger.Debug("concierge was not reached", "url", url, "own", own, "error", err)
		// That somebody else answers, or that it refuses, says more than silence.
		if first == nil || wire.CodeOf(first) == wire.Unavailable && wire.CodeOf(err) != wire.Unavailable {
			first = err
		}
	}
	return nil, first
}

// way returns what connects to an office; done is called after that.
func (p *Post) way(ctx context.Context, o Office, own bool) (d concierge.Dialer, done func(), err error) {
	if own {
		return d, func() {}, nil
	}
	home, err := p.recall(ctx, p.home, lightclient.DefaultMaxAge)
	if p.hops != Two {
		if err != nil || home.office.Service != o.Service {
			d = concierge.ReachOf(home.office.urls()).Dialer() // without a home to the public ones
		}
		return d, func() {}, nil
	}
	if err != nil {
		return d, nil, wire.Errorf(wire.CodeOf(err), "find the own concierge, through which others are reached: %w", err)
	}
	if home.office.Service == o.Service {
		return d, func() {}, nil // it sees this machine's address anyway
	}
	l, _, err := p.acquire(ctx, home.office, true)
	if err != nil {
		return d, nil, wire.Errorf(wire.CodeOf(err), "connect to the own concierge, through which others are reached: %w", err)
	}
	return l.client.Through(o.Service.Account), func() { p.release(l) }, nil
}
