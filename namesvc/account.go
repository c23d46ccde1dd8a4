package namesvc

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// AccountID is the permanent name of an account: the SHA-256 of its genesis
// op's exact bytes, never shortened. Contacts and conversations remember it
// together with the generation, and never the handle.
type AccountID [32]byte

// String returns 64 lower-case hexadecimal digits.
func (id AccountID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id AccountID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseAccountID reads what String writes.
func ParseAccountID(s string) (AccountID, error) {
	var id AccountID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return id, fmt.Errorf("parse account id: want %d lower-case hexadecimal digits", 2*len(id))
	}
	copy(id[:], b)
	return id, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *AccountID) UnmarshalText(b []byte) error {
	got, err := ParseAccountID(string(b))
	if err == nil {
		*id = got
	}
	return err
}

// Kind says what an account stands for. All kinds share one space of handles,
// so that no service can pose as a person of the same name.
type Kind uint8

// The kinds. The numbers are frozen.
const (
	Person       Kind = 1
	Organisation Kind = 2
	Service      Kind = 3 // a concierge, hub, relay or validator
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Person:
		return "person"
	case Organisation:
		return "organisation"
	case Service:
		return "service"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Genesis is the first op of an account, made without asking anyone. Its hash
// is the account's id. It may stay off the chain for ever; a registration
// carries it inside.
type Genesis struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8    // 1
	Kind      Kind
	Roots     []key.Public // 1 to 5 root keys, the strongest first
	NextRoot  []byte       // hash of the next root 0 (key.Public.NextHash), or empty
	Guardians []byte       // commitment to guardians, 32 bytes, or empty
	Salt      [16]byte     // random, so that equal keys make different accounts
}

// maxGenesis bounds the encoding: 5 keys of 34 bytes, two hashes of 34 and the
// salt come to 262.
const maxGenesis = 320

// NewGenesis returns the genesis of a new account.
func NewGenesis(rand io.Reader, kind Kind, nextRoot [32]byte, roots ...key.Public) (Genesis, error) {
	g := Genesis{Version: 1, Kind: kind, Roots: roots, NextRoot: nextRoot[:]}
	if nextRoot == ([32]byte{}) {
		g.NextRoot = nil
	}
	if _, err := io.ReadFull(rand, g.Salt[:]); err != nil {
		return Genesis{}, fmt.Errorf("new account: read randomness: %w", err)
	}
	return g, g.check()
}

// Encode returns the exact bytes whose hash is the account's id.
func (g Genesis) Encode() []byte { return wire.Encode(g) }

// Account returns the id of the account that this genesis creates.
func (g Genesis) Account() AccountID { return sha256.Sum256(g.Encode()) }

// DecodeGenesis parses and checks a genesis op.
func DecodeGenesis(b []byte) (Genesis, error) {
	var g Genesis
	if err := wire.Decode(b, &g, maxGenesis); err != nil {
		return Genesis{}, fmt.Errorf("genesis op: %w", err)
	}
	return g, g.check()
}

func (g Genesis) check() error {
	switch {
	case g.Version != 1:
		return fmt.Errorf("genesis op: version %d is unknown", g.Version)
	case g.Kind < Person || g.Kind > Service:
		return fmt.Errorf("genesis op: %v is unknown", g.Kind)
	case !hashOrEmpty(g.NextRoot):
		return fmt.Errorf("genesis op: the next root's hash must have 32 bytes or none")
	case len(g.Guardians) != 0:
		return fmt.Errorf("genesis op: guardians are not part of rule set 1")
	}
	return checkRoots(g.Roots, g.NextRoot)
}

// hashOrEmpty reports whether b can be an optional hash.
func hashOrEmpty(b []byte) bool { return len(b) == 0 || len(b) == 32 }
