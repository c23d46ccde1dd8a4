package mls

import (
	"bytes"
	"fmt"
)

const versionMLS10 uint16 = 1

// GroupContext is what all members of an epoch agree on (RFC 9420 §8.1).
type GroupContext struct {
	Suite                   CipherSuite
	GroupID                 []byte
	Epoch                   uint64
	TreeHash                []byte
	ConfirmedTranscriptHash []byte
	Extensions              []Extension
}

func (c *GroupContext) encode(w *writer) {
	w.u16(versionMLS10)
	w.u16(uint16(c.Suite))
	w.vec(c.GroupID)
	w.u64(c.Epoch)
	w.vec(c.TreeHash)
	w.vec(c.ConfirmedTranscriptHash)
	w.extensions(c.Extensions)
}

func (c *GroupContext) bytes() []byte {
	w := writer{make([]byte, 0, 256)}
	c.encode(&w)
	return w.b
}

func (r *reader) groupContext() (c GroupContext) {
	if v := r.u16(); r.err == nil && v != versionMLS10 {
		r.fail(ErrUnsupported, "protocol version %d", v)
	}
	c.Suite = CipherSuite(r.u16())
	c.GroupID = r.vec(MaxGroupID)
	c.Epoch = r.u64()
	c.TreeHash = r.vec(maxDigest)
	c.ConfirmedTranscriptHash = r.vec(maxDigest)
	c.Extensions = r.extensions(maxExtension)
	return c
}

// epochSecrets are the outputs of the key schedule that live as long as their
// epoch (§8). The encryption secret is not among them: the secret tree takes it.
type epochSecrets struct {
	senderData    secret
	exporter      secret
	external      secret
	confirmation  secret
	membership    secret
	resumption    secret
	authenticator secret
	init          secret // of the next epoch
}

func (e *epochSecrets) all() []*secret {
	return []*secret{&e.senderData, &e.exporter, &e.external, &e.confirmation,
		&e.membership, &e.resumption, &e.authenticator, &e.init}
}

func (e *epochSecrets) wipe() {
	for _, s := range e.all() {
		s.wipe()
	}
}

// joinerSecret is the first step of the key schedule.
func joinerSecret(init, commit secret, context []byte) secret {
	return expand(extract(init, commit), "joiner", context, hashSize)
}

// welcomeSecret keys the GroupInfo of a Welcome.
func welcomeSecret(joiner, psk secret) secret {
	return derive(extract(joiner, psk), "welcome")
}

// epochFromJoiner is the rest of the key schedule.
func epochFromJoiner(joiner, psk secret, context []byte) (e *epochSecrets, encryption secret) {
	return epochFromSecret(expand(extract(joiner, psk), "epoch", context, hashSize))
}

func epochFromSecret(epoch secret) (e *epochSecrets, encryption secret) {
	return &epochSecrets{
		senderData:    derive(epoch, "sender data"),
		exporter:      derive(epoch, "exporter"),
		external:      derive(epoch, "external"),
		confirmation:  derive(epoch, "confirm"),
		membership:    derive(epoch, "membership"),
		resumption:    derive(epoch, "resumption"),
		authenticator: derive(epoch, "authentication"),
		init:          derive(epoch, "init"),
	}, derive(epoch, "encryption")
}

// export is MLS-Exporter of §8.5.
func (e *epochSecrets) export(label string, context []byte, length int) (secret, error) {
	if length < 0 || length > maxExport {
		return nil, fmt.Errorf("export secret: length %d, at most %d: %w", length, maxExport, ErrInvalid)
	}
	return expand(derive(e.exporter, label), "exported", hash(context), length), nil
}

// epoch is everything about one epoch but the tree.
type epoch struct {
	context         GroupContext
	contextRaw      []byte
	interim         []byte // interim transcript hash
	confirmationTag []byte
	secrets         *epochSecrets
	tree            *secretTree
}

// newEpoch derives an epoch of a tree with so many leaves.
func newEpoch(s suite, context GroupContext, joiner, psk secret, leaves int) *epoch {
	e := &epoch{context: context, contextRaw: context.bytes()}
	var encryption secret
	e.secrets, encryption = epochFromJoiner(joiner, psk, e.contextRaw)
	e.tree = newSecretTree(s, leaves, encryption)
	return e
}

// confirm sets the tag and the transcript that includes it.
func (e *epoch) confirm(tag []byte) {
	e.confirmationTag = bytes.Clone(tag)
	e.interim = interimTranscript(e.context.ConfirmedTranscriptHash, tag)
}

// tag computes the epoch's confirmation tag.
func (e *epoch) tag() []byte {
	return mac(e.secrets.confirmation, e.context.ConfirmedTranscriptHash)
}

// confirmedTranscript and interimTranscript are §8.2.
func confirmedTranscript(interim []byte, c *authContent) []byte {
	w := writer{make([]byte, 0, len(interim)+len(c.content.body)+256)}
	w.raw(interim)
	w.u16(uint16(c.wire))
	c.content.encode(&w)
	w.vec(c.signature)
	return hash(w.b)
}

func interimTranscript(confirmed, tag []byte) []byte {
	var w writer
	w.raw(confirmed)
	w.vec(tag)
	return hash(w.b)
}
