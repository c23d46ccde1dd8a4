package mls

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestTree_ForgedTreesAreRefused spoils a valid tree in one way each. The
// joiner's checks must find every one; the tree hash would find none, since
// whoever makes the tree makes the hash.
func TestTree_ForgedTreesAreRefused(t *testing.T) {
	s, err := X25519AES128.lookup()
	noError(t, err)
	groups := testGroup(t, X25519AES128, 8, anyPolicy())
	for i := range groups {
		rekey(t, groups, i)
	}
	// A ninth and tenth member join without a path: unmerged leaves.
	rand := testRand(77)
	var adds []Proposal
	for i := range 2 {
		k, _, err := NewKeyPackage(rand, X25519AES128, testSigner(byte(60+i)), LeafTemplate{Credential: BasicCredential([]byte{60})}, Lifetime{0, 9})
		noError(t, err)
		adds = append(adds, AddProposal(k))
	}
	out, err := groups[0].Commit(rand, CommitOptions{Proposals: []Proposal{RemoveProposal(5)}})
	noError(t, err)
	noError(t, groups[0].Merge(out.Staged))
	out, err = groups[0].Commit(rand, CommitOptions{Proposals: adds})
	noError(t, err)
	noError(t, groups[0].Merge(out.Staged))
	valid := groups[0].tree
	id := groups[0].ID()
	noError(t, valid.check(s, id, nil))
	low := nodeIndex(1)
	change := func(x nodeIndex, f func(*parentNode)) func(*ratchetTree) {
		return func(t *ratchetTree) {
			p := *t.parent(x)
			p.unmerged = slices.Clone(p.unmerged)
			f(&p)
			t.setParent(x, &p)
		}
	}
	if valid.parent(low) == nil || valid.parent(3) == nil {
		t.Fatal("the tree has fewer parents than the test needs")
	}
	// newcomer changes a leaf that joined since: no parent hash covers it yet.
	newcomer := func(l LeafIndex, key byte, f func(*LeafNode)) func(*ratchetTree) {
		return func(t *ratchetTree) {
			c := *t.leaf(l)
			c.Source = SourceUpdate
			f(&c)
			if err := c.sign(testSigner(key), id, l); err != nil {
				panic(err)
			}
			t.setLeaf(l, &c)
		}
	}
	for _, c := range []struct {
		name, want string
		spoil      func(*ratchetTree)
	}{
		{"parent's key replaced", "parent-hash invalid", change(3, func(p *parentNode) { p.encryptionKey = bytes.Repeat([]byte{9}, 32) })},
		{"parent's hash replaced", "parent-hash invalid", change(low, func(p *parentNode) { p.parentHash = make([]byte, 32) })},
		{"parent made up", "", func(t *ratchetTree) { t.setParent(9, &parentNode{encryptionKey: bytes.Repeat([]byte{9}, 32)}) }},
		{"leaf blanked below a parent", "", func(t *ratchetTree) { t.setLeaf(2, nil) }},
		{"member listed as unmerged", "parent-hash invalid", change(low, func(p *parentNode) { p.unmerged = []LeafIndex{1} })},
		{"stranger listed as unmerged", "not below it", change(low, func(p *parentNode) { p.unmerged = []LeafIndex{7} })},
		{"blank leaf listed as unmerged", "not below it", func(t *ratchetTree) {
			t.setLeaf(1, nil)
			change(low, func(p *parentNode) { p.unmerged = []LeafIndex{1} })(t)
		}},
		{"unmerged above but not below", "does not", change(3, func(p *parentNode) { p.unmerged = []LeafIndex{1} })},
		{"two members with one encryption key", "used twice", newcomer(5, 60, func(l *LeafNode) { l.EncryptionKey = valid.leaf(4).EncryptionKey })},
		{"two members with one signature key", "used twice", newcomer(8, 60, func(l *LeafNode) { l.SignatureKey = testSigner(60)[32:] })},
		{"member with a parent's key", "used twice", newcomer(5, 60, func(l *LeafNode) { l.EncryptionKey = valid.parent(3).encryptionKey })},
		{"leaf signed by another", "signature", func(t *ratchetTree) {
			c := *t.leaf(5)
			c.Signature = bytes.Clone(t.leaf(6).Signature)
			c.rebuild()
			t.setLeaf(5, &c)
		}},
		{"leaf from another place", "", func(t *ratchetTree) { t.setLeaf(7, valid.leaf(6)); t.setLeaf(6, nil) }},
		{"leaf key of small order", "small order", newcomer(5, 60, func(l *LeafNode) { l.EncryptionKey = make([]byte, 32) })},
	} {
		forged := valid.clone()
		c.spoil(forged)
		forged.hashes = make([]*[hashSize]byte, len(forged.hashes))
		if err := forged.check(s, id, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTree_CredentialTypesMustBeUnderstoodByAll(t *testing.T) {
	groups := testGroup(t, X25519AES128, 2, anyPolicy())
	tree := groups[0].tree.clone()
	c := *tree.leaf(1)
	c.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
	c.Capabilities.Credentials = []CredentialType{CredentialX509, CredentialBasic}
	tree.setLeaf(1, &c)
	if err := tree.checkCredentialTypes(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a credential that leaf 0 does not understand: %v", err)
	}
}
