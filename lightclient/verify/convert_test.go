//go:build !js

package verify_test

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	"github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/lightclient/verify"
)

// From CometBFT's values to ours. What ours cannot express is refused here;
// nothing else is judged.

// headOf converts a header and its commit.
func headOf(sh *types.SignedHeader) (verify.Head, error) {
	h, err := headerOf(sh.Header)
	if err != nil {
		return verify.Head{}, err
	}
	c := sh.Commit
	switch {
	case c.Height != sh.Height:
		return verify.Head{}, fmt.Errorf("commit of height %d beside header of height %d", c.Height, sh.Height)
	case c.BlockID.Hash.String() != sh.Hash().String():
		return verify.Head{}, errors.New("commit of another block")
	case c.Round < 0:
		return verify.Head{}, errors.New("negative round")
	}
	parts, err := partsOf(c.BlockID.PartSetHeader)
	if err != nil {
		return verify.Head{}, err
	}
	votes := make([]verify.Vote, len(c.Signatures))
	for i := range c.Signatures {
		if votes[i], err = voteOf(&c.Signatures[i], sh.Time); err != nil {
			return verify.Head{}, fmt.Errorf("vote %d: %w", i, err)
		}
	}
	return verify.Head{Header: h, Commit: verify.Commit{Round: uint32(c.Round), Parts: parts, Votes: votes}}, nil
}

// voteOf drops the validator's address: nobody signed it.
func voteOf(s *types.CommitSig, headerTime time.Time) (v verify.Vote, err error) {
	switch s.BlockIDFlag {
	case types.BlockIDFlagAbsent:
		if len(s.Signature) != 0 || len(s.ValidatorAddress) != 0 || !s.Timestamp.IsZero() {
			return v, errors.New("absent, but with content")
		}
		return v, nil
	case types.BlockIDFlagCommit:
		v.Kind = verify.VoteBlock
	case types.BlockIDFlagNil:
		v.Kind = verify.VoteNil
	default:
		return v, fmt.Errorf("flag %d", s.BlockIDFlag)
	}
	if len(s.Signature) != len(v.Signature) {
		return v, fmt.Errorf("signature of %d bytes", len(s.Signature))
	}
	copy(v.Signature[:], s.Signature)
	v.Offset = s.Timestamp.Sub(headerTime)
	if v.Offset == math.MinInt64 || v.Offset == math.MaxInt64 {
		return v, errors.New("time is too far from the header's")
	}
	return v, nil
}

func headerOf(h *types.Header) (out verify.Header, err error) {
	switch {
	case h.Height < 0:
		return out, errors.New("negative height")
	case !utf8.ValidString(h.ChainID):
		return out, errors.New("chain id is not UTF-8")
	case len(h.AppHash) != 32:
		return out, fmt.Errorf("app hash of %d bytes", len(h.AppHash))
	case len(h.ProposerAddress) != 20:
		return out, fmt.Errorf("proposer address of %d bytes", len(h.ProposerAddress))
	}
	out = verify.Header{
		BlockVersion: h.Version.Block,
		AppVersion:   h.Version.App,
		ChainID:      h.ChainID,
		Height:       uint64(h.Height),
		Time:         verify.TimeOf(h.Time),
		AppHash:      [32]byte(h.AppHash),
		Proposer:     [20]byte(h.ProposerAddress),
	}
	if out.LastBlock.Parts, err = partsOf(h.LastBlockID.PartSetHeader); err != nil {
		return out, err
	}
	for _, f := range []struct {
		from []byte
		to   *[32]byte
	}{
		{h.LastBlockID.Hash, &out.LastBlock.Hash},
		{h.LastCommitHash, &out.LastCommitHash},
		{h.DataHash, &out.DataHash},
		{h.ValidatorsHash, &out.ValidatorsHash},
		{h.NextValidatorsHash, &out.NextValidatorsHash},
		{h.ConsensusHash, &out.ConsensusHash},
		{h.LastResultsHash, &out.LastResultsHash},
		{h.EvidenceHash, &out.EvidenceHash},
	} {
		if *f.to, err = hashOf(f.from); err != nil {
			return out, err
		}
	}
	return out, nil
}

func partsOf(p types.PartSetHeader) (verify.Parts, error) {
	hash, err := hashOf(p.Hash)
	return verify.Parts{Total: p.Total, Hash: hash}, err
}

// hashOf converts a hash that may be empty. One of all zeros is refused, since
// that is how an empty one looks to us; nobody can make one.
func hashOf(b []byte) (out [32]byte, err error) {
	if len(b) == 0 {
		return out, nil
	}
	if len(b) != 32 {
		return out, fmt.Errorf("hash of %d bytes", len(b))
	}
	copy(out[:], b)
	if out == ([32]byte{}) {
		return out, errors.New("hash of zeros")
	}
	return out, nil
}

// validatorsOf converts a set, which must have secp256k1eth keys only.
func validatorsOf(set *types.ValidatorSet) (verify.Validators, error) {
	list := make([]verify.Validator, len(set.Validators))
	for i, v := range set.Validators {
		key, ok := v.PubKey.(secp256k1eth.PubKey)
		if !ok || len(key) != 33 {
			return verify.Validators{}, fmt.Errorf("validator %d: key of type %s", i, v.PubKey.Type())
		}
		if v.VotingPower < 0 {
			return verify.Validators{}, fmt.Errorf("validator %d: negative power", i)
		}
		list[i] = verify.Validator{Key: [33]byte(key), Power: uint64(v.VotingPower)}
	}
	return verify.NewValidators(list)
}

// trustOf converts a light block that is trusted.
func trustOf(sh *types.SignedHeader, set *types.ValidatorSet) (verify.Trust, error) {
	h, err := headerOf(sh.Header)
	if err != nil {
		return verify.Trust{}, err
	}
	v, err := validatorsOf(set)
	if err != nil {
		return verify.Trust{}, err
	}
	return trust(verify.Head{Header: h}, v), nil
}
