package node

import (
	"fmt"

	cmtcons "github.com/cometbft/cometbft/consensus"
	cmtnode "github.com/cometbft/cometbft/node"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain/anchor"
)

// votes are the votes on a height with their extensions. CometBFT stores those
// that made the height final, and keeps the ones that arrived afterwards, in the
// pause before the next height, until that height has its own. Without the late
// ones a validator whose votes are always early, and carry no seal, could keep an
// honest one's out.
type votes struct {
	stored    anchor.Votes
	consensus *cmtcons.State
}

func newVotes(n *cmtnode.Node) (votes, error) {
	// This is the only way CometBFT lets one see its round state. It starts no
	// server.
	env, err := n.ConfigureRPC()
	if err != nil {
		return votes{}, fmt.Errorf("open round state: %w", err)
	}
	state, ok := env.ConsensusState.(*cmtcons.State)
	if !ok {
		return votes{}, fmt.Errorf("open round state: it is a %T", env.ConsensusState)
	}
	return votes{n.BlockStore(), state}, nil
}

// LoadBlockExtendedCommit implements anchor.Votes.
func (v votes) LoadBlockExtendedCommit(height int64) *cmttypes.ExtendedCommit {
	now := v.consensus.GetRoundState()
	last := now.LastCommit
	if now.Height != height+1 || last == nil {
		return v.stored.LoadBlockExtendedCommit(height)
	}
	block, ok := last.TwoThirdsMajority()
	if !ok {
		return nil
	}
	c := &cmttypes.ExtendedCommit{Height: height, Round: last.GetRound(), BlockID: block}
	for i := range last.Size() {
		sig := cmttypes.NewExtendedCommitSigAbsent()
		if vote := last.GetByIndex(int32(i)); vote != nil && vote.BlockID.Equals(block) {
			sig = vote.ExtendedCommitSig()
		}
		c.ExtendedSignatures = append(c.ExtendedSignatures, sig)
	}
	return c
}
