//go:build js && wasm

package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"syscall/js"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// storage keeps what was verified, and evidence, in the browser's localStorage.
// Where a browser gives a page none, reading finds nothing and writing is an
// error, which only costs the way from the pin next time.
type storage struct{}

// The names of items: what they are, and the hash of the pin.
const (
	trustItem    = "confab.trust."
	evidenceItem = "confab.evidence."
)

func item(kind string, pin verify.Pin) string { return kind + hex.EncodeToString(pin.Hash[:]) }

// Load implements lightclient.TrustStore.
func (s storage) Load(pin verify.Pin) (*verify.Trust, error) {
	if b, _ := s.get(item(evidenceItem, pin)); b != nil {
		return nil, wire.Errorf(wire.Conflict, "this browser keeps evidence that the validators of %s signed two blocks of one height; nothing of it is believed any more, until you have a pin from after that: %w", pin.ChainID, verify.ErrConflict)
	}
	b, err := s.get(item(trustItem, pin))
	if err != nil || b == nil {
		return nil, nil
	}
	var t verify.Trust
	if wire.Decode(b, &t, verify.MaxTrustSize) != nil || t.ChainID != pin.ChainID || t.Height < pin.Height || t.Height == pin.Height && t.Hash != pin.Hash {
		return nil, nil // the pin itself is still good
	}
	return &t, nil
}

// Save implements lightclient.TrustStore.
func (s storage) Save(pin verify.Pin, t verify.Trust) error {
	if old, err := s.Load(pin); err == nil && old != nil && old.Height >= t.Height {
		return nil
	}
	return s.set(item(trustItem, pin), wire.Encode(t))
}

// Evidence implements lightclient.TrustStore.
func (s storage) Evidence(e lightclient.Evidence) (string, error) {
	return "this browser's storage, under " + item(evidenceItem, e.Pin), s.set(item(evidenceItem, e.Pin), wire.Encode(e))
}

// get returns an item, nil if there is none.
func (storage) get(name string) (b []byte, err error) {
	defer caught(&err)
	v := js.Global().Get("localStorage").Call("getItem", name)
	if v.Type() != js.TypeString {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(strings.TrimSpace(v.String()))
}

func (storage) set(name string, b []byte) (err error) {
	defer caught(&err)
	js.Global().Get("localStorage").Call("setItem", name, base64.StdEncoding.EncodeToString(b))
	return nil
}

// caught turns what JavaScript throws, when a store is full or forbidden, into
// an error.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = wire.Errorf(wire.Unavailable, "this browser's storage: %.200s", fmt.Sprint(r))
	}
}
