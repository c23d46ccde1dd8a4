package card

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A Card says who somebody is.
type Card struct {
	Account    namesvc.AccountID
	Generation uint32         // begins at 1
	Handle     namesvc.Handle // at the time; empty for an account without one
	Pin        verify.Pin     // a head of the network that its owner had verified
	Sources    []string       // base URLs of 1 to MaxSources sources of that network
}

// form is a card as it is encoded.
type form struct {
	_          struct{} `cbor:",toarray"`
	Account    namesvc.AccountID
	Generation uint32
	Handle     string
	Pin        verify.Pin
	Sources    []string
}

const (
	// MaxSources is enough to begin with: one that answers, one that confirms it,
	// and one for when either is away.
	MaxSources = 3
	// MaxSource is the most bytes of a source's URL: three of them must leave a
	// picture that a telephone can still read.
	MaxSource = 120
	// maxForm bounds the encoding, by all of that.
	maxForm = 640
	// checkSize is what is left of a hash at the end, which notices one misread
	// card in four thousand million.
	checkSize = 4
)

// Scheme begins each card, in letters of either case. The number is the version.
const Scheme = "confab:1:"

// letters are those that a QR code packs densest (ISO/IEC 18004, alphanumeric
// mode); RFC 4648 §6.
var letters = base32.StdEncoding.WithPadding(base32.NoPadding)

// Is reports whether a text is meant to be a card.
func Is(text string) bool {
	text = strings.TrimSpace(text)
	return len(text) >= len("confab:") && strings.EqualFold(text[:len("confab:")], "confab:")
}

// Check reports what keeps a card from being one.
func (c Card) Check() error {
	switch {
	case c.Account == namesvc.AccountID{}:
		return wire.Errorf(wire.Invalid, "card: it names no account")
	case c.Generation == 0:
		return wire.Errorf(wire.Invalid, "card: a generation begins at 1")
	case len(c.Sources) == 0 || len(c.Sources) > MaxSources:
		return wire.Errorf(wire.Invalid, "card: it names %d sources: 1 to %d are needed", len(c.Sources), MaxSources)
	}
	if c.Handle != "" {
		if h, err := namesvc.ParseHandle(string(c.Handle)); err != nil || h != c.Handle {
			return wire.Errorf(wire.Invalid, "card: %.40q is no handle", string(c.Handle))
		}
	}
	if p, err := verify.ParsePin(c.Pin.String()); err != nil || p != c.Pin {
		return wire.Errorf(wire.Invalid, "card: it has no pin of a network")
	}
	for _, s := range c.Sources {
		if len(s) > MaxSource {
			return wire.Errorf(wire.Invalid, "card: a source's URL has more than %d bytes", MaxSource)
		}
		if _, err := source.NewHTTP(s, nil); err != nil {
			return wire.Errorf(wire.Invalid, "card: %w", err)
		}
	}
	return nil
}

// String returns the card as text of some 300 characters, all of them letters,
// digits and colons.
func (c Card) String() string { return strings.ToLower(c.Code()) }

// Code returns the same text as it belongs into a QR code: in capitals, which
// take half the room there.
func (c Card) Code() string {
	b := wire.Encode(form{
		Account: c.Account, Generation: c.Generation, Handle: string(c.Handle), Pin: c.Pin, Sources: c.Sources,
	})
	sum := sha256.Sum256(b)
	return strings.ToUpper(Scheme) + letters.EncodeToString(append(b, sum[:checkSize]...))
}

// Parse reads what String and Code write, and checks it. White space anywhere is
// ignored, since mail breaks lines. The error is of kind Invalid.
func Parse(text string) (Card, error) {
	if len(text) > 4*maxForm {
		return Card{}, wire.Errorf(wire.Invalid, "card: it is too long to be one")
	}
	text = strings.ToUpper(strings.Join(strings.Fields(text), ""))
	if !Is(text) {
		return Card{}, wire.Errorf(wire.Invalid, "card: a card begins with %s", Scheme)
	}
	rest, ok := strings.CutPrefix(text, strings.ToUpper(Scheme))
	if !ok && strings.HasPrefix(strings.ToUpper(Scheme), text) {
		return Card{}, errMisread
	}
	if !ok {
		return Card{}, wire.Errorf(wire.Invalid, "card: it is of another version than this program reads, 1")
	}
	b, err := letters.DecodeString(rest)
	if err != nil || len(b) < checkSize || letters.EncodeToString(b) != rest {
		return Card{}, errMisread
	}
	b, check := b[:len(b)-checkSize], b[len(b)-checkSize:]
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:checkSize], check) {
		return Card{}, errMisread
	}
	var f form
	if err := wire.Decode(b, &f, maxForm); err != nil {
		return Card{}, wire.Errorf(wire.Invalid, "card: %w", err)
	}
	c := Card{Account: f.Account, Generation: f.Generation, Handle: namesvc.Handle(f.Handle), Pin: f.Pin, Sources: f.Sources}
	return c, c.Check()
}

var errMisread error = wire.Errorf(wire.Invalid, "card: a part of it is missing or was misread: copy or scan it again")
