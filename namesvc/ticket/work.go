package ticket

import (
	"context"
	"encoding/binary"
	"math/bits"

	"golang.org/x/crypto/argon2"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Payment is a way to pay for a registration.
type Payment uint8

// The kinds of payment. The numbers are frozen.
const (
	Work  Payment = 1 // the payment bytes are a nonce of 8 bytes, big-endian
	Blind Payment = 2 // they are a sponsor's account id and its signature over the challenge
)

// NonceSize is the size in bytes of a payment of kind Work.
const NonceSize = 8

// Challenge is what work or a ticket is bound to: one chain, one commit and one
// checkpoint. It is its own nullifier, because a commit can be made only once
// with each kind of payment.
func Challenge(chain string, commit, checkpoint [32]byte) [32]byte {
	return wire.TagWork.Sum(wire.Encode(struct {
		_          struct{} `cbor:",toarray"`
		Chain      string
		Commit     [32]byte
		Checkpoint [32]byte
	}{Chain: chain, Commit: commit, Checkpoint: checkpoint}))
}

// Bits returns how many leading bits are zero in
// Argon2id(password = nonce, salt = challenge, t = 1, m = kib KiB, p = 1)
// (RFC 9106, version 0x13, 32 bytes out).
func Bits(challenge [32]byte, nonce uint64, kib uint32) int {
	var pw [NonceSize]byte
	binary.BigEndian.PutUint64(pw[:], nonce)
	out := argon2.IDKey(pw[:], challenge[:], 1, kib, 1, 32)
	n := 0
	for _, b := range out {
		if b != 0 {
			return n + bits.LeadingZeros8(b)
		}
		n += 8
	}
	return n
}

// Solve tries nonces first, first+stride, first+2·stride, … until one has at
// least want bits, and returns it. Several callers with the same stride and
// different first nonces share a search without overlap. After each try it
// calls tried, if that is not nil. It ends with ctx's error when ctx ends.
func Solve(ctx context.Context, challenge [32]byte, want int, kib uint32, first, stride uint64, tried func()) (uint64, error) {
	for nonce := first; ; nonce += stride {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if Bits(challenge, nonce, kib) >= want {
			return nonce, nil
		}
		if tried != nil {
			tried()
		}
	}
}

// Nonce returns a nonce as a payment carries it.
func Nonce(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
