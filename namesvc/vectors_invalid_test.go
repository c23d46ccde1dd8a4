package namesvc_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TestVectors_OfOpsThatDoNotParse makes one op wrong in every way that can be
// seen without a state. Payloads are signed as they are, so that it is not the
// signature that gives them away.
func TestVectors_OfOpsThatDoNotParse(t *testing.T) {
	f := vectors.File{About: "Ops that every implementation must refuse before it looks at a state, with the\n" +
		"reject code. The vector good is accepted as far as that goes; each of the others\n" +
		"differs from it in what it says."}
	for _, c := range badOps() {
		_, fault := namesvc.Parse(c.op)
		got := namesvc.Accepted
		if fault != nil {
			got = fault.Code
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		f.Vectors = append(f.Vectors, vectors.Vector{Name: c.name, Bytes: c.op, Fields: []vectors.Field{
			field("about", "%s", c.about), field("expect", "%v", c.want),
		}})
	}
	if err := vectors.Compare(filepath.Join(vectorsDir, "ops_invalid.txt"), f, *update); err != nil {
		t.Error(err)
	}
}

type badOp struct {
	name, about string
	want        namesvc.RejectCode
	op          []byte
}

// goodOp is a renewal whose parts the bad ones change.
func goodOp() (namesvc.Op, key.Root) {
	by := key.RootFromSeed(seed32(0x11))
	return namesvc.Op{
		Kind: namesvc.OpRenew, Chain: "confab-vectors", Account: seed32(0xaa), Seq: 2, Prev: seed32(0xbb), Expires: 100,
		Signer: by.Public(), Body: wire.Encode(namesvc.Renewal{}),
	}, by
}

// frame signs a payload as it is and puts both into an envelope.
func frame(payload []byte, by key.Root) []byte {
	sig := by.SignOp(payload)
	return wire.Encode(envelope{Payload: payload, Signature: sig[:]})
}

func badOps() []badOp {
	good, by := goodOp()
	payload := wire.Encode(good)
	whole := frame(payload, by)
	change := func(f func(*namesvc.Op)) []byte {
		op := good
		f(&op)
		return frame(wire.Encode(op), by)
	}
	replace := func(old, new []byte) []byte {
		if bytes.Count(payload, old) != 1 {
			panic("the part to replace is not unique")
		}
		return frame(bytes.Replace(payload, old, new, 1), by)
	}
	chain := []byte("\x6econfab-vectors")
	expires := []byte{0x18, 100, 0x58, 0x20} // and the head of Signer
	account := append([]byte{0x58, 0x20}, bytes.Repeat([]byte{0xaa}, 32)...)
	cut := wire.Encode(envelope{Payload: payload, Signature: whole[len(whole)-63:]})
	small := change(func(op *namesvc.Op) { op.Signer = key.Public{1} })
	list := []badOp{
		{"good", "a well-formed op", namesvc.Accepted, whole},
		{"empty", "no bytes at all", namesvc.Malformed, []byte{}},
		{"truncated", "the last byte is missing", namesvc.Malformed, whole[:len(whole)-1]},
		{"trailing", "a byte follows", namesvc.Malformed, append(bytes.Clone(whole), 0)},
		{"too-large", "4,097 bytes", namesvc.Malformed, wire.Encode(envelope{Payload: make([]byte, 4092)})},
		{"envelope-of-three", "the envelope has a third item", namesvc.Malformed, append([]byte{0x83}, append(bytes.Clone(whole[1:]), 0)...)},
		{"envelope-map", "the envelope is a map", namesvc.Malformed, append([]byte{0xa1}, whole[1:]...)},
		{"indefinite", "the envelope is an array of indefinite length", namesvc.Malformed, append(append([]byte{0x9f}, whole[1:]...), 0xff)},
		{"tagged", "the envelope stands in a CBOR tag", namesvc.Malformed, append([]byte{0xd9, 0xd9, 0xf7}, whole...)},
		{"text-payload", "the payload is a text string", namesvc.Malformed, append([]byte{0x82, 0x78}, whole[2:]...)},
		{"long-head", "the length of the payload takes more bytes than it needs", namesvc.Malformed, append([]byte{0x82, 0x59, 0}, whole[2:]...)},
		{"long-integer", "expires takes more bytes than it needs", namesvc.Malformed, replace(expires, []byte{0x19, 0, 100, 0x58, 0x20})},
		{"negative", "expires is a negative number", namesvc.Malformed, replace(expires, []byte{0x38, 100, 0x58, 0x20})},
		{"float", "expires is a floating-point number", namesvc.Malformed, replace(expires, []byte{0xf9, 0x56, 0x40, 0x58, 0x20})},
		{"null", "expires is null", namesvc.Malformed, replace(expires, []byte{0xf6, 0x58, 0x20})},
		{"bad-utf8", "the chain id is not UTF-8", namesvc.Malformed, replace(chain, []byte("\x6econfab-vector\xff"))},
		{"bytes-chain", "the chain id is a byte string", namesvc.Malformed, replace(chain, []byte("\x4econfab-vectors"))},
		{"short-account", "the account id has 31 bytes", namesvc.Malformed, replace(account, append([]byte{0x58, 0x1f}, bytes.Repeat([]byte{0xaa}, 31)...))},
		{"long-account", "the account id has 33 bytes", namesvc.Malformed, replace(account, append([]byte{0x58, 0x21}, bytes.Repeat([]byte{0xaa}, 33)...))},
		{"list-account", "the account id is a list of numbers", namesvc.Malformed, replace(account, append([]byte{0x98, 0x20}, bytes.Repeat([]byte{0x18, 0xaa}, 32)...))},
		{"seven-fields", "the payload has no body", namesvc.Malformed, frame(append([]byte{0x87}, payload[1:len(payload)-1]...), by)},
		{"nine-fields", "the payload has a ninth field", namesvc.Malformed, frame(append(append([]byte{0x89}, payload[1:]...), 0), by)},
		{"kind-0", "there is no op of kind 0", namesvc.Malformed, change(func(op *namesvc.Op) { op.Kind = 0 })},
		{"kind-9", "there is no op of kind 9", namesvc.Malformed, change(func(op *namesvc.Op) { op.Kind = 9 })},
		{"kind-256", "the kind does not fit into a byte", namesvc.Malformed, frame(append([]byte{0x88, 0x19, 1, 0}, payload[2:]...), by)},
		{"signed-commit", "a commit has no signature", namesvc.Malformed, change(func(op *namesvc.Op) { op.Kind = namesvc.OpCommit })},
		{"unsigned", "all other ops have one", namesvc.Malformed, wire.Encode(envelope{Payload: payload})},
		{"other-body", "a renewal with the body of a release", namesvc.Malformed, change(func(op *namesvc.Op) { op.Body = wire.Encode(namesvc.Release{Handle: "alice"}) })},
		{"null-body", "the body is null", namesvc.Malformed, change(func(op *namesvc.Op) { op.Body = wire.Raw{0xf6} })},
		{"loose-body", "the body is not canonical", namesvc.Malformed, change(func(op *namesvc.Op) { op.Body = wire.Raw{0x98, 0} })},
		{"short-signature", "the signature has 63 bytes", namesvc.BadSignature, cut},
		{"long-signature", "the signature has 65 bytes", namesvc.BadSignature, wire.Encode(envelope{Payload: payload, Signature: make([]byte, 65)})},
		{"changed-signature", "a bit of the signature is another", namesvc.BadSignature, flipped(whole, len(whole)-1)},
		{"changed-payload", "a bit of the account id is another", namesvc.BadSignature, flipped(whole, bytes.Index(whole, account)+9)},
		{"other-signer", "it names another signer", namesvc.BadSignature, change(func(op *namesvc.Op) { op.Signer = key.RootFromSeed(seed32(0x12)).Public() })},
		{"small-order-signer", "the signer's key is the curve's neutral element", namesvc.BadSignature, small},
		{"other-tag", "the signature was made for another purpose", namesvc.BadSignature, otherTag(payload, by)},
	}
	return list
}

func flipped(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}

// otherTag signs for another purpose.
func otherTag(payload []byte, by key.Root) []byte {
	sig := key.DeviceFromSeed(by.Seed()).SignConsent(payload)
	return wire.Encode(envelope{Payload: payload, Signature: sig[:]})
}
