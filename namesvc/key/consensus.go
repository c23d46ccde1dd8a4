package key

import (
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Consensus is a validator's public key: a point of secp256k1 in compressed
// form. Accounts have no such keys; a validator signs blocks with one, and the
// law asks it for a single signature, its possession.
type Consensus [33]byte

// ConsensusSignature is R ‖ S ‖ V as consensus keys sign: ECDSA over the
// Keccak-256 of the message, S in the lower half, and V, 0 or 1, the parity of
// R's point.
type ConsensusSignature [65]byte

// VerifyConsensus reports whether the consensus key made the signature over tag ‖
// msg: [ErrKey] if the key is no point of the curve, [ErrSignature] otherwise.
// It accepts exactly what CometBFT's secp256k1eth keys and ecrecover do: the key
// that the signature gives away must be this one.
func VerifyConsensus(k Consensus, tag wire.Tag, msg []byte, sig ConsensusSignature) error {
	known, err := secp256k1.ParsePubKey(k[:])
	if err != nil {
		return ErrKey
	}
	var s secp256k1.ModNScalar
	if sig[64] > 1 || s.SetByteSlice(sig[32:64]) || s.IsOverHalfOrder() {
		return ErrSignature
	}
	hash := sha3.NewLegacyKeccak256()
	hash.Write([]byte(tag))
	hash.Write(msg)
	// The library wants V in front, counted from 27.
	compact := make([]byte, 0, len(sig))
	compact = append(compact, 27+sig[64])
	compact = append(compact, sig[:64]...)
	signer, _, err := ecdsa.RecoverCompact(compact, hash.Sum(nil))
	if err != nil || !signer.IsEqual(known) {
		return ErrSignature
	}
	return nil
}
