package statetree_test

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/confab-chat/confab/namesvc/statetree"
)

type (
	key   = statetree.Key
	model map[key][]byte
)

// root computes the root of a map from the definition of the tree, level by
// level, sharing no code with the package.
func (m model) root() [32]byte {
	keys := slices.SortedFunc(maps.Keys(m), key.Compare)
	return m.subtree(keys, 0)
}

func (m model) subtree(keys []key, level int) [32]byte {
	switch len(keys) {
	case 0:
		return [32]byte{}
	case 1:
		value := sha256.Sum256(m[keys[0]])
		return sha256.Sum256(slices.Concat([]byte{0}, keys[0][:], value[:]))
	}
	right := slices.IndexFunc(keys, func(k key) bool { return k[level/8]&(0x80>>(level%8)) != 0 })
	if right < 0 {
		right = len(keys)
	}
	l, r := m.subtree(keys[:right], level+1), m.subtree(keys[right:], level+1)
	return sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
}

// apply makes the changes, in any order, later ones winning.
func (m model) apply(changes []statetree.Change) {
	for _, c := range changes {
		if c.Value == nil {
			delete(m, c.Key)
		} else {
			m[c.Key] = c.Value
		}
	}
}

// checkTree checks everything that must be true of a tree that holds m: its
// root, its values, that it has exactly the pages that a Builder makes of them,
// and that a few proofs of presence and absence hold.
func checkTree(t testing.TB, tree *statetree.Mem, m model) {
	t.Helper()
	if got, want := tree.Root(), m.root(); got != want {
		t.Fatalf("root %x, the definition gives %x", got, want)
	}
	pages := 0
	b := statetree.NewBuilder(func(id statetree.PageID, data []byte) error {
		pages++
		if got, _ := tree.Page(id); !bytes.Equal(got, data) {
			t.Fatalf("page %s is %x, built from the values it is %x", id, got, data)
		}
		return nil
	})
	n := 0
	for k, v := range tree.All() {
		if !bytes.Equal(m[k], v) {
			t.Fatalf("key %s has value %x, want %x", k, v, m[k])
		}
		if err := b.Add(k, v); err != nil {
			t.Fatal(err)
		}
		if n++; n <= 3 {
			checkProof(t, tree, k, v)
			k[31] ^= 1
			checkProof(t, tree, k, m[k])
			k[0] ^= 0x80
			checkProof(t, tree, k, m[k])
		}
	}
	if n != len(m) || n != tree.Len() {
		t.Fatalf("the tree has %d keys and says %d, want %d", n, tree.Len(), len(m))
	}
	root, err := b.Finish()
	if err != nil || root != tree.Root() {
		t.Fatalf("built from the values, the root is %x (%v), want %x", root, err, tree.Root())
	}
	if got := statetree.PagesIn(tree); got != pages {
		t.Fatalf("the tree keeps %d pages, its values need %d", got, pages)
	}
}

// checkProof checks that the tree's proof for k shows v (nil: no value) and
// nothing else, before and after a passage over the wire.
func checkProof(t testing.TB, tree *statetree.Mem, k key, v []byte) {
	t.Helper()
	p, err := tree.Prove(k)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if p, err = statetree.UnmarshalProof(wire); err != nil {
		t.Fatal(err)
	}
	if v == nil {
		if err := statetree.VerifyAbsent(tree.Root(), k, p); err != nil {
			t.Fatalf("true absence refused: %v", err)
		}
		if err := statetree.Verify(tree.Root(), k, []byte("x"), p); err == nil {
			t.Fatalf("proof of absence of %s shows a value", k)
		}
		return
	}
	if err := statetree.Verify(tree.Root(), k, v, p); err != nil {
		t.Fatalf("true value refused: %v", err)
	}
	if err := statetree.Verify(tree.Root(), k, append(slices.Clone(v), 0), p); err == nil {
		t.Fatalf("proof of key %s shows another value", k)
	}
	if err := statetree.VerifyAbsent(tree.Root(), k, p); err == nil {
		t.Fatalf("proof of key %s shows that it has none", k)
	}
}

// keyOf is the key of a thing with this name, hashed as callers hash.
func keyOf(name string) key { return sha256.Sum256([]byte(name)) }

// sorted returns changes in the order that Update wants.
func sorted(changes []statetree.Change) []statetree.Change {
	slices.SortFunc(changes, func(a, b statetree.Change) int { return a.Key.Compare(b.Key) })
	return changes
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// randomBytes returns n bytes, which are the same for the same state of r.
func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// crowded returns a key out of few, which share prefixes of any length up to
// all but the last bit, so that small trees are deep.
func crowded(r *rand.Rand) key {
	var k key
	for range r.IntN(3) {
		i := r.IntN(256)
		k[i/8] |= 0x80 >> (i % 8)
	}
	return k
}

// randomBatch returns n changes of distinct keys, a third of them deletions.
func randomBatch(r *rand.Rand, n int, newKey func(*rand.Rand) key) []statetree.Change {
	seen := make(map[key]bool)
	var batch []statetree.Change
	for range n {
		k := newKey(r)
		if seen[k] {
			continue
		}
		seen[k] = true
		c := statetree.Change{Key: k}
		if r.IntN(3) > 0 {
			c.Value = randomBytes(r, 1+r.IntN(40))
		}
		batch = append(batch, c)
	}
	return sorted(batch)
}

// randomKeyOf returns a source of keys of n things, hashed as callers hash.
func randomKeyOf(n int) func(*rand.Rand) key {
	return func(r *rand.Rand) key { return keyOf(strconv.Itoa(r.IntN(n))) }
}
