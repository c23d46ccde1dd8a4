package bundle

import (
	"errors"
	"fmt"
	"time"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Trust is what a reader brings along.
type Trust struct {
	// Pin is where the reader's trust in this chain began.
	Pin verify.Pin
	// Known is the newest head verified from that pin, or nil. With it a
	// bundle needs no Origin and usually no more than one step.
	Known *verify.Trust
	// Rules say how long a header vouches for later ones.
	Rules verify.Rules
	// MaxAge is how old the head may be; 0 leaves it at the trusting period.
	MaxAge time.Duration
}

// Assurance is how sure an answer is.
type Assurance uint8

// The levels. Witnessed and Anchored are given by no code of this version.
const (
	Committed Assurance = 1 // two thirds of the validators signed
	Witnessed Assurance = 2 // and k of n independent witnesses
	Anchored  Assurance = 3 // and it is final on Ethereum
)

// String returns the level's name.
func (a Assurance) String() string {
	switch a {
	case Committed:
		return "committed"
	case Witnessed:
		return "witnessed"
	case Anchored:
		return "anchored"
	}
	return fmt.Sprintf("assurance %d", uint8(a))
}

// ErrStale reports an answer that was true once and is older than the reader
// accepts.
var ErrStale error = wire.Errorf(wire.Stale, "the proof is too old")

// ErrOrigin reports a bundle whose path does not begin at anything the reader
// trusts.
var ErrOrigin error = wire.Errorf(wire.Invalid, "the proof does not begin at your pin")

// Verified is a bundle that has been believed.
type Verified struct {
	Pin       verify.Pin    // what the proof stands on
	Trust     verify.Trust  // the head, to be kept as Trust.Known
	Time      time.Time     // of the head
	Age       time.Duration // at the time of verification, at least 0
	Assurance Assurance
	leaves    map[namesvc.Key][]byte // nil for absent
}

// Verify checks a bundle at time now and returns what it proves. Nothing in the
// bundle is believed before its proof; nothing outside the arguments is read.
//
// Errors are of kind Invalid (malformed, forged, for another chain), Stale (too
// old), Conflict (a *verify.ConflictError: the validators signed two blocks of
// one height) or Unavailable (from the future).
func Verify(data []byte, t Trust, now time.Time) (*Verified, error) {
	b, err := Decode(data)
	if err != nil {
		return nil, err
	}
	if chain := b.Head().Header.ChainID; chain != t.Pin.ChainID {
		return nil, wire.Errorf(wire.Invalid, "verify bundle: it is of chain %.60q, the pin is of %q", chain, t.Pin.ChainID)
	}
	head, err := follow(b, t, now)
	if err != nil {
		return nil, err
	}
	v := &Verified{
		Pin: t.Pin, Trust: head, Time: head.Time.Std(), Age: max(0, now.Sub(head.Time.Std())),
		Assurance: Committed, leaves: make(map[namesvc.Key][]byte, len(b.Leaves)),
	}
	if limit := t.maxAge(); v.Age > limit {
		return nil, fmt.Errorf("verify bundle: %w: it is %v old, at most %v is accepted",
			ErrStale, v.Age.Round(time.Second), limit)
	}
	root := b.Head().Header.AppHash
	for _, l := range b.Leaves {
		if err := v.prove(l, root); err != nil {
			return nil, wire.Errorf(wire.Invalid, "verify bundle: leaf %q: %w", l.Kind, err)
		}
	}
	return v, nil
}

func (t Trust) maxAge() time.Duration {
	if t.MaxAge <= 0 || t.MaxAge > t.Rules.TrustingPeriod {
		return t.Rules.TrustingPeriod
	}
	return t.MaxAge
}

// follow walks the path to the last head, from what the reader knows if that
// leads there, else from the pin. Both are tried because validators may have
// come back: the pin's may have signed what the known ones did not.
func follow(b Bundle, t Trust, now time.Time) (verify.Trust, error) {
	var known error
	if t.Known != nil && b.Steps[0].Head.Header.Height >= t.Known.Height {
		head, err := walk(b, *t.Known, t, now)
		if err == nil || b.Origin == nil || errors.Is(err, verify.ErrConflict) {
			return head, err
		}
		known = err
	}
	pinned, err := open(b, t)
	switch {
	case err != nil && known != nil:
		return verify.Trust{}, known
	case err != nil:
		return verify.Trust{}, err
	}
	return walk(b, pinned, t, now)
}

// walk advances from one head of the path to the next. A path that passes by
// what the reader knows must pass through it.
func walk(b Bundle, at verify.Trust, t Trust, now time.Time) (verify.Trust, error) {
	for _, s := range b.Steps {
		set := at.Validators
		if s.Validators != nil {
			set = *s.Validators
		}
		next, err := verify.Advance(at, s.Head, set, now, t.Rules)
		if k := t.Known; err == nil && k != nil && next.Height == k.Height && next.Hash != k.Hash {
			err = &verify.ConflictError{Trusted: *k, Head: s.Head, Validators: set}
		}
		if err != nil {
			return verify.Trust{}, fmt.Errorf("verify bundle: %w", err)
		}
		at = next
	}
	return at, nil
}

// open returns the trust in the pinned header, which the bundle's origin shows.
func open(b Bundle, t Trust) (verify.Trust, error) {
	o := b.Origin
	switch {
	case o == nil && t.Known != nil:
		return verify.Trust{}, fmt.Errorf("verify bundle: %w: it begins at height %d, before what you have verified (%d), and does not carry the pinned header",
			ErrOrigin, b.Steps[0].Head.Header.Height, t.Known.Height)
	case o == nil:
		return verify.Trust{}, fmt.Errorf("verify bundle: %w: it does not carry the pinned header", ErrOrigin)
	case o.Header.ChainID != t.Pin.ChainID || o.Header.Height != t.Pin.Height || o.Header.Hash() != t.Pin.Hash:
		return verify.Trust{}, fmt.Errorf("verify bundle: %w: it begins at another header (height %d), the pin is at height %d",
			ErrOrigin, o.Header.Height, t.Pin.Height)
	case o.Validators.Hash() != o.Header.ValidatorsHash:
		return verify.Trust{}, fmt.Errorf("verify bundle: %w: the validators are not those of the pinned header", ErrOrigin)
	}
	return verify.Trust{
		ChainID: o.Header.ChainID, Height: o.Header.Height, Time: o.Header.Time, Hash: o.Header.Hash(),
		Validators: o.Validators, NextValidatorsHash: o.Header.NextValidatorsHash,
	}, nil
}

// prove checks one leaf under root and keeps it.
func (v *Verified) prove(l Leaf, root [32]byte) error {
	key := namesvc.LeafKey(l.Kind, l.ID)
	if _, twice := v.leaves[key]; twice {
		return errors.New("it is proven twice")
	}
	proof, err := statetree.UnmarshalProof(l.Proof)
	if err != nil {
		return err
	}
	if len(l.Value) == 0 {
		v.leaves[key] = nil
		return statetree.VerifyAbsent(root, statetree.Key(key), proof)
	}
	v.leaves[key] = l.Value
	return statetree.Verify(root, statetree.Key(key), l.Value, proof)
}

// ErrNotCovered reports a question that the bundle does not answer.
var ErrNotCovered error = wire.Errorf(wire.Invalid, "the proof does not cover this")

// Leaf returns a proven leaf's value, nil if it is proven absent.
func (v *Verified) Leaf(k namesvc.Key) ([]byte, error) {
	value, ok := v.leaves[k]
	if !ok {
		return nil, ErrNotCovered
	}
	return value, nil
}

// Handle returns what a handle means, as of the head's time. Errors are those
// of namesvc.Interpret with their kind, or [ErrNotCovered].
func (v *Verified) Handle(h namesvc.Handle) (namesvc.Meaning, error) {
	b, err := v.Leaf(namesvc.HandleKey(h.Skeleton()))
	if err != nil {
		return namesvc.Meaning{}, fmt.Errorf("%v: %w", h, err)
	}
	var leaf *namesvc.HandleLeaf
	var owner *namesvc.Entry
	if b != nil {
		l, err := namesvc.DecodeHandleLeaf(b)
		if err != nil {
			return namesvc.Meaning{}, wire.Errorf(wire.Invalid, "%v: %w", h, err)
		}
		leaf = &l
		e, err := v.entry(l.Account)
		if err != nil {
			return namesvc.Meaning{}, fmt.Errorf("%v: %w", h, err)
		}
		owner = e
	}
	m, err := namesvc.Interpret(h, leaf, owner, v.seconds())
	return m, withKind(err)
}

// withKind gives Interpret's errors their kind.
func withKind(err error) error {
	if err == nil {
		return nil
	}
	code := wire.Invalid
	var missing *namesvc.NotFoundError
	var alike *namesvc.ConfusableError
	if errors.As(err, &missing) || errors.As(err, &alike) {
		code = wire.NotFound
	}
	return wire.Errorf(code, "%w", err)
}

// Account returns an account's entry as of the head's time. An account that is
// proven not to be on the chain is an error of kind NotFound.
func (v *Verified) Account(id namesvc.AccountID) (namesvc.Entry, error) {
	e, err := v.entry(id)
	switch {
	case err != nil:
		return namesvc.Entry{}, fmt.Errorf("account %v: %w", id, err)
	case e == nil:
		return namesvc.Entry{}, wire.Errorf(wire.NotFound, "account %v is not on the chain", id)
	}
	return e.At(v.seconds()), nil
}

// entry returns an account's entry as its leaf has it, nil if proven absent.
func (v *Verified) entry(id namesvc.AccountID) (*namesvc.Entry, error) {
	b, err := v.Leaf(namesvc.AccountKey(id))
	if err != nil || b == nil {
		return nil, err
	}
	e, err := namesvc.DecodeEntry(b)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%w", err)
	}
	return &e, nil
}

// Devices returns an account's devices, which the entry's hash must match.
func (v *Verified) Devices(id namesvc.AccountID) (namesvc.Devices, error) {
	e, err := v.entry(id)
	if err != nil {
		return namesvc.Devices{}, err
	}
	if e == nil || e.DeviceSeq == 0 {
		return namesvc.Devices{Version: 1, Account: id}, nil
	}
	b, err := v.Leaf(namesvc.DevicesKey(id))
	if err != nil {
		return namesvc.Devices{}, fmt.Errorf("devices of %v: %w", id, err)
	}
	d, err := namesvc.DecodeDevices(b)
	if err != nil {
		return namesvc.Devices{}, wire.Errorf(wire.Invalid, "%w", err)
	}
	if d.Root() != e.DevicesRoot {
		return namesvc.Devices{}, wire.Errorf(wire.Invalid, "devices of %v: they are not those that the entry names", id)
	}
	return d, nil
}

// seconds is the time of the head, at which entries are read.
func (v *Verified) seconds() uint64 { return uint64(max(0, v.Time.Unix())) }
