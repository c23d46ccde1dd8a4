package statetree

import "crypto/sha256"

// Domain bytes of the two kinds of hashed node (ICS-23, SmtSpec).
const (
	leafDomain  = 0
	innerDomain = 1
)

// empty is the hash of a subtree without leaves.
var empty [32]byte

func hashLeaf(l *Leaf) [32]byte {
	var b [65]byte
	b[0] = leafDomain
	copy(b[1:], l.Key[:])
	copy(b[33:], l.ValueHash[:])
	return sha256.Sum256(b[:])
}

func hashInner(left, right *[32]byte) [32]byte {
	var b [65]byte
	b[0] = innerDomain
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// bit returns bit i of the key, 0 being the most significant of the first byte.
func (k *Key) bit(i int) int { return int(k[i>>3]>>(7-i&7)) & 1 }

// nibble returns the i-th four bits of the key.
func (k *Key) nibble(i int) int {
	if i&1 == 0 {
		return int(k[i>>1] >> 4)
	}
	return int(k[i>>1] & 15)
}

// commonNibbles returns how many leading nibbles a and b share, at most 64.
func commonNibbles(a, b *Key) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			if x>>4 == 0 {
				return 2*i + 1
			}
			return 2 * i
		}
	}
	return 2 * len(a)
}

// sameBits reports whether a and b share their first n bits.
func sameBits(a, b *Key, n int) bool {
	for i := 0; i < n>>3; i++ {
		if a[i] != b[i] {
			return false
		}
	}
	if n&7 == 0 {
		return true
	}
	return (a[n>>3]^b[n>>3])>>(8-n&7) == 0
}
