package verify

import (
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/sha3"
)

// Signature is R ‖ S ‖ V as CometBFT's secp256k1eth keys make it: ECDSA on
// secp256k1 over the Keccak-256 hash of the message, S in the lower half, and
// V, 0 or 1, the parity of R's point. The zero value stands for no signature;
// R is never zero in a valid one.
type Signature [65]byte

// keccak256 is the hash Ethereum uses, which is not SHA3-256.
func keccak256(parts ...[]byte) (sum [32]byte) {
	h := sha3.NewLegacyKeccak256()
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

// addressOf returns the Ethereum address of a key.
func addressOf(key *secp256k1.PublicKey) (address [20]byte) {
	sum := keccak256(key.SerializeUncompressed()[1:])
	copy(address[:], sum[12:])
	return address
}

// signedBy reports whether key made the signature over message.
//
// CometBFT recovers the key from the signature and compares. We compute the
// point that the known key implies and compare that with R and V, which is the
// same predicate and needs no square root: recovery takes X as the point with
// x-coordinate R and y of parity V and yields Q = R⁻¹(S·X − e·G); since R and S
// are invertible, Q = key if and only if X = S⁻¹(e·G + R·key). Three cases need
// care. R is compared with the coordinate itself and not modulo the group
// order, because V of 0 or 1 says that no reduction took place. An R that is
// no point's coordinate fails, as recovery does, because the computed point is
// on the curve. And the point at infinity is no X.
func (s *Signature) signedBy(key *secp256k1.PublicKey, message []byte) bool {
	var r, sv, e secp256k1.ModNScalar
	if s[64] > 1 || r.SetByteSlice(s[:32]) || sv.SetByteSlice(s[32:64]) {
		return false
	}
	if r.IsZero() || sv.IsZero() || sv.IsOverHalfOrder() {
		return false
	}
	digest := keccak256(message)
	e.SetBytes(&digest)

	inverse := new(secp256k1.ModNScalar).InverseValNonConst(&sv)
	e.Mul(inverse)
	u := new(secp256k1.ModNScalar).Mul2(&r, inverse)
	var point, left, right secp256k1.JacobianPoint
	key.AsJacobian(&point)
	secp256k1.ScalarBaseMultNonConst(&e, &left)
	secp256k1.ScalarMultNonConst(u, &point, &right)
	secp256k1.AddNonConst(&left, &right, &point)
	if point.Z.IsZero() || (point.X.IsZero() && point.Y.IsZero()) {
		return false
	}
	point.ToAffine()
	return [32]byte(s[:32]) == *point.X.Bytes() && point.Y.IsOdd() == (s[64] == 1)
}
