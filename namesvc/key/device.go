package key

import (
	"io"

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
