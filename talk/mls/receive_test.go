package mls

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestPadding_MustBeZero(t *testing.T) {
	groups := testGroup(t, X25519AES128, 2, anyPolicy())
	g := groups[0]
	var w writer
	w.vec([]byte("data"))
	a, err := g.content(Framing{}, ContentApplication, w.b)
	noError(t, err)
	noError(t, a.sign(testSigner(0), g.cur.contextRaw))
	a.signature = append(a.signature[:0:0], a.signature...)
	// A signature followed by something that is not padding.
	forged := *a
	forged.content.body = w.b
	message, _, err := g.cur.protectPrivate(testRand(1), &authContent{wire: a.wire, content: a.content, signature: a.signature}, nil)
	noError(t, err)
	m, err := ParseMessage(message)
	noError(t, err)
	_, st, err := openPrivate(groups[1].cur.tree, groups[1].cur.secrets.senderData, m.private, func(LeafIndex) error { return nil })
	noError(t, err)
	var plain writer
	plain.raw(w.b)
	a.encodeAuth(&plain)
	plain.raw([]byte{0, 0, 1})
	p := *m.private
	sd := senderData{leaf: 0, generation: 0}
	p.ciphertext, err = g.s.sealAEAD(st.key, guarded(st.nonce, sd.guard), p.contentAAD(), plain.b)
	noError(t, err)
	key, nonce := g.s.senderDataKey(g.cur.secrets.senderData, p.ciphertext)
	var sw writer
	sw.u32(0)
	sw.u32(0)
	sw.raw(sd.guard[:])
	p.senderData, err = g.s.sealAEAD(key, nonce, p.senderDataAAD(), sw.b)
	noError(t, err)
	m.private = &p
	if _, err := groups[1].Receive(m, nil); err == nil || !strings.Contains(err.Error(), "padding") {
		t.Errorf("padding with a bit set: %v", err)
	}
}

// TestReceive_SendersStayInTheirRoles signs messages properly that their
// senders may not send.
func TestReceive_SendersStayInTheirRoles(t *testing.T) {
	groups := listeners(t, X25519AES128, anyPolicy())
	g := groups[3]
	send := func(from Sender, key byte, kind ContentType, body []byte) error {
		a := &authContent{wire: WirePublic, content: framedContent{groupID: g.ID(), epoch: g.Epoch(), sender: from, kind: kind, body: body}}
		if kind == ContentCommit {
			a.confirmationTag = make([]byte, hashSize)
		}
		noError(t, a.sign(testSigner(key), g.cur.contextRaw))
		p := &publicMessage{authContent: *a}
		p.membershipTag = p.membership(g.cur.secrets.membership, g.cur.contextRaw)
		m, err := ParseMessage(p.bytes())
		noError(t, err)
		_, err = g.Receive(m, nil)
		return err
	}
	encode := func(p Proposal) []byte {
		var w writer
		p.encode(&w)
		return w.b
	}
	leaf := g.tree.leaf(1).template().leaf(SourceUpdate, bytes.Repeat([]byte{9}, 32), testSigner(50)[32:])
	noError(t, leaf.sign(testSigner(50), g.ID(), 1))
	update := encode(Proposal{Type: ProposalUpdate, Update: leaf})
	remove := encode(RemoveProposal(1))
	var data, empty writer
	data.vec([]byte("data"))
	(&commit{}).encode(&empty)
	for _, c := range []struct {
		name string
		from Sender
		key  byte
		kind ContentType
		body []byte
	}{
		{"public application data", Sender{Type: SenderMember, Leaf: 1}, 1, ContentApplication, data.b},
		{"external application data", Sender{Type: SenderExternal}, 50, ContentApplication, data.b},
		{"external update", Sender{Type: SenderExternal}, 50, ContentProposal, update},
		{"external init proposal", Sender{Type: SenderExternal}, 50, ContentProposal, encode(Proposal{Type: ProposalExternalInit, KEMOutput: []byte{1}})},
		{"member's external init proposal", Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, encode(Proposal{Type: ProposalExternalInit, KEMOutput: []byte{1}})},
		{"external commit by a listed sender", Sender{Type: SenderExternal}, 50, ContentCommit, empty.b},
		{"new member's remove", Sender{Type: SenderNewMemberProposal}, 50, ContentProposal, remove},
		{"new member's commit without path", Sender{Type: SenderNewMemberCommit}, 50, ContentCommit, empty.b},
		{"update by another's leaf", Sender{Type: SenderMember, Leaf: 2}, 2, ContentProposal, update},
	} {
		if err := send(c.from, c.key, c.kind, c.body); err == nil {
			t.Errorf("%s: accepted", c.name)
		} else if errors.Is(err, ErrUnauthentic) && c.name != "update by another's leaf" {
			t.Errorf("%s: refused for its signature, which is fine: %v", c.name, err)
		}
	}
	noError(t, send(Sender{Type: SenderExternal}, 50, ContentProposal, remove))

	// Updates and adds that are signed by the right one and wrong in themselves.
	own := func(f func(*LeafNode)) []byte {
		l := g.tree.leaf(1).template().leaf(SourceUpdate, bytes.Repeat([]byte{9}, 32), testSigner(1)[32:])
		f(l)
		noError(t, l.sign(testSigner(1), g.ID(), 1))
		return encode(Proposal{Type: ProposalUpdate, Update: l})
	}
	add := func(id CipherSuite) []byte {
		k, _, err := NewKeyPackage(testRand(1), id, testSigner(70), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
		noError(t, err)
		return encode(AddProposal(k))
	}
	for name, body := range map[string][]byte{
		"update with a leaf for a key package": own(func(l *LeafNode) { l.Source = SourceKeyPackage }),
		"update with the old key":              own(func(l *LeafNode) { l.EncryptionKey = g.tree.leaf(1).EncryptionKey }),
		"add of another suite":                 add(X25519ChaCha20),
		"add of another KEM":                   add(XWingAES128),
	} {
		if err := send(Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, body); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	noError(t, send(Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, own(func(*LeafNode) {})))
	noError(t, send(Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, add(X25519AES128)))
}

// TestReceive_ForgedSenderDataAndSignatures: an insider, who has every message
// key, speaks for others and for nobody, in this epoch and in a past one.
func TestReceive_ForgedSenderDataAndSignatures(t *testing.T) {
	wide := testGroup(t, X25519AES128, 5, anyPolicy()) // a tree of 8 with three blanks
	g := wide[3]
	forge := func(e *epoch, as LeafIndex, key byte) *Message {
		var w writer
		w.vec([]byte("forged"))
		a := &authContent{wire: WirePrivate, content: framedContent{groupID: g.ID(), epoch: e.context.Epoch,
			sender: Sender{Type: SenderMember, Leaf: as}, kind: ContentApplication, body: w.b}}
		noError(t, a.sign(testSigner(key), e.contextRaw))
		b, _, err := e.protectPrivate(testRand(1), a, nil)
		noError(t, err)
		m, err := ParseMessage(b)
		noError(t, err)
		return m
	}
	insider, err := wide[1].Clone()
	noError(t, err)
	cases := []*Message{forge(insider.cur, 2, 1), forge(insider.cur, 6, 1), forge(insider.cur, 3, 1)}
	for past := range 2 {
		g.TakeDelta()
		before := state(g)
		for i, m := range cases {
			if _, err := g.Receive(m, nil); err == nil {
				t.Errorf("forgery %d in past=%d was read", i, past)
			}
			if state(g) != before {
				t.Fatalf("forgery %d in past=%d changed the state", i, past)
			}
		}
		rekey(t, wide, 0)
	}
	r, err := g.Receive(forge(insider.cur, 1, 1), nil) // its own name is its own to use
	noError(t, err)
	if string(r.Data) != "forged" {
		t.Errorf("read %q", r.Data)
	}
}
