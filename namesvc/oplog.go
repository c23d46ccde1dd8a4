package namesvc

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// OpLog is an accumulator over an account's ops: the peaks of a Merkle mountain
// range, largest first. With it anyone who holds an entry can check that a list
// of ops is the account's whole history, or that one op was part of it at its
// height, in a number of hashes that grows with the logarithm of the count.
//
// Leaf n (from 1) is SHA-256(0x00 ‖ n ‖ height ‖ time ‖ op id), numbers as 8
// bytes big-endian; an inner node is SHA-256(0x01 ‖ left ‖ right). After n
// leaves there is one peak for each bit that is set in n.
type OpLog [][32]byte

// Append returns the log with one more op. n is its sequence number, which must
// be the number of ops so far plus one.
func (l OpLog) Append(n, height, time uint64, op [32]byte) OpLog {
	var b [1 + 3*8 + 32]byte
	binary.BigEndian.PutUint64(b[1:], n)
	binary.BigEndian.PutUint64(b[9:], height)
	binary.BigEndian.PutUint64(b[17:], time)
	copy(b[25:], op[:])
	node := sha256.Sum256(b[:])
	out := append(OpLog(nil), l...)
	for merges := bits.TrailingZeros64(n); merges > 0; merges-- {
		var in [65]byte
		in[0] = 0x01
		copy(in[1:], out[len(out)-1][:])
		copy(in[33:], node[:])
		node = sha256.Sum256(in[:])
		out = out[:len(out)-1]
	}
	return append(out, node)
}

// peakCount returns how many peaks n leaves make.
func peakCount(n uint64) int { return bits.OnesCount64(n) }
