package mls

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
	"slices"
)

// Group is one member's state of one group. Its methods are not safe for
// concurrent use. An operation that returns an error has changed nothing; one
// that succeeds may have, and TakeDelta then says what to store.
type Group struct {
	s       suite
	policy  Policy
	signers []crypto.Signer // candidates; the one in use matches the own leaf

	self LeafIndex
	tree *ratchetTree
	priv map[nodeIndex]secret // own leaf and those ancestors this member knows
	cur  *epoch
	past []*pastEpoch // ascending

	resumption []resumptionSecret // of past epochs, ascending
	proposals  []queued           // of this epoch, in order of arrival
	reinit     *ReInit            // committed: the group has ended
	removed    bool               // this member was removed

	dirty map[recordKey]struct{}
}

// pastEpoch is what it takes to read a late message.
type pastEpoch struct {
	epoch      uint64
	contextRaw []byte
	senderData secret
	tree       *secretTree
	undo       map[LeafIndex]*LeafNode // leaves that the next epoch changed, as they were
}

type resumptionSecret struct {
	epoch  uint64
	secret secret
}

// Create starts a group of one, at epoch 0 (RFC 9420 §11).
func Create(rand io.Reader, id CipherSuite, groupID []byte, signer crypto.Signer, t LeafTemplate, extensions []Extension, policy Policy) (*Group, error) {
	s, err := id.lookup()
	if err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	if err := policy.valid(); err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	if len(groupID) == 0 || len(groupID) > MaxGroupID {
		return nil, fmt.Errorf("create group: id of %d bytes: %w", len(groupID), ErrInvalid)
	}
	// The founder's leaf is the one of a key package: it is bound to no place,
	// and no lifetime limits it.
	kp, secrets, err := NewKeyPackage(rand, id, signer, t, Lifetime{0, 1<<64 - 1})
	if err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	tree := newTree(1)
	tree.setLeaf(0, kp.Leaf.detach())
	tree.blank = 1
	context := GroupContext{Suite: id, GroupID: bytes.Clone(groupID), TreeHash: tree.rootHash(),
		ConfirmedTranscriptHash: []byte{}, Extensions: extensions}
	r := reader{b: context.bytes()}
	if context = r.groupContext(); r.end() != nil {
		return nil, fmt.Errorf("create group: %w", r.err)
	}
	v := view{s, &context, tree, policy}
	candidates, err := v.checkExtensions(context.Extensions)
	if err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	leaf := tree.leaf(0)
	if err := leaf.check(s, context.Extensions); err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	if err := policy.judge(append(candidates, v.candidate(leaf, nil))); err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	seed, err := fresh(rand, hashSize)
	if err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	cur := &epoch{context: context, contextRaw: context.bytes()}
	var encryption secret
	cur.secrets, encryption = epochFromSecret(seed)
	cur.tree = newSecretTree(s, 1, encryption)
	cur.confirm(cur.tag())
	g := &Group{s: s, policy: policy, signers: []crypto.Signer{signer}, tree: tree,
		priv: map[nodeIndex]secret{0: secrets.leaf}, cur: cur}
	g.markAll()
	return g, nil
}

// Suite returns the group's cipher suite.
func (g *Group) Suite() CipherSuite { return g.s.id }

// ID returns the group's identifier.
func (g *Group) ID() []byte { return bytes.Clone(g.cur.context.GroupID) }

// Epoch returns the current epoch.
func (g *Group) Epoch() uint64 { return g.cur.context.Epoch }

// Self returns this member's leaf.
func (g *Group) Self() LeafIndex { return g.self }

// Extensions returns the group context's extensions. Treat them as read-only.
func (g *Group) Extensions() []Extension { return g.cur.context.Extensions }

// Removed reports whether this member was removed. The group can then only
// read what was sent before.
func (g *Group) Removed() bool { return g.removed }

// Ended returns the ReInit that ended the group, or nil.
func (g *Group) Ended() *ReInit { return g.reinit }

// Member is a leaf with its place.
type Member struct {
	Index LeafIndex
	Leaf  *LeafNode
}

// Members lists the members by leaf index.
func (g *Group) Members() []Member {
	var list []Member
	for i, l := range g.tree.leaves {
		if l != nil {
			list = append(list, Member{LeafIndex(i), l})
		}
	}
	return list
}

// Leaf returns a member's leaf, or nil.
func (g *Group) Leaf(i LeafIndex) *LeafNode { return g.tree.leaf(i) }

// EpochAuthenticator is equal for all members that are in the same epoch of
// the same history (§8.7). People may compare it; it is not secret among them.
func (g *Group) EpochAuthenticator() []byte { return bytes.Clone(g.cur.secrets.authenticator) }

// ConfirmedTranscriptHash commits to the group's history.
func (g *Group) ConfirmedTranscriptHash() []byte {
	return bytes.Clone(g.cur.context.ConfirmedTranscriptHash)
}

// Export derives a secret for the application from this epoch (§8.5).
func (g *Group) Export(label string, context []byte, length int) ([]byte, error) {
	return g.cur.secrets.export(label, context, length)
}

// ResumptionPSK returns the resumption key of an epoch, if it is kept.
func (g *Group) ResumptionPSK(epoch uint64) ([]byte, bool) {
	if epoch == g.Epoch() {
		return bytes.Clone(g.cur.secrets.resumption), true
	}
	for _, r := range g.resumption {
		if r.epoch == epoch {
			return bytes.Clone(r.secret), true
		}
	}
	return nil, false
}

// RatchetTree returns the encoded public tree, for those whose Welcome or
// GroupInfo does not carry it.
func (g *Group) RatchetTree() []byte {
	var w writer
	w.tree(g.tree)
	return w.b
}

// Pending lists the proposals of this epoch that a commit would include.
func (g *Group) Pending() []SentProposal {
	list := make([]SentProposal, len(g.proposals))
	for i, q := range g.proposals {
		list[i] = SentProposal{q.Proposal, q.sender, q.ref}
	}
	return list
}

// SentProposal is a proposal with who sent it. Ref is nil if it came inside a
// commit.
type SentProposal struct {
	*Proposal
	Sender Sender
	Ref    []byte
}

// ForgetProposals drops the pending proposals whose references are given, or
// all: an application forgets what its rules refuse.
func (g *Group) ForgetProposals(refs ...[]byte) {
	g.markProposals()
	g.proposals = slices.DeleteFunc(g.proposals, func(q queued) bool {
		return len(refs) == 0 || slices.ContainsFunc(refs, func(r []byte) bool { return bytes.Equal(r, q.ref) })
	})
	g.markProposals()
}

// AddSigner makes a signing key known that a commit or update of this member
// introduces.
func (g *Group) AddSigner(signer crypto.Signer) { g.signers = append(g.signers, signer) }

// signer finds the signing key of the own leaf.
func (g *Group) signer() (crypto.Signer, error) {
	return matchSigner(g.signers, g.tree.leaf(g.self).SignatureKey)
}

func matchSigner(signers []crypto.Signer, key []byte) (crypto.Signer, error) {
	for _, s := range signers {
		if pub, err := publicKey(s); err == nil && bytes.Equal(pub, key) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("find signing key: none given belongs to this member's leaf: %w", ErrInvalid)
}

// active refuses to act in a group that is over for this member.
func (g *Group) active() error {
	if g.removed {
		return ErrNotMember
	}
	if g.reinit != nil {
		return ErrSuspended
	}
	return nil
}

func (g *Group) view() view { return view{g.s, &g.cur.context, g.tree, g.policy} }

// findPSK looks for a key in this group's own past, then in the store.
func (g *Group) findPSK(store PSKStore) func(PSKID) ([]byte, bool) {
	return func(id PSKID) ([]byte, bool) {
		if id.Type == PSKResumption && bytes.Equal(id.GroupID, g.cur.context.GroupID) {
			if psk, ok := g.ResumptionPSK(id.Epoch); ok {
				return psk, true
			}
		}
		return findIn(store, id)
	}
}

func findIn(store PSKStore, id PSKID) ([]byte, bool) {
	if store == nil {
		return nil, false
	}
	if id.Type == PSKExternal {
		return store.ExternalPSK(id.ID)
	}
	return store.ResumptionPSK(id.GroupID, id.Epoch)
}

// Framing says how a message is sent.
type Framing struct {
	// Public sends a PublicMessage, which a hub can read. Never for
	// application data.
	Public bool
	// AAD is authenticated and sent in the open.
	AAD []byte
	// Pad returns the padded size for content of a size, signature included;
	// nil pads nothing. Private messages only.
	Pad func(size int) int
}

func (f Framing) wire() WireFormat {
	if f.Public {
		return WirePublic
	}
	return WirePrivate
}

// content starts a message of this member in the current epoch.
func (g *Group) content(f Framing, kind ContentType, body []byte) (*authContent, error) {
	if len(f.AAD)+len(body) > MaxMessage/2 {
		return nil, fmt.Errorf("send message: %d bytes, at most %d allowed: %w", len(f.AAD)+len(body), MaxMessage/2, ErrInvalid)
	}
	return &authContent{wire: f.wire(), content: framedContent{
		groupID: g.cur.context.GroupID, epoch: g.Epoch(), sender: Sender{Type: SenderMember, Leaf: g.self},
		aad: f.AAD, kind: kind, body: body,
	}}, nil
}

// protect encodes signed content for the wire. The key it takes is final once
// the caller calls spend.
func (g *Group) protect(rand io.Reader, a *authContent, f Framing) (message []byte, spend func(), err error) {
	if f.Public {
		message, err = protectPublic(a, g.cur.secrets.membership, g.cur.contextRaw)
		return message, func() {}, err
	}
	message, st, err := g.cur.protectPrivate(rand, a, f.Pad)
	if err != nil {
		return nil, nil, err
	}
	return message, func() { g.applyStep(g.Epoch(), g.cur.tree, st) }, nil
}

// Encrypt protects application data for the group. Store the delta before the
// message leaves: the same key must never encrypt twice.
func (g *Group) Encrypt(rand io.Reader, data []byte, f Framing) ([]byte, error) {
	if err := g.active(); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if f.Public {
		return nil, fmt.Errorf("encrypt: application data is never sent in the open: %w", ErrInvalid)
	}
	signer, err := g.signer()
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	w := writer{make([]byte, 0, len(data)+4)}
	if len(data) > MaxMessage/2 {
		return nil, fmt.Errorf("encrypt: %d bytes, at most %d allowed: %w", len(data), MaxMessage/2, ErrInvalid)
	}
	w.vec(data)
	a, err := g.content(f, ContentApplication, w.b)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if err := a.sign(signer, g.cur.contextRaw); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	message, spend, err := g.protect(rand, a, f)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	spend()
	return message, nil
}

// applyStep makes a key's use final and remembers what to store.
func (g *Group) applyStep(epoch uint64, t *secretTree, st *step) {
	for _, x := range st.drop {
		g.mark(recordKey{kindSecretNode, epoch, uint32(x)})
	}
	for x := range st.add {
		g.mark(recordKey{kindSecretNode, epoch, uint32(x)})
	}
	for id := range st.ratchets {
		g.mark(id.record(epoch))
	}
	t.apply(st)
}
