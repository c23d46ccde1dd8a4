package key

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Root is a root key: it controls an account. Root 0 grows from the phrase and
// is never stored; a lower root may stay on the machine.
type Root struct{ secret }

// NewRoot returns a root key of its own, not tied to a phrase: a lower root.
func NewRoot(rand io.Reader) (Root, error) {
	s, err := randomSecret(rand)
	return Root{s}, err
}

// RootFromSeed returns the root key that a Seed call gave out.
func RootFromSeed(seed [SeedSize]byte) Root { return Root{newSecret(seed)} }

// Root returns the phrase's root key number n. An account starts with number 0;
// each rotation of root 0 takes the next number.
func (p Phrase) Root(n uint32) Root {
	master := p.master()
	seed, err := hkdf.Key(sha256.New, master[:], []byte("confab root key 1"), fmt.Sprintf("root %d", n), SeedSize)
	if err != nil {
		panic("key: hkdf of a fixed size: " + err.Error())
	}
	return Root{newSecret([SeedSize]byte(seed))}
}

// SignOp signs the payload of an op.
func (r Root) SignOp(payload []byte) Signature { return r.sign(wire.TagOp, payload) }

// NextHash returns the commitment to a root key that is not shown yet, as an
// entry carries it for pre-rotation.
func (p Public) NextHash() [32]byte { return wire.TagNextRoot.Sum(p[:]) }
