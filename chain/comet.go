package chain

import (
	"fmt"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	sm "github.com/cometbft/cometbft/state"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"

	"github.com/confab-chat/confab/lightclient/verify"
)

// What CometBFT wants of a node that joins in the middle of a chain, made of
// heads that a light client has verified. It is the way back of convert.go.

// CommitOf returns a head's commit as CometBFT keeps it. set is who signed it.
func CommitOf(head verify.Head, set verify.Validators) (*cmttypes.Commit, error) {
	if len(head.Commit.Votes) != set.Len() {
		return nil, fmt.Errorf("head %d: %d votes of %d validators", head.Header.Height, len(head.Commit.Votes), set.Len())
	}
	c := &cmttypes.Commit{
		Height: int64(head.Header.Height), Round: int32(head.Commit.Round), BlockID: blockID(head.Block()),
		Signatures: make([]cmttypes.CommitSig, set.Len()),
	}
	for i, v := range head.Commit.Votes {
		if v.Kind == verify.VoteAbsent {
			c.Signatures[i] = cmttypes.NewCommitSigAbsent()
			continue
		}
		address := set.Address(i)
		s := cmttypes.CommitSig{
			BlockIDFlag: cmttypes.BlockIDFlagCommit, ValidatorAddress: address[:],
			Timestamp: head.Header.Time.Std().Add(v.Offset), Signature: append([]byte(nil), v.Signature[:]...),
		}
		if v.Kind == verify.VoteNil {
			s.BlockIDFlag = cmttypes.BlockIDFlagNil
		}
		c.Signatures[i] = s
	}
	return c, c.ValidateBasic()
}

func blockID(id verify.BlockID) cmttypes.BlockID {
	return cmttypes.BlockID{
		Hash:          bytesOf(id.Hash),
		PartSetHeader: cmttypes.PartSetHeader{Total: id.Parts.Total, Hash: bytesOf(id.Parts.Hash)},
	}
}

// bytesOf is the way back of hash.
func bytesOf(h [32]byte) []byte {
	if h == ([32]byte{}) {
		return nil
	}
	return h[:]
}

// ValidatorSetOf returns a set as CometBFT holds it. priorities say whose turn it
// is to propose; they are in no hash, and in the order of the set.
func ValidatorSetOf(set verify.Validators, priorities []int64) (*cmttypes.ValidatorSet, error) {
	if len(priorities) != set.Len() {
		return nil, fmt.Errorf("%d priorities of %d validators", len(priorities), set.Len())
	}
	list := make([]*cmttypes.Validator, set.Len())
	for i := range list {
		// More than twice the power of all is what CometBFT itself would cut.
		if bound := 2 * int64(set.TotalPower()); priorities[i] > bound || priorities[i] < -bound {
			return nil, fmt.Errorf("validator %d has a priority of %d", i, priorities[i])
		}
		v := set.At(i)
		key, err := secp256k1eth.NewPubKeyFromBytes(v.Key[:])
		if err != nil {
			return nil, fmt.Errorf("validator %d: %w", i, err)
		}
		list[i] = cmttypes.NewValidator(key, int64(v.Power))
		list[i].ProposerPriority = priorities[i]
	}
	return cmttypes.ValidatorSetFromExistingValidators(list)
}

// Start is what a node needs to go on after a block: the verified heads of that
// block and of the two after it, each with who signed it and, for those, whose
// turn it was.
type Start struct {
	Last, Current, Next     verify.Head
	LastSet                 verify.Validators
	CurrentSet, NextSet     verify.Validators
	CurrentTurns, NextTurns []int64
}

// State returns CometBFT's state after the block of s.Last. It fails if the
// chain's consensus parameters are not those that this program knows.
func (s Start) State() (sm.State, error) {
	h := s.Current.Header
	params := *ConsensusParams()
	params.Version.App = h.AppVersion
	if hash(params.Hash()) != h.ConsensusHash {
		return sm.State{}, fmt.Errorf("height %d has consensus parameters that this program does not know; upgrade it", h.Height)
	}
	last, err := ValidatorSetOf(s.LastSet, make([]int64, s.LastSet.Len()))
	if err != nil {
		return sm.State{}, fmt.Errorf("validators of height %d: %w", s.Last.Header.Height, err)
	}
	current, err := ValidatorSetOf(s.CurrentSet, s.CurrentTurns)
	if err != nil {
		return sm.State{}, fmt.Errorf("validators of height %d: %w", h.Height, err)
	}
	next, err := ValidatorSetOf(s.NextSet, s.NextTurns)
	if err != nil {
		return sm.State{}, fmt.Errorf("validators of height %d: %w", s.Next.Header.Height, err)
	}
	return sm.State{
		Version: cmtstate.Version{
			Consensus: cmtversion.Consensus{Block: h.BlockVersion, App: h.AppVersion}, Software: version.TMCoreSemVer,
		},
		ChainID: h.ChainID, InitialHeight: 1,
		LastBlockHeight: int64(s.Last.Header.Height), LastBlockTime: s.Last.Header.Time.Std(), LastBlockID: blockID(s.Last.Block()),
		Validators: current, NextValidators: next, LastValidators: last,
		LastHeightValidatorsChanged: int64(s.Next.Header.Height),
		ConsensusParams:             params, LastHeightConsensusParamsChanged: int64(h.Height),
		LastResultsHash: bytesOf(h.LastResultsHash), AppHash: append([]byte(nil), h.AppHash[:]...),
	}, nil
}
