package statetree

// Prove returns the proof of what the tree with this root, read from s, says of
// key: that it has its value, or that it has none. Which of the two it shows
// follows from the tree; a caller that serves it with [Store.Get] serves both
// from the same state.
//
// Errors: [ErrCorrupt] if a page is damaged or missing, or that of the store.
func Prove(s Store, root [32]byte, key Key) (Proof, error) {
	var proof Proof
	if root == empty {
		return proof, nil
	}
	// A tree of a million leaves is about 24 levels deep.
	proof.Siblings = make([][32]byte, 0, 32)
	p := page{}
	for want := root; ; {
		if err := p.load(s, &want); err != nil {
			return Proof{}, err
		}
		n := p.descend(&key, &proof)
		switch p.kind[n] {
		case nothing:
			return proof, nil
		case leaf:
			if l := p.leafUnder(n); l.Key != key {
				other := *l
				proof.Other = &other
			}
			return proof, nil
		}
		want = p.hash[n]
		p = page{id: p.id.child(n - fanout)}
	}
}

// descend follows key through p down to a slot, or to a node above where
// nothing or a leaf stands, and adds the siblings on the way to the proof. It
// returns the node reached.
func (p *page) descend(key *Key, proof *Proof) int {
	n := 1
	for level := 4 * p.id.Depth(); n < fanout && p.kind[n] == inner; level++ {
		n = 2*n + key.bit(level)
		proof.Siblings = append(proof.Siblings, p.hash[n^1])
	}
	return n
}
