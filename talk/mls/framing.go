package mls

import (
	"bytes"
	"crypto"
	"fmt"
)

// WireFormat says what an MLSMessage carries (RFC 9420 §6).
type WireFormat uint16

// The wire formats.
const (
	WirePublic     WireFormat = 1
	WirePrivate    WireFormat = 2
	WireWelcome    WireFormat = 3
	WireGroupInfo  WireFormat = 4
	WireKeyPackage WireFormat = 5
)

// ContentType says what a public or private message carries.
type ContentType uint8

// The content types.
const (
	ContentApplication ContentType = 1
	ContentProposal    ContentType = 2
	ContentCommit      ContentType = 3
)

// SenderType says in which role someone sends.
type SenderType uint8

// The sender types.
const (
	SenderMember            SenderType = 1
	SenderExternal          SenderType = 2 // listed in the group context
	SenderNewMemberProposal SenderType = 3 // asks to be added
	SenderNewMemberCommit   SenderType = 4 // joins by external commit
)

// Sender names who sent a message.
type Sender struct {
	Type  SenderType
	Leaf  LeafIndex // member
	Index uint32    // external: position in the list of external senders
}

func (s Sender) encode(w *writer) {
	w.u8(uint8(s.Type))
	switch s.Type {
	case SenderMember:
		w.u32(uint32(s.Leaf))
	case SenderExternal:
		w.u32(s.Index)
	}
}

func (r *reader) sender() (s Sender) {
	switch s.Type = SenderType(r.u8()); s.Type {
	case SenderMember:
		s.Leaf = LeafIndex(r.u32())
	case SenderExternal:
		s.Index = r.u32()
	case SenderNewMemberProposal, SenderNewMemberCommit:
	default:
		r.fail(ErrMalformed, "sender type %d", s.Type)
	}
	return s
}

// Message is a parsed MLSMessage. Exactly the field of its format is set;
// nothing in it has been verified.
type Message struct {
	Format     WireFormat
	KeyPackage *KeyPackage
	Welcome    *Welcome
	GroupInfo  *GroupInfo

	public  *publicMessage
	private *privateMessage
}

// ParseMessage reads an MLSMessage. The result shares no memory with b.
func ParseMessage(b []byte) (*Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("parse message: %d bytes, at most %d allowed: %w", len(b), MaxMessage, ErrMalformed)
	}
	r := reader{b: bytes.Clone(b)}
	if v := r.u16(); r.err == nil && v != versionMLS10 {
		r.fail(ErrUnsupported, "protocol version %d", v)
	}
	m := &Message{Format: WireFormat(r.u16())}
	switch m.Format {
	case WirePublic:
		m.public = r.publicMessage()
	case WirePrivate:
		m.private = r.privateMessage()
	case WireWelcome:
		m.Welcome = r.welcome()
	case WireGroupInfo:
		m.GroupInfo = r.groupInfo()
	case WireKeyPackage:
		m.KeyPackage = r.keyPackage()
	default:
		r.fail(ErrUnsupported, "wire format %d", m.Format)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("parse message: %w", err)
	}
	return m, nil
}

// GroupID returns the group that the message says it is for, nil for a Welcome
// or key package. A hub can route by it; it proves nothing.
func (m *Message) GroupID() []byte {
	switch {
	case m.public != nil:
		return m.public.content.groupID
	case m.private != nil:
		return m.private.groupID
	case m.GroupInfo != nil:
		return m.GroupInfo.Context.GroupID
	}
	return nil
}

// Epoch returns the epoch that the message says it is for.
func (m *Message) Epoch() uint64 {
	switch {
	case m.public != nil:
		return m.public.content.epoch
	case m.private != nil:
		return m.private.epoch
	case m.GroupInfo != nil:
		return m.GroupInfo.Context.Epoch
	}
	return 0
}

// Content returns what a public or private message says it carries, 0 for
// other formats.
func (m *Message) Content() ContentType {
	switch {
	case m.public != nil:
		return m.public.content.kind
	case m.private != nil:
		return m.private.kind
	}
	return 0
}

// frame wraps a body as MLSMessage.
func frame(f WireFormat, body []byte) []byte {
	w := writer{make([]byte, 0, len(body)+4)}
	w.u16(versionMLS10)
	w.u16(uint16(f))
	w.raw(body)
	return w.b
}

// framedContent is FramedContent of §6. body is the encoding of whichever of
// the last three fields is set.
type framedContent struct {
	groupID []byte
	epoch   uint64
	sender  Sender
	aad     []byte
	kind    ContentType
	body    []byte

	application []byte
	proposal    *Proposal
	commit      *commit
}

func (c *framedContent) encode(w *writer) {
	w.vec(c.groupID)
	w.u64(c.epoch)
	c.sender.encode(w)
	w.vec(c.aad)
	w.u8(uint8(c.kind))
	w.raw(c.body)
}

func (r *reader) framedContent() (c framedContent) {
	c.groupID = r.vec(MaxGroupID)
	c.epoch = r.u64()
	c.sender = r.sender()
	c.aad = r.vec(MaxMessage)
	c.kind = ContentType(r.u8())
	r.content(&c)
	return c
}

// content reads what c.kind announces.
func (r *reader) content(c *framedContent) {
	from := r.b
	switch c.kind {
	case ContentApplication:
		c.application = r.vec(MaxMessage)
	case ContentProposal:
		c.proposal = r.proposal()
	case ContentCommit:
		c.commit = r.commit()
	default:
		r.fail(ErrMalformed, "content type %d", c.kind)
	}
	c.body = r.consumed(from)
}

// authContent is AuthenticatedContent of §6.
type authContent struct {
	wire            WireFormat
	content         framedContent
	signature       []byte
	confirmationTag []byte // commits
}

// tbs is FramedContentTBS (§6.1). context is the encoded GroupContext.
func (a *authContent) tbs(context []byte) []byte {
	w := writer{make([]byte, 0, len(a.content.body)+len(context)+len(a.content.aad)+128)}
	w.u16(versionMLS10)
	w.u16(uint16(a.wire))
	a.content.encode(&w)
	if t := a.content.sender.Type; t == SenderMember || t == SenderNewMemberCommit {
		w.raw(context)
	}
	return w.b
}

func (a *authContent) sign(signer crypto.Signer, context []byte) (err error) {
	a.signature, err = sign(signer, "FramedContentTBS", a.tbs(context))
	return err
}

func (a *authContent) verify(pub, context []byte) error {
	return verify(pub, "FramedContentTBS", a.tbs(context), a.signature)
}

// encodeAuth writes FramedContentAuthData.
func (a *authContent) encodeAuth(w *writer) {
	w.vec(a.signature)
	if a.content.kind == ContentCommit {
		w.vec(a.confirmationTag)
	}
}

func (r *reader) auth(a *authContent) {
	a.signature = r.vec(maxSignature)
	if a.content.kind == ContentCommit {
		a.confirmationTag = r.vec(maxDigest)
	}
}

// encode writes AuthenticatedContent, which a proposal's reference hashes.
func (a *authContent) encode(w *writer) {
	w.u16(uint16(a.wire))
	a.content.encode(w)
	a.encodeAuth(w)
}

func (a *authContent) bytes() []byte {
	w := writer{make([]byte, 0, len(a.content.body)+256)}
	a.encode(&w)
	return w.b
}

// publicMessage is PublicMessage of §6.2.
type publicMessage struct {
	authContent
	membershipTag []byte // members
}

func (r *reader) publicMessage() *publicMessage {
	p := &publicMessage{authContent: authContent{wire: WirePublic, content: r.framedContent()}}
	r.auth(&p.authContent)
	if p.content.sender.Type == SenderMember {
		p.membershipTag = r.vec(maxDigest)
	}
	return p
}

func (p *publicMessage) bytes() []byte {
	var w writer
	p.content.encode(&w)
	p.encodeAuth(&w)
	if p.content.sender.Type == SenderMember {
		w.vec(p.membershipTag)
	}
	return frame(WirePublic, w.b)
}

// membership computes the tag that shows a member sent the message.
func (p *publicMessage) membership(key secret, context []byte) []byte {
	var w writer
	p.encodeAuth(&w)
	return mac(key, p.tbs(context), w.b)
}

// protectPublic makes a PublicMessage of signed content.
func protectPublic(a *authContent, key secret, context []byte) ([]byte, error) {
	if a.content.kind == ContentApplication {
		return nil, fmt.Errorf("protect message: application data is never sent in the open: %w", ErrInvalid)
	}
	p := &publicMessage{authContent: *a}
	if a.content.sender.Type == SenderMember {
		p.membershipTag = p.membership(key, context)
	}
	return p.bytes(), nil
}
