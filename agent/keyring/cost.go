package keyring

import (
	"crypto/cipher"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Cost is what one guess at a passphrase costs: the parameters of Argon2id
// (RFC 9106).
type Cost struct {
	_         struct{} `cbor:",toarray"`
	Passes    uint32   // t
	MemoryKiB uint32   // m
	Threads   uint8    // p
}

// DefaultCost is the second recommended option of RFC 9106 §4, for machines
// that cannot spare 2 GiB: 64 MiB, 3 passes, 4 lanes.
func DefaultCost() Cost { return Cost{Passes: 3, MemoryKiB: 64 << 10, Threads: 4} }

// Bounds of a Cost. A file states its own, so they are checked before anything
// is allocated: whoever hands us a file must not choose how much memory and
// time we spend on it.
const (
	// minMemoryKiB is what Argon2 needs for maxThreads lanes.
	minMemoryKiB = 8 * maxThreads
	// maxMemoryKiB leaves room for eight times the default and fits a phone.
	maxMemoryKiB = 512 << 10
	// maxPasses at maxMemoryKiB take some seconds.
	maxPasses = 8
	// maxThreads: more lanes help nobody at these sizes.
	maxThreads = 8
)

func (c Cost) check() error {
	switch {
	case c.Passes < 1 || c.Passes > maxPasses:
		return wire.Errorf(wire.Invalid, "passphrase cost: %d passes, they must be from 1 to %d", c.Passes, maxPasses)
	case c.MemoryKiB < minMemoryKiB || c.MemoryKiB > maxMemoryKiB:
		return wire.Errorf(wire.Invalid, "passphrase cost: %d KiB of memory, it must be from %d to %d", c.MemoryKiB, minMemoryKiB, maxMemoryKiB)
	case c.Threads < 1 || c.Threads > maxThreads:
		return wire.Errorf(wire.Invalid, "passphrase cost: %d threads, they must be from 1 to %d", c.Threads, maxThreads)
	}
	return nil
}

// MaxPassphrase bounds a passphrase in bytes: more than anyone types, and a
// file given by mistake is noticed.
const MaxPassphrase = 1024

// Protection is what a file is to be encrypted under. It prints as a
// placeholder.
type Protection struct {
	passphrase []byte
	cost       Cost
}

// Protect returns the protection by a passphrase of 1 to MaxPassphrase bytes. It
// keeps the slice and not a copy, so the caller can wipe it when done.
func Protect(passphrase []byte, cost Cost) Protection {
	return Protection{passphrase: passphrase, cost: cost}
}

const redacted = "(passphrase)"

// String, GoString, Format and LogValue print a placeholder.
func (p Protection) String() string             { return redacted }
func (p Protection) GoString() string           { return redacted }
func (p Protection) LogValue() slog.Value       { return slog.StringValue(redacted) }
func (p Protection) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

func (p Protection) check() error {
	if len(p.passphrase) == 0 || len(p.passphrase) > MaxPassphrase {
		return wire.Errorf(wire.Invalid, "a passphrase has 1 to %d bytes", MaxPassphrase)
	}
	return p.cost.check()
}

// kdf is how the key of one file grows from a passphrase. It is part of the
// clear part; salt and nonce are new at each writing.
type kdf struct {
	_     struct{} `cbor:",toarray"`
	Cost  Cost
	Salt  [16]byte
	Nonce [chacha20poly1305.NonceSizeX]byte
}

func newKDF(rand io.Reader, c Cost) (kdf, error) {
	k := kdf{Cost: c}
	for _, b := range [][]byte{k.Salt[:], k.Nonce[:]} {
		if _, err := io.ReadFull(rand, b); err != nil {
			return kdf{}, fmt.Errorf("encrypt account: read randomness: %w", err)
		}
	}
	return k, nil
}

// cipher returns XChaCha20-Poly1305 under the key that grows from passphrase.
// The caller has checked k.Cost.
func (k kdf) cipher(passphrase []byte) (cipher.AEAD, error) {
	secret := argon2.IDKey(passphrase, k.Salt[:], k.Cost.Passes, k.Cost.MemoryKiB, k.Cost.Threads, chacha20poly1305.KeySize)
	defer clear(secret)
	return chacha20poly1305.NewX(secret)
}
