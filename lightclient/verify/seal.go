package verify

import (
	"encoding/binary"
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// A seal is a validator's signature over a checkpoint. It is made by CometBFT
// itself: validators sign an extension of their precommit at a height after the
// checkpoint's, where the checkpoint is final, so an honest one never seals two
// checkpoints of one number, in whatever round. All seals of one height and
// round sign the same bytes.

// sealVersion is the first byte of a seal's extension. Frozen.
const sealVersion = 1

// sealExtensionSize is version, number and digest.
const sealExtensionSize = 1 + 8 + 32

// SealExtension returns the vote extension that seals the checkpoint of this
// number and digest: 0x01 ‖ number (8 bytes, big-endian) ‖ digest.
func SealExtension(number uint64, digest [32]byte) []byte {
	b := make([]byte, 0, sealExtensionSize)
	b = append(b, sealVersion)
	b = binary.BigEndian.AppendUint64(b, number)
	return append(b, digest[:]...)
}

// ParseSealExtension is the inverse of [SealExtension]. It refuses, with
// [ErrInvalid], anything else a vote extension may contain.
func ParseSealExtension(b []byte) (number uint64, digest [32]byte, err error) {
	if len(b) != sealExtensionSize || b[0] != sealVersion {
		return 0, digest, invalid("vote extension of %d bytes is not a seal", len(b))
	}
	return binary.BigEndian.Uint64(b[1:]), [32]byte(b[9:]), nil
}

// SealSignBytes returns the exact bytes that a validator signs for a vote
// extension: CometBFT's canonical vote extension behind its length.
func SealSignBytes(chainID string, height uint64, round uint32, extension []byte) []byte {
	b := make([]byte, 0, 128)
	b = appendBytes(b, 1, extension)
	b = appendFixed64(b, 2, height)
	b = appendFixed64(b, 3, uint64(round))
	b = appendBytes(b, 4, chainID)
	return delimited(b)
}

// Seals are the seals of one checkpoint that were signed at one height and
// round. Like votes they name nobody: they are indexed as the checkpoint's
// signers, which is not the order of the commit they came with if a validator
// has left since.
type Seals struct {
	Height     uint64      // of the precommits, later than the checkpoint's
	Round      uint32      // of the precommits
	Signatures []Signature // by signer; zero where there is none
}

// CheckSeals reports whether the checkpoint is sealed: signers are those it
// names, every seal is one of theirs over this checkpoint of this chain, and
// together they hold more than two thirds of the power. It returns the power
// that sealed. Whether signers deserve trust is the caller's to know: they are
// the NextSigners of the checkpoint before, or proven by a head.
//
// Errors: [ErrInvalid], [ErrSignature], [ErrPower]. Since a seal does not say
// what it seals, that of another number, digest, height, round or chain is a
// wrong signature.
func CheckSeals(chainID string, c Checkpoint, s Seals, signers Validators) (power uint64, err error) {
	power, err = checkSeals(chainID, c, s, signers)
	if err != nil {
		return 0, fmt.Errorf("seals of checkpoint %d of %s: %w", c.Number, chainID, err)
	}
	return power, nil
}

func checkSeals(chainID string, c Checkpoint, s Seals, signers Validators) (power uint64, err error) {
	switch {
	case signers.Len() == 0 || HashSigners(signers) != c.Signers:
		return 0, invalid("they are checked against other signers than the checkpoint names")
	case s.Height <= c.Height || s.Height > maxHeight || s.Round > maxRound:
		return 0, invalid("signed at height %d in round %d, the checkpoint is of height %d", s.Height, s.Round, c.Height)
	case len(s.Signatures) != signers.Len():
		return 0, invalid("%d seals of %d signers", len(s.Signatures), signers.Len())
	}
	message := SealSignBytes(chainID, s.Height, s.Round, SealExtension(c.Number, c.Digest(ChainTag(chainID))))
	for i := range s.Signatures {
		if s.Signatures[i] == (Signature{}) {
			continue
		}
		if !signers.signed(i, message, &s.Signatures[i]) {
			return 0, fmt.Errorf("signer %d: %w", i, ErrSignature)
		}
		power += signers.members[i].Power
	}
	if needed := twoThirds(signers.total); power <= needed {
		return 0, fmt.Errorf("%w: %d, and more than %d is needed", ErrPower, power, needed)
	}
	return power, nil
}

// sealsWire is how seals travel: a byte for each signer, 1 if it sealed, and
// the signatures of those that did.
type sealsWire struct {
	_          struct{} `cbor:",toarray"`
	Height     uint64
	Round      uint32
	Present    []byte
	Signatures []byte
}

// MarshalCBOR encodes the seals: height, round, who is present, signatures.
func (s Seals) MarshalCBOR() ([]byte, error) {
	w := sealsWire{Height: s.Height, Round: s.Round, Present: make([]byte, len(s.Signatures))}
	for i := range s.Signatures {
		if s.Signatures[i] != (Signature{}) {
			w.Present[i] = 1
			w.Signatures = append(w.Signatures, s.Signatures[i][:]...)
		}
	}
	return wire.Encode(w), nil
}

// UnmarshalCBOR decodes the seals of at most [MaxValidators] signers.
func (s *Seals) UnmarshalCBOR(b []byte) error {
	var w sealsWire
	if err := wire.Decode(b, &w, MaxSealsSize); err != nil {
		return fmt.Errorf("decode seals: %w", err)
	}
	if len(w.Present) > MaxValidators {
		return fmt.Errorf("decode seals: %w", invalid("%d seals, at most %d are allowed", len(w.Present), MaxValidators))
	}
	signatures, ok := w.signatures()
	if !ok {
		return fmt.Errorf("decode seals: %w", invalid("%d seals do not match %d bytes of signatures",
			len(w.Present), len(w.Signatures)))
	}
	*s = Seals{Height: w.Height, Round: w.Round, Signatures: signatures}
	return nil
}

// signatures puts the columns together. It reports false unless they fit
// exactly.
func (w *sealsWire) signatures() ([]Signature, bool) {
	list := make([]Signature, len(w.Present))
	rest := w.Signatures
	for i, p := range w.Present {
		if p > 1 || (p == 1 && len(rest) < len(Signature{})) {
			return nil, false
		}
		if p == 1 {
			list[i], rest = Signature(rest[:len(Signature{})]), rest[len(Signature{}):]
		}
		if p == 1 && list[i] == (Signature{}) {
			return nil, false // that is how an absent one looks
		}
	}
	return list, len(rest) == 0
}
