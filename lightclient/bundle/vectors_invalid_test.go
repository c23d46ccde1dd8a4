package bundle_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/sha3"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

// invalid is a bundle that nobody may accept.
type invalid struct {
	name, about string
	expect      wire.Code
	b           []byte
	pin         verify.Pin
	known       bool
	later       time.Duration
}

// TestVectors_OfBundlesToRefuse writes and compares bundles that every reader
// must refuse. They are of a chain with a single validator, so that they are
// small.
func TestVectors_OfBundlesToRefuse(t *testing.T) {
	w := newWorld(t, fakechain.Spec{ID: "confab-vectors", Set: fakechain.Equal(0, 1)})
	f := vectors.File{About: "Bundles that every reader must refuse, with the kind of the error. The bundle good is\n" +
		"accepted; each of the others differs from it in what it says. The fields are those of\n" +
		"bundle.txt."}
	list := w.invalid(t)
	f.Vectors = append(f.Vectors, vectors.Vector{Name: "known", Bytes: wire.Encode(*w.Chain.Trust(8)),
		Fields: []vectors.Field{field("about", "what a client keeps that has verified block 8")}})
	for _, v := range list {
		fields := []vectors.Field{field("about", "%s", v.about), field("pin", "%v", v.pin)}
		if v.known {
			fields = append(fields, field("known", "known"))
		}
		expect := "accepted"
		if v.expect != 0 {
			expect = v.expect.String()
		}
		fields = append(fields, field("now", "%d", w.Now().Add(v.later).Unix()), field("max_age", "60"), field("expect", "%s", expect))
		f.Vectors = append(f.Vectors, vectors.Vector{Name: v.name, Fields: fields, Bytes: v.b})
	}
	if err := vectors.Compare(vectorsDir+"bundle_invalid.txt", f, *update); err != nil {
		t.Error(err)
	}
}

func (w *world) invalid(t *testing.T) []invalid {
	pin, whole := w.Pin(1), w.ask().Encode()
	otherPin, forkedPin := w.Pin(2), w.Pin(1)
	forkedPin.Hash[31] ^= 1
	elsewhere := newWorld(t, fakechain.Spec{ID: "confab-other", Set: fakechain.Equal(0, 1)})
	own := fakechain.Equal(9, 1)
	fork := w.Fork()
	fork.Skip(2)
	w.Skip(2)
	with := func(change func(b *bundle.Bundle)) []byte {
		b, err := w.BundleAt(7, lightclient.Request{Handle: "alice", Serving: true, Pin: 1})
		w.do(err)
		b.Steps, b.Leaves = slices.Clone(b.Steps), slices.Clone(b.Leaves)
		change(&b)
		return b.Encode()
	}
	flipped := func(at int) []byte { b := slices.Clone(whole); b[at] ^= 1; return b }
	return []invalid{
		{name: "good", about: "what @alice means", b: whole, pin: pin},
		{name: "empty", about: "no bytes at all", expect: wire.Invalid, b: []byte{}, pin: pin},
		{name: "truncated", about: "the last byte is missing", expect: wire.Invalid, b: whole[:len(whole)-1], pin: pin},
		{name: "trailing", about: "a byte follows", expect: wire.Invalid, b: append(slices.Clone(whole), 0), pin: pin},
		{name: "flipped-signature", about: "a bit of the signature is flipped", expect: wire.Invalid, b: flipped(strings.Index(string(whole), "confab-vectors") + 1200), pin: pin},
		{name: "flipped-proof", about: "the last bit of the last proof is flipped", expect: wire.Invalid, b: flipped(len(whole) - 2), pin: pin},
		{name: "stale", about: "more than a minute old", expect: wire.Stale, b: whole, pin: pin, later: time.Minute + time.Second},
		{name: "future", about: "from more than ten seconds ahead", expect: wire.Unavailable, b: whole, pin: pin, later: -20 * time.Second},
		{name: "expired", about: "the pin is older than the trusting period", expect: wire.Stale, b: whole, pin: pin, later: 14 * 24 * time.Hour},
		{name: "other-chain", about: "it is of the chain confab-other", expect: wire.Invalid, b: elsewhere.ask().Encode(), pin: pin},
		{name: "other-pin", about: "the reader's pin is of another height", expect: wire.Invalid, b: whole, pin: otherPin},
		{name: "forked-pin", about: "the reader's pin is another header of that height", expect: wire.Invalid, b: whole, pin: forkedPin},
		{name: "no-origin", about: "the pinned header is missing", expect: wire.Invalid, pin: pin, b: with(func(b *bundle.Bundle) { b.Origin = nil })},
		{name: "other-origin-validators", about: "the pinned header comes with other validators", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Origin.Validators = own.Validators })},
		{name: "unsigned", about: "nobody signed the head", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Steps[0].Head.Commit.Votes = make([]verify.Vote, 1) })},
		{name: "other-signer", about: "somebody else signed the head", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { own.Sign(&b.Steps[0].Head) })},
		{name: "other-validators", about: "the head names a validator of its own, who signed it", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) {
				h := &b.Steps[0].Head
				h.Header.ValidatorsHash, b.Steps[0].Validators = own.Hash(), &own.Validators
				own.Sign(h)
			})},
		{name: "fork", about: "the head of a height that the reader knows is another one, and is signed", expect: wire.Conflict, pin: pin, known: true,
			b: bundle.Bundle{Version: 1, About: "head", Origin: fork.Origin(1), Steps: fork.Steps(1, 8)}.Encode()},
		{name: "fork-on-the-way", about: "the path goes through another head of a height that the reader knows", expect: wire.Conflict, pin: pin, known: true,
			b: bundle.Bundle{Version: 1, About: "head", Origin: fork.Origin(1), Steps: slices.Concat(fork.Steps(1, 8), fork.Steps(8, 9))}.Encode()},
		{name: "backwards", about: "the second head is older than the first", expect: wire.Stale, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Steps = append(b.Steps, w.Steps(1, 5)...) })},
		{name: "leaf-twice", about: "a leaf is proven twice", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Leaves = append(b.Leaves, b.Leaves[0]) })},
		{name: "values-swapped", about: "two leaves have each other's value", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { l := b.Leaves; l[1].Value, l[2].Value = l[2].Value, l[1].Value })},
		{name: "absence-claimed", about: "@alice's leaf is said to be absent, with the proof that it is there", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Leaves[0].Value = nil })},
		{name: "absence-by-itself", about: "@alice's leaf is said to be absent because it stands in its own place", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Leaves[0] = inItsOwnPlace(t, b.Leaves[0]) })},
		{name: "old-proof", about: "a leaf with the value and the proof of an earlier height", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Leaves[2] = w.Leaf(4, namesvc.LeafAccount, w.harbor.ID[:]) })},
		{name: "no-heads", about: "it has no head", expect: wire.Invalid, pin: pin, b: with(func(b *bundle.Bundle) { b.Steps = nil })},
		{name: "many-heads", about: "it has 33 heads", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Steps, b.Leaves = slices.Repeat(b.Steps, 33), nil })},
		{name: "many-leaves", about: "it has 9 leaves", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Leaves = slices.Repeat(b.Leaves[:1], 9) })},
		{name: "anchor", about: "it carries an anchor, which version 1 does not know", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.Anchor = []byte{1} })},
		{name: "version", about: "it is of version 2", expect: wire.Invalid, pin: pin, b: with(func(b *bundle.Bundle) { b.Version = 2 })},
		{name: "note", about: "its note would move a terminal's cursor", expect: wire.Invalid, pin: pin,
			b: with(func(b *bundle.Bundle) { b.About = "@alice\x1b[2J" })},
	}
}
