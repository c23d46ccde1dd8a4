package chain

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// HeadOf returns CometBFT's header and commit as light clients read them.
func HeadOf(h *cmttypes.Header, c *cmttypes.Commit) (verify.Head, error) {
	header, err := headerOf(h)
	if err != nil {
		return verify.Head{}, err
	}
	head := verify.Head{Header: header, Commit: verify.Commit{
		Round: uint32(c.Round),
		Parts: verify.Parts{Total: c.BlockID.PartSetHeader.Total, Hash: hash(c.BlockID.PartSetHeader.Hash)},
		Votes: make([]verify.Vote, len(c.Signatures)),
	}}
	if !bytes.Equal(h.Hash(), c.BlockID.Hash) || h.Height != c.Height {
		return verify.Head{}, fmt.Errorf("head %d: the commit is for another block", h.Height)
	}
	for i, s := range c.Signatures {
		if s.BlockIDFlag == cmttypes.BlockIDFlagAbsent {
			continue
		}
		if len(s.Signature) != len(verify.Signature{}) {
			return verify.Head{}, fmt.Errorf("head %d: signature %d has %d bytes", h.Height, i, len(s.Signature))
		}
		v := verify.Vote{Kind: verify.VoteBlock, Offset: s.Timestamp.Sub(h.Time), Signature: verify.Signature(s.Signature)}
		if s.BlockIDFlag == cmttypes.BlockIDFlagNil {
			v.Kind = verify.VoteNil
		}
		head.Commit.Votes[i] = v
	}
	return head, nil
}

func headerOf(h *cmttypes.Header) (verify.Header, error) {
	if len(h.AppHash) != 32 || len(h.ProposerAddress) != 20 {
		return verify.Header{}, fmt.Errorf("head %d: app hash of %d bytes, proposer of %d", h.Height, len(h.AppHash), len(h.ProposerAddress))
	}
	return verify.Header{
		BlockVersion: h.Version.Block, AppVersion: h.Version.App,
		ChainID: h.ChainID, Height: uint64(h.Height), Time: verify.TimeOf(h.Time),
		LastBlock: verify.BlockID{
			Hash:  hash(h.LastBlockID.Hash),
			Parts: verify.Parts{Total: h.LastBlockID.PartSetHeader.Total, Hash: hash(h.LastBlockID.PartSetHeader.Hash)},
		},
		LastCommitHash: hash(h.LastCommitHash), DataHash: hash(h.DataHash),
		ValidatorsHash: hash(h.ValidatorsHash), NextValidatorsHash: hash(h.NextValidatorsHash),
		ConsensusHash: hash(h.ConsensusHash), AppHash: hash(h.AppHash),
		LastResultsHash: hash(h.LastResultsHash), EvidenceHash: hash(h.EvidenceHash),
		Proposer: [20]byte(h.ProposerAddress),
	}, nil
}

// hash reads a hash that is empty where there is nothing to hash.
func hash(b []byte) (h [32]byte) {
	copy(h[:], b)
	return h
}

// ValidatorsOf returns CometBFT's validator set as light clients read it.
func ValidatorsOf(set *cmttypes.ValidatorSet) (verify.Validators, error) {
	list := make([]verify.Validator, len(set.Validators))
	for i, v := range set.Validators {
		if v.PubKey.Type() != secp256k1eth.KeyType || len(v.PubKey.Bytes()) != 33 {
			return verify.Validators{}, fmt.Errorf("validator %d: key of type %s", i, v.PubKey.Type())
		}
		list[i] = verify.Validator{Key: [33]byte(v.PubKey.Bytes()), Power: uint64(v.VotingPower)}
	}
	return verify.NewValidators(list)
}

// validatorsOf returns the set that the state holds in the order of consensus.
func validatorsOf(set namesvc.ValidatorSet) (verify.Validators, error) {
	type member struct {
		verify.Validator
		address []byte
	}
	members := make([]member, len(set.List))
	for i, v := range set.List {
		k, err := secp256k1eth.NewPubKeyFromBytes(v.Key[:])
		if err != nil {
			return verify.Validators{}, fmt.Errorf("validator %d: %w", i, err)
		}
		members[i] = member{verify.Validator{Key: v.Key, Power: v.Power}, k.Address()}
	}
	slices.SortFunc(members, func(a, b member) int {
		if a.Power != b.Power {
			if a.Power > b.Power {
				return -1
			}
			return 1
		}
		return bytes.Compare(a.address, b.address)
	})
	list := make([]verify.Validator, len(members))
	for i, m := range members {
		list[i] = m.Validator
	}
	return verify.NewValidators(list)
}
