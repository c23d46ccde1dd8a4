package e2ee_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

var update = flag.Bool("update", false, "rewrite vectors")

const (
	vectorsDir  = "../../docs/vectors"
	specFile    = "../../docs/SPEC-e2ee.md"
	vectorsFile = "e2ee.txt"
	invalidFile = "e2ee_invalid.txt"
)

// example is a device with a fixed key and its parties.
func example(w *world) *device {
	d := w.device(party(0xa1), party(0xa1), party(0xb2))
	d.key = key.DeviceFromSeed([32]byte{0xa1})
	d.member.Device, d.member.Seq = d.key.Public(), 3
	return d
}

// vector explains an encoding by a type of the specification's shape.
func vector(t *testing.T, name string, b []byte, as any, inside vectors.Inside, fields ...vectors.Field) vectors.Vector {
	t.Helper()
	items, err := vectors.Annotate(b, as, inside)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return vectors.Vector{Name: name, Fields: fields, Items: items, Bytes: b}
}

func field(name string, v any) vectors.Field {
	if b, ok := v.([]byte); ok {
		return vectors.Field{Name: name, Value: hex.EncodeToString(b)}
	}
	return vectors.Field{Name: name, Value: fmt.Sprint(v)}
}

func TestVectors(t *testing.T) {
	w := newWorld(t, 1)
	d := example(w)
	k := e2ee.EnvelopeKey(bytes.Repeat([]byte{0x0e}, 32))
	group := bytes.Repeat([]byte{0x33}, 32)
	e := d.event("hello")
	f := vectors.File{About: "Structures of direct conversations, see SPEC-e2ee part 2."}
	add := func(v vectors.Vector) { f.Vectors = append(f.Vectors, v) }

	add(vector(t, "credential", e2ee.Template(d.member).Credential.Identity, credential{}, nil))
	for _, c := range []struct {
		name    string
		parties []message.Party
	}{{"terms", []message.Party{party(0xb2), party(0xa1)}}, {"terms-of-one", []message.Party{party(0xa1)}}} {
		o := d.options()
		o.Parties = c.parties
		context := e2ee.Terms(o, 1)
		add(vector(t, c.name, context[1].Data, terms{}, nil, field("required_capabilities", context[0].Data)))
	}
	add(vector(t, "payload-event", wire.Encode(payload{Bytes: e.Bytes()}), payload{}, nil))
	add(vector(t, "payload-sync", wire.Encode(payload{Kind: 1, Bytes: []byte("sync")}), payload{}, nil))
	add(vector(t, "reach", e2ee.Reach{Address: [32]byte{0x0a}, Key: k}.Encode(), reach{}, nil))

	m := bytes.Repeat([]byte("MLS message "), 20)
	nonce := bytes.Repeat([]byte{0x24}, 24)
	list, err := k.WrapCommit(bytes.NewReader(nonce), m, group, 7)
	w.ok(err)
	p, err := k.Open(list[0].Body)
	w.ok(err)
	add(vector(t, "piece", wire.Encode(p), piece{}, nil, field("message", m)))
	id := e2ee.TagEnvelope.Sum(list[0].Body)
	add(vectors.Vector{Name: "envelope", Fields: []vectors.Field{
		field("key", k[:]), field("nonce", nonce), field("id", id[:16]), field("slot_of", group), field("epoch", 7), field("slot", list[0].ID[:]),
	}, Bytes: list[0].Body})

	request, err := message.New(message.Direct(party(0xa1), party(0xb2)), d.member.Author(), message.Place{}, now(), message.ContactRequest{
		From: party(0xa1), Name: "Alice", Greeting: "hello", Reach: e2ee.Reach{Address: [32]byte{0x0a}, Key: k}.Encode()})
	w.ok(err)
	sig := d.key.SignKnock(signed(party(0xb2), request))
	add(vector(t, "knock-signed", signed(party(0xb2), request), knockSigned{}, nil,
		vectors.Field{Name: "tag", Value: strconv.Quote(string(wire.TagKnock))}, field("device", d.member.Device), field("signature", sig[:])))
	add(knockVector(t, w, d, request))
	later := message.Party{Account: party(0xa1).Account, Generation: 2}
	for _, c := range []struct {
		name string
		a, b message.Party
	}{{"safety-number", party(0xa1), party(0xb2)}, {"safety-number-next-generation", later, party(0xb2)}} {
		add(vectors.Vector{Name: c.name, Fields: []vectors.Field{
			field("a", c.a.Account), field("a_generation", c.a.Generation), field("b", c.b.Account), field("b_generation", c.b.Generation),
			field("digits", e2ee.SafetyNumber(c.a, c.b)),
		}})
	}
	compare(t, vectorsFile, f)
}

// knockVector returns the knock that stands in the file: sealing takes the system's
// randomness, so it is made anew with -update only. It must open as it says.
func knockVector(t *testing.T, w *world, d *device, request message.Event) vectors.Vector {
	t.Helper()
	v, ok := vectors.Vector{}, false
	if !*update {
		f, err := vectors.Read(filepath.Join(vectorsDir, vectorsFile))
		w.ok(err)
		if v, ok = f.Find("knock"); !ok {
			t.Fatal("no knock among the vectors")
		}
	} else {
		b := w.device(party(0xb2))
		o := b.offer()
		k, err := e2ee.SealKnock(w.src, d.key, party(0xb2), request, []e2ee.Offer{o})
		w.ok(err)
		var secret offerSecret
		w.ok(wire.Decode(b.secret(o.Ref()), &secret, 1<<16))
		v = vector(t, "knock", k, knock{}, nil, field("offer", o.Bytes()), field("init_private", secret.Keys[1:33]), field("leaf_private", secret.Keys[34:66]), field("event", request.Bytes()))
	}
	from := func(name string) []byte {
		b, err := hex.DecodeString(v.Get(name))
		w.ok(err)
		return b
	}
	o, err := e2ee.ParseOffer(from("offer"), now())
	w.ok(err)
	e, ref, err := e2ee.OpenKnock(v.Bytes, party(0xb2), func(ref []byte) []byte {
		if !bytes.Equal(ref, o.Ref()) {
			return nil
		}
		// Two vectors of MLS, each behind its length of one byte.
		keys := append(append([]byte{32}, from("init_private")...), append([]byte{32}, from("leaf_private")...)...)
		return wire.Encode(offerSecret{Version: 1, Offer: from("offer"), Keys: keys})
	})
	if err != nil || !bytes.Equal(e.Bytes(), from("event")) || e.ID() != request.ID() || !bytes.Equal(ref, o.Ref()) {
		t.Errorf("the knock does not open as it says: %v", err)
	}
	return v
}

func TestVectors_Invalid(t *testing.T) {
	w := newWorld(t, 1)
	m := example(w).member
	f := vectors.File{About: "What must be refused, see SPEC-e2ee part 2. kind says as what."}
	add := func(kind, name string, b []byte, err error) {
		if err == nil {
			t.Errorf("%s, %s: accepted", kind, name)
		}
		f.Vectors = append(f.Vectors, vectors.Vector{Name: kind + "-" + name, Fields: []vectors.Field{field("kind", kind), field("expect", "refused")}, Bytes: b})
	}
	c := credential{Version: 1, Account: m.Account, Generation: 1, Device: m.Device, Seq: 3}
	for _, x := range []struct {
		name   string
		change func(*credential)
	}{
		{"version", func(c *credential) { c.Version = 2 }}, {"no-account", func(c *credential) { c.Account = [32]byte{} }},
		{"no-generation", func(c *credential) { c.Generation = 0 }}, {"key-of-small-order", func(c *credential) { c.Device = key.Public{1} }},
	} {
		bad := c
		x.change(&bad)
		_, err := e2ee.ParseCredential(wire.Encode(bad))
		add("credential", x.name, wire.Encode(bad), err)
	}
	_, err := e2ee.ParseCredential(append(wire.Encode(c), 0))
	add("credential", "byte-more", append(wire.Encode(c), 0), err)
	for _, x := range []struct {
		name string
		r    reach
	}{
		{"version", reach{Version: 2, Address: [32]byte{1}, Key: [32]byte{2}}}, {"no-address", reach{Version: 1, Key: [32]byte{2}}},
		{"no-key", reach{Version: 1, Address: [32]byte{1}}},
	} {
		_, err := e2ee.DecodeReach(wire.Encode(x.r))
		add("reach", x.name, wire.Encode(x.r), err)
	}
	k := w.envelopeKey()
	for _, x := range []struct {
		name string
		p    piece
	}{
		{"of-none", piece{Data: []byte("a")}}, {"of-too-many", piece{Part: 16, Of: 17, Data: []byte("a")}}, {"beyond-the-end", piece{Part: 1, Of: 1, Data: []byte("a")}},
		{"empty", piece{Of: 1}}, {"not-full", piece{Of: 2, Data: []byte("a")}},
	} {
		padded, err := message.Pad(wire.Encode(x.p))
		w.ok(err)
		_, err = k.Open(envelope(w, k, padded))
		add("piece", x.name, wire.Encode(x.p), err)
	}
	_, all := pair(t, 2, 1)
	raw := all[0].bare()
	for _, x := range []struct {
		name string
		b    []byte
	}{
		{"sync-to-another-party", wire.Encode(payload{Kind: 1, Bytes: []byte("sync")})}, {"event-that-is-none", wire.Encode(payload{Bytes: []byte("a")})},
		{"byte-more", append(wire.Encode(payload{Kind: 2, Bytes: []byte("later")}), 0)},
	} {
		sealed, err := raw.Encrypt(w.src, x.b, mls.Framing{})
		w.ok(err)
		_, err = all[2].s.Open(sealed)
		add("payload", x.name, x.b, err)
	}
	compare(t, invalidFile, f)
}

func compare(t *testing.T, name string, f vectors.File) {
	t.Helper()
	if err := vectors.Compare(filepath.Join(vectorsDir, name), f, *update); err != nil {
		t.Error(err)
	}
}

func TestVectors_SpecificationShowsThem(t *testing.T) {
	spec, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	n, faults := vectors.CheckExamples(vectorsDir, string(spec))
	for _, f := range faults {
		t.Error(f)
	}
	if n < 5 {
		t.Errorf("the specification has %d examples", n)
	}
}

// TestLimits_AreThoseOfTheSpecification finds each bound in the specification.
func TestLimits_AreThoseOfTheSpecification(t *testing.T) {
	spec, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int64{
		"members": e2ee.MaxMembers, "offer": e2ee.MaxOffer, "days of an offer": int64(e2ee.MaxLife.Hours() / 24), "knock": e2ee.MaxKnock,
		"pieces": e2ee.MaxPieces, "piece": e2ee.PieceSize, "MLS message": e2ee.MaxMessage, "step of an instance": e2ee.MaxStep,
		"seconds clocks may differ": int64(e2ee.Skew.Seconds()), "days a Welcome may travel": int64(e2ee.Travel.Hours() / 24),
	} {
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \| ` + fmt.Sprint(n) + ` \|`)
		if !row.Match(spec) {
			t.Errorf("the specification does not say that %q is %d", name, n)
		}
	}
}
