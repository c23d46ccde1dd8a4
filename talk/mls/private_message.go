package mls

import (
	"fmt"
	"io"
)

// privateMessage is PrivateMessage of RFC 9420 §6.3.
type privateMessage struct {
	groupID    []byte
	epoch      uint64
	kind       ContentType
	aad        []byte
	senderData []byte
	ciphertext []byte
}

func (r *reader) privateMessage() *privateMessage {
	p := &privateMessage{
		groupID: r.vec(MaxGroupID), epoch: r.u64(), kind: ContentType(r.u8()),
		aad: r.vec(MaxMessage), senderData: r.vec(maxSecret), ciphertext: r.vec(MaxMessage),
	}
	if r.err == nil && (p.kind < ContentApplication || p.kind > ContentCommit) {
		r.fail(ErrMalformed, "content type %d", p.kind)
	}
	return p
}

func (p *privateMessage) bytes() []byte {
	w := writer{make([]byte, 0, len(p.ciphertext)+len(p.aad)+128)}
	w.u16(versionMLS10)
	w.u16(uint16(WirePrivate))
	w.vec(p.groupID)
	w.u64(p.epoch)
	w.u8(uint8(p.kind))
	w.vec(p.aad)
	w.vec(p.senderData)
	w.vec(p.ciphertext)
	return w.b
}

func (p *privateMessage) contentAAD() []byte {
	w := writer{make([]byte, 0, len(p.groupID)+len(p.aad)+16)}
	w.vec(p.groupID)
	w.u64(p.epoch)
	w.u8(uint8(p.kind))
	w.vec(p.aad)
	return w.b
}

func (p *privateMessage) senderDataAAD() []byte {
	w := writer{make([]byte, 0, len(p.groupID)+16)}
	w.vec(p.groupID)
	w.u64(p.epoch)
	w.u8(uint8(p.kind))
	return w.b
}

// senderDataKey keys the sender data by a sample of the ciphertext (§6.3.2).
func (s suite) senderDataKey(senderData secret, ciphertext []byte) (key, nonce secret) {
	sample := ciphertext[:min(len(ciphertext), hashSize)]
	return expand(senderData, "key", sample, s.keySize), expand(senderData, "nonce", sample, nonceSize)
}

// senderData says whose key opens the content, and which.
type senderData struct {
	leaf       LeafIndex
	generation uint32
	guard      [4]byte
}

// guarded is a nonce with the reuse guard mixed in (§6.3.1).
func guarded(nonce secret, guard [4]byte) secret {
	n := append(secret(nil), nonce...)
	for i, b := range guard {
		n[i] ^= b
	}
	return n
}

// protectPrivate makes a PrivateMessage of signed content. The step is final
// once the caller applies it, which must be before the message leaves.
func (e *epoch) protectPrivate(rand io.Reader, a *authContent, pad func(int) int) ([]byte, *step, error) {
	s, c := e.tree.s, &a.content
	st, err := e.tree.seal(ratchetID{c.sender.Leaf, c.kind != ContentApplication})
	if err != nil {
		return nil, nil, err
	}
	w := writer{make([]byte, 0, len(c.body)+256)}
	w.raw(c.body)
	a.encodeAuth(&w)
	if pad != nil {
		n := pad(len(w.b))
		if n < len(w.b) || n > MaxMessage {
			return nil, nil, fmt.Errorf("pad message of %d bytes: padded size %d: %w", len(w.b), n, ErrInvalid)
		}
		w.raw(make([]byte, n-len(w.b)))
	}
	sd := senderData{leaf: c.sender.Leaf, generation: st.generation}
	if _, err := io.ReadFull(rand, sd.guard[:]); err != nil {
		return nil, nil, fmt.Errorf("read randomness: %w", err)
	}
	p := &privateMessage{groupID: c.groupID, epoch: c.epoch, kind: c.kind, aad: c.aad}
	if p.ciphertext, err = s.sealAEAD(st.key, guarded(st.nonce, sd.guard), p.contentAAD(), w.b); err != nil {
		return nil, nil, err
	}
	var sw writer
	sw.u32(uint32(sd.leaf))
	sw.u32(sd.generation)
	sw.raw(sd.guard[:])
	key, nonce := s.senderDataKey(e.secrets.senderData, p.ciphertext)
	if p.senderData, err = s.sealAEAD(key, nonce, p.senderDataAAD(), sw.b); err != nil {
		return nil, nil, err
	}
	return p.bytes(), st, nil
}

// openSender decrypts who sent a message.
func openSender(s suite, key secret, p *privateMessage) (sd senderData, err error) {
	k, nonce := s.senderDataKey(key, p.ciphertext)
	plain, err := s.openAEAD(k, nonce, p.senderDataAAD(), p.senderData)
	if err != nil {
		return sd, fmt.Errorf("open sender data: %w", err)
	}
	r := reader{b: plain}
	sd.leaf, sd.generation = LeafIndex(r.u32()), r.u32()
	copy(sd.guard[:], r.take(4))
	if err := r.end(); err != nil {
		return sd, fmt.Errorf("decode sender data: %w", err)
	}
	return sd, nil
}

// openPrivate decrypts a message from a sender that may returns no error for.
// Its signature is still to be verified, and only then may the step be applied.
func openPrivate(t *secretTree, senderKey secret, p *privateMessage, may func(LeafIndex) error) (*authContent, *step, error) {
	sd, err := openSender(t.s, senderKey, p)
	if err != nil {
		return nil, nil, err
	}
	if err := may(sd.leaf); err != nil {
		return nil, nil, fmt.Errorf("open message: %w", err)
	}
	st, err := t.open(ratchetID{sd.leaf, p.kind != ContentApplication}, sd.generation)
	if err != nil {
		return nil, nil, err
	}
	plain, err := t.s.openAEAD(st.key, guarded(st.nonce, sd.guard), p.contentAAD(), p.ciphertext)
	if err != nil {
		return nil, nil, fmt.Errorf("open message: %w", err)
	}
	a := &authContent{wire: WirePrivate, content: framedContent{
		groupID: p.groupID, epoch: p.epoch, sender: Sender{Type: SenderMember, Leaf: sd.leaf},
		aad: p.aad, kind: p.kind,
	}}
	r := reader{b: plain}
	r.content(&a.content)
	r.auth(a)
	for _, b := range r.b {
		if b != 0 {
			r.fail(ErrMalformed, "padding is not zero")
			break
		}
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("decode content: %w", r.err)
	}
	return a, st, nil
}
