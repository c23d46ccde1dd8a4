package testnet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
)

// hostile is what a validator under somebody's control does at the moment.
type hostile struct {
	clock     atomic.Int64  // what its clock is off, in seconds
	garbage   atomic.Bool   // it proposes what no validator should accept
	censored  atomic.Value  // an account whose ops it leaves out, [32]byte
	extension atomic.Value  // what it puts into its votes, []byte
	turns     atomic.Uint64 // proposals that it made
}

func (h *hostile) parts() node.Parts {
	return node.Parts{
		Signer: func(own cmttypes.PrivValidator) cmttypes.PrivValidator { return hostileSigner{own, h} },
		App:    func(own abci.Application) abci.Application { return hostileApp{own, h} },
	}
}

// hostileSigner signs votes with other times than those it is given.
type hostileSigner struct {
	cmttypes.PrivValidator
	h *hostile
}

func (s hostileSigner) SignVote(chainID string, v *cmtproto.Vote) error {
	v.Timestamp = v.Timestamp.Add(time.Duration(s.h.clock.Load()) * time.Second)
	return s.PrivValidator.SignVote(chainID, v)
}

// hostileApp is between CometBFT and the app.
type hostileApp struct {
	abci.Application
	h *hostile
}

func (a hostileApp) PrepareProposal(ctx context.Context, r *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	a.h.turns.Add(1)
	if a.h.garbage.Load() {
		noise := make([]byte, 500)
		rand.Read(noise)
		return &abci.ResponsePrepareProposal{Txs: append([][]byte{noise, {}}, slices.Repeat(r.Txs, 2)...)}, nil
	}
	if account, ok := a.h.censored.Load().([32]byte); ok {
		r.Txs = slices.DeleteFunc(r.Txs, func(tx []byte) bool { return bytes.Contains(tx, account[:]) })
	}
	return a.Application.PrepareProposal(ctx, r)
}

// ProcessProposal accepts its own garbage.
func (a hostileApp) ProcessProposal(ctx context.Context, r *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	if a.h.garbage.Load() {
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
	}
	return a.Application.ProcessProposal(ctx, r)
}

func (a hostileApp) ExtendVote(ctx context.Context, r *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	if b, ok := a.h.extension.Load().([]byte); ok && b != nil {
		return &abci.ResponseExtendVote{VoteExtension: b}, nil
	}
	return a.Application.ExtendVote(ctx, r)
}

// VerifyVoteExtension accepts anything, as its own must be.
func (a hostileApp) VerifyVoteExtension(context.Context, *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}, nil
}

// TestHostile_OneOfFourCannotHarmTheOthers has one validator of four misbehave in
// one way after another. People go on, the chain's clock stays right, and each
// checkpoint gets the seals of the others.
func TestHostile_OneOfFourCannotHarmTheOthers(t *testing.T) {
	h := &hostile{}
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 8
	n := start(t, testnet.Spec{Params: p, Pause: 50 * time.Millisecond, Parts: func(i int) node.Parts {
		if i == 3 {
			return h.parts()
		}
		return node.Parts{}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	traffic := begin(t, ctx, n, 3)
	traffic.mustGoOn(t, ctx)

	// through waits until it has had two turns at proposing.
	through := func() {
		t.Helper()
		for turns := h.turns.Load(); h.turns.Load() < turns+2; {
			wait(t, ctx, n, n.Nodes[0].Query.Heads.Newest()+1)
		}
		traffic.mustGoOn(t, ctx)
	}
	for _, off := range []int64{-3600, 600} {
		h.clock.Store(off)
		through()
		head, _, err := n.Nodes[0].Query.Heads.Head(n.Nodes[0].Query.Heads.Newest())
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(head.Header.Time.Std()); math.Abs(age.Seconds()) > 30 {
			t.Errorf("with one clock %d s off, the newest block is %v old", off, age)
		}
	}
	h.clock.Store(0)

	h.garbage.Store(true)
	through()
	h.garbage.Store(false)

	h.censored.Store([32]byte(traffic.users[0].ID))
	through() // all three go on, also the censored one
	h.censored.Store([32]byte{})

	for _, ext := range [][]byte{{1}, bytes.Repeat([]byte{7}, 41), make([]byte, 64<<10)} {
		h.extension.Store(ext)
		through()
	}
	h.extension.Store([]byte(nil))
	through()
	traffic.end(t, ctx)
	newest := n.Nodes[0].Query.Heads.Newest()
	sameCheckpoints(t, ctx, n, newest/p.Checkpoint-1)
	compareRoots(t, n, p)
}
