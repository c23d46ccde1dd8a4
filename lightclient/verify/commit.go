package verify

import (
	"fmt"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
)

// VoteKind says what a validator voted for. The numbers travel and are frozen.
type VoteKind uint8

// The kinds of votes.
const (
	VoteAbsent VoteKind = 0 // no vote is known
	VoteBlock  VoteKind = 1 // for the block
	VoteNil    VoteKind = 2 // for no block in this round
)

// Vote is one validator's precommit, or its absence (the zero value). It names
// nobody: the validator is the one at the vote's index.
type Vote struct {
	Kind VoteKind
	// Offset is the vote's time minus the header's. Votes are made after the
	// block, so an honest one is above zero, by about the time between blocks.
	Offset    time.Duration
	Signature Signature
}

// Commit is what validators signed about the header beside it: that header's
// height and hash are theirs, so a commit cannot be about another block.
type Commit struct {
	Round uint32
	Parts Parts
	Votes []Vote // one for each validator, by index
}

// Trim returns a copy with only the votes that a check needs: those for the
// block of the first validators, which are the strongest, that together hold
// more than two thirds of the power. The others become absent. A commit that
// does not match the set, or has too little power anyway, keeps all its votes
// for the block. Trim checks no signature: see [Head.CheckAll].
//
// A trimmed head may need one step more from an old trusted set, since fewer of
// that set's votes are left.
func (c Commit) Trim(v Validators) Commit {
	votes := make([]Vote, len(c.Votes))
	var power uint64
	for i, vote := range c.Votes {
		if vote.Kind != VoteBlock {
			continue
		}
		votes[i] = vote
		if len(votes) != v.Len() {
			continue
		}
		if power += v.members[i].Power; power > twoThirds(v.total) {
			break
		}
	}
	c.Votes = votes
	return c
}

// SignBytes returns the exact bytes that validator i signed for its vote:
// CometBFT's canonical vote behind its length. There must be a vote i, and it
// must not be absent.
func (h Head) SignBytes(i int) []byte {
	return h.signBytes(h.Block(), h.Commit.Votes[i])
}

func (h *Head) signBytes(block BlockID, vote Vote) []byte {
	const precommit = 2
	b := make([]byte, 0, 192)
	b = appendVarint(b, 1, precommit)
	b = appendFixed64(b, 2, h.Header.Height)
	b = appendFixed64(b, 3, uint64(h.Commit.Round))
	if vote.Kind == VoteBlock {
		b = appendMessage(b, 4, block.proto())
	}
	b = appendMessage(b, 5, h.voteTime(vote).proto())
	b = appendBytes(b, 6, h.Header.ChainID)
	return delimited(b)
}

func (h *Head) voteTime(vote Vote) Time {
	return TimeOf(h.Header.Time.Std().Add(vote.Offset))
}

// commitWire is a commit as it travels, in columns: a byte for each validator,
// then times and signatures of those that voted only. A time is the difference
// to the vote before it, the first to the header, modulo 2⁶⁴: votes of one
// round are close together even where blocks are not.
type commitWire struct {
	_          struct{} `cbor:",toarray"`
	Round      uint32
	Parts      Parts
	Kinds      []byte
	Times      []int64
	Signatures []byte
}

// MarshalCBOR encodes the commit: round, parts, kinds, times, signatures.
func (c Commit) MarshalCBOR() ([]byte, error) {
	w := commitWire{Round: c.Round, Parts: c.Parts, Kinds: make([]byte, len(c.Votes))}
	var last int64
	for i := range c.Votes {
		vote := &c.Votes[i]
		w.Kinds[i] = byte(vote.Kind)
		if vote.Kind == VoteAbsent {
			continue
		}
		w.Times = append(w.Times, int64(vote.Offset)-last)
		last = int64(vote.Offset)
		w.Signatures = append(w.Signatures, vote.Signature[:]...)
	}
	return wire.Encode(w), nil
}

// UnmarshalCBOR decodes a commit of at most [MaxValidators] votes.
func (c *Commit) UnmarshalCBOR(b []byte) error {
	var w commitWire
	if err := wire.Decode(b, &w, MaxCommitSize); err != nil {
		return fmt.Errorf("decode commit: %w", err)
	}
	if len(w.Kinds) > MaxValidators {
		return fmt.Errorf("decode commit: %w", invalid("%d votes, at most %d are allowed", len(w.Kinds), MaxValidators))
	}
	votes, ok := w.votes()
	if !ok {
		return fmt.Errorf("decode commit: %w", invalid("%d votes do not match %d times and %d bytes of signatures",
			len(w.Kinds), len(w.Times), len(w.Signatures)))
	}
	*c = Commit{Round: w.Round, Parts: w.Parts, Votes: votes}
	return nil
}

// votes puts the columns together. It reports false unless they fit exactly.
func (w *commitWire) votes() ([]Vote, bool) {
	votes := make([]Vote, len(w.Kinds))
	times, signatures := w.Times, w.Signatures
	var last int64
	for i, k := range w.Kinds {
		if k > byte(VoteNil) {
			return nil, false
		}
		if VoteKind(k) == VoteAbsent {
			continue
		}
		if len(times) == 0 || len(signatures) < len(Signature{}) {
			return nil, false
		}
		last += times[0]
		votes[i] = Vote{VoteKind(k), time.Duration(last), Signature(signatures[:len(Signature{})])}
		times, signatures = times[1:], signatures[len(Signature{}):]
	}
	return votes, len(times) == 0 && len(signatures) == 0
}
