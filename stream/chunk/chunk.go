package chunk

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/confab-chat/confab/namesvc/wire"
)

// TagID: the id of content, over its length and the root of its chunks. It is
// frozen.
const TagID wire.Tag = "confab/content/1\n"

const (
	// Size is the bytes of each chunk but the last, which may have fewer. A
	// reader holds one at a time.
	Size = 64 << 10
	// HashSize is the bytes of a leaf.
	HashSize = sha256.Size
	// MaxLength is the most bytes that content may have: its list of leaves, of
	// 2 MiB, still fits memory.
	MaxLength = 4 << 30
)

// An ID names content: SHA-256(TagID ‖ length, 8 bytes big-endian ‖ root).
type ID [32]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads an id as String writes it and no other way: 64 digits, lower
// case. What it accepts has no dots and no slashes.
func ParseID(s string) (id ID, err error) {
	if len(s) == hex.EncodedLen(len(id)) {
		if _, err := hex.Decode(id[:], []byte(s)); err == nil && id.String() == s {
			return id, nil
		}
	}
	return ID{}, wire.Errorf(wire.Invalid, "an id of content has %d hexadecimal digits, in lower case", hex.EncodedLen(len(id)))
}

// Count returns how many chunks content of a length has.
func Count(length uint64) uint64 { return length/Size + min(length%Size, 1) }

// Length returns how many bytes the chunk of an index has in content of a length,
// 0 if there is no such chunk.
func Length(length, index uint64) uint64 {
	if index >= Count(length) {
		return 0
	}
	return min(length-index*Size, Size)
}

// The first bytes of RFC 6962 §2.1 keep leaves and nodes apart.
const (
	leafByte = 0
	nodeByte = 1
)

// AppendLeaf appends the leaf of a chunk, SHA-256(0x00 ‖ chunk), to a list.
func AppendLeaf(leaves, chunk []byte) []byte {
	h := sha256.New()
	h.Write([]byte{leafByte})
	h.Write(chunk)
	return h.Sum(leaves)
}

// root returns the RFC 6962 tree hash of a list of leaves, at least one.
func root(leaves []byte) [32]byte {
	n := len(leaves) / HashSize
	if n == 1 {
		return [32]byte(leaves)
	}
	k := 1 // the largest power of two below n
	for k*2 < n {
		k *= 2
	}
	left, right := root(leaves[:k*HashSize]), root(leaves[k*HashSize:])
	var b [1 + 2*HashSize]byte
	b[0] = nodeByte
	copy(b[1:], left[:])
	copy(b[1+HashSize:], right[:])
	return sha256.Sum256(b[:])
}

// IDOf returns the id of content of a length whose chunks have these leaves, one
// after the other. The error is of kind Invalid if there can be no such content.
func IDOf(length uint64, leaves []byte) (ID, error) {
	if length == 0 || length > MaxLength {
		return ID{}, wire.Errorf(wire.Invalid, "content has %d bytes: 1 to %d are allowed", length, uint64(MaxLength))
	}
	if uint64(len(leaves)) != Count(length)*HashSize {
		return ID{}, wire.Errorf(wire.Invalid, "content of %d bytes has %d chunks, not leaves of %d bytes", length, Count(length), len(leaves))
	}
	r := root(leaves)
	return TagID.Sum(binary.BigEndian.AppendUint64(nil, length), r[:]), nil
}

// A Tree takes content in pieces of any size and ends in its id.
type Tree struct {
	chunk  []byte // what is not a whole chunk yet
	leaves []byte
	length uint64
}

// Write implements io.Writer. It fails once there is more than MaxLength.
func (t *Tree) Write(p []byte) (int, error) {
	if t.length+uint64(len(p)) > MaxLength {
		return 0, wire.Errorf(wire.Invalid, "content has more than %d bytes", uint64(MaxLength))
	}
	t.length += uint64(len(p))
	for rest := p; len(rest) > 0; {
		n := min(len(rest), Size-len(t.chunk))
		t.chunk, rest = append(t.chunk, rest[:n]...), rest[n:]
		if len(t.chunk) == Size {
			t.leaves, t.chunk = AppendLeaf(t.leaves, t.chunk), t.chunk[:0]
		}
	}
	return len(p), nil
}

// Sum returns the id of what was written, with its leaves. Nothing may be written
// afterwards. The error is of kind Invalid if nothing was.
func (t *Tree) Sum() (id ID, leaves []byte, err error) {
	if len(t.chunk) > 0 {
		t.leaves, t.chunk = AppendLeaf(t.leaves, t.chunk), nil
	}
	id, err = IDOf(t.length, t.leaves)
	return id, t.leaves, err
}

// A List is the leaves of content, known to be those of its id.
type List struct {
	length uint64
	leaves []byte
}

// Check returns the list of leaves of content, which it keeps, or an error of kind
// Invalid if length or leaves are not those of the id.
func Check(id ID, length uint64, leaves []byte) (List, error) {
	got, err := IDOf(length, leaves)
	if err != nil {
		return List{}, err
	}
	if got != id {
		return List{}, wire.Errorf(wire.Invalid, "leaves are those of other content: ask somebody else for it")
	}
	return List{length: length, leaves: leaves}, nil
}

// Length returns how many bytes the content has.
func (l List) Length() uint64 { return l.length }

// Verify returns an error of kind Invalid if b is not the chunk of this index.
func (l List) Verify(index uint64, b []byte) error {
	if n := Length(l.length, index); n == 0 || uint64(len(b)) != n {
		return wire.Errorf(wire.Invalid, "chunk %d has %d bytes and should have %d", index, len(b), n)
	}
	var room [HashSize]byte
	if string(AppendLeaf(room[:0], b)) != string(l.leaves[index*HashSize:][:HashSize]) {
		return wire.Errorf(wire.Invalid, "chunk %d is not the content's: ask somebody else for it", index)
	}
	return nil
}
