package verify_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestWire_BringsEveryValueBack(t *testing.T) {
	set := newSet(t, 0, 9, 8, 7, 7, 3)
	h := head(10, set, set)
	h.Commit.Votes[1] = verify.Vote{}
	h.Commit.Votes[2].Kind = verify.VoteNil
	h.Commit.Votes[3].Offset = math.MinInt64
	h.Commit.Votes[4].Offset = math.MaxInt64
	if got := overTheWire(t, h, verify.MaxHeadSize); !reflect.DeepEqual(got, h) {
		t.Errorf("head came back as %+v", got)
	}
	tr := trust(h, set.Validators)
	if got := overTheWire(t, tr, verify.MaxTrustSize); !reflect.DeepEqual(got, tr) {
		t.Errorf("trust came back as %+v", got)
	}
	if got := overTheWire(t, tr.Pin(), verify.MaxPinSize); got != tr.Pin() {
		t.Errorf("pin came back as %+v", got)
	}
	c := checkpoint(set)
	if got := overTheWire(t, c, verify.MaxCheckpointSize); got != c {
		t.Errorf("checkpoint came back as %+v", got)
	}
	s := seals(c, set, 0, 1, 4)
	if got := overTheWire(t, s, verify.MaxSealsSize); !reflect.DeepEqual(got, s) {
		t.Errorf("seals came back as %+v", got)
	}
}

// The largest values that can be made must fit the sizes that decoders are
// told, or an honest chain could stop being readable.
func TestWire_LargestValuesFitTheirBounds(t *testing.T) {
	full := [32]byte(bytes.Repeat([]byte{0xff}, 32))
	id := verify.BlockID{Hash: full, Parts: verify.Parts{Total: math.MaxUint32, Hash: full}}
	h := verify.Header{
		BlockVersion: math.MaxUint64, AppVersion: math.MaxUint64, ChainID: string(bytes.Repeat([]byte{'x'}, verify.MaxChainID)),
		Height: math.MaxUint64, Time: verify.Time{Seconds: math.MinInt64, Nanos: math.MaxUint32}, LastBlock: id,
	}
	commit := verify.Commit{Round: math.MaxUint32, Parts: id.Parts}
	s := verify.Seals{Height: math.MaxUint64, Round: math.MaxUint32}
	var powers []uint64
	for i := range verify.MaxValidators {
		vote := verify.Vote{Kind: verify.VoteNil, Offset: time.Duration(math.MaxInt64)}
		if i%2 == 1 {
			vote.Offset = math.MaxInt64 / 2
		}
		vote.Signature[0] = 1
		commit.Votes = append(commit.Votes, vote)
		s.Signatures = append(s.Signatures, vote.Signature)
		powers = append(powers, verify.MaxTotalPower/verify.MaxValidators)
	}
	set := newSet(t, 0, powers...)
	tr := verify.Trust{ChainID: h.ChainID, Height: math.MaxUint64, Time: h.Time, Validators: set.Validators}
	var history verify.History
	if err := wire.Decode(wire.Encode(struct {
		_     struct{} `cbor:",toarray"`
		Size  uint64
		Peaks [][32]byte
	}{Size: math.MaxInt64, Peaks: make([][32]byte, 63)}), &history, verify.MaxHistorySize); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		value any
		max   int
	}{
		{"header", h, verify.MaxHeaderSize},
		{"commit", commit, verify.MaxCommitSize},
		{"head", verify.Head{Header: h, Commit: commit}, verify.MaxHeadSize},
		{"validators", set.Validators, verify.MaxValidatorsSize},
		{"trust", tr, verify.MaxTrustSize},
		{"pin", verify.Pin{ChainID: h.ChainID, Height: math.MaxUint64}, verify.MaxPinSize},
		{"seals", s, verify.MaxSealsSize},
		{"history", history, verify.MaxHistorySize},
		{"checkpoint", verify.Checkpoint{Number: math.MaxUint64, Height: math.MaxUint64, Time: math.MaxUint64,
			InboxCount: math.MaxUint64}, verify.MaxCheckpointSize},
	} {
		got := len(wire.Encode(test.value))
		t.Logf("%-10s %5d of %5d bytes", test.name, got, test.max)
		if got > test.max {
			t.Errorf("%s takes %d bytes, allowed are %d", test.name, got, test.max)
		}
	}
}

func TestHead_SizeWithAndWithoutTrimming(t *testing.T) {
	for _, n := range []int{4, 16, 100} {
		set := equalSet(t, 0, n)
		h := head(1_000_000, set, set)
		full, trimmed := len(wire.Encode(h)), len(wire.Encode(h.Trim(set.Validators)))
		needed := 2*n/3 + 1
		t.Logf("%3d validators: head %5d bytes, with %2d votes %5d; validator set %d",
			n, full, needed, trimmed, len(wire.Encode(set.Validators)))
		if limit := 460 + n + 72*needed; trimmed > limit {
			t.Errorf("%d validators: trimmed head has %d bytes, at most %d are meant", n, trimmed, limit)
		}
	}
}

// commitBytes is a commit as it travels, to be spoiled.
type commitBytes struct {
	_          struct{} `cbor:",toarray"`
	Round      uint32
	Parts      verify.Parts
	Kinds      []byte
	Times      []int64
	Signatures []byte
}

func TestCommit_RefusesColumnsThatDoNotFit(t *testing.T) {
	good := func() commitBytes {
		return commitBytes{Kinds: []byte{1, 0, 2}, Times: []int64{5, -2}, Signatures: make([]byte, 130)}
	}
	var c verify.Commit
	if err := wire.Decode(wire.Encode(good()), &c, verify.MaxCommitSize); err != nil {
		t.Fatal(err)
	}
	if c.Votes[0].Offset != 5 || c.Votes[2].Offset != 3 || c.Votes[1] != (verify.Vote{}) {
		t.Errorf("votes are %+v", c.Votes)
	}
	for name, spoil := range map[string]func(*commitBytes){
		"unknown kind":          func(c *commitBytes) { c.Kinds[0] = 3 },
		"a vote more":           func(c *commitBytes) { c.Kinds[1] = 1 },
		"a vote less":           func(c *commitBytes) { c.Kinds[2] = 0 },
		"a time more":           func(c *commitBytes) { c.Times = append(c.Times, 1) },
		"a time less":           func(c *commitBytes) { c.Times = c.Times[:1] },
		"a byte more":           func(c *commitBytes) { c.Signatures = append(c.Signatures, 0) },
		"a byte less":           func(c *commitBytes) { c.Signatures = c.Signatures[:129] },
		"a signature more":      func(c *commitBytes) { c.Signatures = make([]byte, 195) },
		"more than 256 entries": func(c *commitBytes) { c.Kinds = append(c.Kinds, make([]byte, 254)...) },
	} {
		b := good()
		spoil(&b)
		if err := wire.Decode(wire.Encode(b), &c, verify.MaxCommitSize); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeals_RefuseColumnsThatDoNotFit(t *testing.T) {
	type sealBytes struct {
		_          struct{} `cbor:",toarray"`
		Height     uint64
		Round      uint32
		Present    []byte
		Signatures []byte
	}
	some := bytes.Repeat([]byte{7}, 3*65)
	var s verify.Seals
	if err := wire.Decode(wire.Encode(sealBytes{Present: []byte{1, 0, 1}, Signatures: some[:130]}), &s, verify.MaxSealsSize); err != nil {
		t.Fatal(err)
	}
	if s.Signatures[1] != (verify.Signature{}) || s.Signatures[2][64] != 7 {
		t.Errorf("seals are %x", s.Signatures)
	}
	for name, bad := range map[string]sealBytes{
		"neither 0 nor 1":       {Present: []byte{2, 0, 1}, Signatures: some[:65]},
		"a seal more":           {Present: []byte{1, 0, 1}, Signatures: some},
		"a byte more":           {Present: []byte{1, 0, 1}, Signatures: some[:131]},
		"a byte less":           {Present: []byte{1, 0, 1}, Signatures: some[:129]},
		"present, but zero":     {Present: []byte{1, 0, 1}, Signatures: make([]byte, 130)},
		"more than 256 signers": {Present: make([]byte, 257)},
	} {
		if err := wire.Decode(wire.Encode(bad), &s, verify.MaxSealsSize); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWire_RefusesWhatIsNotTheOneEncoding(t *testing.T) {
	set := equalSet(t, 0, 4)
	b := wire.Encode(head(10, set, set))
	var h verify.Head
	for name, bad := range map[string][]byte{
		"nothing":          nil,
		"truncated":        b[:len(b)-1],
		"a byte too many":  append(slices.Clone(b), 0),
		"null for a head":  {0xf6},
		"null in its part": {0x82, 0xf6, 0xf6},
		"one part only":    {0x81, 0xf6},
	} {
		if err := wire.Decode(bad, &h, verify.MaxHeadSize); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := wire.Decode(b, &h, len(b)-1); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestNewValidators_RefusesWhatNoChainHas(t *testing.T) {
	list, _ := members(0, 10, 10, 5, 3)
	edit := func(f func(l []verify.Validator)) []verify.Validator {
		l := slices.Clone(list)
		f(l)
		return l
	}
	many, _ := members(0, slices.Repeat([]uint64{1}, verify.MaxValidators+1)...)
	for name, bad := range map[string][]verify.Validator{
		"nobody":               {},
		"too many":             many,
		"no power":             edit(func(l []verify.Validator) { l[3].Power = 0 }),
		"too much power":       edit(func(l []verify.Validator) { l[0].Power = verify.MaxTotalPower - 17 }),
		"power that overflows": edit(func(l []verify.Validator) { l[0].Power, l[1].Power = math.MaxUint64, 2 }),
		"weaker first":         edit(func(l []verify.Validator) { l[2], l[3] = l[3], l[2] }),
		"higher address first": edit(func(l []verify.Validator) { l[0], l[1] = l[1], l[0] }),
		"one twice":            edit(func(l []verify.Validator) { l[1] = l[0] }),
		"not a point":          edit(func(l []verify.Validator) { l[2].Key = [33]byte{2, 31: 0, 32: 5} }),
		"uncompressed form":    edit(func(l []verify.Validator) { l[2].Key[0] = 4 }),
		"hybrid form":          edit(func(l []verify.Validator) { l[2].Key[0] = 6 }),
	} {
		if _, err := verify.NewValidators(bad); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("%s: NewValidators: %v", name, err)
		}
		var v verify.Validators
		if err := wire.Decode(wire.Encode(bad), &v, verify.MaxValidatorsSize); err == nil {
			t.Errorf("%s: was decoded", name)
		}
	}
	if _, err := verify.NewValidators(edit(func(l []verify.Validator) { l[0].Power = verify.MaxTotalPower - 18 })); err != nil {
		t.Errorf("the most power allowed: %v", err)
	}
}

func TestValidators_DoNotChangeWithTheListTheyCameFrom(t *testing.T) {
	list := []verify.Validator{equalSet(t, 0, 1).At(0)}
	v, err := verify.NewValidators(list)
	if err != nil {
		t.Fatal(err)
	}
	list[0].Power = 99
	if v.At(0).Power != 10 || v.TotalPower() != 10 {
		t.Error("the set changed with the list")
	}
}

// What is frozen stays as it is: keys and signatures here are deterministic.
func TestEncodings_AreFrozen(t *testing.T) {
	set := newSet(t, 0, 9, 8, 7, 7, 3)
	h := head(10, set, set)
	h.Commit.Round = 3
	h.Commit.Votes[1] = verify.Vote{}
	h.Commit.Votes[2].Kind = verify.VoteNil
	sign(&h, set)
	c := checkpoint(set)
	var history verify.History
	for i := range 11 {
		history = history.Append(sha256.Sum256([]byte{byte(i)}))
	}
	sum := func(v any) string {
		b := sha256.Sum256(wire.Encode(v))
		return hex.EncodeToString(b[:])
	}
	raw := func(b [32]byte) string { return hex.EncodeToString(b[:]) }
	for _, test := range []struct{ name, got, want string }{
		{"header hash", raw(h.Header.Hash()),
			"d32b5a33eddeda087703745d69bbc9f1c08d15dd0cb2cc639f32bf74f6a2af89"},
		{"validators hash", raw(set.Hash()),
			"1b2f45b97619cadfa4ba1cb959d391c3ce1b7407b097755c23fe97a83c804ae3"},
		{"vote", hex.EncodeToString(h.SignBytes(0)),
			"7a0802110a0000000000000019030000000000000022480a20d32b5a33eddeda087703745d69bbc9f1c08d15dd0cb2cc639f32bf74f6a2af89122408021220d887db09649dab0d83951d8d5d69b2e7d8bb70e79daa2a3a279b4fd6b8346cea2a0b08999486d80610959aef3a320d636f6e6661622d746573742d31"},
		{"nil vote", hex.EncodeToString(h.SignBytes(2)),
			"300802110a000000000000001903000000000000002a0b08999486d8061095ace33c320d636f6e6661622d746573742d31"},
		{"head", sum(h),
			"b091cbc11dcbb48c5c8bcda9011df82a9fc240747ef8f66f5b2d7dc9651ee56c"},
		{"validators", sum(set.Validators),
			"7374bb0325e23f3099fc001b43c3d068d427926e0c30e9b23c84cbd140004079"},
		{"trust", sum(trust(h, set.Validators)),
			"8abe798902e799d44534cbe2b18b2ec9b73d8e356589640bd64968f66a3fe9d0"},
		{"pin", sum(trust(h, set.Validators).Pin()),
			"43137fe03cf5cccac14f12eee9d05c2afbe69154b46f59fd841814a9d9dc1d5e"},
		{"checkpoint", sum(c),
			"b5c95acd5162d8e8827a51ce08bb9b831ef4a74c2b32a25db5d5fcd11be3726f"},
		{"checkpoint digest", raw(c.Digest(verify.ChainTag(fixtureChain))),
			"8da6e975ccd8dc693dc946dc02eb4cb2fd9f1db3e371db749cd50bb6ce5c8837"},
		{"signers", raw(verify.HashSigners(set.Validators)),
			"cb2a8c25ad9544ed620b50260e8722032cda8bef0ea50a9544ebc912becc678d"},
		{"seals", sum(seals(c, set, 0, 1, 4)),
			"374740348573e87e6b8c08aca6b2680872395b3f75e370e254536c82d41d7c43"},
		{"history", sum(history),
			"507411160945b755fa3eb67c73a0fa0f846f563a107f50036336eb485a9f13da"},
		{"history root", raw(history.Root()),
			"ed1d954562b2a1663d5a2630ffaf20dc151d543c96bd785369c8ab3e3fc3df6c"},
	} {
		if test.got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, test.got, test.want)
		}
	}
}
