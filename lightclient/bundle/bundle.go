package bundle

import (
	"fmt"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Version is the only version of the format.
const Version = 1

// Bounds.
const (
	// MaxSize bounds a bundle in bytes: a first lookup may take 100 kB, and a
	// set of 256 validators that changed several times doubles that.
	MaxSize = 512 << 10
	// MaxSteps bounds the heads on a path. Each step can replace two thirds
	// of the validators, so 32 outlive any trusting period.
	MaxSteps = 32
	// MaxLeaves bounds the leaves: a handle, its entry, its devices, and some
	// of the chain's own.
	MaxLeaves = 8
	// maxAbout bounds the note in bytes: an account id has 64.
	maxAbout = 80
)

// Bundle is a self-contained proof.
type Bundle struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	About   string  // what was asked, for people: "@alice"; it proves nothing
	Origin  *Origin // the pinned header, for a reader who has only the pin
	Steps   []Step  // from what the reader trusts to the head, which comes last
	Leaves  []Leaf
	Anchor  []byte // the newest anchor on Ethereum; empty in version 1
}

// Origin opens a pin: the header whose hash the pin is, and its validators.
type Origin struct {
	_          struct{} `cbor:",toarray"`
	Header     verify.Header
	Validators verify.Validators
}

// Step is one head on the path.
type Step struct {
	_          struct{} `cbor:",toarray"`
	Head       verify.Head
	Validators *verify.Validators // nil: the same set as one step before
}

// Leaf is one leaf of the state after the block before the last head, which is
// the state whose root that head carries.
type Leaf struct {
	_     struct{} `cbor:",toarray"`
	Kind  uint8    // of the leaf, a letter
	ID    []byte   // of the leaf; its key is SHA-256(Kind ‖ ID)
	Value []byte   // empty if the leaf is absent
	Proof []byte   // statetree.Proof
}

// maxID bounds a leaf's id: the longest is a skeleton of 40 letters.
const maxID = 40

// Encode returns the bundle's bytes.
func (b Bundle) Encode() []byte { return wire.Encode(b) }

// Decode parses a bundle without verifying anything. Use it to look into one;
// use [Verify] to believe it.
func Decode(data []byte) (Bundle, error) {
	var b Bundle
	if err := wire.Decode(data, &b, MaxSize); err != nil {
		return Bundle{}, wire.Errorf(wire.Invalid, "bundle: %w", err)
	}
	switch {
	case b.Version != Version:
		return Bundle{}, wire.Errorf(wire.Invalid, "bundle: version %d is unknown to this program", b.Version)
	case len(b.Steps) == 0 || len(b.Steps) > MaxSteps:
		return Bundle{}, wire.Errorf(wire.Invalid, "bundle: it has %d heads, 1 to %d are allowed", len(b.Steps), MaxSteps)
	case len(b.Leaves) > MaxLeaves:
		return Bundle{}, wire.Errorf(wire.Invalid, "bundle: it has %d leaves, at most %d are allowed", len(b.Leaves), MaxLeaves)
	case !note(b.About):
		return Bundle{}, wire.Errorf(wire.Invalid, "bundle: what it says it is about must be printable ASCII, at most %d characters", maxAbout)
	case len(b.Anchor) != 0:
		return Bundle{}, wire.Errorf(wire.Invalid, "bundle: it carries an anchor, which version %d does not know", Version)
	}
	for _, l := range b.Leaves {
		if len(l.ID) > maxID {
			return Bundle{}, wire.Errorf(wire.Invalid, "bundle: a leaf's id is too long")
		}
	}
	return b, nil
}

// note reports whether a text can be About. It ends on terminals, so it has no
// control characters.
func note(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(text) <= maxAbout
}

// Head returns the last head of the path, the one the leaves are proven under.
func (b Bundle) Head() verify.Head { return b.Steps[len(b.Steps)-1].Head }

// String describes the bundle in a line, unverified.
func (b Bundle) String() string {
	h := b.Head().Header
	return fmt.Sprintf("bundle about %q: %d leaves at height %d of %s", b.About, len(b.Leaves), h.Height, h.ChainID)
}
