package ticket

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
)

// Sizes in bytes of what a ticket is made of.
const (
	// KeySize is the size of a sponsor's RSA modulus: 2048 bits. A ticket is
	// worth something for two checkpoints, not for decades, and the modulus
	// stands in the state.
	KeySize = 256
	// SignatureSize is the size of a sponsor's signature.
	SignatureSize = KeySize
	// SponsorSize is the size of the account id before the signature.
	SponsorSize = 32
	// BlindSize is the size of a payment of kind Blind.
	BlindSize = SponsorSize + SignatureSize
)

// exponent is every sponsor's public exponent, so that nobody can choose one
// that makes checking slow.
const exponent = 65537

// saltSize is that of RSABSSA-SHA384-PSS: the size of the hash.
const saltSize = sha512.Size384

// ErrTicket reports a signature that is not the sponsor's over this challenge.
var ErrTicket = errors.New("the sponsor did not sign this challenge")

// CheckKey checks the form of a sponsor's modulus: 256 bytes, big-endian, the
// top bit set, odd. Whether it is a product of two good primes is the sponsor's
// own business: a bad one gives away its own quota and nothing else.
func CheckKey(modulus []byte) error {
	switch {
	case len(modulus) != KeySize:
		return fmt.Errorf("a sponsor's key has %d bytes, not %d", KeySize, len(modulus))
	case modulus[0]&0x80 == 0:
		return errors.New("a sponsor's key has 2048 bits: its top bit is set")
	case modulus[KeySize-1]&1 == 0:
		return errors.New("a sponsor's key is odd")
	}
	return nil
}

// PublicKey returns a modulus that CheckKey accepts as a key, for whoever blinds.
func PublicKey(modulus []byte) (*rsa.PublicKey, error) {
	if err := CheckKey(modulus); err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: exponent}, nil
}

// VerifyBlind checks a sponsor's signature over a challenge:
// RSABSSA-SHA384-PSS-Deterministic of RFC 9474, the challenge being the message
// and its preparation the identity. The challenge needs no random prefix: it is
// the hash of a commit to an op with a random salt, so nobody can guess it. How
// the signature came about, blindly or not, cannot be told from it.
func VerifyBlind(modulus []byte, challenge [32]byte, sig []byte) error {
	k, err := PublicKey(modulus)
	if err != nil {
		return err
	}
	return verify(k, challenge[:], sig)
}

// verify is RSASSA-PSS-VERIFY with SHA-384, MGF1 of it, and a salt of 48 bytes.
// It takes a number below the modulus and no other, so nobody but the sponsor
// makes a second signature of a first.
func verify(k *rsa.PublicKey, message, sig []byte) error {
	sum := sha512.Sum384(message)
	if rsa.VerifyPSS(k, crypto.SHA384, sum[:], sig, &rsa.PSSOptions{SaltLength: saltSize}) != nil {
		return ErrTicket
	}
	return nil
}

// BlindProof returns a payment of kind Blind: the sponsor's account id and its
// signature.
func BlindProof(sponsor [32]byte, sig []byte) []byte {
	return append(append(make([]byte, 0, BlindSize), sponsor[:]...), sig...)
}

// SplitBlind takes a payment of kind Blind apart, and reports whether it has the
// size of one.
func SplitBlind(proof []byte) (sponsor [32]byte, sig []byte, ok bool) {
	if len(proof) != BlindSize {
		return sponsor, nil, false
	}
	return [32]byte(proof[:SponsorSize]), proof[SponsorSize:], true
}
