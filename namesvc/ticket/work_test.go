package ticket_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TestArgon2_IsThatOfTheRFC checks the library with the test vector of RFC 9106
// §5.3, as far as its interface goes: without secret and associated data there
// is none, so the tag is the reference implementation's for t=2, m=64 MiB, p=1.
func TestArgon2_IsThatOfTheRFC(t *testing.T) {
	got := argon2.IDKey([]byte("password"), []byte("somesalt"), 2, 65536, 1, 32)
	const want = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
	if hex.EncodeToString(got) != want {
		t.Errorf("got %x", got)
	}
}

func TestChallenge_BindsEachOfItsParts(t *testing.T) {
	base := ticket.Challenge("chain", [32]byte{1}, [32]byte{2})
	for name, other := range map[string][32]byte{
		"chain": ticket.Challenge("chain2", [32]byte{1}, [32]byte{2}), "commit": ticket.Challenge("chain", [32]byte{3}, [32]byte{2}),
		"checkpoint": ticket.Challenge("chain", [32]byte{1}, [32]byte{3}), "order": ticket.Challenge("chain", [32]byte{2}, [32]byte{1}),
	} {
		if other == base {
			t.Errorf("%s makes no difference", name)
		}
	}
	type parts struct {
		_          struct{} `cbor:",toarray"`
		Chain      string
		Commit     [32]byte
		Checkpoint [32]byte
	}
	want := wire.TagWork.Sum(wire.Encode(parts{Chain: "chain", Commit: [32]byte{1}, Checkpoint: [32]byte{2}}))
	if base != want {
		t.Errorf("got %x, want %x", base, want)
	}
}

// TestBits_CountsLeadingZeros compares with the definition, bit by bit.
func TestBits_CountsLeadingZeros(t *testing.T) {
	challenge := ticket.Challenge("chain", [32]byte{1}, [32]byte{})
	seen := map[int]bool{}
	for nonce := range uint64(300) {
		out := argon2.IDKey(binary.BigEndian.AppendUint64(nil, nonce), challenge[:], 1, 8, 1, 32)
		want := bits.LeadingZeros64(binary.BigEndian.Uint64(out))
		if got := ticket.Bits(challenge, nonce, 8); got != want {
			t.Fatalf("nonce %d has %d bits, want %d", nonce, got, want)
		}
		seen[want] = true
	}
	if !seen[0] || !seen[5] {
		t.Errorf("300 nonces gave only these numbers of bits: %v", seen)
	}
}

func TestBits_DependsOnTheMemory(t *testing.T) {
	challenge := ticket.Challenge("chain", [32]byte{1}, [32]byte{})
	same := 0
	for nonce := range uint64(64) {
		if ticket.Bits(challenge, nonce, 8) == ticket.Bits(challenge, nonce, 16) {
			same++
		}
	}
	if same == 64 {
		t.Error("the memory makes no difference")
	}
}

func TestSolve_SharesASearchWithoutOverlap(t *testing.T) {
	challenge := ticket.Challenge("chain", [32]byte{9}, [32]byte{})
	const want = 6
	first, err := ticket.Solve(context.Background(), challenge, want, 8, 0, 1, nil)
	if err != nil || ticket.Bits(challenge, first, 8) < want {
		t.Fatalf("nonce %d, %v", first, err)
	}
	var best uint64 = 1 << 62
	for start := range uint64(3) {
		tries := uint64(0)
		nonce, err := ticket.Solve(context.Background(), challenge, want, 8, start, 3, func() { tries++ })
		if err != nil || nonce%3 != start || ticket.Bits(challenge, nonce, 8) < want {
			t.Errorf("from %d: nonce %d, %v", start, nonce, err)
		}
		if nonce != start+3*tries {
			t.Errorf("from %d: %d tries to nonce %d", start, tries, nonce)
		}
		best = min(best, nonce)
	}
	if best != first {
		t.Errorf("together they found %d, alone %d", best, first)
	}
}

func TestSolve_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	tries := 0
	_, err := ticket.Solve(ctx, [32]byte{}, 256, 8, 0, 1, func() {
		if tries++; tries == 3 {
			cancel(nil)
		}
	})
	if !errors.Is(err, context.Canceled) || tries != 3 {
		t.Errorf("%v after %d tries", err, tries)
	}
}
