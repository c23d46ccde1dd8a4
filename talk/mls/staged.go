package mls

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// Staged is a commit that was made or received and checked, but is not yet in
// force. The application looks at what it does, then merges or drops it.
type Staged struct {
	base      []byte // confirmation tag of the epoch it follows
	before    *ratchetTree
	committer Sender
	aad       []byte
	proposals []SentProposal
	added     []LeafIndex
	removed   []LeafIndex
	updated   []LeafIndex

	self     LeafIndex
	tree     *ratchetTree
	priv     map[nodeIndex]secret
	next     *epoch // nil if this member is removed
	reinit   *ReInit
	pathLeaf bool
}

// stagedFrom fills in what a list of proposals decides. The private keys are
// those that stay valid; the caller adds new ones.
func stagedFrom(g *Group, c *change, a *authContent, list []queued) *Staged {
	s := &Staged{
		base: g.cur.confirmationTag, before: g.tree, committer: a.content.sender, aad: a.content.aad,
		added: c.added, removed: c.removed, updated: c.updated,
		self: g.self, tree: c.tree, priv: map[nodeIndex]secret{}, reinit: c.reinit,
		pathLeaf: a.content.commit.path != nil,
	}
	for _, q := range list {
		s.proposals = append(s.proposals, SentProposal{q.Proposal, q.sender, q.ref})
	}
	for x, k := range g.priv {
		if sameKey(g.tree, c.tree, x) {
			s.priv[x] = k
		}
	}
	if k := c.leafKeys[g.self]; k != nil {
		s.priv[g.self.node()] = k
	}
	return s
}

// Committer returns who made the commit. After an external commit the new
// member is the last of Added.
func (s *Staged) Committer() Sender { return s.committer }

// AAD returns the authenticated data that came with the commit.
func (s *Staged) AAD() []byte { return s.aad }

// Proposals lists what the commit does, in its order.
func (s *Staged) Proposals() []SentProposal { return s.proposals }

// Added lists the new members.
func (s *Staged) Added() []Member { return membersAt(s.tree, s.added) }

// Removed lists the members who leave, with the leaves they had.
func (s *Staged) Removed() []Member { return membersAt(s.before, s.removed) }

// Updated lists the members who stay with a new leaf, the committer with a
// path included.
func (s *Staged) Updated() []Member {
	list := s.updated
	if s.pathLeaf && s.committer.Type == SenderMember {
		list = append(slices.Clone(list), s.committer.Leaf)
	}
	return membersAt(s.tree, list)
}

// Members lists all members as they will be.
func (s *Staged) Members() []Member {
	return (&Group{tree: s.tree}).Members()
}

// SelfRemoved reports whether the commit removes this member.
func (s *Staged) SelfRemoved() bool { return s.next == nil }

// ReInit returns the ReInit that the commit makes, or nil.
func (s *Staged) ReInit() *ReInit { return s.reinit }

// Context returns the group context of the new epoch, the zero value if this
// member is removed.
func (s *Staged) Context() GroupContext {
	if s.next == nil {
		return GroupContext{}
	}
	return s.next.context
}

// EpochAuthenticator is that of the new epoch, nil if this member is removed.
func (s *Staged) EpochAuthenticator() []byte {
	if s.next == nil {
		return nil
	}
	return bytes.Clone(s.next.secrets.authenticator)
}

func membersAt(t *ratchetTree, list []LeafIndex) []Member {
	out := make([]Member, len(list))
	for i, l := range list {
		out[i] = Member{l, t.leaf(l)}
	}
	return out
}

// Merge puts a staged commit in force. It must have been staged in the current
// epoch; the epoch's other commits, staged or not, are void afterwards.
func (g *Group) Merge(s *Staged) error {
	if g.removed || !bytes.Equal(s.base, g.cur.confirmationTag) {
		return fmt.Errorf("merge commit: staged in another epoch: %w", ErrWrongEpoch)
	}
	g.mark(recordKey{kind: kindHead})
	g.markProposals()
	g.proposals = nil
	if s.next == nil {
		g.removed = true
		return nil
	}
	g.markTree(g.tree, s.tree)
	for x := range g.priv {
		g.mark(recordKey{kindPrivate, 0, uint32(x)})
	}
	for x := range s.priv {
		g.mark(recordKey{kindPrivate, 0, uint32(x)})
	}
	for x, k := range g.priv {
		if kept := s.priv[x]; len(k) > 0 && (len(kept) == 0 || &kept[0] != &k[0]) {
			k.wipe()
		}
	}
	g.retire(s)
	g.tree, g.priv, g.self, g.cur, g.reinit = s.tree, maps.Clone(s.priv), s.self, s.next, s.reinit
	g.markSecretTree(g.Epoch(), g.cur.tree)
	return nil
}

// retire moves the current epoch among the past ones and forgets the oldest.
func (g *Group) retire(s *Staged) {
	old := g.cur
	p := &pastEpoch{epoch: g.Epoch(), contextRaw: old.contextRaw, senderData: bytes.Clone(old.secrets.senderData),
		tree: old.tree, undo: map[LeafIndex]*LeafNode{}}
	for i, l := range g.tree.leaves {
		if s.tree.leaf(LeafIndex(i)) != l {
			p.undo[LeafIndex(i)] = l
		}
	}
	for i := len(g.tree.leaves); i < len(s.tree.leaves); i++ {
		if s.tree.leaves[i] != nil {
			p.undo[LeafIndex(i)] = nil
		}
	}
	g.past = append(g.past, p)
	g.mark(recordKey{kindPast, p.epoch, 0})
	for len(g.past) > g.policy.KeepEpochs {
		oldest := g.past[0]
		g.mark(recordKey{kindPast, oldest.epoch, 0})
		g.markSecretTree(oldest.epoch, oldest.tree)
		oldest.tree.wipe()
		oldest.senderData.wipe()
		g.past = slices.Delete(g.past, 0, 1)
	}
	g.resumption = append(g.resumption, resumptionSecret{p.epoch, bytes.Clone(old.secrets.resumption)})
	g.mark(recordKey{kindResumption, p.epoch, 0})
	for len(g.resumption) > g.policy.KeepResumption {
		oldest := g.resumption[0]
		g.mark(recordKey{kindResumption, oldest.epoch, 0})
		oldest.secret.wipe()
		g.resumption = slices.Delete(g.resumption, 0, 1)
	}
	old.secrets.wipe()
}
