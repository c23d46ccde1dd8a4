package mls

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
	"slices"
)

// CommitOptions says what a commit does. The zero value commits what is
// pending, as a private message: whatever any member proposed, so the
// application first looks at Group.Pending and forgets what its rules refuse.
type CommitOptions struct {
	// Proposals are made and committed at once.
	Proposals []Proposal
	// IgnorePending leaves out the proposals sent or received in this epoch.
	IgnorePending bool
	// Path renews this member's keys even where the proposals do not demand it.
	Path bool
	// Template and Signer change this member's leaf; either forces a path.
	Template *LeafTemplate
	Signer   crypto.Signer
	// PSKs holds the keys that the proposals name.
	PSKs PSKStore
	// TreeOutside leaves the tree out of the Welcome; joiners then need
	// Group.RatchetTree of the new epoch.
	TreeOutside bool
	// GroupInfo extends the GroupInfo inside the Welcome.
	GroupInfo []Extension
	Framing
}

// Committed is a commit that is not yet in force. Send Message to the group;
// when it is the epoch's accepted commit, Merge Staged and send Welcome to
// those added. Otherwise drop it.
type Committed struct {
	Message []byte
	Welcome []byte // nil if nobody was added
	Staged  *Staged
}

// Commit makes a commit of proposals (RFC 9420 §12.4.1). The group stays in its
// epoch until the result is merged.
func (g *Group) Commit(rand io.Reader, o CommitOptions) (*Committed, error) {
	out, spend, err := g.prepareCommit(rand, o)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	spend()
	if o.Signer != nil {
		g.AddSigner(o.Signer)
	}
	return out, nil
}

func (g *Group) prepareCommit(rand io.Reader, o CommitOptions) (*Committed, func(), error) {
	if err := g.active(); err != nil {
		return nil, nil, err
	}
	signer, err := g.signer()
	if err != nil {
		return nil, nil, err
	}
	given, pending, err := g.proposalsFor(o)
	if err != nil {
		return nil, nil, err
	}
	committer := Sender{Type: SenderMember, Leaf: g.self}
	list := append(pending, given...)
	change, err := g.view().apply(committer, list)
	if err != nil && len(pending) > 0 {
		list, change, err = g.reconcile(committer, given, pending)
	}
	if err != nil {
		return nil, nil, err
	}
	b := &builder{
		view: g.view(), change: change, rand: rand, committer: committer, self: g.self,
		signer: signer, wire: o.wire(), aad: o.AAD, list: list, interim: g.cur.interim, init: g.cur.secrets.init,
		findPSK: g.findPSK(o.PSKs),
	}
	if b.needsPath || o.Path || o.Template != nil || o.Signer != nil {
		priv, leaf, leafSigner, err := g.renew(rand, SourceCommit, o.Template, o.Signer)
		if err != nil {
			return nil, nil, err
		}
		if err := b.makePath(priv, leaf, leafSigner, g.tree.leaf(g.self)); err != nil {
			return nil, nil, err
		}
	}
	if err := b.makeEpoch(g.cur.contextRaw); err != nil {
		return nil, nil, err
	}
	out := &Committed{Staged: b.staged(g)}
	if len(b.added) > 0 {
		if signer, err = matchSigner(append(slices.Clone(g.signers), o.Signer), b.change.tree.leaf(g.self).SignatureKey); err != nil {
			return nil, nil, err
		}
		if out.Welcome, err = b.welcome(signer, !o.TreeOutside, o.GroupInfo); err != nil {
			return nil, nil, err
		}
	}
	var spend func()
	out.Message, spend, err = g.protect(rand, b.content, o.Framing)
	return out, spend, err
}

// proposalsFor lists what a commit is told to hold and what it may hold.
func (g *Group) proposalsFor(o CommitOptions) (given, pending []queued, err error) {
	for i := range o.Proposals {
		p, err := o.Proposals[i].canonical()
		if err != nil {
			return nil, nil, err
		}
		given = append(given, queued{Proposal: p, sender: Sender{Type: SenderMember, Leaf: g.self}})
	}
	if !o.IgnorePending {
		pending = g.compatible(given, o.PSKs)
	}
	return given, pending, nil
}

// reconcile drops the pending proposals that do not go with the rest, one by
// one: no member may stop all commits with a proposal that is right by itself
// and wrong in this group, such as an Add with somebody's encryption key.
func (g *Group) reconcile(committer Sender, given, pending []queued) (list []queued, c *change, err error) {
	if c, err = g.view().apply(committer, given); err != nil {
		return nil, nil, err
	}
	list = given
	for _, q := range pending[:min(len(pending), maxReconcile)] {
		longer := append(slices.Clone(list), q)
		if next, err := g.view().apply(committer, longer); err == nil {
			list, c = longer, next
		}
	}
	return list, c, nil
}

// builder makes a commit, by a member or from outside.
type builder struct {
	view
	*change
	rand      io.Reader
	committer Sender
	self      LeafIndex
	signer    crypto.Signer
	wire      WireFormat
	aad       []byte
	list      []queued
	interim   []byte
	init      secret
	findPSK   func(PSKID) ([]byte, bool)

	path       *updatePath
	own        *ownPath
	leafKey    secret
	commitment secret // commit secret
	joiner     secret
	psk        secret
	next       *epoch
	content    *authContent
}

// makePath renews the committer's leaf and path.
func (b *builder) makePath(priv secret, leaf *LeafNode, signer crypto.Signer, replaces *LeafNode) (err error) {
	if b.own, err = b.change.tree.newPath(b.rand, b.s, b.self); err != nil {
		return err
	}
	leaf.ParentHash = b.own.parentHash
	if err := leaf.sign(signer, b.context.GroupID, b.self); err != nil {
		return err
	}
	r := reader{b: leaf.raw} // what was made is read back, as a receiver would
	if leaf = r.leafNode(); r.end() != nil {
		return fmt.Errorf("make leaf node: %w", r.err)
	}
	b.change.tree.setLeaf(b.self, leaf)
	if err := b.checkPathLeaf(b.change, b.self, leaf, replaces, b.own.path); err != nil {
		return err
	}
	b.leafKey, b.commitment = priv, b.own.commitSecret()
	context := b.provisional(b.change)
	nodes, err := b.own.encrypt(b.rand, b.s, b.change.tree, context.bytes(), b.added)
	b.path = &updatePath{leaf, nodes}
	return err
}

// makeEpoch signs the commit and derives the epoch that follows.
func (b *builder) makeEpoch(contextRaw []byte) (err error) {
	if b.commitment == nil {
		b.commitment = make(secret, hashSize)
	}
	c := commit{path: b.path}
	for _, q := range b.list {
		c.proposals = append(c.proposals, q.orRef())
	}
	var w writer
	c.encode(&w)
	if len(w.b)+len(b.aad) > MaxMessage/2 {
		return fmt.Errorf("encode commit: %d bytes, at most %d allowed: %w", len(w.b)+len(b.aad), MaxMessage/2, ErrInvalid)
	}
	b.content = &authContent{wire: b.wire, content: framedContent{
		groupID: b.context.GroupID, epoch: b.context.Epoch, sender: b.committer, aad: b.aad,
		kind: ContentCommit, body: w.b, commit: &c,
	}}
	if err := b.content.sign(b.signer, contextRaw); err != nil {
		return err
	}
	if b.psk, err = pskSecret(b.psks, b.findPSK); err != nil {
		return err
	}
	context := b.provisional(b.change)
	context.ConfirmedTranscriptHash = confirmedTranscript(b.interim, b.content)
	b.joiner = joinerSecret(b.init, b.commitment, context.bytes())
	b.next = newEpoch(b.s, context, b.joiner, b.psk, b.change.tree.size())
	b.content.confirmationTag = b.next.tag()
	b.next.confirm(b.content.confirmationTag)
	return b.policy.judge(b.candidates)
}

// staged gives the result in the form that merging takes.
func (b *builder) staged(g *Group) *Staged {
	s := stagedFrom(g, b.change, b.content, b.list)
	s.next = b.next
	if b.own != nil {
		s.priv[b.self.node()] = b.leafKey
		for x, k := range b.own.priv {
			s.priv[x] = k
		}
	}
	return s
}

// provisional is the group context that paths are encrypted in: of the new
// epoch, with the old transcript (§12.4.1).
func (v view) provisional(c *change) GroupContext {
	return GroupContext{
		Suite: v.s.id, GroupID: v.context.GroupID, Epoch: v.context.Epoch + 1, TreeHash: c.tree.rootHash(),
		ConfirmedTranscriptHash: v.context.ConfirmedTranscriptHash, Extensions: c.extensions,
	}
}

// checkPathLeaf judges the leaf of a path, which is already in the tree with
// the path's keys.
func (v view) checkPathLeaf(c *change, l LeafIndex, leaf, replaces *LeafNode, path []nodeIndex) error {
	if leaf.Source != SourceCommit {
		return fmt.Errorf("check path: leaf node made for something else: %w", ErrInvalid)
	}
	if replaces != nil && bytes.Equal(leaf.EncryptionKey, replaces.EncryptionKey) {
		return fmt.Errorf("check path: encryption key is the old one: %w", ErrInvalid)
	}
	if err := leaf.check(v.s, c.extensions); err != nil {
		return fmt.Errorf("check path: %w", err)
	}
	keys := make([][]byte, len(path))
	for i, x := range path {
		keys[i] = c.tree.key(x)
		if err := v.s.checkPublic(keys[i]); err != nil {
			return fmt.Errorf("check path: %w", err)
		}
	}
	if err := c.tree.checkUnique([]LeafIndex{l}, keys); err != nil {
		return err
	}
	if err := leaf.verify(v.context.GroupID, l); err != nil {
		return fmt.Errorf("check path: %w", err)
	}
	c.candidates = append(c.candidates, v.candidate(leaf, replaces))
	return c.tree.checkCredentialTypes()
}
