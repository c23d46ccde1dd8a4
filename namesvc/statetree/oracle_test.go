package statetree_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/celestiaorg/smt"
	ics23 "github.com/cosmos/ics23/go"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// pair is our tree and celestiaorg/smt's, with the same contents. That library
// and ICS-23 hash keys themselves, so names are kept, not only keys.
type pair struct {
	ours   *statetree.Mem
	theirs *smt.SparseMerkleTree
	values map[string][]byte // by name
}

func newPair() *pair {
	return &pair{
		ours:   statetree.NewMem(),
		theirs: smt.NewSparseMerkleTree(smt.NewSimpleMap(), smt.NewSimpleMap(), sha256.New()),
		values: make(map[string][]byte),
	}
}

// change applies a random batch of inserts, updates and deletions to both.
func (p *pair) change(t *testing.T, r *rand.Rand, names int) {
	t.Helper()
	batch := make(map[string][]byte)
	for range 1 + r.IntN(20) {
		name := fmt.Sprintf("handle/%d", r.IntN(names))
		batch[name] = nil
		if r.IntN(3) > 0 {
			batch[name] = randomBytes(r, 1+r.IntN(300))
		}
	}
	var changes []statetree.Change
	for name, v := range batch {
		changes = append(changes, statetree.Change{Key: keyOf(name), Value: v})
		var err error
		if v == nil {
			delete(p.values, name)
			_, err = p.theirs.Delete([]byte(name))
		} else {
			p.values[name] = v
			_, err = p.theirs.Update([]byte(name), v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mustUpdate(t, p.ours, sorted(changes))
	if root := p.ours.Root(); !bytes.Equal(root[:], p.theirs.Root()) {
		t.Fatalf("root %x, celestiaorg/smt has %x", root, p.theirs.Root())
	}
}

// theirForm converts a proof of ours into that library's.
func theirForm(p statetree.Proof) smt.SparseMerkleProof {
	var out smt.SparseMerkleProof
	for _, s := range slices.Backward(p.Siblings) {
		out.SideNodes = append(out.SideNodes, bytes.Clone(s[:]))
	}
	if p.Other != nil {
		out.NonMembershipLeafData = slices.Concat([]byte{0}, p.Other.Key[:], p.Other.ValueHash[:])
	}
	return out
}

// ourForm converts a proof of that library's into ours.
func ourForm(p smt.SparseMerkleProof) statetree.Proof {
	var out statetree.Proof
	for _, s := range slices.Backward(p.SideNodes) {
		out.Siblings = append(out.Siblings, [32]byte(s))
	}
	if d := p.NonMembershipLeafData; d != nil {
		out.Other = &statetree.Leaf{Key: key(d[1:33]), ValueHash: [32]byte(d[33:])}
	}
	return out
}

func TestOracle_RootsAndProofsEqualCelestiaSMT(t *testing.T) {
	for seed := range uint64(20) {
		r := newRand(seed)
		p := newPair()
		for range 30 {
			p.change(t, r, 5+int(seed)*20)
			for range 6 {
				p.compareProofs(t, fmt.Sprintf("handle/%d", r.IntN(5+int(seed)*25)))
			}
		}
		for i := range 5 + int(seed)*25 {
			p.compareProofs(t, fmt.Sprintf("handle/%d", i))
		}
	}
}

// compareProofs checks that each library accepts the other's proof of name, for
// what is so and for nothing else.
func (p *pair) compareProofs(t *testing.T, name string) {
	t.Helper()
	root, k, v := p.ours.Root(), keyOf(name), p.values[name]
	ours, err := p.ours.Prove(k)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := p.theirs.Prove([]byte(name))
	if err != nil {
		t.Fatal(err)
	}
	theirVerify := func(v []byte) bool {
		return smt.VerifyProof(theirForm(ours), root[:], []byte(name), v, sha256.New())
	}
	if !theirVerify(v) || theirVerify(append(bytes.Clone(v), 1)) || v != nil && theirVerify(nil) {
		t.Fatalf("celestiaorg/smt judges our proof of %s otherwise", name)
	}
	converted := ourForm(theirs)
	if v != nil {
		err = statetree.Verify(root, k, v, converted)
	} else {
		err = statetree.VerifyAbsent(root, k, converted)
	}
	if err != nil {
		t.Fatalf("we refuse celestiaorg/smt's proof of %s: %v", name, err)
	}
	if statetree.Verify(root, k, append(bytes.Clone(v), 1), converted) == nil ||
		v != nil && statetree.VerifyAbsent(root, k, converted) == nil {
		t.Fatalf("celestiaorg/smt's proof of %s shows us something false", name)
	}
}

// existence converts our proof that name has its value into ICS-23's form.
func (p *pair) existence(t *testing.T, name string) *ics23.ExistenceProof {
	t.Helper()
	k := keyOf(name)
	ours, err := p.ours.Prove(k)
	if err != nil {
		t.Fatal(err)
	}
	out := &ics23.ExistenceProof{Key: []byte(name), Value: p.values[name], Leaf: ics23.SmtSpec.LeafSpec}
	for i, s := range slices.Backward(ours.Siblings) {
		op := &ics23.InnerOp{Hash: ics23.HashOp_SHA256, Prefix: []byte{1}}
		if k[i/8]&(0x80>>(i%8)) == 0 {
			op.Suffix = bytes.Clone(s[:])
		} else {
			op.Prefix = append(op.Prefix, s[:]...)
		}
		out.Path = append(out.Path, op)
	}
	return out
}

func (p *pair) membership(t *testing.T, name string) *ics23.CommitmentProof {
	return &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Exist{Exist: p.existence(t, name)}}
}

// nonMembership gives the two neighbours of name, as ICS-23 wants absence shown.
func (p *pair) nonMembership(t *testing.T, name string) *ics23.CommitmentProof {
	t.Helper()
	var left, right string
	k := keyOf(name)
	for n := range p.values {
		if c := keyOf(n).Compare(k); c < 0 && (left == "" || keyOf(n).Compare(keyOf(left)) > 0) {
			left = n
		} else if c > 0 && (right == "" || keyOf(n).Compare(keyOf(right)) < 0) {
			right = n
		}
	}
	out := &ics23.NonExistenceProof{Key: []byte(name)}
	if left != "" {
		out.Left = p.existence(t, left)
	}
	if right != "" {
		out.Right = p.existence(t, right)
	}
	return &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Nonexist{Nonexist: out}}
}

func TestOracle_ICS23AcceptsOurProofs(t *testing.T) {
	p := newPair()
	r := newRand(23)
	for range 40 {
		p.change(t, r, 300)
	}
	root := p.ours.Root()
	present, absent := 0, 0
	for i := range 400 {
		name := fmt.Sprintf("handle/%d", i)
		if v := p.values[name]; v != nil {
			present++
			proof := p.membership(t, name)
			if !ics23.VerifyMembership(ics23.SmtSpec, root[:], proof, []byte(name), v) {
				t.Fatalf("ics23 refuses the value of %s", name)
			}
			if ics23.VerifyMembership(ics23.SmtSpec, root[:], proof, []byte(name), append(bytes.Clone(v), 1)) {
				t.Fatalf("ics23 accepts another value of %s", name)
			}
			if ics23.VerifyNonMembership(ics23.SmtSpec, root[:], p.nonMembership(t, name), []byte(name)) {
				t.Fatalf("ics23 accepts that %s has no value", name)
			}
			continue
		}
		absent++
		if !ics23.VerifyNonMembership(ics23.SmtSpec, root[:], p.nonMembership(t, name), []byte(name)) {
			t.Fatalf("ics23 refuses that %s has no value", name)
		}
	}
	if present < 50 || absent < 50 {
		t.Fatalf("only %d present and %d absent names were tried", present, absent)
	}
}
