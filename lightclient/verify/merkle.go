package verify

import (
	"crypto/sha256"
	"math/bits"
)

// The Merkle tree of RFC 6962 §2.1, which CometBFT uses for header fields and
// validator sets, and the history tree for blocks.

// leafHash returns SHA-256(0x00 ‖ b).
func leafHash(b []byte) [32]byte {
	var stack [128]byte // long enough for all we hash, so nothing escapes
	return sha256.Sum256(append(append(stack[:0], 0), b...))
}

// nodeHash returns SHA-256(0x01 ‖ left ‖ right).
func nodeHash(left, right [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// merkleRoot returns the root over leaves, at least one, that are hashed
// already.
func merkleRoot(leaves [][32]byte) [32]byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	// The left subtree is the largest full one that leaves something.
	left := 1 << (bits.Len(uint(len(leaves)-1)) - 1)
	return nodeHash(merkleRoot(leaves[:left]), merkleRoot(leaves[left:]))
}
