package message

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TagDirect separates ids of direct conversations from all other hashes.
const TagDirect wire.Tag = "confab/direct/1\n"

// ID names an event: the SHA-256 of its exact bytes.
type ID [32]byte

// String returns 64 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes only what String
// writes.
func (id *ID) UnmarshalText(b []byte) error { return unhex(id[:], b, "event id") }

// IsZero reports whether this is no event's id.
func (id ID) IsZero() bool { return id == ID{} }

// ConversationID names a conversation. An event carries it, so that it means
// nothing in any other.
type ConversationID [32]byte

// String returns 64 lower-case hexadecimal digits.
func (id ConversationID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ConversationID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes only what String
// writes.
func (id *ConversationID) UnmarshalText(b []byte) error { return unhex(id[:], b, "conversation id") }

func unhex(to, text []byte, what string) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(to) || hex.EncodeToString(b) != string(text) {
		return fmt.Errorf("parse %s: want %d lower-case hexadecimal digits", what, 2*len(to))
	}
	copy(to, b)
	return nil
}

// Party is one side of a direct conversation: an account under one continuous
// control. When its generation rises somebody else may be behind it, and the
// conversation with it is another.
type Party struct {
	_          struct{} `cbor:",toarray"`
	Account    namesvc.AccountID
	Generation uint32
}

// Direct returns the id of the direct conversation of two parties, the same
// whoever of them asks.
func Direct(a, b Party) ConversationID {
	if bytes.Compare(a.Account[:], b.Account[:]) > 0 {
		a, b = b, a
	}
	return TagDirect.Sum(wire.Encode([2]Party{a, b}))
}

// Author is who made an event: a device of an account. Each has its own chain in
// each conversation, since two devices cannot count together.
type Author struct {
	_       struct{} `cbor:",toarray"`
	Account namesvc.AccountID
	Device  key.Public
}

// String returns the account's and the device's first digits, for logs.
func (a Author) String() string { return fmt.Sprintf("%x/%x", a.Account[:4], a.Device[:4]) }

// Compare orders authors by account, then by device.
func (a Author) Compare(b Author) int {
	if c := bytes.Compare(a.Account[:], b.Account[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.Device[:], b.Device[:])
}
