package chain

import (
	"context"
	"fmt"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/namesvc"
)

// lane is a sort of op with its own share of each block and of the mempool.
type lane int

// The lanes, in the order in which a proposer fills a block.
const (
	laneRenewals lane = iota
	laneUpdates
	laneCommits
	laneRegistrations
	lanes // their number
)

// maxOps bounds the ops of a block whatever the lanes allow: more than fit into
// it, but for commits of the smallest size, and fewer than a record of a block
// may list (the limit of package wire).
const maxOps = 16000

var laneNames = [lanes]string{"renewals", "updates", "commits", "registrations"}

// laneOf returns the lane of an op.
func laneOf(k namesvc.OpKind) lane {
	switch k {
	case namesvc.OpRenew:
		return laneRenewals
	case namesvc.OpCommit:
		return laneCommits
	case namesvc.OpRegister:
		return laneRegistrations
	}
	return laneUpdates
}

// limits returns how many ops of each lane a block may carry.
func limits(l namesvc.Lanes) [lanes]int {
	return [lanes]int{int(l.Renewals), int(l.Updates), int(l.Commits), int(l.Registrations)}
}

// PrepareProposal implements abci.Application: it picks ops from the mempool,
// lane by lane, and drops those that the law would refuse in this block.
func (a *App) PrepareProposal(_ context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	p, ok := a.Params()
	if !ok {
		return &abci.ResponsePrepareProposal{}, nil
	}
	if err := a.HaltCause(); err != nil {
		return nil, fmt.Errorf("prepare proposal %d: %w", req.Height, err)
	}
	faults, err := a.faults(req.Misbehavior)
	if err != nil {
		return nil, fmt.Errorf("prepare proposal %d: %w", req.Height, err)
	}
	byLane := [lanes][]int{}
	txs := make([]*namesvc.Tx, len(req.Txs))
	for i, raw := range req.Txs {
		txs[i], _ = a.parsed.parse(raw)
		if txs[i].Kind() != 0 {
			l := laneOf(txs[i].Kind())
			byLane[l] = append(byLane[l], i)
		}
	}
	var picked []int
	room := req.MaxTxBytes
	for l, limit := range limits(p.Lanes) {
		for _, i := range byLane[l] {
			// CometBFT counts a few bytes of framing for each transaction.
			size := int64(len(req.Txs[i])) + 8
			if limit == 0 || size > room {
				break
			}
			limit, room = limit-1, room-size
			picked = append(picked, i)
		}
	}
	if len(picked) > maxOps {
		picked = picked[:maxOps]
	}
	good, err := a.acceptable(uint64(req.Height), uint64(req.Time.Unix()), faults, txs, picked)
	if err != nil {
		return nil, fmt.Errorf("prepare proposal %d: %w", req.Height, err)
	}
	res := &abci.ResponsePrepareProposal{}
	for _, i := range good {
		res.Txs = append(res.Txs, req.Txs[i])
	}
	return res, nil
}

// acceptable returns those of the picked ops that the law would accept.
func (a *App) acceptable(height, time uint64, faults []namesvc.Fault, txs []*namesvc.Tx, picked []int) ([]int, error) {
	candidates := make([]*namesvc.Tx, len(picked))
	for n, i := range picked {
		candidates[n] = txs[i]
	}
	a.planned = nil
	did, err := a.apply(height, time, faults, candidates)
	if err != nil {
		return nil, err
	}
	good := make([]int, 0, len(picked))
	for n, r := range did.receipts {
		if r.Code == namesvc.Accepted {
			good = append(good, picked[n])
		}
	}
	if len(good) == len(picked) {
		a.planned = did
	}
	return good, nil
}

// ProcessProposal implements abci.Application. It refuses only what no honest
// PrepareProposal makes: an op that does not parse, or more of a lane than it
// may carry. Ops that the law refuses harm nobody; they get their receipts.
func (a *App) ProcessProposal(_ context.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	refuse := func(why string) (*abci.ResponseProcessProposal, error) {
		a.logger.Warn("proposal refused", "height", req.Height, "proposer", fmt.Sprintf("%x", req.ProposerAddress), "why", why)
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
	}
	if err := a.HaltCause(); err != nil {
		return refuse(err.Error())
	}
	p, ok := a.Params()
	if !ok {
		return refuse("no parameters yet")
	}
	if len(req.Txs) > maxOps {
		return refuse("too many ops")
	}
	var count [lanes]int
	limit := limits(p.Lanes)
	for i, raw := range req.Txs {
		tx, _ := a.parsed.parse(raw)
		if tx.Kind() == 0 {
			return refuse(fmt.Sprintf("op %d does not parse", i))
		}
		l := laneOf(tx.Kind())
		if count[l]++; count[l] > limit[l] {
			return refuse("too many " + laneNames[l])
		}
	}
	return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
}
