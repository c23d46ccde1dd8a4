package e2ee_test

import (
	"bytes"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

// What these targets look for is a panic, memory beyond the bounds, and a second
// encoding of one value.

func FuzzOpenKnock(f *testing.F) {
	w := newWorld(f, 1)
	a, b := w.device(party(1)), w.device(party(2))
	request := a.request(party(2))
	k, err := e2ee.SealKnock(w.src, a.key, party(2), request, offers(b))
	w.ok(err)
	f.Add(k)
	f.Add(wire.Encode(knock{Head: knockHead{Version: 1}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, ref, err := e2ee.OpenKnock(in, party(2), b.secret)
		if err == nil && (e.ID() != request.ID() || ref == nil) {
			t.Error("another knock was opened")
		}
	})
}

func FuzzParseOffer(f *testing.F) {
	w := newWorld(f, 1)
	f.Add(w.device(party(1)).offer().Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		if o, err := e2ee.ParseOffer(in, now()); err == nil && !bytes.Equal(o.Bytes(), in) {
			t.Error("another encoding")
		}
	})
}

// FuzzEnvelope fuzzes what is inside: the key keeps everybody else out.
func FuzzEnvelope(f *testing.F) {
	w := newWorld(f, 1)
	k := w.envelopeKey()
	m := w.filled(300)
	padded, err := message.Pad(wire.Encode(piece{Of: 1, Whole: e2ee.TagEnvelope.Sum(m), Data: m}))
	w.ok(err)
	f.Add(padded)
	f.Fuzz(func(t *testing.T, in []byte) {
		w.t = t
		p, err := k.Open(envelope(w, k, in))
		if err != nil {
			return
		}
		again, err := message.Pad(wire.Encode(p))
		if err != nil || !bytes.Equal(again, in) {
			t.Errorf("another encoding: %v", err)
		}
		if m, err := e2ee.Assemble([]e2ee.Piece{p}); err == nil && !bytes.Equal(m, p.Data) {
			t.Error("another message")
		}
	})
}

func FuzzReach(f *testing.F) {
	f.Add(e2ee.Reach{Address: [32]byte{1}, Key: e2ee.EnvelopeKey{2}}.Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		if r, err := e2ee.DecodeReach(in); err == nil && !bytes.Equal(r.Encode(), in) {
			t.Error("another encoding")
		}
	})
}

func FuzzCredential(f *testing.F) {
	w := newWorld(f, 1)
	f.Add(e2ee.Template(w.device(party(1)).member).Credential.Identity)
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := e2ee.ParseCredential(in)
		if err != nil {
			return
		}
		if !bytes.Equal(e2ee.Template(m).Credential.Identity, in) || m.Device.Check() != nil || m.Generation == 0 {
			t.Errorf("%+v", m)
		}
	})
}

// FuzzOpen gives a session what a hostile member may send, and anything else.
func FuzzOpen(f *testing.F) {
	w, all := pair(f, 2, 1)
	evil, victim := all[0], all[2]
	raw := evil.bare()
	f.Add(evil.say("hello"), true)
	f.Add(evil.commit().Message, true)
	f.Add(wire.Encode(payload{Bytes: evil.event("a").Bytes()}), false)
	f.Add(wire.Encode(payload{Kind: 2, Bytes: []byte("later")}), false)
	f.Fuzz(func(t *testing.T, in []byte, whole bool) {
		if !whole {
			m, err := raw.Encrypt(w.src, in[:min(len(in), e2ee.PieceSize)], mls.Framing{})
			if err != nil {
				t.Skip(err)
			}
			in = m
		}
		o, err := victim.s.Open(in)
		if err == nil && o.Payload.Event != nil && o.Payload.Event.Author != o.From.Author() {
			t.Error("an event of somebody else")
		}
		e2ee.IsWelcome(in)
		e2ee.GroupOf(in)
	})
}

func FuzzEnter(f *testing.F) {
	w := newWorld(f, 1)
	a, b := w.device(party(1), party(1), party(2)), w.device(party(2), party(1), party(2))
	f.Add(a.create(1, b))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, ref, err := e2ee.Enter(now(), b.options(), in, b.secret)
		if (err == nil) != (s != nil && ref != nil) {
			t.Error(err)
		}
	})
}

func FuzzLoadChange(f *testing.F) {
	w, all := pair(f, 1, 1)
	stored, err := all[0].commit().MarshalBinary()
	w.ok(err)
	f.Add(stored)
	f.Fuzz(func(t *testing.T, in []byte) {
		if c, err := all[0].s.LoadChange(in); err == nil {
			if again, err := c.MarshalBinary(); err != nil || !bytes.Equal(again, in) {
				t.Errorf("another encoding: %v", err)
			}
		}
	})
}
