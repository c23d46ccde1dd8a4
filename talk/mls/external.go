package mls

import (
	"crypto"
	"fmt"
	"io"
)

// ExternalJoin says how to join by external commit (RFC 9420 §12.4.3.2).
type ExternalJoin struct {
	Signer   crypto.Signer
	Template LeafTemplate
	Policy   Policy
	Tree     []byte     // the ratchet tree, if the GroupInfo does not carry it
	Replaces *LeafIndex // the own former leaf, which the commit removes
	PSKs     PSKStore
	Mix      []Proposal // pre-shared keys to mix in
	AAD      []byte
}

// JoinExternal makes the commit by which its maker joins, and the group as it
// is once that commit is accepted. If another commit wins the epoch, drop the
// group and start from a newer GroupInfo.
func JoinExternal(rand io.Reader, gi *GroupInfo, o ExternalJoin) (g *Group, message []byte, err error) {
	if g, message, err = joinExternal(rand, gi, o); err != nil {
		return nil, nil, fmt.Errorf("join by external commit: %w", err)
	}
	return g, message, nil
}

func joinExternal(rand io.Reader, gi *GroupInfo, o ExternalJoin) (*Group, []byte, error) {
	if err := o.Policy.valid(); err != nil {
		return nil, nil, err
	}
	s, err := gi.Context.Suite.lookup()
	if err != nil {
		return nil, nil, err
	}
	pub, err := publicKey(o.Signer)
	if err != nil {
		return nil, nil, err
	}
	tree, err := gi.verify(s, o.Tree)
	if err != nil {
		return nil, nil, err
	}
	before := &epoch{context: gi.Context, contextRaw: gi.Context.bytes()}
	before.confirm(gi.confirmationTag)
	g := &Group{s: s, policy: o.Policy, signers: []crypto.Signer{o.Signer}, tree: tree, cur: before}
	if err := g.judgeAll(); err != nil {
		return nil, nil, err
	}
	b := &builder{view: g.view(), rand: rand, committer: Sender{Type: SenderNewMemberCommit}, signer: o.Signer,
		wire: WirePublic, aad: o.AAD, interim: before.interim,
		findPSK: func(id PSKID) ([]byte, bool) { return findIn(o.PSKs, id) }}
	if err := b.externalProposals(gi, o); err != nil {
		return nil, nil, err
	}
	if b.change, err = b.apply(b.committer, b.list); err != nil {
		return nil, nil, err
	}
	priv, encryption, err := s.freshKeyPair(rand)
	if err != nil {
		return nil, nil, err
	}
	leaf := o.Template.leaf(SourceCommit, encryption, pub)
	if b.self, err = b.change.tree.add(leaf); err != nil {
		return nil, nil, err
	}
	var replaces *LeafNode
	if o.Replaces != nil {
		replaces = tree.leaf(*o.Replaces)
	}
	if err := b.makePath(priv, leaf, o.Signer, replaces); err != nil {
		return nil, nil, err
	}
	if err := b.makeEpoch(before.contextRaw); err != nil {
		return nil, nil, err
	}
	message, err := protectPublic(b.content, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	st := b.staged(g)
	g.self, g.tree, g.priv, g.cur = b.self, st.tree, st.priv, st.next
	g.markAll()
	return g, message, nil
}

// externalProposals lists what an external commit holds.
func (b *builder) externalProposals(gi *GroupInfo, o ExternalJoin) error {
	pub, err := gi.externalPub()
	if err != nil {
		return err
	}
	kem, init, err := b.s.encapExternalInit(b.rand, pub)
	if err != nil {
		return err
	}
	b.init = init
	list := []Proposal{{Type: ProposalExternalInit, KEMOutput: kem}}
	if o.Replaces != nil {
		list = append(list, RemoveProposal(*o.Replaces))
	}
	for _, p := range append(list, o.Mix...) {
		q, err := p.canonical()
		if err != nil {
			return err
		}
		b.list = append(b.list, queued{Proposal: q, sender: b.committer})
	}
	return nil
}

// ProposeExternally makes a proposal by a sender that a group's context lists
// at position index (§12.1.8).
func ProposeExternally(signer crypto.Signer, groupID []byte, epoch uint64, index uint32, p Proposal) ([]byte, error) {
	if !p.Type.externally() {
		return nil, fmt.Errorf("propose externally: type %d is for members: %w", p.Type, ErrInvalid)
	}
	return proposeFromOutside(signer, groupID, epoch, Sender{Type: SenderExternal, Index: index}, p)
}

// ProposeSelf asks a group to add the maker of a key package, with the key
// package's signing key (§12.1.8).
func ProposeSelf(signer crypto.Signer, groupID []byte, epoch uint64, k *KeyPackage) ([]byte, error) {
	return proposeFromOutside(signer, groupID, epoch, Sender{Type: SenderNewMemberProposal}, AddProposal(k))
}

func proposeFromOutside(signer crypto.Signer, groupID []byte, epoch uint64, from Sender, p Proposal) ([]byte, error) {
	if _, err := publicKey(signer); err != nil {
		return nil, fmt.Errorf("propose from outside: %w", err)
	}
	q, err := p.canonical()
	if err != nil {
		return nil, fmt.Errorf("propose from outside: %w", err)
	}
	a := &authContent{wire: WirePublic, content: framedContent{
		groupID: groupID, epoch: epoch, sender: from, kind: ContentProposal, body: q.raw,
	}}
	if err := a.sign(signer, nil); err != nil {
		return nil, fmt.Errorf("propose from outside: %w", err)
	}
	return protectPublic(a, nil, nil)
}
