package verify_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confab-chat/confab/lightclient/verify"
)

func fill(b byte) [32]byte { return [32]byte(bytes.Repeat([]byte{b}, 32)) }

// checkpoint returns a checkpoint of height 100 that set seals.
func checkpoint(set testSet) verify.Checkpoint {
	return verify.Checkpoint{
		Number: 7, Height: 100, Time: 1_800_000_000,
		BlockHash: fill(0xb1), AppHash: fill(0xa2), HistoryRoot: fill(0xc3),
		Signers: verify.HashSigners(set.Validators), NextSigners: fill(0xd4),
		InboxCount: 5, InboxHash: fill(0xe5),
	}
}

// seals returns the seals of these signers, made one height later in round 2.
func seals(c verify.Checkpoint, set testSet, who ...int) verify.Seals {
	s := verify.Seals{Height: c.Height + 1, Round: 2, Signatures: make([]verify.Signature, set.Len())}
	extension := verify.SealExtension(c.Number, c.Digest(verify.ChainTag(fixtureChain)))
	for _, i := range who {
		s.Signatures[i] = signWith(set.keys[i], verify.SealSignBytes(fixtureChain, s.Height, s.Round, extension))
	}
	return s
}

// The digest must be what Solidity computes, so the words are written out here
// and not taken from the code under test.
func TestCheckpointDigest_IsTheHashOfItsABIWords(t *testing.T) {
	c := checkpoint(equalSet(t, 0, 1))
	word := func(n uint64) string { return fmt.Sprintf("%064x", n) }
	tag := keccak([]byte("confab/chain/1\nconfab-test-1"))
	words, err := hex.DecodeString(strings.Join([]string{
		hex.EncodeToString(keccak([]byte("confab/checkpoint/1\n"))),
		hex.EncodeToString(tag),
		word(7), word(100), word(1_800_000_000),
		strings.Repeat("b1", 32), strings.Repeat("a2", 32), strings.Repeat("c3", 32),
		hex.EncodeToString(c.Signers[:]), strings.Repeat("d4", 32),
		word(5), strings.Repeat("e5", 32),
	}, ""))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Digest(verify.ChainTag(fixtureChain))
	if want := keccak(words); !bytes.Equal(got[:], want) {
		t.Errorf("digest is %x, want %x", got, want)
	}
}

func TestCheckpointDigest_DependsOnEveryField(t *testing.T) {
	c := checkpoint(equalSet(t, 0, 1))
	tag := verify.ChainTag(fixtureChain)
	seen := map[[32]byte]string{c.Digest(tag): "unchanged", c.Digest(verify.ChainTag("x")): "chain"}
	for name, change := range map[string]func(*verify.Checkpoint){
		"number":       func(c *verify.Checkpoint) { c.Number++ },
		"height":       func(c *verify.Checkpoint) { c.Height++ },
		"time":         func(c *verify.Checkpoint) { c.Time++ },
		"block hash":   func(c *verify.Checkpoint) { c.BlockHash[31]++ },
		"app hash":     func(c *verify.Checkpoint) { c.AppHash[31]++ },
		"history root": func(c *verify.Checkpoint) { c.HistoryRoot[31]++ },
		"signers":      func(c *verify.Checkpoint) { c.Signers[31]++ },
		"next signers": func(c *verify.Checkpoint) { c.NextSigners[31]++ },
		"inbox count":  func(c *verify.Checkpoint) { c.InboxCount++ },
		"inbox hash":   func(c *verify.Checkpoint) { c.InboxHash[31]++ },
	} {
		changed := c
		change(&changed)
		d := changed.Digest(tag)
		if other, ok := seen[d]; ok {
			t.Errorf("%s: same digest as %s", name, other)
		}
		seen[d] = name
	}
}

func TestHashSigners_PacksPowerAndAddress(t *testing.T) {
	set := newSet(t, 0, 5, 300)
	var words []byte
	for i := range set.Len() {
		a := set.Address(i)
		b, err := hex.DecodeString(fmt.Sprintf("%024x%x", set.At(i).Power, a[:]))
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, b...)
	}
	if len(words) != 64 {
		t.Fatalf("%d bytes", len(words))
	}
	if got := verify.HashSigners(set.Validators); !bytes.Equal(got[:], keccak(words)) {
		t.Errorf("hash is %x, want %x", got, keccak(words))
	}
}

func TestSealExtension_ComesBackAndNothingElseDoes(t *testing.T) {
	b := verify.SealExtension(7, fill(9))
	if want := "01" + "0000000000000007" + strings.Repeat("09", 32); hex.EncodeToString(b) != want {
		t.Errorf("extension is %x, want %s", b, want)
	}
	number, digest, err := verify.ParseSealExtension(b)
	if number != 7 || digest != fill(9) || err != nil {
		t.Errorf("got %d, %x, %v", number, digest, err)
	}
	for _, bad := range [][]byte{nil, b[:40], append(b[:41:41], 0), append([]byte{2}, b[1:]...)} {
		if _, _, err := verify.ParseSealExtension(bad); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestCheckSeals_CountsPowerOverTwoThirds(t *testing.T) {
	set := newSet(t, 0, 40, 27, 20, 13)
	c := checkpoint(set)
	for _, test := range []struct {
		who   []int
		power uint64
		err   error
	}{
		{[]int{0, 1, 2, 3}, 100, nil},
		{[]int{0, 1}, 67, nil},
		{[]int{0, 2}, 0, verify.ErrPower},
		{[]int{1, 2, 3}, 0, verify.ErrPower},
		{nil, 0, verify.ErrPower},
	} {
		power, err := verify.CheckSeals(fixtureChain, c, seals(c, set, test.who...), set.Validators)
		if power != test.power || !errors.Is(err, test.err) {
			t.Errorf("signed by %v: %d, %v", test.who, power, err)
		}
	}
	thirds := equalSet(t, 0, 3)
	c = checkpoint(thirds)
	if _, err := verify.CheckSeals(fixtureChain, c, seals(c, thirds, 0, 1), thirds.Validators); !errors.Is(err, verify.ErrPower) {
		t.Errorf("exactly two thirds: %v", err)
	}
}

func TestCheckSeals_RefusesSealsOfSomethingElse(t *testing.T) {
	set, other := equalSet(t, 0, 4), equalSet(t, 1, 4)
	c := checkpoint(set)
	changed := func(f func(c *verify.Checkpoint)) verify.Checkpoint { d := c; f(&d); return d }
	spoiled := func(f func(s *verify.Seals)) verify.Seals { s := seals(c, set, 0, 1, 2, 3); f(&s); return s }
	good := spoiled(func(*verify.Seals) {})
	for _, test := range []struct {
		name  string
		chain string
		c     verify.Checkpoint
		s     verify.Seals
		set   testSet
		want  error
	}{
		{"another chain", "other", c, good, set, verify.ErrSignature},
		{"another number", fixtureChain, changed(func(c *verify.Checkpoint) { c.Number++ }), good, set, verify.ErrSignature},
		{"another digest", fixtureChain, changed(func(c *verify.Checkpoint) { c.AppHash[0]++ }), good, set, verify.ErrSignature},
		{"another vote height", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Height++ }), set, verify.ErrSignature},
		{"another round", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Round++ }), set, verify.ErrSignature},
		{"signed too early", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Height = c.Height }), set, verify.ErrInvalid},
		{"height out of range", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Height = 1 << 63 }), set, verify.ErrInvalid},
		{"round out of range", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Round = 1 << 31 }), set, verify.ErrInvalid},
		{"a seal short", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Signatures = s.Signatures[:3] }), set, verify.ErrInvalid},
		{"one signer twice", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Signatures[1] = s.Signatures[0] }), set, verify.ErrSignature},
		{"one bad among enough", fixtureChain, c, spoiled(func(s *verify.Seals) { s.Signatures[3][7] ^= 1 }), set, verify.ErrSignature},
		{"other signers", fixtureChain, c, good, other, verify.ErrInvalid},
		{"no signers", fixtureChain, c, verify.Seals{Height: 101}, testSet{}, verify.ErrInvalid},
	} {
		power, err := verify.CheckSeals(test.chain, test.c, test.s, test.set.Validators)
		if power != 0 || !errors.Is(err, test.want) {
			t.Errorf("%s: got %d, %v, want %v", test.name, power, err, test.want)
		}
	}
}
