package mls

import (
	"bytes"
	"crypto"
	"fmt"
	"slices"
)

// CredentialType is a code point of RFC 9420 §17.5.
type CredentialType uint16

// The credential types whose encoding is known.
const (
	CredentialBasic CredentialType = 1
	CredentialX509  CredentialType = 2
)

// Credential says who a member claims to be. Whether the claim holds is for
// Policy.Check to say.
type Credential struct {
	Type         CredentialType
	Identity     []byte   // basic
	Certificates [][]byte // x509: DER, leaf first; carried, never interpreted
}

// BasicCredential is a credential of bare bytes, as the application means them.
func BasicCredential(identity []byte) Credential {
	return Credential{Type: CredentialBasic, Identity: identity}
}

// Equal reports whether both make the same claim.
func (c Credential) Equal(d Credential) bool {
	return c.Type == d.Type && bytes.Equal(c.Identity, d.Identity) &&
		slices.EqualFunc(c.Certificates, d.Certificates, bytes.Equal)
}

func (c Credential) encode(w *writer) {
	w.u16(uint16(c.Type))
	if c.Type == CredentialX509 {
		w.nested(func() {
			for _, cert := range c.Certificates {
				w.vec(cert)
			}
		})
		return
	}
	w.vec(c.Identity)
}

func (r *reader) credential() (c Credential) {
	switch c.Type = CredentialType(r.u16()); c.Type {
	case CredentialBasic:
		c.Identity = r.vec(maxIdentity)
	case CredentialX509:
		r.list(maxIdentity, maxList, func(r *reader) {
			c.Certificates = append(c.Certificates, r.vec(maxIdentity))
		})
	default:
		r.fail(ErrUnsupported, "credential type 0x%04x", uint16(c.Type))
	}
	return c
}

// Capabilities lists what a client understands beyond what RFC 9420 demands of
// every client (§7.2).
type Capabilities struct {
	Versions    []uint16
	Suites      []CipherSuite
	Extensions  []ExtensionType
	Proposals   []ProposalType
	Credentials []CredentialType
}

// DefaultCapabilities are this package's own: its suites and basic
// credentials. An application adds the extension and proposal types it handles.
func DefaultCapabilities() Capabilities {
	return Capabilities{
		Versions:    []uint16{versionMLS10},
		Suites:      Suites(),
		Credentials: []CredentialType{CredentialBasic},
	}
}

func (c *Capabilities) encode(w *writer) {
	writeList(w, c.Versions)
	writeList(w, c.Suites)
	writeList(w, c.Extensions)
	writeList(w, c.Proposals)
	writeList(w, c.Credentials)
}

func (r *reader) capabilities() (c Capabilities) {
	c.Versions = readList[uint16](r)
	c.Suites = readList[CipherSuite](r)
	c.Extensions = readList[ExtensionType](r)
	c.Proposals = readList[ProposalType](r)
	c.Credentials = readList[CredentialType](r)
	return c
}

func (c *Capabilities) extension(t ExtensionType) bool {
	return t.isDefault() || slices.Contains(c.Extensions, t)
}

func (c *Capabilities) proposal(t ProposalType) bool {
	return t.isDefault() || slices.Contains(c.Proposals, t)
}

// satisfies checks c against what a group requires (§7.2).
func (c *Capabilities) satisfies(context []Extension) error {
	req, err := requiredCapabilities(context)
	if err != nil {
		return err
	}
	for _, t := range req.Extensions {
		if !c.extension(t) {
			return fmt.Errorf("check capabilities: extension 0x%04x is required: %w", uint16(t), ErrInvalid)
		}
	}
	for _, t := range req.Proposals {
		if !c.proposal(t) {
			return fmt.Errorf("check capabilities: proposal 0x%04x is required: %w", uint16(t), ErrInvalid)
		}
	}
	for _, t := range req.Credentials {
		if !slices.Contains(c.Credentials, t) {
			return fmt.Errorf("check capabilities: credential 0x%04x is required: %w", uint16(t), ErrInvalid)
		}
	}
	for _, e := range context {
		if !c.extension(e.Type) {
			return fmt.Errorf("check capabilities: group extension 0x%04x is not supported: %w", uint16(e.Type), ErrInvalid)
		}
	}
	return nil
}

// Lifetime bounds the use of a key package: Unix seconds, both ends included.
type Lifetime struct{ NotBefore, NotAfter uint64 }

// LeafSource says what a leaf node was made for (§7.2).
type LeafSource uint8

// The sources of leaf nodes.
const (
	SourceKeyPackage LeafSource = 1
	SourceUpdate     LeafSource = 2
	SourceCommit     LeafSource = 3
)

// LeafNode is a member's place in the tree (RFC 9420 §7.2). Treat it and what
// it points to as read-only: it keeps its encoding.
type LeafNode struct {
	EncryptionKey []byte // HPKE public key
	SignatureKey  []byte // Ed25519 public key
	Credential    Credential
	Capabilities  Capabilities
	Source        LeafSource
	Lifetime      Lifetime // if Source is SourceKeyPackage
	ParentHash    []byte   // if Source is SourceCommit
	Extensions    []Extension
	Signature     []byte

	raw []byte // the encoding, signature included
}

// LeafTemplate is what a client says of itself in each leaf node it makes.
type LeafTemplate struct {
	Credential   Credential
	Capabilities Capabilities // DefaultCapabilities if no version is listed
	Extensions   []Extension
}

func (t LeafTemplate) leaf(source LeafSource, encryption, signature []byte) *LeafNode {
	c := t.Capabilities
	if len(c.Versions) == 0 {
		d := DefaultCapabilities()
		d.Extensions, d.Proposals = c.Extensions, c.Proposals
		c = d
	}
	return &LeafNode{
		EncryptionKey: encryption, SignatureKey: signature, Source: source,
		Credential: t.Credential, Capabilities: c, Extensions: t.Extensions,
	}
}

func (l *LeafNode) template() LeafTemplate {
	return LeafTemplate{l.Credential, l.Capabilities, l.Extensions}
}

// encodeTBS writes everything but the signature.
func (l *LeafNode) encodeTBS(w *writer) {
	w.vec(l.EncryptionKey)
	w.vec(l.SignatureKey)
	l.Credential.encode(w)
	l.Capabilities.encode(w)
	w.u8(uint8(l.Source))
	switch l.Source {
	case SourceKeyPackage:
		w.u64(l.Lifetime.NotBefore)
		w.u64(l.Lifetime.NotAfter)
	case SourceCommit:
		w.vec(l.ParentHash)
	}
	w.extensions(l.Extensions)
}

func (l *LeafNode) encode(w *writer) { w.raw(l.raw) }

// leafNode reads a leaf node that aliases the input.
func (r *reader) leafNode() *LeafNode {
	from := r.b
	l := &LeafNode{
		EncryptionKey: r.vec(maxKey), SignatureKey: r.vec(maxKey),
		Credential: r.credential(), Capabilities: r.capabilities(),
		Source: LeafSource(r.u8()),
	}
	switch l.Source {
	case SourceKeyPackage:
		l.Lifetime = Lifetime{r.u64(), r.u64()}
	case SourceUpdate:
	case SourceCommit:
		l.ParentHash = r.vec(maxDigest)
	default:
		r.fail(ErrMalformed, "leaf node source %d", l.Source)
	}
	l.Extensions = r.extensions(maxExtension)
	l.Signature = r.vec(maxSignature)
	l.raw = r.consumed(from)
	return l
}

// detach copies a leaf out of the message it came in, so that the message can
// be freed while the leaf stays in the tree.
func (l *LeafNode) detach() *LeafNode {
	r := reader{b: bytes.Clone(l.raw)}
	return r.leafNode()
}

// tbs is LeafNodeTBS: bound to a place unless it comes in a key package.
func (l *LeafNode) tbs(groupID []byte, index LeafIndex) []byte {
	w := writer{make([]byte, 0, len(l.raw)+len(groupID)+8)}
	l.encodeTBS(&w)
	if l.Source != SourceKeyPackage {
		w.vec(groupID)
		w.u32(uint32(index))
	}
	return w.b
}

// sign completes a leaf.
func (l *LeafNode) sign(signer crypto.Signer, groupID []byte, index LeafIndex) (err error) {
	if l.Signature, err = sign(signer, "LeafNodeTBS", l.tbs(groupID, index)); err != nil {
		return err
	}
	var w writer
	l.encodeTBS(&w)
	w.vec(l.Signature)
	l.raw = w.b
	return nil
}

func (l *LeafNode) verify(groupID []byte, index LeafIndex) error {
	return verify(l.SignatureKey, "LeafNodeTBS", l.tbs(groupID, index), l.Signature)
}

// check makes the checks of RFC 9420 §7.3 that need nothing but the leaf and
// the group's context. Signature, uniqueness and the credential are apart.
func (l *LeafNode) check(s suite, context []Extension) error {
	c := &l.Capabilities
	if !slices.Contains(c.Versions, versionMLS10) || !slices.Contains(c.Suites, s.id) {
		return fmt.Errorf("check leaf node: does not list the group's version and suite: %w", ErrInvalid)
	}
	if !slices.Contains(c.Credentials, l.Credential.Type) {
		return fmt.Errorf("check leaf node: does not list its own credential type: %w", ErrInvalid)
	}
	for _, e := range l.Extensions {
		if !c.extension(e.Type) {
			return fmt.Errorf("check leaf node: does not list its own extension 0x%04x: %w", uint16(e.Type), ErrInvalid)
		}
	}
	if err := s.checkPublic(l.EncryptionKey); err != nil {
		return fmt.Errorf("check leaf node: %w", err)
	}
	return c.satisfies(context)
}
