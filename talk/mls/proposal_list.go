package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// Candidate is somebody whose credential is to be judged.
type Candidate struct {
	GroupID      []byte
	Credential   Credential
	SignatureKey []byte
	Leaf         *LeafNode // nil for an external sender
	Replaces     *LeafNode // the leaf this one takes the place of; nil for someone new
}

// Policy is what the application decides about a group. It is not stored: give
// the same one whenever the group is loaded.
type Policy struct {
	// Check is the Authentication Service of RFC 9420 §5.3.1: it returns an
	// error unless the credential is genuine, belongs to the signature key, and
	// may take the place of what it replaces. It is asked once for each new or
	// changed leaf, after all signatures. Required.
	Check func(Candidate) error

	// KeepEpochs is how many past epochs stay readable for messages that come
	// late, at most MaxPastEpochs.
	KeepEpochs int

	// KeepResumption is how many epochs' resumption keys are kept, the current
	// one not counted, at most MaxResumption.
	KeepResumption int

	// Proposals lists the application-defined proposal types that the
	// application acts on. A commit with any other is refused.
	Proposals []ProposalType
}

func (p Policy) valid() error {
	if p.Check == nil {
		return fmt.Errorf("use policy: it has no credential check: %w", ErrInvalid)
	}
	if p.KeepEpochs < 0 || p.KeepEpochs > MaxPastEpochs || p.KeepResumption < 0 || p.KeepResumption > MaxResumption {
		return fmt.Errorf("use policy: keeps more than %d epochs or %d resumption keys: %w", MaxPastEpochs, MaxResumption, ErrInvalid)
	}
	return nil
}

// view is what proposals are judged against.
type view struct {
	s       suite
	context *GroupContext
	tree    *ratchetTree
	policy  Policy
}

// change is what a list of proposals makes of a tree.
type change struct {
	tree       *ratchetTree
	extensions []Extension
	added      []LeafIndex
	packages   []*KeyPackage // of added, in order
	removed    []LeafIndex
	updated    []LeafIndex
	psks       []PSKID
	kemOutput  []byte // of an external commit
	reinit     *ReInit
	needsPath  bool
	leafKeys   map[LeafIndex]secret // private keys of this member's own Update
	candidates []Candidate          // whom the application is to judge, last of all
}

func (v view) candidate(l, replaces *LeafNode) Candidate {
	return Candidate{v.context.GroupID, l.Credential, l.SignatureKey, l, replaces}
}

// judge asks the application about candidates. It may ask a network in turn,
// so everything that can be refused without it has been by then.
func (p Policy) judge(list []Candidate) error {
	for _, c := range list {
		if err := p.Check(c); err != nil {
			return fmt.Errorf("check credential: %w: %w", ErrInvalid, err)
		}
	}
	return nil
}

// checkProposal makes the checks of RFC 9420 §12.1 that concern one proposal.
func (v view) checkProposal(p *Proposal, sender Sender) error {
	switch p.Type {
	case ProposalAdd:
		return v.checkAdd(p.Add)
	case ProposalUpdate:
		return v.checkUpdate(p.Update, sender)
	case ProposalRemove:
		if v.tree.leaf(p.Remove) == nil {
			return fmt.Errorf("check remove: leaf %d is nobody's: %w", p.Remove, ErrInvalid)
		}
	case ProposalPSK:
		return v.checkPSK(p.PSK)
	case ProposalReInit:
		return v.checkReInit(p.ReInit)
	case ProposalExternalInit:
		if sender.Type != SenderNewMemberCommit {
			return fmt.Errorf("check external init: not in an external commit: %w", ErrInvalid)
		}
	case ProposalExtensions:
		_, err := v.checkExtensions(p.Extensions)
		return err
	default:
		if !slices.Contains(v.policy.Proposals, p.Type) {
			return fmt.Errorf("check proposal: type 0x%04x: %w", uint16(p.Type), ErrUnsupported)
		}
		return v.tree.members(func(i LeafIndex, l *LeafNode) error {
			if !l.Capabilities.proposal(p.Type) {
				return fmt.Errorf("check proposal: leaf %d does not support type 0x%04x: %w", i, uint16(p.Type), ErrInvalid)
			}
			return nil
		})
	}
	return nil
}

func (v view) checkAdd(k *KeyPackage) error {
	if k.Suite != v.s.id {
		return fmt.Errorf("check add: key package of %v: %w", k.Suite, ErrInvalid)
	}
	return k.Verify()
}

func (v view) checkUpdate(l *LeafNode, sender Sender) error {
	old := v.tree.leaf(sender.Leaf)
	switch {
	case sender.Type != SenderMember || old == nil:
		return fmt.Errorf("check update: not from a member: %w", ErrInvalid)
	case l.Source != SourceUpdate:
		return fmt.Errorf("check update: leaf node made for something else: %w", ErrInvalid)
	case bytes.Equal(l.EncryptionKey, old.EncryptionKey):
		return fmt.Errorf("check update: encryption key is the old one: %w", ErrInvalid)
	}
	return l.verify(v.context.GroupID, sender.Leaf)
}

func (v view) checkPSK(id PSKID) error {
	if len(id.Nonce) != hashSize {
		return fmt.Errorf("check pre-shared key: nonce of %d bytes: %w", len(id.Nonce), ErrInvalid)
	}
	// The other usages are for the first commit of a group made from another
	// (§12.1.4); branch.go checks those.
	if id.Type == PSKResumption && id.Usage != UsageApplication && v.context.Epoch != 0 {
		return fmt.Errorf("check pre-shared key: usage %d in a running group: %w", id.Usage, ErrInvalid)
	}
	return nil
}

func (v view) checkReInit(p *ReInit) error {
	if p.Version < versionMLS10 {
		return fmt.Errorf("check reinit: version %d: %w", p.Version, ErrInvalid)
	}
	return nil
}

// checkExtensions checks the form of a group context's extensions and lists
// the external senders to be judged.
func (v view) checkExtensions(list []Extension) (candidates []Candidate, err error) {
	if _, err := requiredCapabilities(list); err != nil {
		return nil, err
	}
	senders, err := externalSenders(list)
	if err != nil {
		return nil, err
	}
	for _, s := range senders {
		candidates = append(candidates, Candidate{GroupID: v.context.GroupID, Credential: s.Credential, SignatureKey: s.SignatureKey})
	}
	return candidates, nil
}

// checkList makes the checks of §12.2: which proposals go together.
func (v view) checkList(committer Sender, list []queued) error {
	if committer.Type == SenderNewMemberCommit {
		return checkExternalList(list)
	}
	touched := make(map[LeafIndex]bool)
	clients := make(map[string]bool)
	var psks []PSKID
	extensions := 0
	for _, q := range list {
		switch q.Type {
		case ProposalAdd:
			if clients[string(q.Add.Leaf.SignatureKey)] {
				return fmt.Errorf("check commit: one client added twice: %w", ErrInvalid)
			}
			clients[string(q.Add.Leaf.SignatureKey)] = true
		case ProposalUpdate, ProposalRemove:
			l := q.Remove
			if q.Type == ProposalUpdate {
				l = q.sender.Leaf
			}
			if l == committer.Leaf {
				return fmt.Errorf("check commit: updates or removes its own committer: %w", ErrInvalid)
			}
			if touched[l] {
				return fmt.Errorf("check commit: touches leaf %d twice: %w", l, ErrInvalid)
			}
			touched[l] = true
		case ProposalPSK:
			if slices.ContainsFunc(psks, q.PSK.same) {
				return fmt.Errorf("check commit: one pre-shared key twice: %w", ErrInvalid)
			}
			psks = append(psks, q.PSK)
		case ProposalExtensions:
			extensions++
		case ProposalReInit:
			if len(list) > 1 {
				return fmt.Errorf("check commit: reinit beside other proposals: %w", ErrInvalid)
			}
		case ProposalExternalInit:
			return fmt.Errorf("check commit: external init by a member: %w", ErrInvalid)
		}
	}
	if extensions > 1 || len(psks) > maxPSKs {
		return fmt.Errorf("check commit: %d lists of extensions, %d pre-shared keys: %w", extensions, len(psks), ErrInvalid)
	}
	return nil
}

func checkExternalList(list []queued) error {
	inits, removes := 0, 0
	var psks []PSKID
	for _, q := range list {
		if q.ref != nil {
			return fmt.Errorf("check external commit: refers to a proposal: %w", ErrInvalid)
		}
		switch q.Type {
		case ProposalExternalInit:
			inits++
		case ProposalRemove:
			removes++
		case ProposalPSK:
			if slices.ContainsFunc(psks, q.PSK.same) {
				return fmt.Errorf("check external commit: one pre-shared key twice: %w", ErrInvalid)
			}
			psks = append(psks, q.PSK)
		default:
			return fmt.Errorf("check external commit: proposal of type %d: %w", q.Type, ErrInvalid)
		}
	}
	if inits != 1 || removes > 1 || len(psks) > maxPSKs {
		return fmt.Errorf("check external commit: %d external inits, %d removes, %d pre-shared keys: %w", inits, removes, len(psks), ErrInvalid)
	}
	return nil
}

// apply checks a commit's proposals and applies them to a copy of the tree, in
// the order of RFC 9420 §12.3.
func (v view) apply(committer Sender, list []queued) (*change, error) {
	if err := v.checkList(committer, list); err != nil {
		return nil, err
	}
	c := &change{tree: v.tree.clone(), extensions: v.context.Extensions, leafKeys: map[LeafIndex]secret{}, needsPath: len(list) == 0}
	for _, q := range list {
		if err := v.checkProposal(q.Proposal, q.sender); err != nil {
			return nil, err
		}
		c.needsPath = c.needsPath || q.Type.needsPath()
		switch q.Type {
		case ProposalExtensions:
			c.extensions = q.Extensions
			c.candidates, _ = v.checkExtensions(q.Extensions) // checked above
		case ProposalPSK:
			c.psks = append(c.psks, q.PSK)
		case ProposalExternalInit:
			c.kemOutput = q.KEMOutput
		case ProposalReInit:
			c.reinit = q.ReInit
		case ProposalUpdate:
			c.tree.update(q.sender.Leaf, q.Update.detach())
			c.updated = append(c.updated, q.sender.Leaf)
			if q.leafKey != nil {
				c.leafKeys[q.sender.Leaf] = q.leafKey
			}
		}
	}
	for _, q := range list {
		if q.Type == ProposalRemove {
			c.tree.remove(q.Remove)
			c.removed = append(c.removed, q.Remove)
		}
	}
	c.tree.truncate()
	for _, q := range list {
		if q.Type == ProposalAdd {
			at, err := c.tree.add(q.Add.Leaf.detach())
			if err != nil {
				return nil, err
			}
			c.added = append(c.added, at)
			c.packages = append(c.packages, q.Add)
		}
	}
	return c, v.checkChange(c)
}

// checkChange makes the checks that need the tree as it will be.
func (v view) checkChange(c *change) error {
	next := v
	next.tree = c.tree
	fresh := append(slices.Clone(c.added), c.updated...)
	if len(fresh) > 0 {
		if err := c.tree.checkUnique(fresh, nil); err != nil {
			return err
		}
	}
	check := func(i LeafIndex, l *LeafNode) error {
		if err := l.check(v.s, c.extensions); err != nil {
			return fmt.Errorf("check leaf %d: %w", i, err)
		}
		return nil
	}
	if !equalExtensions(c.extensions, v.context.Extensions) {
		if err := c.tree.members(check); err != nil {
			return err
		}
	}
	for i, l := range fresh {
		leaf := c.tree.leaf(l)
		if err := check(l, leaf); err != nil {
			return err
		}
		var replaces *LeafNode
		if i >= len(c.added) {
			replaces = v.tree.leaf(l)
		}
		c.candidates = append(c.candidates, v.candidate(leaf, replaces))
	}
	if len(fresh) > 0 {
		return c.tree.checkCredentialTypes()
	}
	return nil
}
