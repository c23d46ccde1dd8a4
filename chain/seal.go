package chain

import (
	"context"
	"fmt"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain/anchor"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// checkpointDue returns the checkpoint of block m if m is at a checkpoint
// height, else nil. It can be made only when the block after m is, because only
// then the root after m is certain; that block records it in the state.
func (a *App) checkpointDue(m Mark) (*verify.Checkpoint, error) {
	p, ok := a.Params()
	if !ok || m.Height == 0 || m.Height%p.Checkpoint != 0 {
		return nil, nil
	}
	signers, next, err := a.signers(m.Height, m.Time)
	if err != nil {
		return nil, err
	}
	return &verify.Checkpoint{
		Number: m.Height / p.Checkpoint, Height: m.Height, Time: m.Time,
		BlockHash: m.Hash, AppHash: a.root(), HistoryRoot: m.History.Root(),
		Signers: signers, NextSigners: next,
	}, nil
}

// lawCheckpoint is what the law keeps of a checkpoint.
func (a *App) lawCheckpoint(c *verify.Checkpoint) *namesvc.Checkpoint {
	return &namesvc.Checkpoint{
		Number: c.Number, Height: c.Height, Time: c.Time, Digest: c.Digest(verify.ChainTag(a.chain)),
	}
}

// ExtendVote implements abci.Application: beside its vote a validator signs the
// newest checkpoint, at each of the heights after it that are searched for seals,
// also when it has seen enough itself: a seal counts for one height, and which of
// a height's votes arrive in time differs from node to node. The checkpoint's
// block is final and its root has been compared, so an honest validator never
// seals two digests for one number.
func (a *App) ExtendVote(_ context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	c, err := a.newestCheckpoint(uint64(req.Height))
	if err != nil {
		return nil, fmt.Errorf("extend vote %d: %w", req.Height, err)
	}
	if c == nil {
		return &abci.ResponseExtendVote{}, nil
	}
	ext := verify.SealExtension(c.Number, c.Digest(verify.ChainTag(a.chain)))
	return &abci.ResponseExtendVote{VoteExtension: ext[:]}, nil
}

// newestCheckpoint returns the checkpoint to seal while voting on a height, or
// nil if there is none or it is too long ago.
func (a *App) newestCheckpoint(height uint64) (*verify.Checkpoint, error) {
	a.mu.Lock()
	last, p := a.last, a.params
	a.mu.Unlock()
	if p == nil || last.Height+1 != height {
		return nil, nil // this node is catching up
	}
	number := last.Height / p.Checkpoint
	if number == 0 || last.Height%p.Checkpoint >= anchor.Window {
		return nil, nil
	}
	if last.Height%p.Checkpoint == 0 {
		return a.checkpointDue(last)
	}
	c, ok, err := a.Checkpoint(number)
	if err != nil || !ok {
		return nil, err
	}
	return &c, nil
}

// maxExtension bounds a vote extension: a seal has 41 bytes.
const maxExtension = 64

// VerifyVoteExtension implements abci.Application. It never judges what an
// extension says, only its size: two honest nodes that disagreed would stop the
// chain. Who sealed what is counted later, by everyone.
func (a *App) VerifyVoteExtension(_ context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	status := abci.ResponseVerifyVoteExtension_ACCEPT
	if len(req.VoteExtension) > maxExtension {
		status = abci.ResponseVerifyVoteExtension_REJECT
	}
	return &abci.ResponseVerifyVoteExtension{Status: status}, nil
}

// Checkpoint returns checkpoint number n, and whether it is known.
func (a *App) Checkpoint(n uint64) (verify.Checkpoint, bool, error) {
	var c verify.Checkpoint
	ok, err := a.record(checkpointKey(n), &c, verify.MaxCheckpointSize)
	return c, ok, err
}

// KeepSeals takes the seals of a checkpoint, which the caller has checked, to be
// stored with the next block. If the process ends before, they are found again.
func (a *App) KeepSeals(number uint64, seals verify.Seals) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sealed = max(a.sealed, number)
	a.beside = append(a.beside, store.Record{Key: sealsKey(number), Value: wire.Encode(seals)})
}

// Seals returns the seals of checkpoint number n, and whether there are any.
func (a *App) Seals(n uint64) (verify.Seals, bool, error) {
	var s verify.Seals
	ok, err := a.record(sealsKey(n), &s, verify.MaxSealsSize+256)
	return s, ok, err
}
