package mls

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
)

// hash is the tree hash of a node (RFC 9420 §7.8), computed once until a node
// below changes.
func (t *ratchetTree) hash(x nodeIndex) []byte {
	if t.hashes[x] == nil {
		h := t.hashWithout(x, nil)
		t.hashes[x] = &h
	}
	return t.hashes[x][:]
}

// rootHash is the tree hash of the whole tree.
func (t *ratchetTree) rootHash() []byte { return bytes.Clone(t.hash(t.root())) }

// hashWithout is the tree hash of x as if the given leaves had not been added:
// blank, and in no list of unmerged leaves. Only nodes above one of them differ
// from the cached hashes.
func (t *ratchetTree) hashWithout(x nodeIndex, without []LeafIndex) [hashSize]byte {
	from, to := x.span()
	lo, _ := slices.BinarySearch(without, from)
	hi, _ := slices.BinarySearch(without, to)
	if without = without[lo:hi]; len(without) == 0 && t.hashes[x] != nil {
		return *t.hashes[x]
	}
	var w writer
	if x.isLeaf() {
		w.u8(1)
		w.u32(uint32(x.leaf()))
		if l := t.leaves[x.leaf()]; l != nil && len(without) == 0 {
			w.u8(1)
			l.encode(&w)
		} else {
			w.u8(0)
		}
		return sha256.Sum256(w.b)
	}
	w.u8(2)
	if p := t.parent(x); p == nil {
		w.u8(0)
	} else {
		w.u8(1)
		if len(without) > 0 {
			q := *p
			q.unmerged = subtract(p.unmerged, without)
			p = &q
		}
		p.encode(&w)
	}
	for _, child := range []nodeIndex{x.left(), x.right()} {
		if len(without) == 0 {
			w.vec(t.hash(child))
		} else {
			h := t.hashWithout(child, without)
			w.vec(h[:])
		}
	}
	return sha256.Sum256(w.b)
}

// subtract returns a without b; both ascend.
func subtract(a, b []LeafIndex) []LeafIndex {
	out := make([]LeafIndex, 0, len(a))
	for _, l := range a {
		if _, found := slices.BinarySearch(b, l); !found {
			out = append(out, l)
		}
	}
	return out
}

// parentHash is the hash of p at node x that a node below its other child
// carries (§7.9).
func (t *ratchetTree) parentHash(p *parentNode, sibling nodeIndex) []byte {
	original := t.hashWithout(sibling, p.unmerged)
	w := writer{make([]byte, 0, len(p.encryptionKey)+2*hashSize+8)}
	w.vec(p.encryptionKey)
	w.vec(p.parentHash)
	w.vec(original[:])
	return hash(w.b)
}

// parentHashOf is the parent hash field of a node, nil if it has none.
func (t *ratchetTree) parentHashOf(x nodeIndex) []byte {
	if x.isLeaf() {
		if l := t.leaves[x.leaf()]; l != nil && l.Source == SourceCommit {
			return l.ParentHash
		}
		return nil
	}
	if p := t.parent(x); p != nil {
		return p.parentHash
	}
	return nil
}

// checkParentHashes requires that each parent can be traced to a commit by a
// member below it (§7.9.2), and that its unmerged leaves are consistent.
func (t *ratchetTree) checkParentHashes() error {
	for i, p := range t.parents {
		if p == nil {
			continue
		}
		x := nodeIndex(2*i + 1)
		if err := t.checkUnmerged(x, p); err != nil {
			return err
		}
		if !t.linked(x, p, x.left(), x.right()) && !t.linked(x, p, x.right(), x.left()) {
			return fmt.Errorf("check tree: node %d is parent-hash invalid: %w", x, ErrInvalid)
		}
	}
	return nil
}

func (t *ratchetTree) checkUnmerged(x nodeIndex, p *parentNode) error {
	for _, l := range p.unmerged {
		if !x.covers(l) || t.leaf(l) == nil {
			return fmt.Errorf("check tree: node %d lists a leaf that is not below it: %w", x, ErrInvalid)
		}
		for y := l.node().parent(); y != x; y = y.parent() {
			q := t.parent(y)
			if q == nil {
				continue
			}
			if _, ok := slices.BinarySearch(q.unmerged, l); !ok {
				return fmt.Errorf("check tree: node %d lists leaf %d and node %d below does not: %w", x, l, y, ErrInvalid)
			}
		}
	}
	return nil
}

// linked reports whether some node in the resolution of child carries the
// parent hash of p at x, and the rest of that resolution joined since.
func (t *ratchetTree) linked(x nodeIndex, p *parentNode, child, sibling nodeIndex) bool {
	from, to := child.span()
	lo, _ := slices.BinarySearch(p.unmerged, from)
	hi, _ := slices.BinarySearch(p.unmerged, to)
	since := p.unmerged[lo:hi]
	res := t.resolutionUpTo(child, len(since)+2, nil)
	if len(res) != len(since)+1 {
		return false
	}
	var link []nodeIndex
	for _, y := range res {
		if _, joined := slices.BinarySearch(since, y.leaf()); !y.isLeaf() || !joined {
			link = append(link, y)
		}
	}
	return len(link) == 1 && bytes.Equal(t.parentHashOf(link[0]), t.parentHash(p, sibling))
}

// resolutionUpTo is resolution, cut off once it has max entries.
func (t *ratchetTree) resolutionUpTo(x nodeIndex, max int, out []nodeIndex) []nodeIndex {
	if len(out) >= max {
		return out
	}
	if x.isLeaf() || t.parent(x) != nil {
		return t.resolution(x, out)
	}
	return t.resolutionUpTo(x.right(), max, t.resolutionUpTo(x.left(), max, out))
}

// check makes the checks of RFC 9420 §12.4.3.1 on a tree received whole:
// every leaf, every signature, every parent hash, no key twice.
func (t *ratchetTree) check(s suite, groupID []byte, context []Extension) error {
	if err := t.checkParentHashes(); err != nil {
		return err
	}
	keys := make(map[string]struct{}, 3*len(t.leaves))
	once := func(key []byte) error {
		if _, dup := keys[string(key)]; dup {
			return fmt.Errorf("check tree: a key is used twice: %w", ErrInvalid)
		}
		keys[string(key)] = struct{}{}
		return nil
	}
	for _, p := range t.parents {
		if p == nil {
			continue
		}
		if err := s.checkPublic(p.encryptionKey); err != nil {
			return fmt.Errorf("check tree: %w", err)
		}
		if err := once(p.encryptionKey); err != nil {
			return err
		}
	}
	if err := t.members(func(_ LeafIndex, l *LeafNode) error {
		if err := once(l.EncryptionKey); err != nil {
			return err
		}
		return once(l.SignatureKey)
	}); err != nil {
		return err
	}
	// Signatures last: they are the dear part.
	return t.members(func(i LeafIndex, l *LeafNode) error {
		if err := l.check(s, context); err != nil {
			return fmt.Errorf("check leaf %d: %w", i, err)
		}
		if err := l.verify(groupID, i); err != nil {
			return fmt.Errorf("check leaf %d: %w", i, err)
		}
		return nil
	})
}

// checkCredentialTypes requires that every member understands the credentials
// of all others (§7.3).
func (t *ratchetTree) checkCredentialTypes() error {
	var used []CredentialType
	for _, l := range t.leaves {
		if l != nil && !slices.Contains(used, l.Credential.Type) {
			used = append(used, l.Credential.Type)
		}
	}
	return t.members(func(i LeafIndex, l *LeafNode) error {
		for _, c := range used {
			if !slices.Contains(l.Capabilities.Credentials, c) {
				return fmt.Errorf("check leaf %d: does not support credential type 0x%04x: %w", i, uint16(c), ErrInvalid)
			}
		}
		return nil
	})
}
