package statetree

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// fanout is the number of slots of a page: what lies four levels below its top.
const fanout = 16

// A kind tells what a subtree is.
type kind uint8

const (
	nothing kind = iota // no leaf
	leaf                // one leaf, which stands at the top of the subtree
	inner               // two leaves or more
)

// A subtree is the top of a subtree: its kind, and what its parent must know.
type subtree struct {
	kind kind
	leaf Leaf     // of a leaf
	hash [32]byte // of an inner one
}

// A page holds the top four levels of the subtree below a prefix. Its slots are
// the subtrees four levels down: nothing, a leaf, or the hash of an inner node,
// which is the top of the next page.
//
// The nodes in between are not stored but computed. They are numbered as in a
// heap: node 1 is the top, nodes 2i and 2i+1 are below node i, and slot s is
// node 16+s.
type page struct {
	id     PageID
	leaves uint16       // bit s: slot s holds a leaf
	inners uint16       // bit s: slot s holds the hash of the next page
	slot   [fanout]Leaf // of an inner slot, only ValueHash counts: it holds the hash
	kind   [2 * fanout]kind
	hash   [2 * fanout][32]byte
}

// set puts a subtree in slot s and leaves the nodes above it as they were.
func (p *page) set(s int, t *subtree) {
	bit := uint16(1) << s
	p.leaves &^= bit
	p.inners &^= bit
	switch t.kind {
	case leaf:
		p.leaves |= bit
		p.slot[s] = t.leaf
	case inner:
		p.inners |= bit
		p.slot[s].ValueHash = t.hash
	}
}

// get returns the subtree in slot s.
func (p *page) get(s int) subtree {
	switch bit := uint16(1) << s; {
	case p.leaves&bit != 0:
		return subtree{kind: leaf, leaf: p.slot[s]}
	case p.inners&bit != 0:
		return subtree{kind: inner, hash: p.slot[s].ValueHash}
	}
	return subtree{}
}

// build computes the nodes above the slots in dirty (bit s: slot s), which have
// changed since the last build.
func (p *page) build(dirty uint16) {
	for rest := dirty; rest != 0; rest &= rest - 1 {
		s := bits.TrailingZeros16(rest)
		n := fanout + s
		switch bit := uint16(1) << s; {
		case p.leaves&bit != 0:
			p.kind[n], p.hash[n] = leaf, hashLeaf(&p.slot[s])
		case p.inners&bit != 0:
			p.kind[n], p.hash[n] = inner, p.slot[s].ValueHash
		default:
			p.kind[n], p.hash[n] = nothing, empty
		}
	}
	above := uint32(dirty) << fanout // bit n: node n has changed
	for n := fanout - 1; n >= 1; n-- {
		if above>>(2*n)&3 != 0 {
			above |= 1 << n
			p.join(n)
		}
	}
}

// join computes node n from the two below it.
func (p *page) join(n int) {
	l, r := 2*n, 2*n+1
	switch {
	case p.kind[l] != inner && p.kind[r] == nothing:
		p.kind[n], p.hash[n] = p.kind[l], p.hash[l]
	case p.kind[r] != inner && p.kind[l] == nothing:
		p.kind[n], p.hash[n] = p.kind[r], p.hash[r]
	default:
		p.kind[n], p.hash[n] = inner, hashInner(&p.hash[l], &p.hash[r])
	}
}

// top returns the subtree that the page is, after build.
func (p *page) top() subtree {
	switch p.kind[1] {
	case leaf:
		return subtree{kind: leaf, leaf: p.slot[bits.TrailingZeros16(p.leaves)]}
	case inner:
		return subtree{kind: inner, hash: p.hash[1]}
	}
	return subtree{}
}

// leafUnder returns the one leaf under node n, which must be of kind leaf.
func (p *page) leafUnder(n int) *Leaf {
	level := bits.Len(uint(n)) - 1 // 0 for the top
	width := fanout >> level       // slots below n
	first := n<<(4-level) - fanout
	mask := uint16((1<<width - 1) << first)
	return &p.slot[bits.TrailingZeros16(p.leaves&mask)]
}

// The stored form of a page: two bitmaps of 16 bits, big-endian (bit s: slot s
// holds a leaf; slot s holds a hash), then the slots that hold something, in
// ascending order: key and value hash of a leaf, or the hash of the next page.
const (
	pageHeader = 4
	leafSize   = 64
	innerSize  = 32
)

func (p *page) encode() []byte {
	n := pageHeader + leafSize*bits.OnesCount16(p.leaves) + innerSize*bits.OnesCount16(p.inners)
	b := make([]byte, pageHeader, n)
	binary.BigEndian.PutUint16(b, p.leaves)
	binary.BigEndian.PutUint16(b[2:], p.inners)
	for rest := p.leaves | p.inners; rest != 0; rest &= rest - 1 {
		s := bits.TrailingZeros16(rest)
		if p.leaves>>s&1 != 0 {
			b = append(b, p.slot[s].Key[:]...)
		}
		b = append(b, p.slot[s].ValueHash[:]...)
	}
	return b
}

// decode reads a stored page into p, which must be zero but for its id, and
// does not build it. Only what encode can write for this id is accepted.
func (p *page) decode(b []byte) error {
	if len(b) < pageHeader {
		return p.corrupt("is missing or shorter than its header")
	}
	p.leaves = binary.BigEndian.Uint16(b)
	p.inners = binary.BigEndian.Uint16(b[2:])
	if p.leaves&p.inners != 0 {
		return p.corrupt("has a slot of two kinds")
	}
	if len(b) != pageHeader+leafSize*bits.OnesCount16(p.leaves)+innerSize*bits.OnesCount16(p.inners) {
		return p.corrupt("has the wrong length")
	}
	b = b[pageHeader:]
	for rest := p.leaves | p.inners; rest != 0; rest &= rest - 1 {
		s := bits.TrailingZeros16(rest)
		if p.leaves>>s&1 != 0 {
			b = b[copy(p.slot[s].Key[:], b):]
			if key := &p.slot[s].Key; !p.id.contains(key) || key.nibble(p.id.Depth()) != s {
				return p.corrupt("holds a leaf that belongs elsewhere")
			}
		}
		b = b[copy(p.slot[s].ValueHash[:], b):]
	}
	return nil
}

// load reads the page p.id of a store, builds it, and checks that its top has
// the hash that the page above it, or the root, says.
func (p *page) load(s Store, want *[32]byte) error {
	b, err := s.Page(p.id)
	if err != nil {
		return fmt.Errorf("read page %s: %w", p.id, err)
	}
	if err := p.decode(b); err != nil {
		return err
	}
	p.build(p.leaves | p.inners)
	if p.hash[1] != *want {
		return p.corrupt("does not have the hash that stands above it")
	}
	if p.kind[1] != inner && p.id.depth > 0 {
		return p.corrupt("holds fewer than two leaves")
	}
	return nil
}

func (p *page) corrupt(what string) error {
	return fmt.Errorf("%w: page %s %s", ErrCorrupt, p.id, what)
}
