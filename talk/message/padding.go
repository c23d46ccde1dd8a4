package message

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// What the network sees of an event is its size, so sizes are few: 512, 1,024
// and 2,048 bytes, and above them those of Padmé (Nikitin and others, "Reducing
// Metadata Leakage from Encrypted Files and Communication with PURBs", PETS
// 2019), which cost at most 12 % and tell O(log log n) bits.

// lengthSize is the size of the length before padded content.
const lengthSize = 4

// minBucket and maxBucket are the first and last of the sizes that double. Most
// messages fit the first; above the last, doubling would cost too much.
const (
	minBucket = 512
	maxBucket = 2048
)

// MaxPadded bounds what [Unpad] reads: the padded size of [MaxEvent] bytes.
const MaxPadded = 50 << 10

// PaddedSize returns the size that n bytes of content have once padded.
func PaddedSize(n int) int {
	n += lengthSize
	for b := minBucket; b <= maxBucket; b *= 2 {
		if n <= b {
			return b
		}
	}
	e := bits.Len(uint(n)) - 1 // floor(log2 n)
	s := bits.Len(uint(e))     // bits that stay: floor(log2 e) + 1
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}

// Pad returns the content behind its length (4 bytes, big-endian), filled up with
// zeros to a size that many contents share.
func Pad(content []byte) ([]byte, error) {
	if len(content) > MaxEvent {
		return nil, fmt.Errorf("pad: %d bytes, at most %d are allowed", len(content), MaxEvent)
	}
	out := make([]byte, PaddedSize(len(content)))
	binary.BigEndian.PutUint32(out, uint32(len(content)))
	copy(out[lengthSize:], content)
	return out, nil
}

// Unpad returns what Pad was given. It refuses any other form of it: another
// size, or padding that is not zeros, in which something could hide. The result
// shares padded's memory.
func Unpad(padded []byte) ([]byte, error) {
	if len(padded) < lengthSize || len(padded) > MaxPadded {
		return nil, fmt.Errorf("unpad: %d bytes are no padded content", len(padded))
	}
	n := binary.BigEndian.Uint32(padded)
	if n > MaxEvent || PaddedSize(int(n)) != len(padded) {
		return nil, fmt.Errorf("unpad: %d bytes are not padded to %d", n, len(padded))
	}
	end := lengthSize + int(n)
	var rest byte
	for _, b := range padded[end:] {
		rest |= b
	}
	if rest != 0 {
		return nil, fmt.Errorf("unpad: the padding is not zeros")
	}
	return padded[lengthSize:end:end], nil
}
