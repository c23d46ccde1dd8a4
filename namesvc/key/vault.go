package key

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
)

// Vault is the key under which an account's devices keep a copy of their
// conversations at a concierge. It grows from the phrase, so whoever has the
// phrase, and nothing else left, can read the copy. It prints as a placeholder.
type Vault [32]byte

// Vault returns the phrase's vault key. It stays when root keys are rotated.
func (p Phrase) Vault() Vault {
	master := p.master()
	k, err := hkdf.Key(sha256.New, master[:], []byte("confab vault key 1"), "vault", len(Vault{}))
	if err != nil {
		panic("key: hkdf of a fixed size: " + err.Error())
	}
	return Vault(k)
}

// IsZero reports whether there is none.
func (v Vault) IsZero() bool { return v == Vault{} }

// String, GoString, Format and LogValue print a placeholder.
func (v Vault) String() string             { return "(vault key)" }
func (v Vault) GoString() string           { return "(vault key)" }
func (v Vault) LogValue() slog.Value       { return slog.StringValue("(vault key)") }
func (v Vault) Format(f fmt.State, _ rune) { io.WriteString(f, "(vault key)") }

// MarshalText and MarshalJSON refuse.
func (v Vault) MarshalText() ([]byte, error) { return nil, errMarshal }
func (v Vault) MarshalJSON() ([]byte, error) { return nil, errMarshal }
