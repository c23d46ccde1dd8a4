package statetree_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// hashedTree returns a tree of n keys that are hashes, and what it holds.
func hashedTree(t testing.TB, n int) (*statetree.Mem, model) {
	t.Helper()
	tree, m := statetree.NewMem(), model{}
	var batch []statetree.Change
	for i := range n {
		k := keyOf(fmt.Sprint(i))
		m[k] = fmt.Appendf(nil, "value %d", i)
		batch = append(batch, statetree.Change{Key: k, Value: m[k]})
	}
	mustUpdate(t, tree, sorted(batch))
	return tree, m
}

func TestVerify_EmptyTreeAndTreeOfOneLeaf(t *testing.T) {
	tree := statetree.NewMem()
	checkProof(t, tree, key{1}, nil)
	mustUpdate(t, tree, []statetree.Change{{Key: key{1}, Value: []byte("v")}})
	checkProof(t, tree, key{1}, []byte("v"))
	checkProof(t, tree, key{2}, nil)
	if err := statetree.VerifyAbsent(tree.Root(), key{2}, statetree.Proof{}); err == nil {
		t.Error("the empty proof shows absence in a tree that is not empty")
	}
	if err := statetree.Verify([32]byte{}, key{1}, []byte("v"), statetree.Proof{}); err == nil {
		t.Error("the empty tree holds a value")
	}
	if err := statetree.Verify([32]byte{}, key{1}, nil, statetree.Proof{}); err == nil {
		t.Error("the empty tree holds an empty value")
	}
}

// Each flipped bit of a proof's wire form, its key, its value or its root makes
// it show nothing. Twelve keys in a crowded tree give proofs with gaps.
func TestVerify_RefusesEveryFlippedBit(t *testing.T) {
	tree, m := hashedTree(t, 40)
	for range 4 {
		batch := randomBatch(newRand(4), 12, crowded)
		mustUpdate(t, tree, batch)
		m.apply(batch)
	}
	checked := 0
	for k := range m {
		for _, k := range []key{k, flip(k, 255), flip(k, 0), flip(k, 9)} {
			if checked++; checked > 60 {
				return
			}
			refuseFlips(t, tree, k, m[k])
		}
	}
}

func refuseFlips(t *testing.T, tree *statetree.Mem, k key, v []byte) {
	t.Helper()
	p, err := tree.Prove(k)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	shows := func(root [32]byte, k key, v, wire []byte) bool {
		p, err := statetree.UnmarshalProof(wire)
		if err == nil && v != nil {
			err = statetree.Verify(root, k, v, p)
		} else if err == nil {
			err = statetree.VerifyAbsent(root, k, p)
		}
		if err != nil && !errors.Is(err, statetree.ErrProof) {
			t.Fatalf("error of another kind: %v", err)
		}
		return err == nil
	}
	root := tree.Root()
	if !shows(root, k, v, wire) {
		t.Fatalf("a true proof of %s is refused", k)
	}
	for i := range 8 * len(wire) {
		if shows(root, k, v, flipBytes(wire, i)) {
			t.Fatalf("bit %d of the proof of %s does not matter", i, k)
		}
	}
	for i := range 256 {
		if shows(flip(root, i), k, v, wire) {
			t.Fatalf("bit %d of the root does not matter", i)
		}
		// A proof of absence does hold for the neighbours in the same place.
		if v != nil && shows(root, flip(k, i), v, wire) {
			t.Fatalf("bit %d of the key does not matter", i)
		}
	}
	for i := range 8 * len(v) {
		if shows(root, k, flipBytes(v, i), wire) {
			t.Fatalf("bit %d of the value does not matter", i)
		}
	}
}

func flip(k [32]byte, i int) [32]byte {
	k[i/8] ^= 0x80 >> (i % 8)
	return k
}

func flipBytes(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i/8] ^= 0x80 >> (i % 8)
	return b
}

// What a forger can put together from the true hashes of a tree: proofs cut
// short or drawn out, of other keys, inner nodes passed off as leaves.
func TestVerify_RefusesWhatAForgerCanBuild(t *testing.T) {
	tree, m := hashedTree(t, 500)
	root, k, other := tree.Root(), keyOf("1"), keyOf("2")
	own, err := tree.Prove(k)
	if err != nil {
		t.Fatal(err)
	}
	ownLeaf := statetree.Leaf{Key: k, ValueHash: sha256.Sum256(m[k])}
	otherLeaf := statetree.Leaf{Key: other, ValueHash: sha256.Sum256(m[other])}
	with := func(l *statetree.Leaf, siblings ...[32]byte) statetree.Proof {
		return statetree.Proof{Siblings: siblings, Other: l}
	}
	otherProof, _ := tree.Prove(other)
	long := append(slices.Clone(own.Siblings), make([][32]byte, 256)...)
	long[len(long)-1] = own.Siblings[0]
	for name, p := range map[string]statetree.Proof{
		"its own leaf as the other one": with(&ownLeaf, own.Siblings...),
		"another leaf from elsewhere":   with(&otherLeaf, own.Siblings...),
		"another leaf in its own place": with(&otherLeaf, otherProof.Siblings...),
		"no leaf":                       with(nil, own.Siblings...),
		"no leaf, cut short":            with(nil, own.Siblings[:len(own.Siblings)-1]...),
		"the root's children as a leaf": with(&statetree.Leaf{Key: own.Siblings[0], ValueHash: own.Siblings[0]}),
		"nothing at all":                with(nil),
		"more levels than a path has":   with(nil, long...),
		"other leaf, too many levels":   with(&otherLeaf, long...),
		"a lowest level beside nothing": with(nil, append(slices.Clone(own.Siblings), [32]byte{})...),
	} {
		if err := statetree.VerifyAbsent(root, k, p); !errors.Is(err, statetree.ErrProof) {
			t.Errorf("absence by %s: %v", name, err)
		}
		if err := statetree.Verify(root, k, []byte("forged"), p); !errors.Is(err, statetree.ErrProof) {
			t.Errorf("value by %s: %v", name, err)
		}
	}
	if err := statetree.Verify(root, k, m[k], with(&otherLeaf, own.Siblings...)); err == nil {
		t.Error("a proof that shows another leaf shows the value too")
	}
	if err := statetree.Verify(root, k, m[k], with(nil, append(slices.Clone(own.Siblings), [32]byte{})...)); err == nil {
		t.Error("a leaf beside nothing is accepted")
	}
}

// The same with a root that no tree of ours has, as a faulty or foreign one might:
// what is checked must hold by itself.
func TestVerify_RefusesLeavesInWrongPlaces(t *testing.T) {
	hash := func(tag byte, a, b [32]byte) [32]byte {
		return sha256.Sum256(slices.Concat([]byte{tag}, a[:], b[:]))
	}
	left, right := key{0x01}, key{0x81} // the one belongs to the left of the root, the other to the right
	value, beside := sha256.Sum256([]byte("v")), sha256.Sum256([]byte("beside"))
	root := hash(1, beside, hash(0, left, value)) // left's leaf on the right
	p := statetree.Proof{Siblings: [][32]byte{beside}, Other: &statetree.Leaf{Key: left, ValueHash: value}}
	if err := statetree.VerifyAbsent(root, right, p); !errors.Is(err, statetree.ErrProof) {
		t.Errorf("another leaf that does not belong there shows absence: %v", err)
	}
	p.Other.Key = key{0x82}
	if err := statetree.VerifyAbsent(hash(1, beside, hash(0, p.Other.Key, value)), right, p); err != nil {
		t.Errorf("one that does is refused: %v", err)
	}
	if err := statetree.Verify(hash(0, right, sha256.Sum256(nil)), right, nil, statetree.Proof{}); !errors.Is(err, statetree.ErrProof) {
		t.Errorf("an empty value is there: %v", err)
	}
}

func TestMarshalBinary_RefusesWhatNoTreeGives(t *testing.T) {
	for name, siblings := range map[string][][32]byte{
		"a lowest level beside nothing": {{1}, {}},
		"257 levels":                    append(make([][32]byte, 256), [32]byte{1}),
	} {
		if b, err := (statetree.Proof{Siblings: siblings}).MarshalBinary(); !errors.Is(err, statetree.ErrProof) {
			t.Errorf("%s: %x, %v", name, b, err)
		}
	}
}

func TestUnmarshalProof_AcceptsOnlyWhatMarshalBinaryWrites(t *testing.T) {
	one, zero := bytes.Repeat([]byte{1}, 32), make([]byte, 32)
	leaf := make([]byte, 64)
	deepest := append([]byte{0, 32}, append(append(make([]byte, 31), 1), one...)...)
	for name, c := range map[string]struct {
		wire []byte
		ok   bool
	}{
		"the empty proof":              {[]byte{0, 0}, true},
		"only another leaf":            {slices.Concat([]byte{1, 0}, leaf), true},
		"one sibling":                  {slices.Concat([]byte{0, 1, 0x80}, one), true},
		"a gap above":                  {slices.Concat([]byte{0, 1, 0x40}, one), true},
		"256 levels":                   {deepest, true},
		"nothing":                      {nil, false},
		"one byte":                     {[]byte{0}, false},
		"an unknown form":              {[]byte{2, 0}, false},
		"a bitmap of 33 bytes":         {slices.Concat([]byte{0, 33}, make([]byte, 32), []byte{1}, one), false},
		"a bitmap cut short":           {[]byte{0, 2, 0x80}, false},
		"a bitmap that ends in zero":   {slices.Concat([]byte{0, 2, 0x80, 0}, one), false},
		"only a zero bitmap":           {[]byte{0, 1, 0}, false},
		"a sibling of zero":            {slices.Concat([]byte{0, 1, 0x80}, zero), false},
		"a sibling too few":            {slices.Concat([]byte{0, 1, 0xc0}, one), false},
		"a sibling too many":           {slices.Concat([]byte{0, 1, 0x80}, one, one), false},
		"a byte after the end":         {[]byte{0, 0, 0}, false},
		"no leaf where one must be":    {[]byte{1, 0}, false},
		"a leaf where none must be":    {slices.Concat([]byte{0, 0}, leaf), false},
		"another leaf cut short":       {slices.Concat([]byte{1, 0}, leaf[1:]), false},
		"a sibling taken for the leaf": {slices.Concat([]byte{1, 1, 0x80}, leaf), false},
	} {
		p, err := statetree.UnmarshalProof(c.wire)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, statetree.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if again, err := p.MarshalBinary(); err != nil || !bytes.Equal(again, c.wire) {
			t.Errorf("%s: %x is written again as %x, %v", name, c.wire, again, err)
		}
	}
}

// The promise of the design: at most 700 bytes at a million names. A tree a
// thousand times smaller has ten levels fewer, each of 32 bytes.
func TestProof_SizeGrowsWithTheLogarithm(t *testing.T) {
	tree, m := hashedTree(t, 1000)
	total, absent := 0, 0
	for k := range m {
		p, _ := tree.Prove(k)
		b, _ := p.MarshalBinary()
		total += len(b)
		p, _ = tree.Prove(flip(k, 250))
		b, _ = p.MarshalBinary()
		absent += len(b)
	}
	if mean := total / len(m); mean > 700-10*32 {
		t.Errorf("a proof takes %d bytes at 1,000 keys, hence above 700 at 1,000,000", mean)
	}
	if mean := absent / len(m); mean > 700+64-10*32 {
		t.Errorf("a proof of absence takes %d bytes at 1,000 keys", mean)
	}
}
