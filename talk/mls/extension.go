package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// ExtensionType is a code point of RFC 9420 §17.3. Types from 0xF000 on are
// the application's own.
type ExtensionType uint16

// The extension types that RFC 9420 defines and every client understands.
const (
	ExtApplicationID        ExtensionType = 1
	ExtRatchetTree          ExtensionType = 2
	ExtRequiredCapabilities ExtensionType = 3
	ExtExternalPub          ExtensionType = 4
	ExtExternalSenders      ExtensionType = 5
)

func (t ExtensionType) isDefault() bool {
	return ExtApplicationID <= t && t <= ExtExternalSenders
}

// Extension is a typed byte string. This package interprets the five types
// above and carries all others for the application.
type Extension struct {
	Type ExtensionType
	Data []byte
}

// FindExtension returns the data of the extension of type t, if present.
func FindExtension(list []Extension, t ExtensionType) ([]byte, bool) {
	for _, e := range list {
		if e.Type == t {
			return e.Data, true
		}
	}
	return nil, false
}

func (w *writer) extensions(list []Extension) {
	w.nested(func() {
		for _, e := range list {
			w.u16(uint16(e.Type))
			w.vec(e.Data)
		}
	})
}

// extensions reads a list in which no type repeats. maxTree is the room for a
// ratchet tree, which only a GroupInfo carries.
func (r *reader) extensions(maxTree int) (list []Extension) {
	r.list(maxTree+maxList*1024, maxList, func(r *reader) {
		e := Extension{Type: ExtensionType(r.u16())}
		max := maxExtension
		if e.Type == ExtRatchetTree {
			max = maxTree
		}
		e.Data = r.vec(max)
		if _, dup := FindExtension(list, e.Type); dup {
			r.fail(ErrMalformed, "extension type 0x%04x appears twice", uint16(e.Type))
		}
		list = append(list, e)
	})
	return list
}

func equalExtensions(a, b []Extension) bool {
	return slices.EqualFunc(a, b, func(x, y Extension) bool {
		return x.Type == y.Type && bytes.Equal(x.Data, y.Data)
	})
}

// RequiredCapabilities is the group context extension of RFC 9420 §11.1.
type RequiredCapabilities struct {
	Extensions  []ExtensionType
	Proposals   []ProposalType
	Credentials []CredentialType
}

// Extension encodes c for a group context.
func (c RequiredCapabilities) Extension() Extension {
	var w writer
	writeList(&w, c.Extensions)
	writeList(&w, c.Proposals)
	writeList(&w, c.Credentials)
	return Extension{ExtRequiredCapabilities, w.b}
}

func requiredCapabilities(context []Extension) (c RequiredCapabilities, err error) {
	data, ok := FindExtension(context, ExtRequiredCapabilities)
	if !ok {
		return c, nil
	}
	r := reader{b: data}
	c.Extensions = readList[ExtensionType](&r)
	c.Proposals = readList[ProposalType](&r)
	c.Credentials = readList[CredentialType](&r)
	if err := r.end(); err != nil {
		return c, fmt.Errorf("decode required capabilities: %w", err)
	}
	return c, nil
}

// ExternalSender may send proposals without being a member (RFC 9420 §12.1.8.1).
type ExternalSender struct {
	SignatureKey []byte // Ed25519 public key
	Credential   Credential
}

// ExternalSendersExtension encodes the senders that a group accepts. A sender
// is known by its position in the list.
func ExternalSendersExtension(senders []ExternalSender) Extension {
	var w writer
	w.nested(func() {
		for _, s := range senders {
			w.vec(s.SignatureKey)
			s.Credential.encode(&w)
		}
	})
	return Extension{ExtExternalSenders, w.b}
}

func externalSenders(context []Extension) (list []ExternalSender, err error) {
	data, ok := FindExtension(context, ExtExternalSenders)
	if !ok {
		return nil, nil
	}
	r := reader{b: data}
	r.list(maxExtension, maxList, func(r *reader) {
		list = append(list, ExternalSender{r.vec(maxKey), r.credential()})
	})
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode external senders: %w", err)
	}
	return list, nil
}

// writeList and readList carry vectors of 16-bit code points.
func writeList[T ~uint16](w *writer, list []T) {
	w.nested(func() {
		for _, v := range list {
			w.u16(uint16(v))
		}
	})
}

func readList[T ~uint16](r *reader) (list []T) {
	b := r.vec(2 * maxList)
	if len(b)%2 != 0 {
		r.fail(ErrMalformed, "list of code points of odd length")
		return nil
	}
	list = make([]T, 0, len(b)/2)
	for s := (reader{b: b}); len(s.b) > 0; {
		list = append(list, T(s.u16()))
	}
	return list
}
