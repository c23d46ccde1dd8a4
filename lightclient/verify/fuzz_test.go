package verify_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// fuzzDecoder checks that what decodes into a T encodes to the same bytes, and
// hands it to use, which must not panic.
func fuzzDecoder[T any](f *testing.F, seed T, max int, use func(t *testing.T, v T)) {
	good := wire.Encode(seed)
	f.Add(good)
	f.Add(good[:len(good)/2])
	for _, i := range []int{0, 1, len(good) / 2, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v T
		if wire.Decode(b, &v, max) != nil {
			return
		}
		if again := wire.Encode(v); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		use(t, v)
	})
}

func FuzzHead(f *testing.F) {
	set := equalSet(f, 0, 4)
	trusted := trust(head(5, set, set), set.Validators)
	f.Add(wire.Encode(head(10, set, set).Trim(set.Validators)))
	honest := head(10, set, set)
	fuzzDecoder(f, honest, verify.MaxHeadSize, func(t *testing.T, h verify.Head) {
		if len(h.Commit.Votes) > verify.MaxValidators {
			t.Fatalf("%d votes", len(h.Commit.Votes))
		}
		_ = h.Trim(set.Validators)
		_ = h.CheckAll(set.Validators)
		for i := range h.Commit.Votes {
			_ = h.SignBytes(i)
		}
		got, err := verify.Advance(trusted, h, set.Validators, at(10), verify.DefaultRules())
		if err == nil && got.Hash != honest.Header.Hash() && got.Hash != trusted.Hash {
			t.Fatalf("header %X was accepted, nobody signed it", got.Hash)
		}
	})
}

func FuzzHeader(f *testing.F) {
	set := equalSet(f, 0, 1)
	fuzzDecoder(f, header(3, set, set), verify.MaxHeaderSize, func(_ *testing.T, h verify.Header) { _ = h.Hash() })
}

func FuzzValidators(f *testing.F) {
	set := newSet(f, 0, 9, 4, 4, 1)
	fuzzDecoder(f, set.Validators, verify.MaxValidatorsSize, func(t *testing.T, v verify.Validators) {
		if v.Len() == 0 || v.Len() > verify.MaxValidators || v.TotalPower() == 0 || v.TotalPower() > verify.MaxTotalPower {
			t.Fatalf("%d validators with power %d", v.Len(), v.TotalPower())
		}
		_ = verify.HashSigners(v)
	})
}

func FuzzTrust(f *testing.F) {
	set := equalSet(f, 0, 2)
	next := head(6, set, set)
	fuzzDecoder(f, trust(head(5, set, set), set.Validators), verify.MaxTrustSize, func(_ *testing.T, tr verify.Trust) {
		_, _ = verify.Advance(tr, next, set.Validators, at(6), verify.DefaultRules())
	})
}

func FuzzPin(f *testing.F) {
	set := equalSet(f, 0, 1)
	h := head(5, set, set)
	pin := trust(h, set.Validators).Pin()
	fuzzDecoder(f, pin, verify.MaxPinSize, func(t *testing.T, p verify.Pin) {
		if _, err := p.Trust(h, set.Validators); (err == nil) != (p == pin) {
			t.Fatalf("pin %+v: %v", p, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	set := equalSet(f, 0, 1)
	c := checkpoint(set)
	sealed := seals(c, set, 0)
	fuzzDecoder(f, c, verify.MaxCheckpointSize, func(t *testing.T, d verify.Checkpoint) {
		if _, err := verify.CheckSeals(fixtureChain, d, sealed, set.Validators); (err == nil) != (c == d) {
			t.Fatalf("checkpoint %+v: %v", d, err)
		}
	})
}

func FuzzSeals(f *testing.F) {
	set := equalSet(f, 0, 4)
	c := checkpoint(set)
	fuzzDecoder(f, seals(c, set, 0, 1, 3), verify.MaxSealsSize, func(t *testing.T, s verify.Seals) {
		if len(s.Signatures) > verify.MaxValidators {
			t.Fatalf("%d seals", len(s.Signatures))
		}
		_, _ = verify.CheckSeals(fixtureChain, c, s, set.Validators)
	})
}

func FuzzHistory(f *testing.F) {
	var h verify.History
	for i := range 11 {
		h = h.Append(fill(byte(i)))
	}
	fuzzDecoder(f, h, verify.MaxHistorySize, func(t *testing.T, h verify.History) {
		_ = h.Root()
		if next := h.Append(fill(1)); next.Size() != h.Size()+1 {
			t.Fatalf("size %d became %d", h.Size(), next.Size())
		}
	})
}

func FuzzSealExtension(f *testing.F) {
	f.Add(verify.SealExtension(7, fill(9)))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		number, digest, err := verify.ParseSealExtension(b)
		if err != nil {
			if !errors.Is(err, verify.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if again := verify.SealExtension(number, digest); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
