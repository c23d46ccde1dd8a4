// Package statetree is the authenticated map under the law of names: 32-byte
// keys to values, one 32-byte root for all of them, and small proofs that a key
// has a value or has none.
//
// It is a compact sparse Merkle tree over SHA-256 with exactly the hashing of
// SmtSpec in ICS-23 (cosmos/ics23):
//
//	leaf  = SHA-256(0x00 ‖ key ‖ SHA-256(value))
//	inner = SHA-256(0x01 ‖ left ‖ right)
//	empty = 32 zero bytes
//
// A key's bits, from the most significant, choose left (0) or right (1). A leaf
// that is alone in a subtree stands at the top of it. Keys must be hashes
// already, here SHA-256(kind ‖ id): the tree is as deep as the longest prefix
// that two keys share.
//
//	         root                       key 00…  a
//	       /      \                     key 01…  b
//	  inner        c                    key 1……  c, alone on its side
//	 /     \
//	a       b
//
// What it guarantees: the root is a function of the map alone, whatever the
// order and grouping of the changes that led to it. [Verify] accepts only the
// value that the root commits to, [VerifyAbsent] only a key that has none.
// [Update] and [Prove] check each page they read against the root they were
// given, so that a damaged store ends in an error that names the page and never
// in a wrong root.
//
// Nodes are stored four levels to a page; see [PageID] for which page holds
// what. A page's bytes are a matter between this package and a store, on no wire
// and in no hash.
//
// What it must not know: what keys and values mean, heights, databases, clocks.
// It imports the standard library only and does no input or output of its own.
//
// Start reading at [Update], then [Prove] and [Verify]. page.go has the pages,
// proof.go the wire form of a proof.
package statetree
