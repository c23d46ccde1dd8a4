package e2ee

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/confab-chat/confab/namesvc/wire"
)

// EnvelopeKey is the key of a queue's envelopes: whoever writes into the queue
// has it, and its readers, but not who keeps it. It prints as a placeholder.
type EnvelopeKey [32]byte

// NewEnvelopeKey returns a new key.
func NewEnvelopeKey(rand io.Reader) (EnvelopeKey, error) {
	var k EnvelopeKey
	if _, err := io.ReadFull(rand, k[:]); err != nil {
		return EnvelopeKey{}, fmt.Errorf("new envelope key: read randomness: %w", err)
	}
	return k, nil
}

const redacted = "(envelope key)"

// String, GoString, Format and LogValue never show the key.
func (EnvelopeKey) String() string             { return redacted }
func (EnvelopeKey) GoString() string           { return redacted }
func (EnvelopeKey) LogValue() slog.Value       { return slog.StringValue(redacted) }
func (EnvelopeKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText refuses: Reach.Encode is how a key travels.
func (EnvelopeKey) MarshalText() ([]byte, error) {
	return nil, errors.New("an envelope key does not marshal; store its bytes under encryption")
}

// Reach is how to write to a party in one conversation: a queue of its account
// and the key of its envelopes. At which concierge the queue is the reach does not
// say; the chain does, so a reach outlives a switch. Both halves are secret.
type Reach struct {
	Address [32]byte
	Key     EnvelopeKey
}

// reach is a Reach as it is encoded.
type reach struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Address [32]byte
	Key     [32]byte
}

// Encode returns the reach as contact requests and answers carry it.
func (r Reach) Encode() []byte {
	return wire.Encode(reach{Version: version, Address: r.Address, Key: r.Key})
}

// DecodeReach parses a reach.
func DecodeReach(b []byte) (Reach, error) {
	var w reach
	if err := wire.Decode(b, &w, maxReach); err != nil {
		return Reach{}, fmt.Errorf("reach: %w", err)
	}
	if w.Version != version {
		return Reach{}, fmt.Errorf("reach: version %d is unknown", w.Version)
	}
	if w.Address == ([32]byte{}) || w.Key == ([32]byte{}) {
		return Reach{}, fmt.Errorf("reach: an address or a key of zeros")
	}
	return Reach{Address: w.Address, Key: w.Key}, nil
}

// Format writes a placeholder, whatever the verb: who knows an address can write
// to it.
func (Reach) Format(f fmt.State, _ rune) { io.WriteString(f, "(reach)") }

// MarshalText refuses, as that of the key does.
func (Reach) MarshalText() ([]byte, error) {
	return nil, errors.New("a reach does not marshal; store what Encode returns under encryption")
}
