package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/confab-chat/confab/chain/anchor"
	"github.com/confab-chat/confab/lightclient/verify"
)

// How often the watch looks up when no block wakes it, and how often it says
// how the chain does.
const (
	lookUp  = time.Second
	account = 5 * time.Minute
	silence = time.Minute
)

// watch gathers seals and tells the log what an operator wants to know.
func (n *Node) watch(ctx context.Context) {
	heads := n.Query.Heads
	c := &anchor.Collector{Chain: n.Query.Chain, Votes: n.votes, App: n.App, Logger: n.logger,
		Signers: func(h uint64) (verify.Validators, error) {
			_, v, err := heads.Head(h)
			return v, err
		}}
	tick := time.NewTicker(lookUp)
	defer tick.Stop()
	// Late votes can be read until the pause after a block is over.
	late := min(lookUp, max(n.comet.Config().Consensus.TimeoutCommit/4, 5*time.Millisecond))
	r := reporter{
		logger: n.logger, peers: n.comet.Switch().Peers().Size, waiting: n.comet.Mempool().Size,
		moved: time.Now(), told: time.Now(),
	}
	for {
		mark, news := n.App.Last()
		if p, ok := n.App.Params(); ok {
			if err := c.Follow(ctx, mark.Height/p.Checkpoint, heads.Newest()); err != nil && ctx.Err() == nil {
				n.logger.Warn("seals not gathered", "err", err)
			}
		}
		r.report(time.Now(), mark.Height)
		again := lookUp
		if c.Missing() {
			again = late
		}
		tick.Reset(again)
		select {
		case <-news:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// reporter writes a line now and then.
type reporter struct {
	logger  *slog.Logger
	peers   func() int
	waiting func() int // ops in the mempool

	height uint64
	moved  time.Time // when the height rose
	told   time.Time // when the last line was written
	from   uint64    // the height in that line
	silent bool      // that line was about silence
}

func (r *reporter) report(now time.Time, height uint64) {
	if height > r.height {
		r.height, r.moved = height, now
	}
	switch {
	case now.Sub(r.moved) >= silence && (!r.silent || now.Sub(r.told) >= account):
		r.logger.Warn("no new block", "height", height, "for", now.Sub(r.moved).Round(time.Second), "peers", r.peers())
		r.told, r.from, r.silent = now, height, true
	case r.silent && now.Sub(r.moved) < silence, now.Sub(r.told) >= account:
		r.logger.Info("chain goes on", "height", height, "blocks", height-r.from, "peers", r.peers(), "waiting_ops", r.waiting())
		r.told, r.from, r.silent = now, height, false
	}
}
