package e2ee_test

import (
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// The formats written a second time, from the specification: what makes forgeries
// here, and checks that the package writes what it says.

type knock struct {
	_       struct{} `cbor:",toarray"`
	Head    knockHead
	Content []byte
}

type knockHead struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Wraps   []knockWrap
	Nonce   [24]byte
}

type knockWrap struct {
	_      struct{} `cbor:",toarray"`
	Ref    [32]byte
	Sealed []byte
}

type knockContent struct {
	_         struct{} `cbor:",toarray"`
	Signature key.Signature
	Event     []byte
}

type knockSigned struct {
	_     struct{} `cbor:",toarray"`
	To    message.Party
	Event []byte
}

type piece struct {
	_     struct{} `cbor:",toarray"`
	Part  uint8
	Of    uint8
	Whole [32]byte
	Data  []byte
}

type reach struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Address [32]byte
	Key     [32]byte
}

type credential struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8
	Account    [32]byte
	Generation uint32
	Device     key.Public
	Seq        uint64
}

type offerSecret struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Offer   []byte
	Keys    []byte
}

type terms struct {
	_            struct{} `cbor:",toarray"`
	Version      uint8
	Conversation message.ConversationID
	Instance     uint64
	Parties      []message.Party
}

// signed is what a knock's signature is over.
func signed(to message.Party, e message.Event) []byte {
	return wire.Encode(knockSigned{To: to, Event: e.Bytes()})
}

// forge makes a knock of an event with this signature, checking nothing.
func forge(w *world, e message.Event, sig key.Signature, to message.Party, d *device) []byte {
	w.t.Helper()
	content := make([]byte, 32)
	w.src.Read(content)
	o := d.offer()
	sealed, err := e2ee.KeyPackage(o).Encrypt(w.src, "confab knock 1", wire.Encode(to), content)
	w.ok(err)
	head := knockHead{Version: 1, Wraps: []knockWrap{{Ref: [32]byte(o.Ref()), Sealed: sealed}}}
	padded, err := message.Pad(wire.Encode(knockContent{Signature: sig, Event: e.Bytes()}))
	w.ok(err)
	return seal(w, content, head, padded)
}

func seal(w *world, content []byte, head knockHead, padded []byte) []byte {
	a, err := chacha20poly1305.NewX(content)
	w.ok(err)
	return wire.Encode(knock{Head: head, Content: a.Seal(nil, head.Nonce[:], padded, wire.Encode(head))})
}

// envelope seals anything under an envelope key.
func envelope(w *world, k e2ee.EnvelopeKey, content []byte) []byte {
	w.t.Helper()
	a, err := chacha20poly1305.NewX(k[:])
	w.ok(err)
	nonce := make([]byte, 24)
	w.src.Read(nonce)
	return a.Seal(nonce, nonce, content, []byte("confab/envelope/1\n"))
}
