package mls

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// pathNode is UpdatePathNode of RFC 9420 §7.6.
type pathNode struct {
	encryptionKey []byte
	secrets       []hpkeCiphertext // one for each node of the copath resolution
}

// updatePath is UpdatePath of §7.6.
type updatePath struct {
	leaf  *LeafNode
	nodes []pathNode
}

func (p *updatePath) encode(w *writer) {
	p.leaf.encode(w)
	w.nested(func() {
		for _, n := range p.nodes {
			w.vec(n.encryptionKey)
			w.nested(func() {
				for i := range n.secrets {
					n.secrets[i].encode(w)
				}
			})
		}
	})
}

func (r *reader) updatePath() *updatePath {
	p := &updatePath{leaf: r.leafNode()}
	r.list(MaxMessage, maxPathNodes, func(r *reader) {
		n := pathNode{encryptionKey: r.vec(maxKey)}
		r.list(MaxMessage, MaxMembers, func(r *reader) {
			n.secrets = append(n.secrets, r.hpkeCiphertext(maxSecret))
		})
		p.nodes = append(p.nodes, n)
	})
	return p
}

func (p *updatePath) keys() [][]byte {
	keys := make([][]byte, len(p.nodes))
	for i, n := range p.nodes {
		keys[i] = n.encryptionKey
	}
	return keys
}

// setPath gives the filtered direct path of l new keys, blanks the rest of the
// direct path, and returns the parent hash that the leaf must carry (§7.9).
// The leaf itself is the caller's to set.
func (t *ratchetTree) setPath(l LeafIndex, keys [][]byte) (path, copath []nodeIndex, parentHash []byte, err error) {
	path, copath = t.filteredPath(l)
	if len(path) != len(keys) {
		return nil, nil, nil, fmt.Errorf("apply path: %d nodes, want %d: %w", len(keys), len(path), ErrInvalid)
	}
	t.blankPath(l)
	for i := len(path) - 1; i >= 0; i-- {
		p := &parentNode{encryptionKey: bytes.Clone(keys[i]), parentHash: parentHash}
		t.setParent(path[i], p)
		parentHash = t.parentHash(p, copath[i])
	}
	if parentHash == nil {
		parentHash = []byte{}
	}
	return path, copath, parentHash, nil
}

// pathSecrets are the secrets of a path: one for each node of it, and one more
// for the commit.
func pathSecrets(first secret, n int) []secret {
	out := make([]secret, n+1)
	out[0] = first
	for i := range n {
		out[i+1] = derive(out[i], "path")
	}
	return out
}

// nodeKey derives the key pair of a node from its path secret.
func (s suite) nodeKey(path secret) (priv secret, pub []byte, err error) {
	return s.keyPair(derive(path, "node"))
}

// ownPath is a path just made, before it is encrypted to the others.
type ownPath struct {
	path, copath []nodeIndex
	secrets      []secret
	priv         map[nodeIndex]secret
	parentHash   []byte
}

// newPath draws a path for l and puts its public keys into the tree.
func (t *ratchetTree) newPath(rand io.Reader, s suite, l LeafIndex) (*ownPath, error) {
	first, err := fresh(rand, hashSize)
	if err != nil {
		return nil, err
	}
	path, _ := t.filteredPath(l)
	o := &ownPath{secrets: pathSecrets(first, len(path)), priv: map[nodeIndex]secret{}}
	keys := make([][]byte, len(path))
	for i, x := range path {
		if o.priv[x], keys[i], err = s.nodeKey(o.secrets[i]); err != nil {
			return nil, err
		}
	}
	o.path, o.copath, o.parentHash, err = t.setPath(l, keys)
	return o, err
}

func (o *ownPath) commitSecret() secret { return o.secrets[len(o.secrets)-1] }

// encrypt sends each path secret to everybody below the other child, except
// those who join with this commit: the Welcome has theirs.
func (o *ownPath) encrypt(rand io.Reader, s suite, t *ratchetTree, context []byte, joining []LeafIndex) ([]pathNode, error) {
	nodes := make([]pathNode, len(o.path))
	counts := make([]int, len(o.path))
	var list []sealing
	for i, x := range o.path {
		nodes[i].encryptionKey = t.parent(x).encryptionKey
		to := t.recipients(o.copath[i], joining)
		counts[i] = len(to)
		for _, y := range to {
			list = append(list, sealing{t.key(y), o.secrets[i]})
		}
	}
	all, err := s.newSealer("UpdatePathNode", context).encryptAll(rand, list)
	if err != nil {
		return nil, fmt.Errorf("encrypt path: %w", err)
	}
	for i, n := range counts {
		nodes[i].secrets, all = all[:n:n], all[n:]
	}
	return nodes, nil
}

// recipients is a resolution without the leaves that are just joining. The
// latter ascend.
func (t *ratchetTree) recipients(x nodeIndex, joining []LeafIndex) []nodeIndex {
	res := t.resolution(x, nil)
	if len(joining) == 0 {
		return res
	}
	return slices.DeleteFunc(res, func(y nodeIndex) bool {
		_, found := slices.BinarySearch(joining, y.leaf())
		return y.isLeaf() && found
	})
}

// opened is what a member learns from somebody else's path.
type opened struct {
	priv   map[nodeIndex]secret
	commit secret
}

// openPath decrypts somebody's path for the member self who holds priv. The
// tree already has the path's public keys.
func (t *ratchetTree) openPath(s suite, self LeafIndex, path, copath []nodeIndex, nodes []pathNode, priv map[nodeIndex]secret, context []byte, joining []LeafIndex) (*opened, error) {
	for i, x := range path {
		to := t.recipients(copath[i], joining)
		if len(to) != len(nodes[i].secrets) {
			return nil, fmt.Errorf("open path: node %d has %d secrets, want %d: %w", x, len(nodes[i].secrets), len(to), ErrInvalid)
		}
	}
	for i := range path {
		if !copath[i].covers(self) {
			continue
		}
		for j, y := range t.recipients(copath[i], joining) {
			key := priv[y]
			if key == nil || !y.covers(self) {
				continue
			}
			first, err := s.decrypt(key, "UpdatePathNode", context, nodes[i].secrets[j])
			if err != nil {
				return nil, fmt.Errorf("open path at node %d: %w", y, err)
			}
			return t.climb(s, first, path[i:])
		}
	}
	return nil, fmt.Errorf("open path: no secret for this member: %w", ErrInvalid)
}

// climb derives the keys of path nodes upward from a path secret and holds
// them against the tree.
func (t *ratchetTree) climb(s suite, first secret, path []nodeIndex) (*opened, error) {
	if len(first) != hashSize {
		return nil, fmt.Errorf("open path: secret of %d bytes: %w", len(first), ErrInvalid)
	}
	r := &opened{priv: map[nodeIndex]secret{}}
	secrets := pathSecrets(first, len(path))
	for i, x := range path {
		priv, pub, err := s.nodeKey(secrets[i])
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(pub, t.key(x)) {
			return nil, fmt.Errorf("open path: key of node %d is not what its secret gives: %w", x, ErrInvalid)
		}
		r.priv[x] = priv
	}
	r.commit = secrets[len(path)]
	return r, nil
}
