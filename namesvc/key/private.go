package key

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/confab-chat/confab/namesvc/wire"
)

// SeedSize is the size in bytes of the secret from which a private key grows.
const SeedSize = ed25519.SeedSize

// secret is what all private keys share. Its methods keep it from leaking by
// accident: it prints as a placeholder, refuses to marshal and cannot be
// compared or used as a map key.
//
// The key stands behind a function because methods do not protect it in an
// unexported field of somebody else's struct: fmt cannot call them there and
// prints the bytes instead, and other dumpers follow pointers. A function is
// all that none of them looks into.
type secret struct {
	key func() ed25519.PrivateKey
}

func newSecret(seed [SeedSize]byte) secret {
	k := ed25519.NewKeyFromSeed(seed[:])
	return secret{key: func() ed25519.PrivateKey { return k }}
}

func randomSecret(rand io.Reader) (secret, error) {
	var seed [SeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return secret{}, fmt.Errorf("new key: read randomness: %w", err)
	}
	return newSecret(seed), nil
}

// Public returns the public half.
func (s secret) Public() Public { return Public(s.key().Public().(ed25519.PublicKey)) }

// Seed returns the secret itself, for storage under encryption.
func (s secret) Seed() [SeedSize]byte { return [SeedSize]byte(s.key().Seed()) }

func (s secret) sign(tag wire.Tag, msg []byte) Signature {
	return Signature(ed25519.Sign(s.key(), tag.Message(msg)))
}

const redacted = "(private key)"

// String, GoString, Format and LogValue print a placeholder.
func (s secret) String() string             { return redacted }
func (s secret) GoString() string           { return redacted }
func (s secret) LogValue() slog.Value       { return slog.StringValue(redacted) }
func (s secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

var errMarshal = errors.New("a private key does not marshal; store its Seed under encryption")

// MarshalText, MarshalJSON, MarshalBinary and MarshalCBOR refuse.
func (s secret) MarshalText() ([]byte, error)   { return nil, errMarshal }
func (s secret) MarshalJSON() ([]byte, error)   { return nil, errMarshal }
func (s secret) MarshalBinary() ([]byte, error) { return nil, errMarshal }
func (s secret) MarshalCBOR() ([]byte, error)   { return nil, errMarshal }
