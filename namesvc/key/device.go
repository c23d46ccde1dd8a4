package key

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Device is a device key: it signs an account's daily work within its scopes.
type Device struct{ secret }

// NewDevice returns a new device key.
func NewDevice(rand io.Reader) (Device, error) {
	s, err := randomSecret(rand)
	return Device{s}, err
}

// DeviceFromSeed returns the device key that a Seed call gave out.
func DeviceFromSeed(seed [SeedSize]byte) Device { return Device{newSecret(seed)} }

// SignOp signs the payload of an op.
func (d Device) SignOp(payload []byte) Signature { return d.sign(wire.TagOp, payload) }

// SignConsent shows that this device agrees to join an account; msg is
// namesvc.Consent.
func (d Device) SignConsent(msg []byte) Signature { return d.sign(wire.TagDevice, msg) }

// SignRequest proves to a server that a request comes from this device.
func (d Device) SignRequest(msg []byte) Signature { return d.sign(wire.TagRequest, msg) }

// SignKnock asks another account for contact; msg is that of talk/e2ee.
func (d Device) SignKnock(msg []byte) Signature { return d.sign(wire.TagKnock, msg) }

// MLS returns the key as the signer of an MLS leaf (RFC 9420). It signs only
// what begins like a SignContent (§5.1.2): a length of one byte, then a label
// that starts with "MLS 1.0 ". A tag of ours never does, so what it signs passes
// for nothing else that this key may sign.
func (d Device) MLS() crypto.Signer { return mlsSigner{d.secret} }

// mlsPrefix starts every label of MLS.
const mlsPrefix = "MLS 1.0 "

var errNotMLS = errors.New("this signer signs messages of MLS only")

type mlsSigner struct{ secret }

// Public returns the ed25519.PublicKey.
func (m mlsSigner) Public() crypto.PublicKey { return m.key().Public() }

// Sign implements crypto.Signer for Ed25519 without prehashing; rand is not used.
func (m mlsSigner) Sign(_ io.Reader, msg []byte, o crypto.SignerOpts) ([]byte, error) {
	if o != nil && o.HashFunc() != 0 {
		return nil, fmt.Errorf("sign: hash function %v: %w", o.HashFunc(), errNotMLS)
	}
	// Below 64 the length of a vector is one byte, its two high bits zero (§2.1.2).
	if len(msg) == 0 || msg[0] >= 64 || len(msg) < 1+int(msg[0]) || !strings.HasPrefix(string(msg[1:1+int(msg[0])]), mlsPrefix) {
		return nil, fmt.Errorf("sign: %w", errNotMLS)
	}
	return ed25519.Sign(m.key(), msg), nil
}
