package statetree

import (
	"cmp"
	"fmt"
)

// A PageID names a page: the subtree below one prefix of whole nibbles, four
// levels deep. The page of the empty prefix, the zero PageID, holds the root of
// the tree and is there if the tree has a leaf; any other page is there if two
// or more keys begin with its prefix.
//
// PageID is comparable, and fit to be the key of a map.
type PageID struct {
	depth  uint8 // nibbles in the prefix, 0 to 63
	prefix Key   // zero after the first depth nibbles
}

// maxDepth is the depth of the lowest page: two keys differ in one of their 64
// nibbles, so the lowest page that can hold both has 63 before it.
const maxDepth = 63

// pageOf returns the id of the page at this depth on the path of key.
func pageOf(depth int, key *Key) PageID {
	id := PageID{depth: uint8(depth)}
	copy(id.prefix[:], key[:(depth+1)/2])
	if depth&1 == 1 {
		id.prefix[depth/2] &= 0xf0
	}
	return id
}

// child returns the id of the page below slot s.
func (id PageID) child(s int) PageID {
	if id.depth&1 == 0 {
		id.prefix[id.depth/2] = byte(s) << 4
	} else {
		id.prefix[id.depth/2] |= byte(s)
	}
	id.depth++
	return id
}

// Depth returns the number of nibbles before the page, from 0 for the page of
// the root to 63. Pages of one depth lie 4 × depth levels below the root.
func (id PageID) Depth() int { return int(id.depth) }

// Index returns the position of the page among the 16^depth that its depth can
// have. It is of use only up to depth 15.
func (id PageID) Index() uint64 {
	var x uint64
	for i := range int(id.depth) {
		x = x<<4 | uint64(id.prefix.nibble(i))
	}
	return x
}

// Append appends the id's encoding to b: the depth in one byte, then the
// prefix, with a zero nibble after an odd number. No encoding is the beginning
// of another one, and they sort by depth, then by prefix.
func (id PageID) Append(b []byte) []byte {
	b = append(b, id.depth)
	return append(b, id.prefix[:(id.depth+1)/2]...)
}

// ParsePageID is the inverse of [PageID.Append]. It accepts nothing else.
func ParsePageID(b []byte) (PageID, error) {
	if len(b) == 0 || b[0] > maxDepth || len(b) != 1+(int(b[0])+1)/2 {
		return PageID{}, fmt.Errorf("page id %x: wrong length", b)
	}
	id := PageID{depth: b[0]}
	copy(id.prefix[:], b[1:])
	if id.depth&1 == 1 && id.prefix[id.depth/2]&15 != 0 {
		return PageID{}, fmt.Errorf("page id %x: bits after the prefix", b)
	}
	return id, nil
}

// Compare orders ids as their encodings: -1, 0 or 1.
func (id PageID) Compare(other PageID) int {
	return cmp.Or(cmp.Compare(id.depth, other.depth), id.prefix.Compare(other.prefix))
}

// String returns the prefix in hexadecimal, "root" for the empty one.
func (id PageID) String() string {
	if id.depth == 0 {
		return "root"
	}
	return fmt.Sprintf("%x", id.prefix[:])[:id.depth]
}

// contains reports whether key is below this page.
func (id *PageID) contains(key *Key) bool { return sameBits(&id.prefix, key, 4*int(id.depth)) }
