package verify

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// What a caller may have to tell apart. Every error of this package wraps one
// of these, or is a malformed encoding reported by wire.Decode.
var (
	// ErrInvalid: the input contradicts itself, the validators given with it
	// or the chain it claims to be of. Its source is broken or lies.
	ErrInvalid error = wire.Errorf(wire.Invalid, "not valid")
	// ErrSignature: a signature that was needed is not the validator's.
	ErrSignature error = wire.Errorf(wire.Invalid, "wrong signature")
	// ErrPower: no more than two thirds of the set's power signed.
	ErrPower error = wire.Errorf(wire.Invalid, "not enough power signed")
	// ErrTrustedPower: no more than a third of the trusted set's power signed.
	// The head may be true: verify one at a height between first.
	ErrTrustedPower error = wire.Errorf(wire.Invalid, "too few of the trusted validators signed")
	// ErrExpired: what is trusted is older than the trusting period, so its
	// validators may have left with nothing to lose. Start from a newer pin.
	ErrExpired error = wire.Errorf(wire.Stale, "trust has expired")
	// ErrNotNewer: the head is older than what is trusted.
	ErrNotNewer error = wire.Errorf(wire.Stale, "not newer than what is trusted")
	// ErrFuture: the head's time is ahead of the caller's clock.
	ErrFuture error = wire.Errorf(wire.Unavailable, "time is in the future")
	// ErrConflict: validators signed two blocks at one height. The error is a
	// *[ConflictError].
	ErrConflict error = wire.Errorf(wire.Conflict, "two blocks at one height")
)

// ConflictError reports a head that is properly signed, by its own validators
// and by a third of the trusted ones, and yet is not the trusted header of its
// height. More than a third of some set's power broke the rules; the caller
// should stop trusting the chain and keep both sides as evidence.
type ConflictError struct {
	Trusted    Trust      // what was verified before
	Head       Head       // what contradicts it
	Validators Validators // the validators of Head
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s height %d: header %X is trusted, but validators also signed %X: "+
		"keep both as evidence and do not follow this chain",
		e.Trusted.ChainID, e.Trusted.Height, e.Trusted.Hash, e.Head.Header.Hash())
}

// Unwrap returns [ErrConflict].
func (e *ConflictError) Unwrap() error { return ErrConflict }

// invalid returns an error that wraps ErrInvalid.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
