package fakechain

import (
	"context"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Node is an honest source of a chain: it answers, takes ops and keeps their
// history.
type Node struct {
	Chain *Chain
	Label string
}

// Name implements lightclient.Source.
func (n Node) Name() string { return n.Label }

// Bundle implements lightclient.Source.
func (n Node) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	if err := n.Chain.wait(ctx, max(r.After+1, r.At)); err != nil {
		return nil, err
	}
	b, err := n.Chain.Bundle(r)
	if err != nil {
		return nil, err
	}
	return b.Encode(), nil
}

// wait returns when there is a head of this height, or too late.
func (c *Chain) wait(ctx context.Context, height uint64) error {
	late := time.NewTimer(maxWait)
	defer late.Stop()
	for {
		c.mu.Lock()
		newest, news := c.height(), c.news
		c.mu.Unlock()
		if newest >= height {
			return nil
		}
		select {
		case <-news:
		case <-late.C:
			return wire.Errorf(wire.Unavailable, "not yet; ask again")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Submit implements lightclient.Submitter: an op that the law would take now
// waits for the next block that Run cuts.
func (n Node) Submit(_ context.Context, op []byte) error {
	c := n.Chain
	c.mu.Lock()
	defer c.mu.Unlock()
	tx, _ := namesvc.Parse(op)
	last := c.blocks[c.height()]
	block := namesvc.Block{Height: c.height() + 1, Time: uint64(c.time().Unix()) + 1}
	r := must(namesvc.ApplyBlock(namesvc.Rules, namesvc.NewOverlay(getter{last.tree}), block, []*namesvc.Tx{tx}))[0]
	if r.Code != namesvc.Accepted {
		return &lightclient.RejectError{Code: r.Code, Text: (&namesvc.Reject{Code: r.Code, Detail: r.Detail}).Error()}
	}
	c.pool = append(c.pool, op)
	return nil
}

// Run cuts a block with what waits in the pool after each pause, at the time
// that it is then, until ctx ends.
func (c *Chain) Run(ctx context.Context, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			c.mu.Lock()
			ops := c.pool
			c.pool = nil
			c.cut(now, ops)
			c.mu.Unlock()
		}
	}
}

// Take cuts a block a second after the newest one, with what waits in the pool:
// Run for a clock that the caller drives.
func (c *Chain) Take() {
	c.mu.Lock()
	defer c.mu.Unlock()
	ops := c.pool
	c.pool = nil
	c.cut(c.time().Add(time.Second), ops)
}

// pageOps is how many ops a page of a history has. It is small, so that tests
// with few ops turn pages.
const pageOps = 3

// Ops implements lightclient.Historian.
func (n Node) Ops(_ context.Context, id namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error) {
	c := n.Chain
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.ops[id]
	rest := all[min(after, uint64(len(all))):]
	return rest[:min(len(rest), pageOps)], len(rest) > pageOps, nil
}
