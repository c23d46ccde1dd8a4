package verify

import "fmt"

// twoThirds and oneThird return the power that must be exceeded. They round
// down as CometBFT does; for whole numbers that is the same as not rounding.
func twoThirds(total uint64) uint64 { return total * 2 / 3 }
func oneThird(total uint64) uint64  { return total / 3 }

// Check reports whether the head proves itself, given its validators: the
// header is well formed, v is the set it names, and more than two thirds of
// v's power signed it. Votes are looked at by index and only until that much is
// reached, as in CometBFT's VerifyCommitLight. It says nothing about whether v
// deserves trust: see [Advance].
//
// Errors: [ErrInvalid], [ErrSignature], [ErrPower].
func (h Head) Check(v Validators) error {
	t, err := newTally(h, v)
	if err != nil {
		return err
	}
	return t.own()
}

// CheckAll is [Head.Check] with every vote verified, those for no block too, as
// in CometBFT's VerifyCommit. It is for who passes heads on: what CheckAll
// accepts can be trimmed and still be accepted.
func (h Head) CheckAll(v Validators) error {
	t, err := newTally(h, v)
	if err != nil {
		return err
	}
	for i := range h.Commit.Votes {
		if h.Commit.Votes[i].Kind == VoteAbsent {
			continue
		}
		if err := t.verify(i); err != nil {
			return err
		}
	}
	return t.own()
}

// tally counts the votes of a head. It verifies no signature twice.
type tally struct {
	head     Head
	block    BlockID
	vals     Validators
	verified []bool
}

// newTally checks all that can be checked without a signature.
func newTally(h Head, v Validators) (*tally, error) {
	if err := h.Header.check(); err != nil {
		return nil, err
	}
	switch {
	case h.Commit.Round > maxRound:
		return nil, invalid("round %d is out of range", h.Commit.Round)
	case v.Len() == 0:
		return nil, invalid("no validators given")
	case v.Hash() != h.Header.ValidatorsHash:
		return nil, invalid("validators with hash %X given, the header names %X", v.Hash(), h.Header.ValidatorsHash)
	case len(h.Commit.Votes) != v.Len():
		return nil, invalid("%d votes of %d validators", len(h.Commit.Votes), v.Len())
	}
	return &tally{head: h, block: h.Block(), vals: v, verified: make([]bool, v.Len())}, nil
}

// verify checks the signature of vote i, which is not absent.
func (t *tally) verify(i int) error {
	if t.verified[i] {
		return nil
	}
	vote := t.head.Commit.Votes[i]
	if !t.head.voteTime(vote).valid() {
		return fmt.Errorf("vote %d: %w", i, invalid("its time is out of range"))
	}
	if !t.vals.signed(i, t.head.signBytes(t.block, vote), &vote.Signature) {
		return fmt.Errorf("vote %d: %w", i, ErrSignature)
	}
	t.verified[i] = true
	return nil
}

// own requires more than two thirds of the head's own validators.
func (t *tally) own() error {
	return t.count(twoThirds(t.vals.total), ErrPower, func(i int) uint64 { return t.vals.members[i].Power })
}

// trusted requires more than a third of a set trusted before. A validator is
// the same in both sets if its key is.
func (t *tally) trusted(set Validators) error {
	powers := make(map[[33]byte]uint64, set.Len())
	for i := range set.members {
		powers[set.members[i].Key] = set.members[i].Power
	}
	return t.count(oneThird(set.total), ErrTrustedPower, func(i int) uint64 { return powers[t.vals.members[i].Key] })
}

// count goes through the votes for the block in order, verifies those that have
// power, and stops when they exceed needed.
func (t *tally) count(needed uint64, lack error, power func(i int) uint64) error {
	var got uint64
	for i := range t.head.Commit.Votes {
		if t.head.Commit.Votes[i].Kind != VoteBlock {
			continue
		}
		p := power(i)
		if p == 0 {
			continue // not in the trusted set
		}
		if err := t.verify(i); err != nil {
			return err
		}
		if got += p; got > needed {
			return nil
		}
	}
	return fmt.Errorf("%w: %d, and more than %d is needed", lack, got, needed)
}
