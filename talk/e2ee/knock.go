package e2ee

import (
	"bytes"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// knockLabel separates knocks from everything else that is sealed to an offer.
const knockLabel = "confab knock 1"

// A knock is as follows: a content key, sealed to each offer's init key; under it,
// padded, the signature and the event. Everything before the content is
// authenticated with it, so a knock cannot be taken apart and put together anew.

// knockHead is the beginning of a knock, as it is encoded.
type knockHead struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Wraps   []knockWrap
	Nonce   [chacha20poly1305.NonceSizeX]byte
}

// knockWrap is the content key for one offer.
type knockWrap struct {
	_      struct{} `cbor:",toarray"`
	Ref    [32]byte
	Sealed []byte
}

type knock struct {
	_       struct{} `cbor:",toarray"`
	Head    knockHead
	Content []byte
}

// knockContent is what a knock's content encrypts.
type knockContent struct {
	_         struct{} `cbor:",toarray"`
	Signature key.Signature
	Event     []byte
}

// knockSigned is what is signed, under wire.TagKnock: to whom goes with it, so
// that nobody can pass it on as if it were meant for him.
type knockSigned struct {
	_     struct{} `cbor:",toarray"`
	To    message.Party
	Event []byte
}

// checkRequest checks that an event is a request for contact that its author may
// make of a party. One's own party is one: so a device tells another that has just
// come where the account's conversation with itself is.
func checkRequest(e message.Event, to message.Party) error {
	r, ok := e.Body.(message.ContactRequest)
	switch {
	case !ok:
		return fmt.Errorf("%v is no request for contact", e.Kind())
	case r.From.Account != e.Author.Account:
		return fmt.Errorf("the request is of another account than its author")
	case r.From.Account == to.Account && r.From != to:
		return fmt.Errorf("the request is of another generation of the same account")
	case e.Conversation != message.Direct(r.From, to):
		return fmt.Errorf("the request is for another conversation")
	}
	return nil
}

// SealKnock makes the knock of a stranger at a party's door: the event, a contact
// request by the signing device, sealed to the offers of the party's devices. It
// has at most MaxKnock bytes. Whether the offers are of devices that the chain
// lists the caller has asked before.
func SealKnock(rand io.Reader, signer key.Device, to message.Party, e message.Event, offers []Offer) ([]byte, error) {
	b, err := sealKnock(rand, signer, to, e, offers)
	if err != nil {
		return nil, fmt.Errorf("seal knock: %w", err)
	}
	return b, nil
}

func sealKnock(rand io.Reader, signer key.Device, to message.Party, e message.Event, offers []Offer) ([]byte, error) {
	if err := checkRequest(e, to); err != nil {
		return nil, err
	}
	if e.Author.Device != signer.Public() {
		return nil, fmt.Errorf("the request is by another device")
	}
	if len(offers) == 0 || len(offers) > namesvc.MaxDevices {
		return nil, fmt.Errorf("to %d offers, want 1 to %d", len(offers), namesvc.MaxDevices)
	}
	content := make([]byte, chacha20poly1305.KeySize)
	defer clear(content)
	if _, err := io.ReadFull(rand, content); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	k := knock{Head: knockHead{Version: version}}
	if _, err := io.ReadFull(rand, k.Head.Nonce[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	for i, o := range offers {
		if o.kp == nil || o.Member.Party() != to {
			return nil, fmt.Errorf("offer %d is not of the party", i)
		}
		sealed, err := o.kp.Encrypt(rand, knockLabel, wire.Encode(to), content)
		if err != nil {
			return nil, fmt.Errorf("offer %d: %w", i, err)
		}
		k.Head.Wraps = append(k.Head.Wraps, knockWrap{Ref: [32]byte(o.Ref()), Sealed: sealed})
	}
	if err := k.Head.check(); err != nil {
		return nil, err
	}
	signature := signer.SignKnock(wire.Encode(knockSigned{To: to, Event: e.Bytes()}))
	padded, err := message.Pad(wire.Encode(knockContent{Signature: signature, Event: e.Bytes()}))
	if err != nil {
		return nil, err
	}
	a, err := chacha20poly1305.NewX(content)
	if err != nil {
		return nil, err
	}
	k.Content = a.Seal(nil, k.Head.Nonce[:], padded, wire.Encode(k.Head))
	b := wire.Encode(k)
	if len(b) > MaxKnock {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(b), MaxKnock)
	}
	return b, nil
}

// check checks the form of a knock's head.
func (h knockHead) check() error {
	if h.Version != version {
		return fmt.Errorf("version %d is unknown", h.Version)
	}
	if len(h.Wraps) == 0 || len(h.Wraps) > namesvc.MaxDevices {
		return fmt.Errorf("for %d devices, want 1 to %d", len(h.Wraps), namesvc.MaxDevices)
	}
	for i, w := range h.Wraps {
		for _, other := range h.Wraps[:i] {
			if w.Ref == other.Ref {
				return fmt.Errorf("one offer twice")
			}
		}
	}
	return nil
}

// OpenKnock opens a knock at a party's door. secret returns the secret of the
// offer with a name, nil if this device has none. It returns the event, and the
// name of the offer that was used: its secret has done its work.
//
// The signature is of the device that the event names as its author, and meant
// for this party. Whether that is a device of the account is for the caller to
// ask the chain. The same knock may come any number of times.
func OpenKnock(b []byte, to message.Party, secret func(ref []byte) []byte) (e message.Event, ref []byte, err error) {
	e, ref, err = openKnock(b, to, secret)
	if err != nil {
		return message.Event{}, nil, fmt.Errorf("open knock: %w", err)
	}
	return e, ref, nil
}

func openKnock(b []byte, to message.Party, secret func(ref []byte) []byte) (e message.Event, ref []byte, err error) {
	var k knock
	if err := wire.Decode(b, &k, MaxKnock); err != nil {
		return e, nil, err
	}
	if err := k.Head.check(); err != nil {
		return e, nil, err
	}
	refs := make([][]byte, len(k.Head.Wraps))
	for i := range k.Head.Wraps {
		refs[i] = k.Head.Wraps[i].Ref[:]
	}
	own, err := firstOwn(refs, secret)
	if err != nil {
		return e, nil, err
	}
	if own.Member.Party() != to {
		return e, nil, fmt.Errorf("it is for another party: %w", ErrOthers)
	}
	ref = own.Ref()
	plain, err := k.open(own, wire.Encode(to))
	if err != nil {
		return e, nil, err
	}
	padded, err := message.Unpad(plain)
	if err != nil {
		return e, nil, err
	}
	var c knockContent
	if err := wire.Decode(padded, &c, message.MaxEvent); err != nil {
		return e, nil, err
	}
	if e, err = message.Decode(c.Event); err != nil {
		return message.Event{}, nil, err
	}
	if err := checkRequest(e, to); err != nil {
		return message.Event{}, nil, err
	}
	return e, ref, key.Verify(e.Author.Device, wire.TagKnock, wire.Encode(knockSigned{To: to, Event: c.Event}), c.Signature)
}

// open opens a knock's content with the keys of an offer that it names.
func (k knock) open(own opened, context []byte) ([]byte, error) {
	ref := own.Ref()
	for _, w := range k.Head.Wraps {
		if !bytes.Equal(w.Ref[:], ref) {
			continue
		}
		content, err := own.kp.Decrypt(own.keys, knockLabel, context, w.Sealed)
		if err != nil {
			return nil, err
		}
		defer clear(content)
		a, err := chacha20poly1305.NewX(content)
		if err != nil {
			return nil, err
		}
		plain, err := a.Open(nil, k.Head.Nonce[:], k.Content, wire.Encode(k.Head))
		if err != nil {
			return nil, fmt.Errorf("the content is damaged")
		}
		return plain, nil
	}
	return nil, fmt.Errorf("no offer of this device is named: %w", ErrOthers)
}
