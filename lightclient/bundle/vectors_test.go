package bundle_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

var update = flag.Bool("update", false, "rewrite vectors")

// vectorsDir is where the vectors live, seen from this package.
const vectorsDir = "../../docs/vectors/"

// What travels in columns, or behind a type that hides its fields, has its shape
// here: it is part of the specification.
type (
	leafKind     uint8
	validatorSet []verify.Validator

	proofBundle struct {
		_       struct{} `cbor:",toarray"`
		Version uint8
		About   string
		Origin  *origin
		Steps   []step
		Leaves  []leaf
		Anchor  []byte
	}
	origin struct {
		_          struct{} `cbor:",toarray"`
		Header     verify.Header
		Validators []verify.Validator
	}
	step struct {
		_          struct{} `cbor:",toarray"`
		Head       head
		Validators *[]verify.Validator
	}
	head struct {
		_      struct{} `cbor:",toarray"`
		Header verify.Header
		Commit commit
	}
	commit struct {
		_          struct{} `cbor:",toarray"`
		Round      uint32
		Parts      verify.Parts
		Kinds      []byte
		Times      []int64
		Signatures []byte
	}
	leaf struct {
		_     struct{} `cbor:",toarray"`
		Kind  leafKind
		ID    []byte
		Value []byte
		Proof []byte
	}
	trust struct {
		_                  struct{} `cbor:",toarray"`
		ChainID            string
		Height             uint64
		Time               verify.Time
		Hash               [32]byte
		Validators         []verify.Validator
		NextValidatorsHash [32]byte
	}
	seals struct {
		_          struct{} `cbor:",toarray"`
		Height     uint64
		Round      uint32
		Present    []byte
		Signatures []byte
	}
)

func (k leafKind) String() string { return fmt.Sprintf("'%c', %s", byte(k), namesvc.LeafName(byte(k))) }

// field is one named value of a vector.
func field(name, format string, args ...any) vectors.Field {
	return vectors.Field{Name: name, Value: fmt.Sprintf(format, args...)}
}

// explained is a vector of canonical CBOR.
func explained(t *testing.T, name string, b []byte, as any, fields ...vectors.Field) vectors.Vector {
	t.Helper()
	items, err := vectors.Annotate(b, as, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return vectors.Vector{Name: name, Fields: fields, Items: items, Bytes: b}
}

// vectorWorld is the chain of the vectors: four validators, of which one is
// replaced, and a checkpoint every five blocks.
func vectorWorld(t *testing.T) *world {
	p := namesvc.DevParams("confab-vectors")
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 5
	w := newWorld(t, fakechain.Spec{ID: "confab-vectors", Set: fakechain.Weighted(0, 10, 10, 10, 7), Params: p})
	w.SetValidators(fakechain.Weighted(1, 10, 10, 7, 10))
	w.Skip(3)
	return w
}

func TestVectors_OfBundles(t *testing.T) {
	w := vectorWorld(t)
	f := vectors.File{About: "Heads, proofs, checkpoints and bundles of one small chain (SPEC-bundle). Times are\n" +
		"seconds since 1970. A vector with the field now is to be verified at that time, from\n" +
		"the pin in it and, where it has a field known, from the vector of that name; it must\n" +
		"be accepted and mean what its other fields say."}
	f.Vectors = append(f.Vectors, w.headVectors(t)...)
	f.Vectors = append(f.Vectors, w.proofVectors(t)...)
	f.Vectors = append(f.Vectors, w.sealVectors(t)...)
	f.Vectors = append(f.Vectors, w.bundleVectors(t)...)
	if err := vectors.Compare(vectorsDir+"bundle.txt", f, *update); err != nil {
		t.Error(err)
	}
}

// headVectors are what a client starts from and follows.
func (w *world) headVectors(t *testing.T) []vectors.Vector {
	h, set := w.Head(3)
	pin, list := w.Pin(1), validatorSet(nil)
	var addresses []string
	for i := range set.Len() {
		a := set.Address(i)
		list, addresses = append(list, set.At(i)), append(addresses, hex.EncodeToString(a[:]))
	}
	hash := h.Header.Hash()
	out := []vectors.Vector{
		explained(t, "pin", wire.Encode(pin), verify.Pin{}, field("about", "where trust begins: block 1"), field("text", "%v", pin)),
		explained(t, "validators", wire.Encode(set.Validators), list, field("about", "a validator set; addresses are derived from keys"),
			field("hash", "%x", set.Hash()), field("signers", "%x", verify.HashSigners(set.Validators)),
			field("addresses", "%s", strings.Join(addresses, " ")), field("power", "%d", set.TotalPower())),
		explained(t, "header", wire.Encode(h.Header), verify.Header{}, field("about", "the header of block 3"), field("hash", "%x", hash)),
		explained(t, "head", wire.Encode(h), head{}, field("about", "block 3 with all votes"), field("hash", "%x", hash)),
		explained(t, "head-trimmed", wire.Encode(h.Trim(set.Validators)), head{},
			field("about", "the same with the votes that suffice: 30 of 37"), field("hash", "%x", hash)),
		w.signBytes(h),
		explained(t, "known", wire.Encode(*w.Chain.Trust(3)), trust{}, field("about", "what a client keeps that has verified block 3")),
	}
	return out
}

// signBytes explains what a validator signs when it votes for a block.
func (w *world) signBytes(h verify.Head) vectors.Vector {
	b := h.SignBytes(2)
	v := vectors.Vector{Name: "vote-2", Bytes: b, Fields: []vectors.Field{
		field("about", "what validator 2 signed for block 3: protobuf, as CometBFT has it; the signature is over its Keccak-256"),
		field("keccak", "%x", keccak(b)), field("signature", "%x", h.Commit.Votes[2].Signature),
		field("key", "%x", fakechain.Weighted(0, 10, 10, 10, 7).At(2).Key),
	}}
	chain := len(w.ID())
	v.Items = cut(b, []span{
		{1, 0, "length of what follows"}, {2, 1, "type: 2, precommit"}, {9, 1, "height: 3, 8 bytes little-endian"},
		{2, 1, "block id: 72 bytes"}, {34, 2, "the header's hash"},
		{2, 2, "part set header: 36 bytes"}, {2, 3, "total: 1"}, {34, 3, "the root over the parts"},
		{2, 1, "timestamp"}, {-1, 2, "the header's time and the vote's offset, seconds and nanoseconds"},
		{2, 1, "chain id"}, {chain, 2, "the chain id"},
	})
	return v
}

// span is some bytes to be explained; -1 stands for what is left over.
type span struct {
	size, depth int
	note        string
}

// cut explains bytes from the front, and those after the span of size -1 from
// the back.
func cut(b []byte, spans []span) []vectors.Item {
	rest := len(b)
	for _, s := range spans {
		rest -= max(0, s.size)
	}
	var out []vectors.Item
	for _, s := range spans {
		n := s.size
		if n < 0 {
			n = rest
		}
		out = append(out, vectors.Item{Depth: s.depth, Bytes: b[:n], Note: s.note})
		b = b[n:]
	}
	return out
}

// proofVectors are state proofs in their wire form.
func (w *world) proofVectors(t *testing.T) []vectors.Vector {
	h, _ := w.Head(w.Height())
	var out []vectors.Vector
	add := func(name, about string, l bundle.Leaf) {
		v := vectors.Vector{Name: name, Bytes: l.Proof, Items: explainProof(l.Proof), Fields: []vectors.Field{
			field("about", "%s", about), field("root", "%x", h.Header.AppHash),
			field("preimage", "%02x%x", l.Kind, l.ID), field("key", "%x", namesvc.LeafKey(l.Kind, l.ID)), field("value", "%x", l.Value),
		}}
		out = append(out, v)
	}
	id := w.alice.ID
	add("proof-present", "@alice's leaf is there", w.Leaf(w.Height(), namesvc.LeafHandle, []byte("allce")))
	var empty, other bool
	for i := 0; !empty || !other; i++ { // the first names that are absent for each reason
		name := fmt.Sprintf("nobody%d", i)
		l := w.Leaf(w.Height(), namesvc.LeafHandle, []byte(namesvc.Handle(name).Skeleton()))
		switch {
		case l.Proof[0] == 0 && !empty:
			empty = true
			add("proof-absent-empty", "@"+name+" is absent: there is nothing in its place", l)
		case l.Proof[0] == 1 && !other:
			other = true
			add("proof-absent-other", "@"+name+" is absent: another leaf stands in its place", l)
		}
	}
	add("proof-devices", "@alice's devices are there", w.Leaf(w.Height(), namesvc.LeafDevices, id[:]))
	return out
}

// explainProof explains the wire form of a state proof (SPEC-bundle §4).
func explainProof(b []byte) []vectors.Item {
	form := map[byte]string{0: "form: 0", 1: "form: 1, another leaf follows at the end"}[b[0]]
	spans := []span{{1, 0, form}, {1, 0, fmt.Sprintf("size of the bitmap: %d", b[1])}, {int(b[1]), 0, fmt.Sprintf("bitmap: %08b", b[2:2+b[1]])}}
	end := len(b) - 64*int(b[0])
	for at := 2 + int(b[1]); at < end; at += 32 {
		spans = append(spans, span{32, 1, "sibling"})
	}
	spans[3].note = "sibling at the lowest level"
	if b[0] == 1 {
		spans = append(spans, span{32, 1, "the other leaf's key"}, span{32, 1, "the SHA-256 of its value"})
	}
	return cut(b, spans)
}

// sealVectors are checkpoint 1 with all that its seal goes through.
func (w *world) sealVectors(t *testing.T) []vectors.Vector {
	c := w.Checkpoint(1)
	_, set := w.Head(c.Height)
	digest := c.Digest(verify.ChainTag(w.ID()))
	s := set.Seal(w.ID(), c)
	s.Signatures[3] = verify.Signature{} // one validator was away
	power, err := verify.CheckSeals(w.ID(), c, s, set.Validators)
	w.do(err)
	ext := verify.SealExtension(c.Number, digest)
	signed := verify.SealSignBytes(w.ID(), s.Height, s.Round, ext)
	word := func(n uint64) []byte { b, _ := hex.DecodeString(fmt.Sprintf("%064x", n)); return b }
	domain, tag := keccak([]byte("confab/checkpoint/1\n")), verify.ChainTag(w.ID())
	abi := vectors.Vector{Name: "checkpoint-words", Fields: []vectors.Field{
		field("about", "abi.encode(domain, chainTag, checkpoint), whose Keccak-256 is the digest"), field("digest", "%x", digest),
	}}
	for _, i := range []vectors.Item{
		{Bytes: domain, Note: `domain: the Keccak-256 of "confab/checkpoint/1\n"`},
		{Bytes: tag[:], Note: `chainTag: the Keccak-256 of "confab/chain/1\nconfab-vectors"`},
		{Bytes: word(c.Number), Note: "Number"}, {Bytes: word(c.Height), Note: "Height"}, {Bytes: word(c.Time), Note: "Time"},
		{Bytes: c.BlockHash[:], Note: "BlockHash"}, {Bytes: c.AppHash[:], Note: "AppHash"}, {Bytes: c.HistoryRoot[:], Note: "HistoryRoot"},
		{Bytes: c.Signers[:], Note: "Signers"}, {Bytes: c.NextSigners[:], Note: "NextSigners"},
		{Bytes: word(c.InboxCount), Note: "InboxCount"}, {Bytes: c.InboxHash[:], Note: "InboxHash"},
	} {
		abi.Items, abi.Bytes = append(abi.Items, i), append(abi.Bytes, i.Bytes...)
	}
	if got := keccak(abi.Bytes); string(got) != string(digest[:]) {
		t.Errorf("the words hash to %x, the digest is %x", got, digest)
	}
	return []vectors.Vector{
		explained(t, "checkpoint", wire.Encode(c), verify.Checkpoint{}, field("about", "the chain up to block 5"),
			field("chain_tag", "%x", tag), field("digest", "%x", digest)),
		abi,
		{Name: "seal-extension", Bytes: ext, Fields: []vectors.Field{field("about", "the vote extension that seals it")},
			Items: cut(ext, []span{{1, 0, "version 1"}, {8, 0, "number, big-endian"}, {32, 0, "digest"}})},
		{Name: "seal-signed", Bytes: signed, Fields: []vectors.Field{
			field("about", "what a validator signs with its vote of height 6, round 0: protobuf, as CometBFT has it"), field("keccak", "%x", keccak(signed)),
		}, Items: cut(signed, []span{{1, 0, "length of what follows"}, {2, 1, "extension: 41 bytes"}, {41, 2, "the extension"},
			{9, 1, "height: 6, 8 bytes little-endian"}, {2, 1, "chain id"}, {-1, 2, "the chain id; round 0 is left out"}})},
		explained(t, "seals", wire.Encode(s), seals{}, field("about", "the seals of validators 0, 1 and 2, in the order of vector validators"),
			field("power", "%d of %d", power, set.TotalPower())),
	}
}

// bundleVectors are bundles for readers who bring different things.
func (w *world) bundleVectors(t *testing.T) []vectors.Vector {
	stranger := fakechain.NewActor("stranger", namesvc.Person)
	var out []vectors.Vector
	add := func(name, about string, r lightclient.Request, more ...vectors.Field) {
		r.Pin = 1
		b, err := w.Bundle(r)
		w.do(err)
		fields := append([]vectors.Field{field("about", "%s", about), field("pin", "%v", w.Pin(1))}, more...)
		h, _ := w.Head(w.Height())
		fields = append(fields, field("now", "%d", w.Now().Unix()+1), field("max_age", "60"), field("expect", "accepted"),
			field("height", "%d", b.Head().Header.Height), field("time", "%d", h.Header.Time.Seconds), field("root", "%x", b.Head().Header.AppHash))
		out = append(out, explained(t, name, b.Encode(), proofBundle{}, fields...))
	}
	alice := []vectors.Field{field("handle", "@alice"), field("account", "%v", w.alice.ID), field("concierge", "%v", w.harbor.ID)}
	add("bundle-from-pin", "what @alice means, for somebody who has the pin; one validator has changed since", lightclient.Request{Handle: "alice", Serving: true}, alice...)
	add("bundle-from-known", "the same for somebody who has verified block 3, in the vector known", lightclient.Request{Handle: "alice", Serving: true, Known: 3},
		append([]vectors.Field{field("known", "known")}, alice...)...)
	add("bundle-absent", "that @nobody is not registered", lightclient.Request{Handle: "nobody"}, field("handle", "@nobody"), field("meaning", "not-found"))
	add("bundle-look-alike", "that @a1ice cannot be registered, because of @alice", lightclient.Request{Handle: "a1ice"}, field("handle", "@a1ice"), field("meaning", "not-found"))
	add("bundle-account-absent", "that an account is not on the chain", lightclient.Request{Account: &stranger.ID}, field("account", "%v", stranger.ID), field("meaning", "not-found"))
	add("bundle-devices", "an account's devices", lightclient.Request{Account: &w.alice.ID, Devices: true}, field("account", "%v", w.alice.ID), field("device", "%v", w.alice.Device.Public()))
	add("bundle-chain", "the chain's parameters, counters and newest checkpoint", lightclient.Request{Chain: true})
	return out
}

// TestVectors_HoldForAReader reads the files as anybody would and verifies what
// they say, with nothing but their text.
func TestVectors_HoldForAReader(t *testing.T) {
	checked := 0
	for _, name := range []string{"bundle.txt", "bundle_invalid.txt"} {
		f, err := vectors.Read(vectorsDir + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range f.Vectors {
			if v.Get("now") == "" {
				continue
			}
			checked++
			verified, err := bundle.Verify(v.Bytes, trustOf(t, f, v), time.Unix(number(t, v, "now"), 0))
			got := "accepted"
			if err != nil {
				got = wire.CodeOf(err).String()
			}
			if want := v.Get("expect"); got != want {
				t.Errorf("%s: %s is %s, want %s: %v", name, v.Name, got, want, err)
			}
			if err == nil && v.Get("height") != "" {
				means(t, v, verified)
			}
		}
	}
	if checked < 25 {
		t.Errorf("only %d bundles were checked", checked)
	}
}

func number(t *testing.T, v vectors.Vector, name string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(v.Get(name), 10, 64)
	if err != nil {
		t.Fatalf("%s: %s: %v", v.Name, name, err)
	}
	return n
}

// trustOf reads what a vector is to be verified with.
func trustOf(t *testing.T, f vectors.File, v vectors.Vector) bundle.Trust {
	t.Helper()
	pin, err := verify.ParsePin(v.Get("pin"))
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	trust := bundle.Trust{Pin: pin, Rules: verify.DefaultRules(), MaxAge: time.Duration(number(t, v, "max_age")) * time.Second}
	if name := v.Get("known"); name != "" {
		k, ok := f.Find(name)
		trust.Known = new(verify.Trust)
		if err := wire.Decode(k.Bytes, trust.Known, verify.MaxTrustSize); !ok || err != nil {
			t.Fatalf("%s: known %s: %v", v.Name, name, err)
		}
	}
	return trust
}

// means compares what a bundle proves with a vector's fields.
func means(t *testing.T, v vectors.Vector, verified *bundle.Verified) {
	t.Helper()
	var e namesvc.Entry
	var err error
	switch {
	case v.Get("handle") != "":
		h, perr := namesvc.ParseHandle(v.Get("handle"))
		if perr != nil {
			t.Fatal(perr)
		}
		var m namesvc.Meaning
		m, err = verified.Handle(h)
		e = m.Entry
	case v.Get("account") != "":
		id, perr := namesvc.ParseAccountID(v.Get("account"))
		if perr != nil {
			t.Fatal(perr)
		}
		e, err = verified.Account(id)
	}
	got := map[string]string{
		"height": fmt.Sprint(verified.Trust.Height), "time": fmt.Sprint(verified.Time.Unix()), "meaning": "",
	}
	if err != nil {
		got["meaning"] = wire.CodeOf(err).String()
	} else if e.Version > 0 {
		got["account"] = e.Account.String()
		for _, c := range e.Records.Concierges {
			got["concierge"] = c.Account.String()
		}
	}
	if d, derr := verified.Devices(e.Account); derr == nil && len(d.List) > 0 {
		got["device"] = d.List[0].Key.String()
	}
	for name, g := range got {
		if want := v.Get(name); g != want && want != "" {
			t.Errorf("%s: %s is %s, want %s", v.Name, name, g, want)
		}
	}
}
