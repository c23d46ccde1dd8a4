package mls

import (
	"bytes"
	"errors"
	"testing"
)

// TestExternalCommit_RulesOfItsProposals signs external commits that break one
// rule each.
func TestExternalCommit_RulesOfItsProposals(t *testing.T) {
	groups := listeners(t, X25519AES128, anyPolicy())
	b, err := groups[0].GroupInfo(GroupInfoOptions{External: true})
	noError(t, err)
	m, err := ParseMessage(b)
	noError(t, err)
	k, _, err := NewKeyPackage(testRand(1), X25519AES128, testSigner(99), LeafTemplate{}, Lifetime{0, 9})
	if err == nil {
		t.Error("a key package without a credential was made")
	}
	k, _, err = NewKeyPackage(testRand(1), X25519AES128, testSigner(99), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
	noError(t, err)
	try := func(mix ...Proposal) error {
		_, _, err := JoinExternal(testRand(2), m.GroupInfo, ExternalJoin{Signer: testSigner(98), Template: LeafTemplate{Credential: BasicCredential([]byte("x"))}, Policy: anyPolicy(), Mix: mix})
		return err
	}
	noError(t, try())
	noError(t, try(RemoveProposal(1)))
	for name, mix := range map[string][]Proposal{
		"add":        {AddProposal(k)},
		"extensions": {ExtensionsProposal(nil)},
		"reinit":     {ReInitProposal(ReInit{GroupID: []byte("x"), Suite: X25519AES128})},
		"two inits":  {{Type: ProposalExternalInit, KEMOutput: make([]byte, 32)}},
		"removes":    {RemoveProposal(1), RemoveProposal(2)},
		"custom":     {CustomProposal(0xF000, nil)},
	} {
		if err := try(mix...); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// By reference.
	v := groups[0].view()
	list := []queued{{Proposal: &Proposal{Type: ProposalExternalInit}, sender: Sender{Type: SenderNewMemberCommit}, ref: []byte{1}}}
	if _, err := v.apply(Sender{Type: SenderNewMemberCommit}, list); !errors.Is(err, ErrInvalid) {
		t.Errorf("by reference: %v", err)
	}
	// Without the door open.
	b, err = groups[0].GroupInfo(GroupInfoOptions{})
	noError(t, err)
	closed, err := ParseMessage(b)
	noError(t, err)
	if _, _, err := JoinExternal(testRand(2), closed.GroupInfo, ExternalJoin{Signer: testSigner(98), Policy: anyPolicy()}); !errors.Is(err, ErrInvalid) {
		t.Errorf("closed group: %v", err)
	}
}

// TestJoinExternal_NeedsAConfirmationTag: other implementations give out
// GroupInfos without one after they joined from outside themselves.
func TestJoinExternal_NeedsAConfirmationTag(t *testing.T) {
	g := listeners(t, X25519AES128, anyPolicy())[0]
	for _, size := range []int{0, 1, hashSize - 1, hashSize} {
		e := *g.cur
		e.confirmationTag = bytes.Repeat([]byte{1}, size)
		_, pub, err := g.s.keyPair(g.cur.secrets.external)
		noError(t, err)
		var w writer
		w.vec(pub)
		signer, err := g.signer()
		noError(t, err)
		gi, err := makeGroupInfo(&e, g.tree, g.self, signer, true, []Extension{{ExtExternalPub, w.b}})
		noError(t, err)
		_, _, err = JoinExternal(testRand(2), gi, ExternalJoin{Signer: testSigner(98), Template: LeafTemplate{Credential: BasicCredential([]byte("x"))}, Policy: anyPolicy()})
		if (err == nil) != (size == hashSize) {
			t.Errorf("a tag of %d bytes: %v", size, err)
		}
	}
}
