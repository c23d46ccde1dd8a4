package node

import (
	"context"
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
	c := &anchor.Collector{Chain: n.Query.Chain, Votes: n.comet.BlockStore(), App: n.App, Logger: n.logger,
		Signers: func(h uint64) (verify.Validators, error) {
			_, v, err := heads.Head(h)
			return v, err
		}}
	tick := time.NewTicker(lookUp)
	defer tick.Stop()
	r := reporter{n: n, moved: time.Now(), told: time.Now()}
	for {
		mark, news := n.App.Last()
		if p, ok := n.App.Params(); ok {
			if err := c.Follow(ctx, mark.Height/p.Checkpoint, heads.Newest()); err != nil && ctx.Err() == nil {
				n.logger.Warn("seals not gathered", "err", err)
			}
		}
		r.report(time.Now(), mark.Height)
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
	n      *Node
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
	peers, waiting := r.n.comet.Switch().Peers().Size(), r.n.comet.Mempool().Size()
	switch {
	case now.Sub(r.moved) >= silence && (!r.silent || now.Sub(r.told) >= account):
		r.n.logger.Warn("no new block", "height", height, "for", now.Sub(r.moved).Round(time.Second), "peers", peers)
		r.told, r.from, r.silent = now, height, true
	case r.silent && now.Sub(r.moved) < silence, now.Sub(r.told) >= account:
		r.n.logger.Info("chain goes on", "height", height, "blocks", height-r.from, "peers", peers, "waiting_ops", waiting)
		r.told, r.from, r.silent = now, height, false
	}
}
