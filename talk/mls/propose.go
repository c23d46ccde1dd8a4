package mls

import (
	"crypto"
	"fmt"
	"io"
	"slices"
)

// Propose sends a proposal and remembers it for the next commit. Updates are
// made by ProposeUpdate.
func (g *Group) Propose(rand io.Reader, p Proposal, f Framing) ([]byte, error) {
	if p.Type == ProposalUpdate || p.Type == ProposalExternalInit {
		return nil, fmt.Errorf("propose: type %d cannot be proposed so: %w", p.Type, ErrInvalid)
	}
	q, err := p.canonical()
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	return g.propose(rand, queued{Proposal: q}, f)
}

// ProposeUpdate offers a new leaf for this member, with a fresh encryption key.
// A nil template keeps what the leaf says; a nil signer keeps its signing key.
func (g *Group) ProposeUpdate(rand io.Reader, t *LeafTemplate, signer crypto.Signer, f Framing) ([]byte, error) {
	if err := g.active(); err != nil {
		return nil, fmt.Errorf("propose update: %w", err)
	}
	priv, leaf, signer, err := g.renew(rand, SourceUpdate, t, signer)
	if err != nil {
		return nil, fmt.Errorf("propose update: %w", err)
	}
	if err := leaf.sign(signer, g.cur.context.GroupID, g.self); err != nil {
		return nil, fmt.Errorf("propose update: %w", err)
	}
	p := Proposal{Type: ProposalUpdate, Update: leaf}
	q, err := p.canonical()
	if err != nil {
		return nil, fmt.Errorf("propose update: %w", err)
	}
	message, err := g.propose(rand, queued{Proposal: q, leafKey: priv}, f)
	if err != nil {
		return nil, err
	}
	g.AddSigner(signer)
	return message, nil
}

// renew prepares an unsigned new leaf for this member.
func (g *Group) renew(rand io.Reader, source LeafSource, t *LeafTemplate, signer crypto.Signer) (secret, *LeafNode, crypto.Signer, error) {
	old := g.tree.leaf(g.self)
	if t == nil {
		t = new(old.template())
	}
	if signer == nil {
		var err error
		if signer, err = g.signer(); err != nil {
			return nil, nil, nil, err
		}
	}
	pub, err := publicKey(signer)
	if err != nil {
		return nil, nil, nil, err
	}
	priv, encryption, err := g.s.freshKeyPair(rand)
	if err != nil {
		return nil, nil, nil, err
	}
	return priv, t.leaf(source, encryption, pub), signer, nil
}

func (g *Group) propose(rand io.Reader, q queued, f Framing) ([]byte, error) {
	if err := g.active(); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	q.sender = Sender{Type: SenderMember, Leaf: g.self}
	if err := g.room(q.Proposal, q.sender); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	if err := g.view().checkProposal(q.Proposal, q.sender); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	signer, err := g.signer()
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	a, err := g.content(f, ContentProposal, q.raw)
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	if err := a.sign(signer, g.cur.contextRaw); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	message, spend, err := g.protect(rand, a, f)
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	spend()
	q.ref = proposalRef(a.bytes())
	g.remember(q)
	return message, nil
}

// remember keeps a proposal until the epoch ends.
func (g *Group) remember(q queued) {
	g.proposals = append(g.proposals, q)
	g.mark(recordKey{kindProposal, 0, uint32(len(g.proposals) - 1)})
}

// room refuses a proposal that would make the pending ones too many. Those who
// ask in may be anybody, so they have a small room of their own.
func (g *Group) room(p *Proposal, from Sender) error {
	size, asking := len(p.raw), 0
	for _, q := range g.proposals {
		size += len(q.raw)
		if q.sender.Type == SenderNewMemberProposal {
			asking++
		}
	}
	if from.Type == SenderNewMemberProposal && asking >= MaxAsking {
		return fmt.Errorf("%d clients are asking in: %w", asking, ErrInvalid)
	}
	if len(g.proposals) >= MaxPendingProposals || size > MaxMessage {
		return fmt.Errorf("%d proposals of %d bytes are pending; commit them first: %w", len(g.proposals), size, ErrInvalid)
	}
	return nil
}

// choice is a set of proposals that go together in a commit, as it grows.
type choice struct {
	removed, updated map[LeafIndex]bool
	clients          map[string]bool
	psks             []PSKID
	extensions       bool
}

// compatible picks from the pending proposals those that one commit of this
// member can hold: removals before updates, the later before the earlier, and
// a reinit only alone. It leaves out credentials that the application refuses
// and pre-shared keys that this member does not hold.
func (g *Group) compatible(given []queued, psks PSKStore) []queued {
	// Never its own update or removal.
	c := &choice{removed: map[LeafIndex]bool{g.self: true}, updated: map[LeafIndex]bool{}, clients: map[string]bool{}}
	for _, q := range given {
		c.add(q)
	}
	alone := len(g.proposals) == 1 && len(given) == 0
	var out []queued
	for _, removals := range []bool{true, false} {
		for _, q := range slices.Backward(g.proposals) {
			if removals == (q.Type == ProposalRemove) && c.fits(q, alone) && g.acceptable(q, psks) {
				c.add(q)
				out = append(out, q)
			}
		}
	}
	slices.Reverse(out)
	return out
}

// acceptable reports whether this member could commit a proposal at all.
func (g *Group) acceptable(q queued, psks PSKStore) bool {
	v := g.view()
	switch q.Type {
	case ProposalAdd:
		return g.policy.judge([]Candidate{v.candidate(q.Add.Leaf, nil)}) == nil
	case ProposalUpdate:
		return g.policy.judge([]Candidate{v.candidate(q.Update, g.tree.leaf(q.sender.Leaf))}) == nil
	case ProposalExtensions:
		candidates, err := v.checkExtensions(q.Extensions)
		return err == nil && g.policy.judge(candidates) == nil
	case ProposalPSK:
		_, ok := g.findPSK(psks)(q.PSK)
		return ok
	}
	return true
}

func (c *choice) add(q queued) {
	switch q.Type {
	case ProposalRemove:
		c.removed[q.Remove] = true
	case ProposalUpdate:
		c.updated[q.sender.Leaf] = true
	case ProposalAdd:
		c.clients[string(q.Add.Leaf.SignatureKey)] = true
	case ProposalPSK:
		c.psks = append(c.psks, q.PSK)
	case ProposalExtensions:
		c.extensions = true
	}
}

func (c *choice) fits(q queued, alone bool) bool {
	switch q.Type {
	case ProposalRemove:
		return !c.removed[q.Remove]
	case ProposalUpdate:
		return !c.removed[q.sender.Leaf] && !c.updated[q.sender.Leaf]
	case ProposalAdd:
		return !c.clients[string(q.Add.Leaf.SignatureKey)]
	case ProposalExtensions:
		return !c.extensions
	case ProposalPSK:
		return len(c.psks) < maxPSKs && !slices.ContainsFunc(c.psks, q.PSK.same)
	case ProposalReInit:
		return alone
	}
	return true
}
