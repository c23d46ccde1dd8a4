package media

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/talk/message"
)

const (
	// plainSize is how many bytes of content a sealed chunk holds, so that it is
	// one chunk of the id's tree.
	plainSize = chunk.Size - chacha20poly1305.Overhead
	// minPadded is what the smallest files are padded to: avatars and voice notes
	// of a few words look alike, and a disk keeps no less anyway.
	minPadded = 4 << 10
	// keyInfo separates this use of a file key from any other.
	keyInfo = "confab/media-key/1\n"
)

// padded returns the size that content is padded to: that of Padmé (Nikitin and
// others, "Reducing Metadata Leakage from Encrypted Files and Communication with
// PURBs", PETS 2019), which costs at most 12 % and tells O(log log n) bits.
func padded(size uint64) uint64 {
	if size <= minPadded {
		return minPadded
	}
	e := bits.Len64(size) - 1    // floor(log2 size)
	s := bits.Len64(uint64(e))   // bits that stay: floor(log2 e) + 1
	mask := uint64(1)<<(e-s) - 1 // of those that go
	return (size + mask) &^ mask
}

// SealedSize returns how many bytes a file of a size has once sealed. The error is
// of kind Invalid if it is too large: a little less than 4 GiB is allowed.
func SealedSize(size uint64) (uint64, error) {
	if size <= chunk.MaxLength {
		p := padded(size)
		if n := p + chunks(p)*chacha20poly1305.Overhead; n <= chunk.MaxLength {
			return n, nil
		}
	}
	return 0, wire.Errorf(wire.Invalid, "file of %d bytes is too large: less than %d are allowed", size, uint64(chunk.MaxLength))
}

// chunks returns how many chunks so much padded content makes.
func chunks(padded uint64) uint64 { return (padded + plainSize - 1) / plainSize }

// A shape is how a file of one size lies in chunks.
type shape struct {
	size   uint64 // of the content
	padded uint64
	sealed uint64
}

func shapeOf(size uint64) (shape, error) {
	n, err := SealedSize(size)
	return shape{size: size, padded: padded(size), sealed: n}, err
}

func (s shape) chunks() uint64 { return chunks(s.padded) }

// plain returns where the content of a chunk begins and how many bytes of it are
// padded content.
func (s shape) plain(index uint64) (at, n uint64) {
	at = index * plainSize
	return at, min(s.padded-at, plainSize)
}

// content returns how many of the padded bytes of a chunk are the file's.
func (s shape) content(index uint64) uint64 {
	at, n := s.plain(index)
	return min(n, s.size-min(at, s.size))
}

// nonce returns the nonce of a chunk: its number in 11 bytes, big-endian, and
// whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway
// and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
// Misuse-Resistance", CRYPTO 2015, as age has it).
func (s shape) nonce(index uint64) []byte {
	var n [chacha20poly1305.NonceSize]byte
	binary.BigEndian.PutUint64(n[3:11], index)
	if index == s.chunks()-1 {
		n[11] = 1
	}
	return n[:]
}

// newAEAD returns the cipher of a file: its key is HKDF-SHA-256 of the file key
// with keyInfo and no salt.
func newAEAD(k message.FileKey) (cipher.AEAD, error) {
	b, err := hkdf.Key(sha256.New, k[:], nil, keyInfo, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the cipher of a file: %w", err)
	}
	return chacha20poly1305.New(b)
}
