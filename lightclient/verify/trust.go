package verify

import (
	"fmt"
	"time"
)

// Rules say how long and how far ahead a verifier trusts.
type Rules struct {
	// TrustingPeriod is how long after its time a header may vouch for later
	// ones. It must be shorter than validators' power stays locked.
	TrustingPeriod time.Duration
	// MaxClockDrift is how far a header's time may be ahead of the caller's.
	MaxClockDrift time.Duration
}

// DefaultRules returns a trusting period of 14 days, which leaves a week to
// punish before the 21 days are over after which validators may leave, and a
// clock drift of 10 seconds, as CometBFT has it.
func DefaultRules() Rules {
	return Rules{TrustingPeriod: 14 * 24 * time.Hour, MaxClockDrift: 10 * time.Second}
}

// Pin is where trust starts: one header of one chain, named by its hash, got in
// a way that the reader of the chain believes.
type Pin struct {
	_       struct{} `cbor:",toarray"`
	ChainID string
	Height  uint64
	Hash    [32]byte
}

// Trust is what a verifier keeps: the newest header it verified, as far as
// later ones are measured by it.
type Trust struct {
	_                  struct{} `cbor:",toarray"`
	ChainID            string
	Height             uint64
	Time               Time
	Hash               [32]byte   // of the header
	Validators         Validators // the set that signed this height
	NextValidatorsHash [32]byte   // the hash of the set that signs the next
}

// Pin returns the pin that names the trusted header.
func (t Trust) Pin() Pin { return Pin{ChainID: t.ChainID, Height: t.Height, Hash: t.Hash} }

// Trust turns the pin into something to verify by, given the pinned header with
// its commit and validators from any source. It checks them as [Head.Check]
// does and does not ask how old they are: [Advance] will.
func (p Pin) Trust(head Head, v Validators) (Trust, error) {
	err := p.check(head, v)
	if err != nil {
		return Trust{}, fmt.Errorf("pinned header of %s at height %d: %w", p.ChainID, p.Height, err)
	}
	return trustIn(head, v), nil
}

func (p Pin) check(head Head, v Validators) error {
	if head.Header.ChainID != p.ChainID || head.Header.Height != p.Height {
		return invalid("got %s at height %d", head.Header.ChainID, head.Header.Height)
	}
	if hash := head.Header.Hash(); hash != p.Hash {
		return invalid("got header %X, pinned is %X", hash, p.Hash)
	}
	return head.Check(v)
}

func trustIn(head Head, v Validators) Trust {
	return Trust{
		ChainID:            head.Header.ChainID,
		Height:             head.Header.Height,
		Time:               head.Header.Time,
		Hash:               head.Header.Hash(),
		Validators:         v,
		NextValidatorsHash: head.Header.NextValidatorsHash,
	}
}

// Advance verifies a head, whose validators are v, by what is trusted, and
// returns what to trust from now on: [Adjacent] if the head is of the next
// height, [Skipping] if it is of a later one. The trusted header itself gives
// the same trust again, whatever its age and its commit.
//
// Errors: [ErrExpired], [ErrNotNewer], [ErrFuture], [ErrInvalid],
// [ErrSignature], [ErrPower], [ErrTrustedPower], and *[ConflictError] for
// another header at the trusted height that validators have signed.
func Advance(trusted Trust, head Head, v Validators, now time.Time, rules Rules) (Trust, error) {
	switch {
	case head.Header.Height == trusted.Height:
		return again(trusted, head, v, now, rules)
	case head.Header.Height == trusted.Height+1:
		return Adjacent(trusted, head, v, now, rules)
	default:
		return Skipping(trusted, head, v, now, rules)
	}
}

// Adjacent verifies the head of the height after the trusted one: its
// validators must be those the trusted header announced, and more than two
// thirds of them must have signed.
func Adjacent(trusted Trust, head Head, v Validators, now time.Time, rules Rules) (Trust, error) {
	err := adjacent(trusted, head, v, now, rules)
	return result(trusted, head, v, err)
}

func adjacent(trusted Trust, head Head, v Validators, now time.Time, rules Rules) error {
	if head.Header.Height != trusted.Height+1 {
		return invalid("heights are not adjacent")
	}
	t, err := newer(trusted, head, v, now, rules)
	if err != nil {
		return err
	}
	if head.Header.ValidatorsHash != trusted.NextValidatorsHash {
		return invalid("validators %X were announced, the header names %X",
			trusted.NextValidatorsHash, head.Header.ValidatorsHash)
	}
	return t.own()
}

// Skipping verifies the head of a later height but the next: more than a third
// of the trusted validators must have signed it, so that one honest validator
// did if no more than a third are dishonest, and more than two thirds of its
// own. A larger share than a third could be asked for and would only cost more
// steps; a smaller one would be unsafe.
func Skipping(trusted Trust, head Head, v Validators, now time.Time, rules Rules) (Trust, error) {
	err := skipping(trusted, head, v, now, rules)
	return result(trusted, head, v, err)
}

func skipping(trusted Trust, head Head, v Validators, now time.Time, rules Rules) error {
	if head.Header.Height == trusted.Height+1 {
		return invalid("heights are adjacent")
	}
	t, err := newer(trusted, head, v, now, rules)
	if err != nil {
		return err
	}
	if err := t.trusted(trusted.Validators); err != nil {
		return err
	}
	return t.own()
}

// again verifies a head of the trusted height. If it is another header and
// would have been believed, the validators have contradicted themselves.
func again(trusted Trust, head Head, v Validators, now time.Time, rules Rules) (Trust, error) {
	if head.Header.Hash() == trusted.Hash {
		return trusted, nil
	}
	t, err := current(trusted, head, v, now, rules)
	if err == nil {
		err = t.trusted(trusted.Validators)
	}
	if err == nil {
		err = t.own()
	}
	if err == nil {
		err = &ConflictError{Trusted: trusted, Head: head, Validators: v}
	}
	return result(trusted, head, v, err)
}

// newer is current, and that the head comes after what is trusted.
func newer(trusted Trust, head Head, v Validators, now time.Time, rules Rules) (*tally, error) {
	t, err := current(trusted, head, v, now, rules)
	switch {
	case err != nil:
		return nil, err
	case head.Header.Height <= trusted.Height:
		return nil, ErrNotNewer
	case !head.Header.Time.Std().After(trusted.Time.Std()):
		return nil, invalid("its time %v is not after the trusted %v", head.Header.Time.Std(), trusted.Time.Std())
	}
	return t, nil
}

// current checks what needs no signature: the trust is fresh enough, the head
// is of its chain, well formed, and not from the future.
func current(trusted Trust, head Head, v Validators, now time.Time, rules Rules) (*tally, error) {
	expires := trusted.Time.Std().Add(rules.TrustingPeriod)
	if !expires.After(now) {
		return nil, fmt.Errorf("%w on %v: start from a newer pin", ErrExpired, expires)
	}
	if head.Header.ChainID != trusted.ChainID {
		return nil, invalid("it is of chain %q", head.Header.ChainID)
	}
	t, err := newTally(head, v)
	if err != nil {
		return nil, err
	}
	if latest := now.Add(rules.MaxClockDrift); !head.Header.Time.Std().Before(latest) {
		return nil, fmt.Errorf("%w: %v, the clock here says %v", ErrFuture, head.Header.Time.Std(), now)
	}
	return t, nil
}

func result(trusted Trust, head Head, v Validators, err error) (Trust, error) {
	if err != nil {
		return Trust{}, fmt.Errorf("advance %s from height %d to %d: %w",
			trusted.ChainID, trusted.Height, head.Header.Height, err)
	}
	return trustIn(head, v), nil
}
