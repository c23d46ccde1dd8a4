package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// Received is a message that proved authentic. Exactly one of Data, Proposal
// and Commit is set, as Kind says.
type Received struct {
	Kind   ContentType
	Sender Sender
	Leaf   *LeafNode // the sender's leaf in the message's epoch; nil if not a member
	Epoch  uint64
	AAD    []byte

	Data     []byte        // application data
	Proposal *SentProposal // now pending
	Commit   *Staged       // to be merged or dropped
}

// Receive authenticates a message for this group. Application data may be of a
// past epoch that is kept; proposals and commits must be of the current one.
//
// A proposal becomes pending; a commit is staged and changes nothing but the
// sender's ratchet until it is merged. psks holds the keys that a commit may
// name and may be nil.
func (g *Group) Receive(m *Message, psks PSKStore) (*Received, error) {
	var r *Received
	var err error
	switch {
	case m.private != nil:
		r, err = g.receivePrivate(m.private, psks)
	case m.public != nil:
		r, err = g.receivePublic(m.public, psks)
	default:
		err = fmt.Errorf("wire format %d is not for a group: %w", m.Format, ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return r, nil
}

func (g *Group) receivePrivate(p *privateMessage, psks PSKStore) (*Received, error) {
	if !bytes.Equal(p.groupID, g.cur.context.GroupID) {
		return nil, ErrWrongGroup
	}
	if p.epoch != g.Epoch() {
		return g.receivePast(p)
	}
	a, st, err := openPrivate(g.cur.tree, g.cur.secrets.senderData, p, func(l LeafIndex) error {
		return g.maySend(l, g.tree.leaf(l))
	})
	if err != nil {
		return nil, err
	}
	r, err := g.accept(a, psks)
	if err != nil {
		return nil, err
	}
	g.applyStep(p.epoch, g.cur.tree, st)
	g.keep(r, a)
	return r, nil
}

// receivePast reads application data that comes late.
func (g *Group) receivePast(p *privateMessage) (*Received, error) {
	if p.kind != ContentApplication {
		return nil, fmt.Errorf("proposal or commit of epoch %d in epoch %d: %w", p.epoch, g.Epoch(), ErrWrongEpoch)
	}
	for i, old := range g.past {
		if old.epoch != p.epoch {
			continue
		}
		a, st, err := openPrivate(old.tree, old.senderData, p, func(l LeafIndex) error {
			return g.maySend(l, g.leafThen(i, l))
		})
		if err != nil {
			return nil, err
		}
		leaf := g.leafThen(i, a.content.sender.Leaf)
		if err := a.verify(leaf.SignatureKey, old.contextRaw); err != nil {
			return nil, err
		}
		g.applyStep(p.epoch, old.tree, st)
		return receivedFrom(a, leaf), nil
	}
	return nil, fmt.Errorf("message of epoch %d in epoch %d: %w", p.epoch, g.Epoch(), ErrWrongEpoch)
}

// maySend refuses private messages from nobody, and from this member: what it
// sent itself it cannot read, and what another copy of its state sent must not
// turn its ratchet.
func (g *Group) maySend(l LeafIndex, leaf *LeafNode) error {
	if leaf == nil {
		return fmt.Errorf("leaf %d is nobody's: %w", l, ErrInvalid)
	}
	if l == g.self {
		return fmt.Errorf("own message comes back: %w", ErrConsumed)
	}
	return nil
}

// leafThen is a leaf as it was in the i-th kept epoch.
func (g *Group) leafThen(i int, l LeafIndex) *LeafNode {
	for _, p := range g.past[i:] {
		if leaf, changed := p.undo[l]; changed {
			return leaf
		}
	}
	return g.tree.leaf(l)
}

func (g *Group) receivePublic(p *publicMessage, psks PSKStore) (*Received, error) {
	c := &p.content
	if !bytes.Equal(c.groupID, g.cur.context.GroupID) {
		return nil, ErrWrongGroup
	}
	if c.epoch != g.Epoch() {
		return nil, fmt.Errorf("message of epoch %d in epoch %d: %w", c.epoch, g.Epoch(), ErrWrongEpoch)
	}
	if c.kind == ContentApplication {
		return nil, fmt.Errorf("application data in a public message: %w", ErrInvalid)
	}
	if c.sender.Type == SenderMember {
		if !equalMAC(p.membershipTag, p.membership(g.cur.secrets.membership, g.cur.contextRaw)) {
			return nil, fmt.Errorf("verify membership tag: %w", ErrUnauthentic)
		}
	}
	r, err := g.accept(&p.authContent, psks)
	if err != nil {
		return nil, err
	}
	g.keep(r, &p.authContent)
	return r, nil
}

func receivedFrom(a *authContent, leaf *LeafNode) *Received {
	c := &a.content
	return &Received{Kind: c.kind, Sender: c.sender, Leaf: leaf, Epoch: c.epoch, AAD: c.aad, Data: c.application}
}

// accept verifies who signed the content and judges it. It changes nothing.
func (g *Group) accept(a *authContent, psks PSKStore) (*Received, error) {
	c := &a.content
	key, leaf, err := g.signatureKey(c)
	if err != nil {
		return nil, err
	}
	if err := a.verify(key, g.cur.contextRaw); err != nil {
		return nil, err
	}
	r := receivedFrom(a, leaf)
	if c.kind == ContentApplication {
		return r, nil
	}
	if err := g.active(); err != nil {
		return nil, err
	}
	if c.kind == ContentProposal {
		if err := g.room(c.proposal, c.sender); err != nil {
			return nil, err
		}
		ref := proposalRef(a.bytes())
		for _, q := range g.proposals {
			if bytes.Equal(q.ref, ref) {
				return nil, fmt.Errorf("proposal is pending already: %w", ErrConsumed)
			}
		}
		if err := g.view().checkProposal(c.proposal, c.sender); err != nil {
			return nil, err
		}
		r.Proposal = &SentProposal{c.proposal, c.sender, ref}
		return r, nil
	}
	if c.sender.Type == SenderMember && c.sender.Leaf == g.self {
		return nil, fmt.Errorf("own commit comes back: merge what Commit returned: %w", ErrConsumed)
	}
	r.Commit, err = g.stage(a, psks)
	return r, err
}

// keep remembers an accepted proposal.
func (g *Group) keep(r *Received, a *authContent) {
	if r.Proposal != nil {
		g.remember(queued{Proposal: a.content.proposal, sender: a.content.sender, ref: r.Proposal.Ref})
	}
}

// signatureKey finds whose key must have signed (RFC 9420 §6.1), and whether
// such a sender may send such a thing at all.
func (g *Group) signatureKey(c *framedContent) (key []byte, leaf *LeafNode, err error) {
	switch c.sender.Type {
	case SenderMember:
		if leaf = g.tree.leaf(c.sender.Leaf); leaf == nil {
			return nil, nil, fmt.Errorf("sender leaf %d is nobody's: %w", c.sender.Leaf, ErrInvalid)
		}
		return leaf.SignatureKey, leaf, nil
	case SenderExternal:
		if c.kind != ContentProposal || !c.proposal.Type.externally() {
			return nil, nil, fmt.Errorf("external sender may not send this: %w", ErrInvalid)
		}
		senders, err := externalSenders(g.cur.context.Extensions)
		if err != nil {
			return nil, nil, err
		}
		if int64(c.sender.Index) >= int64(len(senders)) {
			return nil, nil, fmt.Errorf("external sender %d is not listed: %w", c.sender.Index, ErrInvalid)
		}
		return senders[c.sender.Index].SignatureKey, nil, nil
	case SenderNewMemberProposal:
		if c.kind != ContentProposal || c.proposal.Type != ProposalAdd {
			return nil, nil, fmt.Errorf("new member may propose only to be added: %w", ErrInvalid)
		}
		return c.proposal.Add.Leaf.SignatureKey, nil, nil
	default:
		if c.kind != ContentCommit || c.commit.path == nil {
			return nil, nil, fmt.Errorf("external commit without a path: %w", ErrInvalid)
		}
		return c.commit.path.leaf.SignatureKey, nil, nil
	}
}

// externally reports whether external senders may propose the type.
func (t ProposalType) externally() bool {
	return t != ProposalUpdate && t != ProposalExternalInit
}

// stage checks a received commit and derives the epoch it leads to (§12.4.2).
func (g *Group) stage(a *authContent, psks PSKStore) (*Staged, error) {
	c := &a.content
	list, err := g.resolve(c)
	if err != nil {
		return nil, err
	}
	v := g.view()
	ch, err := v.apply(c.sender, list)
	if err != nil {
		return nil, err
	}
	path := c.commit.path
	if path == nil && ch.needsPath {
		return nil, fmt.Errorf("check commit: its proposals demand a path: %w", ErrInvalid)
	}
	st := stagedFrom(g, ch, a, list)
	commitSecret := make(secret, hashSize)
	if path != nil {
		got, err := g.applyPath(v, ch, st, c.sender, path)
		if err != nil {
			return nil, err
		}
		if got == nil {
			// This member is removed: it cannot follow, only judge.
			return st, v.policy.judge(ch.candidates)
		}
		commitSecret = got.commit
		for x, k := range got.priv {
			st.priv[x] = k
		}
	}
	psk, err := pskSecret(ch.psks, g.findPSK(psks))
	if err != nil {
		return nil, err
	}
	init := g.cur.secrets.init
	if ch.kemOutput != nil {
		priv, _, err := g.s.keyPair(g.cur.secrets.external)
		if err != nil {
			return nil, err
		}
		if init, err = g.s.decapExternalInit(priv, ch.kemOutput); err != nil {
			return nil, err
		}
	}
	context := v.provisional(ch)
	context.ConfirmedTranscriptHash = confirmedTranscript(g.cur.interim, a)
	next := newEpoch(g.s, context, joinerSecret(init, commitSecret, context.bytes()), psk, ch.tree.size())
	if !equalMAC(next.tag(), a.confirmationTag) {
		return nil, fmt.Errorf("verify confirmation tag: %w", ErrUnauthentic)
	}
	next.confirm(a.confirmationTag)
	st.next = next
	return st, v.policy.judge(ch.candidates)
}

// resolve finds the proposals of a commit.
func (g *Group) resolve(c *framedContent) ([]queued, error) {
	var pending map[string]queued
	list := make([]queued, 0, len(c.commit.proposals))
	for _, p := range c.commit.proposals {
		if p.proposal != nil {
			list = append(list, queued{Proposal: p.proposal, sender: c.sender})
			continue
		}
		if pending == nil {
			pending = make(map[string]queued, len(g.proposals))
			for _, q := range g.proposals {
				pending[string(q.ref)] = q
			}
		}
		q, ok := pending[string(p.ref)]
		if !ok {
			return nil, fmt.Errorf("resolve commit: %w", ErrUnknownProposal)
		}
		list = append(list, q)
	}
	return list, nil
}

// applyPath checks a path, puts it into the tree and opens it. It returns nil
// if this member is no longer in the tree.
func (g *Group) applyPath(v view, ch *change, st *Staged, from Sender, path *updatePath) (*opened, error) {
	leaf := path.leaf.detach()
	at, replaces := from.Leaf, g.tree.leaf(from.Leaf)
	if from.Type == SenderNewMemberCommit {
		var err error
		if at, err = ch.tree.add(leaf); err != nil {
			return nil, err
		}
		ch.added, st.added = []LeafIndex{at}, []LeafIndex{at}
		replaces = nil
		if len(ch.removed) > 0 {
			replaces = g.tree.leaf(ch.removed[0])
		}
	}
	nodes, copath, parentHash, err := ch.tree.setPath(at, path.keys())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(parentHash, leaf.ParentHash) {
		return nil, fmt.Errorf("check path: parent hash does not match: %w", ErrInvalid)
	}
	ch.tree.setLeaf(at, leaf)
	if err := v.checkPathLeaf(ch, at, leaf, replaces, nodes); err != nil {
		return nil, err
	}
	if slices.Contains(ch.removed, g.self) {
		return nil, nil
	}
	for x := range st.priv { // the path replaced the keys of some nodes
		if x != g.self.node() && !sameKey(g.tree, ch.tree, x) {
			delete(st.priv, x)
		}
	}
	var joining []LeafIndex
	if from.Type == SenderMember {
		joining = ch.added
	}
	context := v.provisional(ch)
	return ch.tree.openPath(g.s, g.self, nodes, copath, path.nodes, st.priv, context.bytes(), joining)
}
