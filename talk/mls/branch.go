package mls

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
	"slices"
)

// Successor says how a group is made from another.
type Successor struct {
	// Members are the key packages of the others, made for the new suite.
	Members []*KeyPackage
	// Template is this member's leaf; the zero value keeps what it says now.
	Template *LeafTemplate
	// Signer signs in the new group; nil keeps the signing key.
	Signer crypto.Signer
	// TreeOutside leaves the tree out of the Welcome.
	TreeOutside bool
}

// Branch starts a group of some of this group's members, under another id
// (RFC 9420 §11.3). It proves its descent by this epoch's resumption key. The
// returned group is at epoch 0: merge Committed.Staged into it, then send
// Committed.Welcome.
func (g *Group) Branch(rand io.Reader, groupID []byte, extensions []Extension, o Successor) (*Group, *Committed, error) {
	if g.removed {
		return nil, nil, fmt.Errorf("branch: %w", ErrNotMember)
	}
	if bytes.Equal(groupID, g.cur.context.GroupID) {
		return nil, nil, fmt.Errorf("branch: new group has the old id: %w", ErrInvalid)
	}
	child, out, err := g.succeed(rand, g.s.id, groupID, extensions, UsageBranch, o)
	if err != nil {
		return nil, nil, fmt.Errorf("branch: %w", err)
	}
	return child, out, nil
}

// Reinitialise starts the group that a committed ReInit announces (§11.2).
func (g *Group) Reinitialise(rand io.Reader, o Successor) (*Group, *Committed, error) {
	if g.removed || g.reinit == nil {
		return nil, nil, fmt.Errorf("reinitialise: no ReInit was committed: %w", ErrInvalid)
	}
	r := g.reinit
	child, out, err := g.succeed(rand, r.Suite, r.GroupID, r.Extensions, UsageReInit, o)
	if err != nil {
		return nil, nil, fmt.Errorf("reinitialise: %w", err)
	}
	return child, out, nil
}

func (g *Group) succeed(rand io.Reader, id CipherSuite, groupID []byte, extensions []Extension, usage PSKUsage, o Successor) (*Group, *Committed, error) {
	signer := o.Signer
	if signer == nil {
		var err error
		if signer, err = g.signer(); err != nil {
			return nil, nil, err
		}
	}
	t := g.tree.leaf(g.self).template()
	if o.Template != nil {
		t = *o.Template
	}
	child, err := Create(rand, id, groupID, signer, t, extensions, g.policy)
	if err != nil {
		return nil, nil, err
	}
	p, err := pskProposal(rand, PSKID{Type: PSKResumption, Usage: usage, GroupID: g.cur.context.GroupID, Epoch: g.Epoch()})
	if err != nil {
		return nil, nil, err
	}
	list := []Proposal{p}
	for _, k := range o.Members {
		list = append(list, AddProposal(k))
	}
	// Members are held against this group before anybody sees a Welcome.
	leaves := []*LeafNode{child.tree.leaf(0)}
	for _, k := range o.Members {
		leaves = append(leaves, k.Leaf)
	}
	if err := g.checkKin(leaves, usage); err != nil {
		return nil, nil, err
	}
	out, err := child.Commit(rand, CommitOptions{Proposals: list, Path: true, PSKs: parentPSK{g, nil},
		TreeOutside: o.TreeOutside, Framing: Framing{Public: true}})
	if err != nil {
		return nil, nil, err
	}
	return child, out, nil
}

// parentPSK answers for one group's resumption keys before asking a store.
type parentPSK struct {
	parent *Group
	store  PSKStore
}

// ExternalPSK implements PSKStore.
func (p parentPSK) ExternalPSK(id []byte) ([]byte, bool) {
	if p.store == nil {
		return nil, false
	}
	return p.store.ExternalPSK(id)
}

// ResumptionPSK implements PSKStore.
func (p parentPSK) ResumptionPSK(groupID []byte, epoch uint64) ([]byte, bool) {
	if p.parent != nil && bytes.Equal(groupID, p.parent.cur.context.GroupID) {
		if psk, ok := p.parent.ResumptionPSK(epoch); ok {
			return psk, true
		}
	}
	if p.store == nil {
		return nil, false
	}
	return p.store.ResumptionPSK(groupID, epoch)
}

func (o *JoinOptions) findPSK() func(PSKID) ([]byte, bool) {
	store := parentPSK{o.Parent, o.PSKs}
	return func(id PSKID) ([]byte, bool) { return findIn(store, id) }
}

// checkKin requires that the leaves of a successor stand for members of this
// group: some of them in a branch, all of them in a reinitialisation. MLS
// leaves it to the application what makes two leaves one client; the measure
// here is the credential.
func (g *Group) checkKin(leaves []*LeafNode, usage PSKUsage) error {
	count := 0
	known := make(map[string]int)
	for _, l := range g.tree.leaves {
		if l != nil {
			count++
			known[credentialKey(l)]++
		}
	}
	for _, l := range leaves {
		k := credentialKey(l)
		if known[k] == 0 {
			return fmt.Errorf("check members: one is not a member of the old group: %w", ErrInvalid)
		}
		known[k]--
	}
	if usage == UsageReInit && len(leaves) != count {
		return fmt.Errorf("check members: %d of %d old members: %w", len(leaves), count, ErrInvalid)
	}
	return nil
}

func credentialKey(l *LeafNode) string {
	var w writer
	l.Credential.encode(&w)
	return string(w.b)
}

// checkDescent checks a group that claims to be made from another (§11.2,
// §11.3), and that one which does not claim it needs no parent.
func (o *JoinOptions) checkDescent(gi *GroupInfo, psks []PSKID, tree *ratchetTree) error {
	i := slices.IndexFunc(psks, func(p PSKID) bool { return p.Type == PSKResumption && p.Usage != UsageApplication })
	if i < 0 {
		if o.Parent != nil {
			return fmt.Errorf("check descent: the group does not prove it: %w", ErrInvalid)
		}
		return nil
	}
	id, parent := psks[i], o.Parent
	others := slices.ContainsFunc(psks[i+1:], func(p PSKID) bool { return p.Type == PSKResumption && p.Usage != UsageApplication })
	if parent == nil || others || !bytes.Equal(id.GroupID, parent.cur.context.GroupID) {
		return fmt.Errorf("check descent: from a group that was not given: %w", ErrInvalid)
	}
	c := &gi.Context
	if c.Epoch != 1 {
		return fmt.Errorf("check descent: claimed at epoch %d, not at 1: %w", c.Epoch, ErrInvalid)
	}
	if id.Usage == UsageBranch && c.Suite != parent.s.id {
		return fmt.Errorf("check descent: branch of another suite: %w", ErrInvalid)
	}
	if id.Usage == UsageReInit {
		r := parent.reinit
		if r == nil || id.Epoch != parent.Epoch() || c.Suite != r.Suite || !bytes.Equal(c.GroupID, r.GroupID) || !equalExtensions(c.Extensions, r.Extensions) {
			return fmt.Errorf("check descent: not the group that the ReInit announced: %w", ErrInvalid)
		}
	}
	var leaves []*LeafNode
	for _, l := range tree.leaves {
		if l != nil {
			leaves = append(leaves, l)
		}
	}
	return parent.checkKin(leaves, id.Usage)
}
