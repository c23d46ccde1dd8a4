package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// parentNode is ParentNode of RFC 9420 §7.1. It is never changed once it is in
// a tree: trees share nodes.
type parentNode struct {
	encryptionKey []byte
	parentHash    []byte
	unmerged      []LeafIndex // ascending
}

func (p *parentNode) encode(w *writer) {
	w.vec(p.encryptionKey)
	w.vec(p.parentHash)
	w.nested(func() {
		for _, l := range p.unmerged {
			w.u32(uint32(l))
		}
	})
}

func (r *reader) parentNode() *parentNode {
	p := &parentNode{encryptionKey: r.vec(maxKey), parentHash: r.vec(maxDigest)}
	r.list(4*MaxMembers, MaxMembers, func(r *reader) {
		l := LeafIndex(r.u32())
		if n := len(p.unmerged); n > 0 && p.unmerged[n-1] >= l {
			r.fail(ErrMalformed, "unmerged leaves not in ascending order")
		}
		p.unmerged = append(p.unmerged, l)
	})
	return p
}

// ratchetTree is the public part of the tree (RFC 9420 §7). A clone shares
// nodes and hashes with its original, so that staging a change costs one copy
// of pointers and a rejected change costs nothing.
type ratchetTree struct {
	leaves  []*LeafNode   // a power of two; nil is blank
	parents []*parentNode // parents[i] is node 2i+1; nil is blank
	hashes  []*[hashSize]byte
	blank   LeafIndex // no leaf left of it is blank
}

func newTree(leaves int) *ratchetTree {
	return &ratchetTree{
		leaves:  make([]*LeafNode, leaves),
		parents: make([]*parentNode, leaves-1),
		hashes:  make([]*[hashSize]byte, 2*leaves-1),
	}
}

func (t *ratchetTree) clone() *ratchetTree {
	return &ratchetTree{slices.Clone(t.leaves), slices.Clone(t.parents), slices.Clone(t.hashes), t.blank}
}

func (t *ratchetTree) size() int       { return len(t.leaves) }
func (t *ratchetTree) root() nodeIndex { return rootOf(len(t.leaves)) }

func (t *ratchetTree) leaf(l LeafIndex) *LeafNode {
	if int(l) >= len(t.leaves) {
		return nil
	}
	return t.leaves[l]
}

func (t *ratchetTree) parent(x nodeIndex) *parentNode { return t.parents[x/2] }

// key is the encryption key of a node, nil if it is blank.
func (t *ratchetTree) key(x nodeIndex) []byte {
	if x.isLeaf() {
		if l := t.leaf(x.leaf()); l != nil {
			return l.EncryptionKey
		}
	} else if int(x/2) < len(t.parents) && t.parents[x/2] != nil {
		return t.parents[x/2].encryptionKey
	}
	return nil
}

func (t *ratchetTree) setLeaf(l LeafIndex, leaf *LeafNode) {
	t.leaves[l] = leaf
	if leaf == nil {
		t.blank = min(t.blank, l)
	}
	t.stale(l)
}

func (t *ratchetTree) setParent(x nodeIndex, p *parentNode) { t.parents[x/2] = p }

// stale forgets the hashes that depend on leaf l or its ancestors.
func (t *ratchetTree) stale(l LeafIndex) {
	t.hashes[l.node()] = nil
	for _, x := range directPath(l, t.size()) {
		t.hashes[x] = nil
	}
}

// blankPath blanks the ancestors of a leaf.
func (t *ratchetTree) blankPath(l LeafIndex) {
	for _, x := range directPath(l, t.size()) {
		t.setParent(x, nil)
	}
	t.stale(l)
}

// add puts a leaf at the leftmost blank place (§7.7).
func (t *ratchetTree) add(leaf *LeafNode) (LeafIndex, error) {
	at := t.blank
	for int(at) < t.size() && t.leaves[at] != nil {
		at++
	}
	if int(at) == t.size() {
		if t.size() == MaxMembers {
			return 0, fmt.Errorf("add member: tree is full at %d leaves: %w", MaxMembers, ErrInvalid)
		}
		t.grow(2 * t.size())
	}
	t.blank = at + 1
	t.setLeaf(at, leaf)
	for _, x := range directPath(at, t.size()) {
		p := t.parent(x)
		if p == nil {
			continue
		}
		i, _ := slices.BinarySearch(p.unmerged, at)
		q := *p
		q.unmerged = slices.Insert(slices.Clone(p.unmerged), i, at)
		t.setParent(x, &q)
	}
	return at, nil
}

func (t *ratchetTree) grow(leaves int) {
	t.leaves = append(t.leaves, make([]*LeafNode, leaves-len(t.leaves))...)
	t.parents = append(t.parents, make([]*parentNode, leaves-1-len(t.parents))...)
	t.hashes = append(t.hashes, make([]*[hashSize]byte, 2*leaves-1-len(t.hashes))...)
}

// update replaces a member's leaf and blanks what others cannot have keyed.
func (t *ratchetTree) update(l LeafIndex, leaf *LeafNode) {
	t.setLeaf(l, leaf)
	t.blankPath(l)
}

// remove blanks a leaf. The tree keeps its size until truncate.
func (t *ratchetTree) remove(l LeafIndex) {
	t.setLeaf(l, nil)
	t.blankPath(l)
}

// truncate halves the tree while its right half is empty (§7.8).
func (t *ratchetTree) truncate() {
	n := t.size()
	for n > 1 && !slices.ContainsFunc(t.leaves[n/2:n], func(l *LeafNode) bool { return l != nil }) {
		n /= 2
	}
	if n == t.size() {
		return
	}
	clear(t.leaves[n:])
	t.leaves, t.parents, t.hashes = t.leaves[:n], t.parents[:n-1], t.hashes[:2*n-1]
	t.blank = min(t.blank, LeafIndex(n))
}

// resolution appends the resolution of x to out (§4.1.1).
func (t *ratchetTree) resolution(x nodeIndex, out []nodeIndex) []nodeIndex {
	if x.isLeaf() {
		if t.leaves[x.leaf()] != nil {
			out = append(out, x)
		}
		return out
	}
	if p := t.parent(x); p != nil {
		out = append(out, x)
		for _, l := range p.unmerged {
			out = append(out, l.node())
		}
		return out
	}
	return t.resolution(x.right(), t.resolution(x.left(), out))
}

// empty reports whether the resolution of x is empty.
func (t *ratchetTree) empty(x nodeIndex) bool {
	if x.isLeaf() {
		return t.leaves[x.leaf()] == nil
	}
	return t.parent(x) == nil && t.empty(x.left()) && t.empty(x.right())
}

// filteredPath lists the ancestors of l whose other child has someone below
// it (§4.1.2), each with that child.
func (t *ratchetTree) filteredPath(l LeafIndex) (path, copath []nodeIndex) {
	for x, root := l.node(), t.root(); x != root; x = x.parent() {
		if sib := x.sibling(); !t.empty(sib) {
			path, copath = append(path, x.parent()), append(copath, sib)
		}
	}
	return path, copath
}

// members calls f for each leaf that is not blank, in order.
func (t *ratchetTree) members(f func(LeafIndex, *LeafNode) error) error {
	for i, l := range t.leaves {
		if l == nil {
			continue
		}
		if err := f(LeafIndex(i), l); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) tree(t *ratchetTree) {
	last := len(t.leaves) - 1
	for last > 0 && t.leaves[last] == nil {
		last--
	}
	w.nested(func() {
		for x := nodeIndex(0); x <= LeafIndex(last).node(); x++ {
			w.node(t, x)
		}
	})
}

// node writes optional<Node>.
func (w *writer) node(t *ratchetTree, x nodeIndex) {
	if x.isLeaf() {
		if l := t.leaves[x.leaf()]; l != nil {
			w.raw([]byte{1, 1})
			l.encode(w)
			return
		}
	} else if p := t.parent(x); p != nil {
		w.raw([]byte{1, 2})
		p.encode(w)
		return
	}
	w.u8(0)
}

// parseTree reads the ratchet_tree extension (§12.4.3.3). The nodes alias b.
func parseTree(b []byte) (*ratchetTree, error) {
	r := reader{b: b}
	var leaves []*LeafNode
	var parents []*parentNode
	x := nodeIndex(0)
	r.list(MaxMessage, 2*MaxMembers-1, func(r *reader) {
		var leaf *LeafNode
		var parent *parentNode
		if r.optional() {
			switch kind := r.u8(); {
			case kind == 1 && x.isLeaf():
				leaf = r.leafNode()
			case kind == 2 && !x.isLeaf():
				parent = r.parentNode()
			default:
				r.fail(ErrMalformed, "node of kind %d at index %d", kind, x)
			}
		}
		if x.isLeaf() {
			leaves = append(leaves, leaf)
		} else {
			parents = append(parents, parent)
		}
		x++
	})
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode ratchet tree: %w", err)
	}
	if n := len(leaves); n == 0 || x.isLeaf() || leaves[n-1] == nil {
		return nil, fmt.Errorf("decode ratchet tree: does not end with a member: %w", ErrMalformed)
	}
	n := ceilPow2(len(leaves))
	t := &ratchetTree{leaves: leaves, parents: parents}
	t.grow(n)
	return t, nil
}

// checkUnique requires that no key of the given leaves and no key in also is
// found anywhere else in the tree. One pass over the tree for any number.
func (t *ratchetTree) checkUnique(fresh []LeafIndex, also [][]byte) error {
	seen := make(map[string]int, 2*len(fresh)+len(also))
	for _, l := range fresh {
		leaf := t.leaf(l)
		seen[string(leaf.EncryptionKey)] = 0
		seen[string(leaf.SignatureKey)] = 0
	}
	for _, k := range also {
		seen[string(k)] = 0
	}
	if len(seen) < 2*len(fresh)+len(also) {
		return fmt.Errorf("check tree: a new key is used twice: %w", ErrInvalid)
	}
	count := func(key []byte) error {
		n, new := seen[string(key)]
		if new && n > 0 {
			return fmt.Errorf("check tree: a key is used twice: %w", ErrInvalid)
		}
		if new {
			seen[string(key)]++
		}
		return nil
	}
	for _, l := range t.leaves {
		if l == nil {
			continue
		}
		if err := count(l.EncryptionKey); err != nil {
			return err
		}
		if err := count(l.SignatureKey); err != nil {
			return err
		}
	}
	for _, p := range t.parents {
		if p == nil {
			continue
		}
		if err := count(p.encryptionKey); err != nil {
			return err
		}
	}
	return nil
}

// sameKey reports whether a node has a key, and the same one, in both trees.
func sameKey(a, b *ratchetTree, x nodeIndex) bool {
	k := a.key(x)
	return k != nil && bytes.Equal(k, b.key(x))
}
