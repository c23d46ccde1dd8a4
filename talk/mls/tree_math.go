package mls

import "math/bits"

// LeafIndex numbers the leaves of a tree from the left, from 0. It names a
// member as long as that member stays.
type LeafIndex uint32

func (l LeafIndex) node() nodeIndex { return nodeIndex(2 * l) }

// nodeIndex numbers all nodes in order (RFC 9420 Appendix C): leaves are even,
// and the nodes of level k end in k ones. Trees are always complete: a power of
// two of leaves, blank where nobody sits.
type nodeIndex uint32

func (x nodeIndex) isLeaf() bool    { return x&1 == 0 }
func (x nodeIndex) leaf() LeafIndex { return LeafIndex(x / 2) }
func (x nodeIndex) level() int      { return bits.TrailingZeros32(^uint32(x)) }

// left and right are the children of a parent.
func (x nodeIndex) left() nodeIndex  { return x ^ 1<<(x.level()-1) }
func (x nodeIndex) right() nodeIndex { return x ^ 3<<(x.level()-1) }

// parent is meaningful below the root only.
func (x nodeIndex) parent() nodeIndex {
	k := x.level()
	b := x >> (k + 1) & 1
	return (x | 1<<k) ^ b<<(k+1)
}

func (x nodeIndex) sibling() nodeIndex {
	p := x.parent()
	if x < p {
		return p.right()
	}
	return p.left()
}

// span returns the first leaf below x and the one after the last.
func (x nodeIndex) span() (from, to LeafIndex) {
	n := LeafIndex(1) << x.level()
	from = LeafIndex(x+1)/2 - n/2
	if x.isLeaf() {
		from = x.leaf()
	}
	return from, from + n
}

// covers reports whether leaf l is below x, or is x.
func (x nodeIndex) covers(l LeafIndex) bool {
	from, to := x.span()
	return from <= l && l < to
}

// rootOf is the root of a tree of n leaves, n a power of two.
func rootOf(n int) nodeIndex { return nodeIndex(n - 1) }

// directPath lists the ancestors of a leaf from its parent to the root.
func directPath(l LeafIndex, n int) []nodeIndex {
	path := make([]nodeIndex, 0, bits.Len(uint(n)))
	for x, root := l.node(), rootOf(n); x != root; {
		x = x.parent()
		path = append(path, x)
	}
	return path
}

// childToward is the child of x on the way to leaf l, and the other one.
func (x nodeIndex) childToward(l LeafIndex) (on, off nodeIndex) {
	if left := x.left(); left.covers(l) {
		return left, x.right()
	}
	return x.right(), x.left()
}

// ceilPow2 is the size of the complete tree that holds n leaves.
func ceilPow2(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}
