package statetree

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
)

// A Proof shows what a tree says of one key. The key, the value and the root
// are not in it: whoever checks a proof knows them.
//
// A key's place is where its path ends: at its own leaf, at the leaf of another
// key that stands alone in the subtree, or at nothing.
type Proof struct {
	// Siblings are the hashes beside the path, from the root down, one for each
	// level; zero where there is nothing. The last is never zero, since what
	// stands beside nothing rises.
	Siblings [][32]byte
	// Other is the leaf of another key at the key's place, if there is one. It
	// shares the path, that is the first len(Siblings) bits, and shows that key
	// has no value.
	Other *Leaf
}

// Verify checks that the tree with this root holds value under key. The error is
// of kind [ErrProof]. An empty value is never there.
func Verify(root [32]byte, key Key, value []byte, p Proof) error {
	switch {
	case len(value) == 0:
		return fmt.Errorf("%w: key %s cannot have an empty value", ErrProof, key)
	case p.Other != nil:
		return fmt.Errorf("%w: it shows another leaf in the place of key %s", ErrProof, key)
	}
	own := hashLeaf(&Leaf{Key: key, ValueHash: sha256.Sum256(value)})
	if err := p.check(&root, &key, own); err != nil {
		return fmt.Errorf("verify value of key %s: %w", key, err)
	}
	return nil
}

// VerifyAbsent checks that the tree with this root holds no value under key. The
// error is of kind [ErrProof].
func VerifyAbsent(root [32]byte, key Key, p Proof) error {
	at := empty
	if p.Other != nil {
		if p.Other.Key == key {
			return fmt.Errorf("%w: it shows that key %s has a value", ErrProof, key)
		}
		if len(p.Siblings) <= keyBits && !sameBits(&p.Other.Key, &key, len(p.Siblings)) {
			return fmt.Errorf("%w: its other leaf is not in the place of key %s", ErrProof, key)
		}
		at = hashLeaf(p.Other)
	}
	if err := p.check(&root, &key, at); err != nil {
		return fmt.Errorf("verify absence of key %s: %w", key, err)
	}
	return nil
}

// check computes the root from the hash at the key's place.
func (p *Proof) check(root *[32]byte, key *Key, at [32]byte) error {
	if err := p.wellFormed(); err != nil {
		return err
	}
	for i := len(p.Siblings) - 1; i >= 0; i-- {
		if key.bit(i) == 0 {
			at = hashInner(&at, &p.Siblings[i])
		} else {
			at = hashInner(&p.Siblings[i], &at)
		}
	}
	if at != *root {
		return fmt.Errorf("%w: it leads to root %x, not to %x", ErrProof, at, *root)
	}
	return nil
}

func (p *Proof) wellFormed() error {
	n := len(p.Siblings)
	switch {
	case n > keyBits:
		return fmt.Errorf("%w: it has %d levels, a path has at most %d", ErrProof, n, keyBits)
	case n > 0 && p.Siblings[n-1] == empty:
		return fmt.Errorf("%w: there is nothing beside its lowest level", ErrProof)
	}
	return nil
}

// The wire form of a proof:
//
//	form      1 byte   0; 1 if another leaf follows at the end
//	size      1 byte   length of the bitmap, 0 to 32
//	bitmap    size     bit i, from the most significant of the first byte: there
//	                   is a sibling beside level i+1 of the path
//	siblings  32 each  one for each set bit, the lowest level first
//	other     64       key and value hash of the other leaf, in form 1 only
//
// The path is as long as the last set bit says, so a last byte of zero is
// refused, and so is a sibling of 32 zero bytes.
const (
	proofHeader = 2
	formPlain   = 0
	formOther   = 1
	maxBitmap   = keyBits / 8
)

// MaxProofSize is the length of the longest wire form: 256 siblings and another
// leaf. One from a tree of a million leaves takes about 660 bytes.
const MaxProofSize = proofHeader + maxBitmap + keyBits*32 + leafSize

// MarshalBinary returns the wire form of the proof. The error, of kind
// [ErrProof], is for a proof that no tree can give.
func (p Proof) MarshalBinary() ([]byte, error) {
	if err := p.wellFormed(); err != nil {
		return nil, err
	}
	size := (len(p.Siblings) + 7) / 8
	b := make([]byte, proofHeader+size, proofHeader+size+32*len(p.Siblings)+leafSize)
	b[1] = byte(size)
	for i := len(p.Siblings) - 1; i >= 0; i-- {
		if p.Siblings[i] != empty {
			b[proofHeader+i>>3] |= 0x80 >> (i & 7)
			b = append(b, p.Siblings[i][:]...)
		}
	}
	if p.Other != nil {
		b[0] = formOther
		b = append(b, p.Other.Key[:]...)
		b = append(b, p.Other.ValueHash[:]...)
	}
	return b, nil
}

// UnmarshalProof reads the wire form of a proof. It accepts nothing but what
// MarshalBinary can write. The error is of kind [ErrProof].
func UnmarshalProof(b []byte) (Proof, error) {
	if len(b) < proofHeader || b[0] > formOther || b[1] > maxBitmap || len(b) < proofHeader+int(b[1]) {
		return Proof{}, fmt.Errorf("%w: its %d bytes do not begin like one", ErrProof, len(b))
	}
	bitmap, rest := b[proofHeader:proofHeader+int(b[1])], b[proofHeader+int(b[1]):]
	levels, set := 8*len(bitmap), 0
	for _, x := range bitmap {
		set += bits.OnesCount8(x)
	}
	if len(bitmap) > 0 {
		last := bitmap[len(bitmap)-1]
		if last == 0 {
			return Proof{}, fmt.Errorf("%w: its bitmap ends in a zero byte", ErrProof)
		}
		levels -= bits.TrailingZeros8(last)
	}
	if len(rest) != 32*set+leafSize*int(b[0]) {
		return Proof{}, fmt.Errorf("%w: %d bytes follow its bitmap of %d siblings", ErrProof, len(rest), set)
	}
	var p Proof
	if levels > 0 {
		p.Siblings = make([][32]byte, levels)
	}
	for i := levels - 1; i >= 0; i-- {
		if bitmap[i>>3]&(0x80>>(i&7)) == 0 {
			continue
		}
		rest = rest[copy(p.Siblings[i][:], rest):]
		if p.Siblings[i] == empty {
			return Proof{}, fmt.Errorf("%w: the sibling at level %d is zero", ErrProof, i+1)
		}
	}
	if b[0] == formOther {
		p.Other = new(Leaf)
		copy(p.Other.ValueHash[:], rest[copy(p.Other.Key[:], rest):])
	}
	return p, nil
}
