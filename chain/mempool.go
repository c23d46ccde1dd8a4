package chain

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/namesvc"
)

// LaneFull is the code of an op that is well but finds its lane of the mempool
// full. It lies outside the law's codes.
const LaneFull = 1001

// laneBytes is how many bytes of waiting ops each lane of the mempool may hold.
// Together they stay below what fits into one block, so that whatever waits is
// seen whole by each proposer and no lane can hide another behind it.
var laneBytes = [lanes]int{laneRenewals: 512 << 10, laneUpdates: 1536 << 10, laneCommits: 256 << 10, laneRegistrations: 768 << 10}

// pool is the mempool's view of the state: the newest durable state with the
// waiting ops applied. It starts afresh at each commit, when CometBFT checks
// all waiting ops again, so an op that CometBFT dropped in silence leaves no
// trace in it and can be sent again.
type pool struct {
	mu   sync.Mutex
	view *namesvc.Overlay
	used [lanes]int
}

func (p *pool) reset(g namesvc.Getter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.view, p.used = namesvc.NewOverlay(g), [lanes]int{}
}

// check applies an op to the pool's view if it is acceptable and its lane has
// room.
func (p *pool) check(tx *namesvc.Tx, b namesvc.Block, rules uint32, law Law) (code uint32, detail string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := laneOf(tx.Kind())
	if p.used[l]+tx.Size > laneBytes[l] {
		return LaneFull, fmt.Sprintf("too many %s are waiting; try again in a moment", laneNames[l]), nil
	}
	receipts, err := law.Apply(rules, p.view, b, []*namesvc.Tx{tx})
	if err != nil {
		return 0, "", err
	}
	r := receipts[0]
	if r.Code == namesvc.Accepted {
		p.used[l] += tx.Size
	}
	return uint32(r.Code), r.Detail, nil
}

// CheckTx implements abci.Application: it answers whether an op would be
// accepted after those that wait already.
func (a *App) CheckTx(_ context.Context, req *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	tx, _ := a.parsed.parse(req.Tx)
	a.mu.Lock()
	begun, block, rules := a.params != nil, namesvc.Block{Height: a.last.Height + 1, Time: a.last.Time}, a.rules
	a.mu.Unlock()
	if cause := a.HaltCause(); cause != nil {
		return &abci.ResponseCheckTx{Code: LaneFull, Log: "this validator has stopped; ask another one"}, nil
	}
	if !begun {
		return &abci.ResponseCheckTx{Code: LaneFull, Log: "the chain has not begun yet; try again in a moment"}, nil
	}
	code, detail, err := a.pool.check(tx, block, rules, a.law)
	if err != nil {
		return nil, fmt.Errorf("check op: %w", err)
	}
	return &abci.ResponseCheckTx{Code: code, Log: detail}, nil
}

// parsed remembers parsed ops by the hash of their bytes: an op is seen up to
// four times (mempool, own proposal, someone's proposal, block), and parsing it
// means checking a signature, the costliest step there is. Two generations
// bound it without any bookkeeping per use.
type parsed struct {
	mu       sync.Mutex
	new, old map[[32]byte]parsedOp
}

type parsedOp struct {
	tx    *namesvc.Tx
	fault *namesvc.Reject
}

// generation is how many ops one generation holds: twice as many as ever wait
// in the mempool. An op takes about 1 kB here.
const generation = 20000

func newParsed() *parsed { return &parsed{new: map[[32]byte]parsedOp{}} }

// parse returns what namesvc.Parse does.
func (p *parsed) parse(raw []byte) (*namesvc.Tx, *namesvc.Reject) {
	id := sha256.Sum256(raw)
	p.mu.Lock()
	op, ok := p.new[id]
	if !ok {
		op, ok = p.old[id]
	}
	p.mu.Unlock()
	if ok {
		return op.tx, op.fault
	}
	op.tx, op.fault = namesvc.Parse(raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.new) >= generation {
		p.old, p.new = p.new, make(map[[32]byte]parsedOp, generation)
	}
	p.new[id] = op
	return op.tx, op.fault
}

// Parse returns what namesvc.Parse does, and remembers it: CheckTx, which is
// called for one op at a time, then has only the state to ask.
func (a *App) Parse(raw []byte) (*namesvc.Tx, *namesvc.Reject) { return a.parsed.parse(raw) }
