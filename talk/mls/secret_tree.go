package mls

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// secretTree gives each message of an epoch its own key (RFC 9420 §9). It
// holds only what is still needed: a node's secret is gone once its children
// have theirs, a ratchet's secret once it has turned, a key once it was used.
//
// Steps are computed on the side and applied after the message proved
// authentic, so that a forged one changes nothing.
type secretTree struct {
	s        suite
	leaves   int
	nodes    map[nodeIndex]secret
	ratchets map[ratchetID]*ratchet
}

// ratchetID is a leaf's handshake or application ratchet.
type ratchetID struct {
	leaf      LeafIndex
	handshake bool
}

type ratchet struct {
	secret  secret
	next    uint64 // generation that secret yields; 2^32 when used up
	skipped []messageKey
}

// messageKey is the AEAD key and nonce of one message.
type messageKey struct {
	generation uint32
	key, nonce secret
}

func newSecretTree(s suite, leaves int, encryption secret) *secretTree {
	t := emptySecretTree(s, leaves)
	t.nodes[rootOf(leaves)] = encryption
	return t
}

func emptySecretTree(s suite, leaves int) *secretTree {
	return &secretTree{s: s, leaves: leaves, nodes: map[nodeIndex]secret{}, ratchets: map[ratchetID]*ratchet{}}
}

// step is a change to a secret tree that yields one message key.
type step struct {
	messageKey
	add      map[nodeIndex]secret
	drop     []nodeIndex
	ratchets map[ratchetID]*ratchet // created or replaced
	used     ratchetID
}

// open finds the key of a received message. The tree is not changed.
func (t *secretTree) open(id ratchetID, generation uint32) (*step, error) {
	st, r, err := t.reach(id)
	if err != nil {
		return nil, err
	}
	if uint64(generation) < r.next {
		i, found := slices.BinarySearchFunc(r.skipped, generation, func(k messageKey, g uint32) int {
			return int(int64(k.generation) - int64(g))
		})
		if !found {
			return nil, fmt.Errorf("find key of message %d of leaf %d: %w", generation, id.leaf, ErrConsumed)
		}
		st.messageKey = r.skipped[i]
		st.ratchets[id] = &ratchet{r.secret, r.next, slices.Delete(slices.Clone(r.skipped), i, i+1)}
		return st, nil
	}
	if ahead := uint64(generation) - r.next; ahead > MaxForward {
		return nil, fmt.Errorf("find key of message %d of leaf %d: %d messages skipped: %w", generation, id.leaf, ahead, ErrTooFarAhead)
	}
	st.ratchets[id], st.messageKey = t.turn(r, generation)
	return st, nil
}

// seal finds the key of the next message to send. The tree is not changed.
func (t *secretTree) seal(id ratchetID) (*step, error) {
	st, r, err := t.reach(id)
	if err != nil {
		return nil, err
	}
	if r.next > math.MaxUint32 {
		return nil, fmt.Errorf("find key to send with: all used up in this epoch; commit: %w", ErrConsumed)
	}
	st.ratchets[id], st.messageKey = t.turn(r, uint32(r.next))
	return st, nil
}

// reach finds a ratchet, or derives it from the nearest ancestor that has a
// secret: the siblings on the way down get theirs, the ancestor loses its own.
func (t *secretTree) reach(id ratchetID) (*step, *ratchet, error) {
	if int(id.leaf) >= t.leaves {
		return nil, nil, fmt.Errorf("find ratchet of leaf %d: no such leaf: %w", id.leaf, ErrInvalid)
	}
	st := &step{ratchets: map[ratchetID]*ratchet{}, used: id}
	if r := t.ratchets[id]; r != nil {
		return st, r, nil
	}
	x := id.leaf.node()
	for t.nodes[x] == nil {
		if x == rootOf(t.leaves) {
			return nil, nil, fmt.Errorf("find ratchet of leaf %d: %w", id.leaf, ErrConsumed)
		}
		x = x.parent()
	}
	s := t.nodes[x]
	st.drop = []nodeIndex{x}
	st.add = map[nodeIndex]secret{}
	for !x.isLeaf() {
		on, off := x.childToward(id.leaf)
		left, right := expand(s, "tree", []byte("left"), hashSize), expand(s, "tree", []byte("right"), hashSize)
		if on == x.right() {
			left, right = right, left
		}
		st.add[off] = right
		s, x = left, on
	}
	for _, hs := range []bool{true, false} {
		label := "application"
		if hs {
			label = "handshake"
		}
		st.ratchets[ratchetID{id.leaf, hs}] = &ratchet{secret: expand(s, label, nil, hashSize)}
	}
	return st, st.ratchets[id], nil
}

// turn advances a copy of r past a generation.
func (t *secretTree) turn(r *ratchet, to uint32) (*ratchet, messageKey) {
	n := &ratchet{secret: r.secret, next: r.next, skipped: slices.Clone(r.skipped)}
	var k messageKey
	for n.next <= uint64(to) {
		g := uint32(n.next)
		k = messageKey{g, deriveTree(n.secret, "key", g, t.s.keySize), deriveTree(n.secret, "nonce", g, nonceSize)}
		turned := n.secret
		n.secret = deriveTree(turned, "secret", g, hashSize)
		if n.next > r.next { // r's own secret is not ours to overwrite yet
			turned.wipe()
		}
		n.next++
		if g < to {
			n.skipped = append(n.skipped, k)
		}
	}
	if over := len(n.skipped) - MaxSkipped; over > 0 {
		n.skipped = slices.Delete(n.skipped, 0, over)
	}
	return n, k
}

// apply makes a step final. The secrets it replaces are overwritten.
func (t *secretTree) apply(st *step) {
	for _, x := range st.drop {
		t.nodes[x].wipe()
		delete(t.nodes, x)
	}
	maps.Copy(t.nodes, st.add)
	for id, r := range st.ratchets {
		if old := t.ratchets[id]; old != nil && &old.secret[0] != &r.secret[0] {
			old.secret.wipe()
		}
		t.ratchets[id] = r
	}
	st.key.wipe()
	st.nonce.wipe()
}

// wipe overwrites what is left when the epoch goes.
func (t *secretTree) wipe() {
	for _, s := range t.nodes {
		s.wipe()
	}
	for _, r := range t.ratchets {
		r.secret.wipe()
		for _, k := range r.skipped {
			k.key.wipe()
			k.nonce.wipe()
		}
	}
}
