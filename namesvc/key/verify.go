package key

import (
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Sizes in bytes.
const (
	PublicSize    = ed25519.PublicKeySize
	SignatureSize = ed25519.SignatureSize
)

// Public is an Ed25519 public key: the canonical encoding of a curve point that
// is not of small order. The zero value is no valid key.
type Public [PublicSize]byte

// Signature is an Ed25519 signature R‖S.
type Signature [SignatureSize]byte

// ErrSignature reports a signature that this key did not make.
var ErrSignature = errors.New("signature does not verify")

// ErrKey reports bytes that are no acceptable public key.
var ErrKey = errors.New("not an acceptable public key")

// ParsePublic reads the text form of a public key, 64 lower-case hexadecimal
// digits. Errors do not echo the input.
func ParsePublic(s string) (Public, error) {
	var p Public
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != PublicSize || hex.EncodeToString(b) != s {
		return p, fmt.Errorf("parse public key: %w: want 64 lower-case hexadecimal digits", ErrKey)
	}
	copy(p[:], b)
	return p, p.Check()
}

// String returns the text form that ParsePublic reads.
func (p Public) String() string { return hex.EncodeToString(p[:]) }

// MarshalText implements encoding.TextMarshaler.
func (p Public) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Public) UnmarshalText(b []byte) error {
	q, err := ParsePublic(string(b))
	if err != nil {
		return err
	}
	*p = q
	return nil
}

// IsZero reports whether p is the zero value, which stands for "no key".
func (p Public) IsZero() bool { return p == Public{} }

// Equal compares in constant time.
func (p Public) Equal(q Public) bool { return subtle.ConstantTimeCompare(p[:], q[:]) == 1 }

// Check reports whether p is in the accepted set of public keys: the
// y-coordinate is below the field's prime, the sign bit of an x that is zero is
// clear, and the point is none of the eight of small order. Whether y belongs
// to a point of the curve at all is found out by Verify.
//
// Encodings outside this set are where Ed25519 implementations disagree; a
// chain whose validators disagree splits, so they are refused before any
// arithmetic (research: "Taming the many EdDSAs", 2020, table 6c).
func (p Public) Check() error {
	if !belowPrime(p) {
		return fmt.Errorf("%w: its y-coordinate is not reduced", ErrKey)
	}
	y := p
	y[31] &= 0x7f
	for i := range smallOrderY {
		if y == smallOrderY[i] {
			return fmt.Errorf("%w: it is of small order", ErrKey)
		}
	}
	return nil
}

// belowPrime reports whether the low 255 bits of p, little-endian, are below
// 2^255-19.
func belowPrime(p Public) bool {
	if p[31]&0x7f != 0x7f || p[0] < 0xed {
		return true
	}
	for i := 1; i < 31; i++ {
		if p[i] != 0xff {
			return true
		}
	}
	return false
}

// smallOrderY are the y-coordinates of the eight points of small order: 1 (the
// identity), -1 (order two), 0 (order four) and two of order eight. A point and
// its negative share y, so five values cover all eight, and both settings of
// the sign bit are refused.
var smallOrderY = [...]Public{
	{0x01},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
}

// Verify reports whether sig is p's signature over tag and msg. It is the only
// check of an Ed25519 signature in confab, so that all parties accept exactly
// the same set:
//
//   - p passes [Public.Check];
//   - R, the signature's first half, passes the same check;
//   - S, its second half, is below the group order;
//   - [S]B = R + [k]A holds without a cofactor, as crypto/ed25519 computes it.
//
// A signature therefore has exactly one valid encoding per (key, message, R).
func Verify(p Public, tag wire.Tag, msg []byte, sig Signature) error {
	if err := p.Check(); err != nil {
		return err
	}
	r := Public(sig[:32])
	if r.Check() != nil {
		return ErrSignature
	}
	// crypto/ed25519 refuses S >= L and compares R by bytes, so the rest of
	// the rule is its own.
	if !ed25519.Verify(p[:], tag.Message(msg), sig[:]) {
		return ErrSignature
	}
	return nil
}
