package e2ee_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

func (w *world) envelopeKey() e2ee.EnvelopeKey {
	k, err := e2ee.NewEnvelopeKey(w.src)
	w.ok(err)
	return k
}

// filled returns a message of n bytes.
func (w *world) filled(n int) []byte {
	b := make([]byte, n)
	w.src.Read(b)
	return b
}

func TestEnvelope_CarriesMessagesOfAllSizes(t *testing.T) {
	w := newWorld(t, 1)
	k := w.envelopeKey()
	for _, n := range []int{1, 466, e2ee.PieceSize - 1, e2ee.PieceSize, e2ee.PieceSize + 1, 3 * e2ee.PieceSize, e2ee.MaxMessage} {
		m := w.filled(n)
		list, err := k.Wrap(w.src, m)
		w.ok(err)
		if want := (n + e2ee.PieceSize - 1) / e2ee.PieceSize; len(list) != want {
			t.Errorf("%d bytes in %d envelopes, want %d", n, len(list), want)
		}
		var pieces []e2ee.Piece
		ids := map[[16]byte]bool{}
		for _, e := range list {
			// A concierge takes 64 KiB; padded content of a piece is at most 50.
			if len(e.Body) > 40+message.MaxPadded {
				t.Errorf("an envelope of %d bytes", len(e.Body))
			}
			if sum := e2ee.TagEnvelope.Sum(e.Body); [16]byte(sum[:16]) != e.ID || ids[e.ID] {
				t.Error("its id is not that of its body")
			}
			ids[e.ID] = true
			p, err := k.Open(e.Body)
			w.ok(err)
			pieces = append(pieces, p)
		}
		w.rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		if got, err := e2ee.Assemble(pieces); err != nil || !bytes.Equal(got, m) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, n := range []int{0, e2ee.MaxMessage + 1} {
		if list, err := k.Wrap(w.src, make([]byte, n)); err == nil || list != nil {
			t.Errorf("%d bytes were wrapped", n)
		}
	}
}

func TestEnvelope_HidesWhatItHolds(t *testing.T) {
	w, all := pair(t, 2, 1)
	k := w.envelopeKey()
	size := func(m []byte) int {
		list, err := k.Wrap(w.src, m)
		w.ok(err)
		if bytes.Contains(list[0].Body, all[0].s.Group()) {
			t.Error("shows the group")
		}
		return len(list[0].Body)
	}
	for _, text := range []string{"a", "hello, how are you?", string(bytes.Repeat([]byte("a"), 128))} {
		sealed := all[0].say(text)
		if n := size(sealed); n != 512+40 || len(sealed) != 466 {
			t.Errorf("%d letters take %d bytes, sealed %d", len(text), n, len(sealed))
		}
	}
	// Between a few words and a page every size is one of message's own: padding the
	// message and its envelope costs no more than padding once.
	for n := 200; n < 16_000; n += 777 {
		sealed := all[0].say(string(bytes.Repeat([]byte("a"), n)))
		if got, once := size(sealed), 40+message.PaddedSize(n+160+230); got > once || got-40 != message.PaddedSize(got-40-4) {
			t.Errorf("%d letters take %d bytes, want at most %d", n, got, once)
		}
	}
	m := all[0].say("a")
	a, err := k.Wrap(w.src, m)
	w.ok(err)
	b, err := k.Wrap(w.src, m)
	w.ok(err)
	if bytes.Equal(a[0].Body, b[0].Body) || a[0].ID == b[0].ID {
		t.Error("one message looks alike in two queues")
	}
}

func TestEnvelope_ACommitHasOneSlot(t *testing.T) {
	w := newWorld(t, 1)
	k, other := w.envelopeKey(), w.envelopeKey()
	group := w.filled(32)
	id := func(k e2ee.EnvelopeKey, m, group []byte, epoch uint64) [16]byte {
		list, err := k.WrapCommit(w.src, m, group, epoch)
		w.ok(err)
		for _, e := range list[:len(list)-1] {
			if sum := e2ee.TagEnvelope.Sum(e.Body); e.ID != [16]byte(sum[:16]) {
				t.Error("a piece before the last is not under its own id")
			}
		}
		return list[len(list)-1].ID
	}
	slot := id(k, []byte("one commit"), group, 7)
	if id(k, w.filled(100_000), group, 7) != slot {
		t.Error("another commit of the epoch has another slot")
	}
	for name, other := range map[string][16]byte{
		"epoch": id(k, []byte("one commit"), group, 8), "group": id(k, []byte("one commit"), w.filled(32), 7), "queue": id(other, []byte("one commit"), group, 7),
	} {
		if other == slot {
			t.Errorf("another %s has the same slot", name)
		}
	}
	if _, err := k.WrapCommit(w.src, nil, group, 7); err == nil {
		t.Error("nothing was wrapped")
	}
}

// TestChange_SlotIsForMembersOnly: rivals in an epoch meet in one slot, and who was
// removed cannot tell the next.
func TestChange_SlotIsForMembersOnly(t *testing.T) {
	w, all := pair(t, 2, 1)
	first, rival := all[0].commit(), all[2].commit()
	if !bytes.Equal(first.Slot, rival.Slot) || len(first.Slot) != 32 {
		t.Error("rivals have two slots")
	}
	w.delist(all[1])
	c := all[0].commit()
	if !bytes.Equal(c.Slot, first.Slot) {
		t.Error("one device's commits have two slots")
	}
	all[0].merge(c)
	if next := all[0].commit(); bytes.Equal(next.Slot, c.Slot) {
		t.Error("two epochs have one slot")
	}
}

func TestEnvelope_RefusesWhatIsNone(t *testing.T) {
	w := newWorld(t, 1)
	k := w.envelopeKey()
	m := w.filled(300)
	list, err := k.Wrap(w.src, m)
	w.ok(err)
	body := list[0].Body
	for i := range body {
		flipped := bytes.Clone(body)
		flipped[i] ^= 1
		if _, err := k.Open(flipped); err == nil {
			t.Fatalf("opened with byte %d flipped", i)
		}
	}
	if _, err := w.envelopeKey().Open(body); err == nil {
		t.Error("opened with another key")
	}
	whole := e2ee.TagEnvelope.Sum(m)
	padded := func(p any) []byte {
		b, err := message.Pad(wire.Encode(p))
		w.ok(err)
		return b
	}
	for name, content := range map[string][]byte{
		"nothing": nil, "no padding": wire.Encode(piece{Of: 1, Whole: whole, Data: m}), "rubbish": padded("rubbish"),
		"beyond the end, and full": padded(piece{Part: 1, Of: 1, Whole: whole, Data: make([]byte, e2ee.PieceSize)}),
		"of none":                  padded(piece{Of: 0, Whole: whole, Data: m}),
		"of too many":              padded(piece{Of: e2ee.MaxPieces + 1, Whole: whole, Data: make([]byte, e2ee.PieceSize)}),
		"beyond the end":           padded(piece{Part: 1, Of: 1, Whole: whole, Data: m}),
		"far beyond":               padded(piece{Part: 255, Of: 0, Whole: whole, Data: m}),
		"empty":                    padded(piece{Of: 1, Whole: whole}),
		"not full":                 padded(piece{Of: 2, Whole: whole, Data: m}),
		"too full":                 padded(piece{Of: 1, Whole: whole, Data: make([]byte, e2ee.PieceSize+1)}),
	} {
		if p, err := k.Open(envelope(w, k, content)); err == nil {
			t.Errorf("%s: opened as %d of %d", name, p.Part, p.Of)
		}
	}
	for _, n := range []int{0, 39, 40, 40 + message.MaxPadded + 1} {
		if _, err := k.Open(make([]byte, n)); err == nil {
			t.Errorf("%d bytes were opened", n)
		}
	}
	if p, err := k.Open(envelope(w, k, padded(piece{Of: 1, Whole: whole, Data: m}))); err != nil || !bytes.Equal(p.Data, m) {
		t.Errorf("what keeps the rules, made in the same way: %v", err)
	}
}

func TestAssemble_RefusesPiecesThatDoNotBelongTogether(t *testing.T) {
	w := newWorld(t, 1)
	k := w.envelopeKey()
	cut := func(n int) []e2ee.Piece {
		list, err := k.Wrap(w.src, w.filled(n))
		w.ok(err)
		var pieces []e2ee.Piece
		for _, e := range list {
			p, err := k.Open(e.Body)
			w.ok(err)
			pieces = append(pieces, p)
		}
		return pieces
	}
	a, b := cut(120_000), cut(120_000)
	longer := cut(160_000)
	changed := slices.Clone(a)
	changed[1].Data = bytes.Clone(changed[1].Data)
	changed[1].Data[0] ^= 1
	renamed := slices.Clone(a)
	for i := range renamed {
		renamed[i].Whole = b[0].Whole
	}
	wrong := slices.Clone(a)
	wrong[2].Part = 9
	for name, pieces := range map[string][]e2ee.Piece{
		"none": nil, "one missing": a[:2], "only the last": a[2:], "one twice": {a[0], a[1], a[1]}, "the last of a longer message": {a[0], a[1], longer[3]}, "one of another message": {a[0], b[1], a[2]},
		"one of a longer message": {a[0], longer[1], a[2]}, "one too many": append(slices.Clone(a), a[0]), "a changed one": changed, "another name": renamed,
		"a part that is none": wrong, "more than there may be": slices.Repeat(a[:1], e2ee.MaxPieces+1), "empty ones": make([]e2ee.Piece, 3), "an empty one": make([]e2ee.Piece, 1),
	} {
		if m, err := e2ee.Assemble(pieces); err == nil || m != nil {
			t.Errorf("%s: assembled %d bytes", name, len(m))
		}
	}
	if _, err := e2ee.Assemble([]e2ee.Piece{a[2], a[0], a[1]}); err != nil {
		t.Error(err)
	}
}

func TestReach_ReadsWhatItWrites(t *testing.T) {
	w := newWorld(t, 1)
	r := e2ee.Reach{Address: [32]byte(w.filled(32)), Key: w.envelopeKey()}
	b := r.Encode()
	got, err := e2ee.DecodeReach(b)
	if err != nil || got != r || len(b) > message.MaxReach {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "a byte more": append(bytes.Clone(b), 0), "version 2": wire.Encode(reach{Version: 2, Address: r.Address, Key: r.Key}),
		"no address": wire.Encode(reach{Version: 1, Key: r.Key}), "no key": wire.Encode(reach{Version: 1, Address: r.Address}),
	} {
		if _, err := e2ee.DecodeReach(b); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
