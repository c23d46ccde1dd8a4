package mls

import (
	"fmt"
	"io"
)

// ProposalType is a code point of RFC 9420 §17.4. Types from 0xF000 on are the
// application's own.
type ProposalType uint16

// The proposal types of RFC 9420.
const (
	ProposalAdd          ProposalType = 1
	ProposalUpdate       ProposalType = 2
	ProposalRemove       ProposalType = 3
	ProposalPSK          ProposalType = 4
	ProposalReInit       ProposalType = 5
	ProposalExternalInit ProposalType = 6
	ProposalExtensions   ProposalType = 7
)

func (t ProposalType) isDefault() bool { return ProposalAdd <= t && t <= ProposalExtensions }

// needsPath reports whether a commit with such a proposal must carry a path.
func (t ProposalType) needsPath() bool {
	switch t {
	case ProposalUpdate, ProposalRemove, ProposalExternalInit, ProposalExtensions:
		return true
	}
	return false
}

// ReInit proposes to continue under another id, suite or set of extensions
// (RFC 9420 §12.1.5).
type ReInit struct {
	GroupID    []byte
	Version    uint16
	Suite      CipherSuite
	Extensions []Extension
}

func (p *ReInit) encode(w *writer) {
	w.vec(p.GroupID)
	w.u16(p.Version)
	w.u16(uint16(p.Suite))
	w.extensions(p.Extensions)
}

func (r *reader) reInit() *ReInit {
	return &ReInit{r.vec(MaxGroupID), r.u16(), CipherSuite(r.u16()), r.extensions(maxExtension)}
}

// Proposal is a change that a commit may make (RFC 9420 §12.1). Exactly the
// field of its type is set. Treat it as read-only.
type Proposal struct {
	Type       ProposalType
	Add        *KeyPackage
	Update     *LeafNode
	Remove     LeafIndex
	PSK        PSKID
	ReInit     *ReInit
	KEMOutput  []byte      // ExternalInit
	Extensions []Extension // the whole new list of the group context
	Data       []byte      // application-defined types: opaque<V> on the wire

	raw []byte
}

func (p *Proposal) encode(w *writer) {
	if p.raw != nil {
		w.raw(p.raw)
		return
	}
	w.u16(uint16(p.Type))
	switch p.Type {
	case ProposalAdd:
		w.raw(p.Add.raw)
	case ProposalUpdate:
		p.Update.encode(w)
	case ProposalRemove:
		w.u32(uint32(p.Remove))
	case ProposalPSK:
		p.PSK.encode(w)
	case ProposalReInit:
		p.ReInit.encode(w)
	case ProposalExternalInit:
		w.vec(p.KEMOutput)
	case ProposalExtensions:
		w.extensions(p.Extensions)
	default:
		w.vec(p.Data)
	}
}

func (r *reader) proposal() *Proposal {
	from := r.b
	p := &Proposal{Type: ProposalType(r.u16())}
	switch p.Type {
	case 0:
		r.fail(ErrMalformed, "proposal type 0")
	case ProposalAdd:
		p.Add = r.keyPackage()
	case ProposalUpdate:
		p.Update = r.leafNode()
	case ProposalRemove:
		p.Remove = LeafIndex(r.u32())
	case ProposalPSK:
		p.PSK = r.pskID()
	case ProposalReInit:
		p.ReInit = r.reInit()
	case ProposalExternalInit:
		p.KEMOutput = r.vec(maxKey)
	case ProposalExtensions:
		p.Extensions = r.extensions(maxExtension)
	default:
		p.Data = r.vec(maxExtension)
	}
	p.raw = r.consumed(from)
	return p
}

// canonical encodes a proposal made here and reads it back, so that what is
// applied is what is sent and nothing aliases the caller's memory.
func (p *Proposal) canonical() (*Proposal, error) {
	if p.raw != nil {
		return p, nil
	}
	if p.Type == ProposalAdd && p.Add == nil || p.Type == ProposalUpdate && p.Update == nil ||
		p.Type == ProposalReInit && p.ReInit == nil {
		return nil, fmt.Errorf("encode proposal of type %d: it is empty: %w", p.Type, ErrInvalid)
	}
	var w writer
	p.encode(&w)
	r := reader{b: w.b}
	q := r.proposal()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("encode proposal of type %d: %w", p.Type, err)
	}
	return q, nil
}

// AddProposal proposes to add a client. Check the key package with VerifyAt
// first; the rest is checked when it is proposed or committed.
func AddProposal(k *KeyPackage) Proposal { return Proposal{Type: ProposalAdd, Add: k} }

// RemoveProposal proposes to remove a member.
func RemoveProposal(l LeafIndex) Proposal { return Proposal{Type: ProposalRemove, Remove: l} }

// ExternalPSKProposal proposes to mix in a key that the application named.
func ExternalPSKProposal(rand io.Reader, id []byte) (Proposal, error) {
	return pskProposal(rand, PSKID{Type: PSKExternal, ID: id})
}

// ResumptionPSKProposal proposes to mix in the key of an epoch, of this group
// or of another.
func ResumptionPSKProposal(rand io.Reader, groupID []byte, epoch uint64) (Proposal, error) {
	return pskProposal(rand, PSKID{Type: PSKResumption, Usage: UsageApplication, GroupID: groupID, Epoch: epoch})
}

func pskProposal(rand io.Reader, id PSKID) (p Proposal, err error) {
	nonce, err := fresh(rand, hashSize)
	if err != nil {
		return p, err
	}
	id.Nonce = nonce
	return Proposal{Type: ProposalPSK, PSK: id}, nil
}

// ReInitProposal proposes to end this group and continue as r says.
func ReInitProposal(r ReInit) Proposal {
	r.Version = versionMLS10
	return Proposal{Type: ProposalReInit, ReInit: &r}
}

// ExtensionsProposal proposes to replace the group context's extensions.
func ExtensionsProposal(list []Extension) Proposal {
	return Proposal{Type: ProposalExtensions, Extensions: list}
}

// CustomProposal carries an application-defined proposal. Every member must
// list its type in its capabilities, and in Policy.Proposals.
func CustomProposal(t ProposalType, data []byte) Proposal { return Proposal{Type: t, Data: data} }

// proposalOrRef is ProposalOrRef of §12.4.
type proposalOrRef struct {
	proposal *Proposal
	ref      []byte
}

// commit is Commit of §12.4.
type commit struct {
	proposals []proposalOrRef
	path      *updatePath
}

func (c *commit) encode(w *writer) {
	w.nested(func() {
		for _, p := range c.proposals {
			if p.proposal != nil {
				w.u8(1)
				p.proposal.encode(w)
			} else {
				w.u8(2)
				w.vec(p.ref)
			}
		}
	})
	if c.path == nil {
		w.u8(0)
		return
	}
	w.u8(1)
	c.path.encode(w)
}

func (r *reader) commit() *commit {
	c := &commit{}
	r.list(MaxMessage, maxProposals, func(r *reader) {
		switch r.u8() {
		case 1:
			c.proposals = append(c.proposals, proposalOrRef{proposal: r.proposal()})
		case 2:
			c.proposals = append(c.proposals, proposalOrRef{ref: r.vec(maxDigest)})
		default:
			r.fail(ErrMalformed, "neither a proposal nor a reference")
		}
	})
	if r.optional() {
		c.path = r.updatePath()
	}
	return c
}

// queued is a proposal with who sent it.
type queued struct {
	*Proposal
	sender  Sender
	ref     []byte // nil if it came by value
	leafKey secret // private key of the leaf, if it is this member's own Update
}

func (q queued) orRef() proposalOrRef {
	if q.ref != nil {
		return proposalOrRef{ref: q.ref}
	}
	return proposalOrRef{proposal: q.Proposal}
}
