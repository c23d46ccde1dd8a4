package verify_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// at is the time of the header of this height, and a bit.
func at(height uint64) time.Time {
	return fixtureStart.Add(time.Duration(height)*time.Minute + time.Second)
}

func TestAdvance_FollowsAdjacentAndSkippedHeads(t *testing.T) {
	a, b := equalSet(t, 0, 4), equalSet(t, 1, 4) // three of four in common
	trusted := trust(head(10, a, b), a.Validators)

	next, err := verify.Advance(trusted, head(11, b, a), b.Validators, at(11), verify.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := next.Pin(), trust(head(11, b, a), b.Validators).Pin(); got != want {
		t.Errorf("trust is in %+v, want %+v", got, want)
	}
	if next.Validators.Hash() != b.Hash() || next.NextValidatorsHash != a.Hash() {
		t.Error("trust keeps other validator sets than the head's")
	}
	if _, err := verify.Advance(trusted, head(500, b, b), b.Validators, at(500), verify.DefaultRules()); err != nil {
		t.Errorf("skipping: %v", err)
	}
}

func TestAdvance_IsStillWhereItWasForTheTrustedHeader(t *testing.T) {
	a := equalSet(t, 0, 4)
	h := head(10, a, a)
	trusted := trust(h, a.Validators)
	h.Commit = verify.Commit{}
	got, err := verify.Advance(trusted, h, verify.Validators{}, at(1e9), verify.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	if got.Pin() != trusted.Pin() {
		t.Errorf("got %+v, want %+v", got.Pin(), trusted.Pin())
	}
}

func TestAdvance_SaysWhyItRefuses(t *testing.T) {
	a, other, mixed := equalSet(t, 0, 6), equalSet(t, 100, 6), newSet(t, 4, 10, 10, 10, 10, 10, 10)
	trusted := trust(head(10, a, a), a.Validators)
	rules := verify.DefaultRules()

	weak := head(20, a, a)
	for i := range 2 {
		weak.Commit.Votes[i] = verify.Vote{}
	}
	nilVotes := head(20, a, a)
	for i := range 2 {
		nilVotes.Commit.Votes[i].Kind = verify.VoteNil
	}
	sign(&nilVotes, a)
	flipped := head(20, a, a)
	flipped.Commit.Votes[0].Signature[5] ^= 1
	swapped := head(20, a, a)
	v := swapped.Commit.Votes
	v[0], v[1] = v[1], v[0]
	doubled := head(20, a, a)
	doubled.Commit.Votes[1] = doubled.Commit.Votes[0]
	otherChain := head(20, a, a)
	otherChain.Header.ChainID = "confab-test-2"
	sign(&otherChain, a)
	otherRound := head(20, a, a)
	otherRound.Commit.Round++
	short := head(20, a, a)
	short.Commit.Votes = short.Commit.Votes[:5]
	frozen := head(20, a, a)
	frozen.Header.Time = trusted.Time
	sign(&frozen, a)
	noHeight := head(20, a, a)
	noHeight.Header.Height = 0
	sign(&noHeight, a)

	for _, test := range []struct {
		name string
		head verify.Head
		set  testSet
		now  time.Time
		want error
	}{
		{"trust has expired", head(20, a, a), a, at(10).Add(rules.TrustingPeriod), verify.ErrExpired},
		{"older head", head(9, a, a), a, at(20), verify.ErrNotNewer},
		{"future head", head(20, a, a), a, at(20).Add(-12 * time.Second), verify.ErrFuture},
		{"strangers", head(20, other, other), other, at(20), verify.ErrTrustedPower},
		{"exactly a third of the trusted", head(20, mixed, mixed), mixed, at(20), verify.ErrTrustedPower},
		{"exactly two thirds", weak, a, at(20), verify.ErrPower},
		{"nil votes do not count", nilVotes, a, at(20), verify.ErrPower},
		{"flipped bit", flipped, a, at(20), verify.ErrSignature},
		{"swapped votes", swapped, a, at(20), verify.ErrSignature},
		{"one vote twice", doubled, a, at(20), verify.ErrSignature},
		{"another round", otherRound, a, at(20), verify.ErrSignature},
		{"another chain", otherChain, a, at(20), verify.ErrInvalid},
		{"a vote too few", short, a, at(20), verify.ErrInvalid},
		{"other validators given", head(20, a, a), other, at(20), verify.ErrInvalid},
		{"no validators given", head(20, a, a), testSet{}, at(20), verify.ErrInvalid},
		{"time does not move", frozen, a, at(20), verify.ErrInvalid},
		{"no height", noHeight, a, at(20), verify.ErrInvalid},
		{"adjacent, not announced", head(11, other, other), other, at(20), verify.ErrInvalid},
	} {
		got, err := verify.Advance(trusted, test.head, test.set.Validators, test.now, rules)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
		if got.Height != 0 {
			t.Errorf("%s: trust came back with the error", test.name)
		}
	}
}

func TestAdvance_NamesAConflictOnlyIfItIsSigned(t *testing.T) {
	a := equalSet(t, 0, 4)
	trusted := trust(head(10, a, a), a.Validators)
	second := head(10, a, a)
	second.Header.AppHash[0] ^= 1

	_, err := verify.Advance(trusted, second, a.Validators, at(10), verify.DefaultRules())
	if errors.Is(err, verify.ErrConflict) || !errors.Is(err, verify.ErrSignature) {
		t.Errorf("unsigned second header: %v", err)
	}
	sign(&second, a)
	_, err = verify.Advance(trusted, second, a.Validators, at(10), verify.DefaultRules())
	var conflict *verify.ConflictError
	if !errors.As(err, &conflict) || !errors.Is(err, verify.ErrConflict) {
		t.Fatalf("signed second header: %v", err)
	}
	if wire.CodeOf(err) != wire.Conflict {
		t.Errorf("kind is %v", wire.CodeOf(err))
	}
	if conflict.Trusted.Hash != trusted.Hash || conflict.Head.Header.Hash() != second.Header.Hash() ||
		conflict.Validators.Hash() != a.Hash() {
		t.Error("the error does not carry both sides")
	}
	half := second
	half.Commit.Votes = slices.Clone(second.Commit.Votes)
	half.Commit.Votes[0], half.Commit.Votes[1] = verify.Vote{}, verify.Vote{}
	_, err = verify.Advance(trusted, half, a.Validators, at(10), verify.DefaultRules())
	if !errors.Is(err, verify.ErrPower) {
		t.Errorf("second header signed by half: %v", err)
	}
	strangers := equalSet(t, 50, 4)
	_, err = verify.Advance(trusted, head(10, strangers, a), strangers.Validators, at(10), verify.DefaultRules())
	if !errors.Is(err, verify.ErrTrustedPower) {
		t.Errorf("header signed by strangers: %v", err)
	}
}

// All of these are signed by everyone, and still are nothing that CometBFT
// could have made.
func TestHeadCheck_RefusesWhatIsOutOfRange(t *testing.T) {
	a := equalSet(t, 0, 4)
	for name, change := range map[string]func(h *verify.Head){
		"block version":         func(h *verify.Head) { h.Header.BlockVersion = 10 },
		"long chain id":         func(h *verify.Head) { h.Header.ChainID = strings.Repeat("x", 51) },
		"height zero":           func(h *verify.Head) { h.Header.Height = 0 },
		"height above int64":    func(h *verify.Head) { h.Header.Height = 1 << 63 },
		"time before year 1":    func(h *verify.Head) { h.Header.Time.Seconds = -62135596801 },
		"time of year 10000":    func(h *verify.Head) { h.Header.Time.Seconds = 253402300800 },
		"a second of nanos":     func(h *verify.Head) { h.Header.Time.Nanos = 1e9 },
		"round above int32":     func(h *verify.Head) { h.Commit.Round = 1 << 31 },
		"vote before year 1":    func(h *verify.Head) { h.Header.Time.Seconds = -62135596800; h.Commit.Votes[0].Offset = -time.Hour },
		"vote after year 9999":  func(h *verify.Head) { h.Header.Time.Seconds = 253402300799 },
		"other than its own":    func(h *verify.Head) { h.Header.ValidatorsHash[0]++ },
		"a vote of a fifth one": func(h *verify.Head) { h.Commit.Votes = append(h.Commit.Votes, verify.Vote{}) },
	} {
		h := head(10, a, a)
		change(&h)
		sign(&h, a)
		if err := h.Check(a.Validators); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	nobody := verify.Head{Header: header(10, a, a)}
	nobody.Header.ValidatorsHash = verify.Validators{}.Hash()
	if err := nobody.Check(verify.Validators{}); !errors.Is(err, verify.ErrInvalid) {
		t.Errorf("no validators at all: %v", err)
	}
}

func TestAdvance_CountsPowerAndNotHeads(t *testing.T) {
	set := newSet(t, 0, 70, 10, 10, 10) // the first alone is more than two thirds
	trusted := trust(head(10, set, set), set.Validators)
	alone := head(20, set, set)
	for i := 1; i < 4; i++ {
		alone.Commit.Votes[i] = verify.Vote{}
	}
	if _, err := verify.Advance(trusted, alone, set.Validators, at(20), verify.DefaultRules()); err != nil {
		t.Errorf("70 of 100: %v", err)
	}
	without := head(20, set, set)
	without.Commit.Votes[0] = verify.Vote{}
	_, err := verify.Advance(trusted, without, set.Validators, at(20), verify.DefaultRules())
	if !errors.Is(err, verify.ErrTrustedPower) {
		t.Errorf("30 of 100: %v", err)
	}
}

func TestPin_TrustsOnlyThePinnedHeader(t *testing.T) {
	a := equalSet(t, 0, 4)
	h := head(10, a, a)
	pin := verify.Pin{ChainID: fixtureChain, Height: 10, Hash: h.Header.Hash()}
	got, err := pin.Trust(h, a.Validators)
	if err != nil {
		t.Fatal(err)
	}
	if got.Pin() != pin {
		t.Errorf("trust is in %+v, want %+v", got.Pin(), pin)
	}
	wrong := pin
	wrong.Hash[0] ^= 1
	if _, err := wrong.Trust(h, a.Validators); !errors.Is(err, verify.ErrInvalid) {
		t.Errorf("another hash: %v", err)
	}
	wrong = pin
	wrong.ChainID = "other"
	if _, err := wrong.Trust(h, a.Validators); !errors.Is(err, verify.ErrInvalid) {
		t.Errorf("another chain: %v", err)
	}
	wrong = pin
	wrong.Height++
	if _, err := wrong.Trust(h, a.Validators); !errors.Is(err, verify.ErrInvalid) {
		t.Errorf("another height: %v", err)
	}
	for i := range 2 {
		h.Commit.Votes[i] = verify.Vote{}
	}
	if _, err := pin.Trust(h, a.Validators); !errors.Is(err, verify.ErrPower) {
		t.Errorf("half of the power: %v", err)
	}
}

func TestHeadCheckAll_VerifiesVotesThatCheckNeverReaches(t *testing.T) {
	a := equalSet(t, 0, 4)
	for _, kind := range []verify.VoteKind{verify.VoteBlock, verify.VoteNil} {
		h := head(10, a, a)
		h.Commit.Votes[3].Kind = kind
		sign(&h, a)
		if err := h.CheckAll(a.Validators); err != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
		h.Commit.Votes[3].Signature[0] ^= 1
		if err := h.Check(a.Validators); err != nil {
			t.Errorf("kind %d, last vote wrong: Check: %v", kind, err)
		}
		if err := h.CheckAll(a.Validators); !errors.Is(err, verify.ErrSignature) {
			t.Errorf("kind %d, last vote wrong: CheckAll: %v", kind, err)
		}
	}
}

func TestHeadTrim_LeavesWhatACheckNeeds(t *testing.T) {
	for _, powers := range [][]uint64{{1}, {10, 10, 10}, {10, 10, 10, 10}, {70, 10, 10, 10}, {9, 8, 7, 6, 5, 4, 3, 2, 1}} {
		set := newSet(t, 0, powers...)
		trimmed := head(10, set, set).Trim(set.Validators)
		if err := trimmed.CheckAll(set.Validators); err != nil {
			t.Errorf("%v: %v", powers, err)
		}
		last := -1
		for i, v := range trimmed.Commit.Votes {
			if v.Kind != verify.VoteAbsent {
				last = i
			}
		}
		trimmed.Commit.Votes[last] = verify.Vote{}
		if err := trimmed.Check(set.Validators); !errors.Is(err, verify.ErrPower) {
			t.Errorf("%v, one vote less: %v", powers, err)
		}
	}
	// With the wrong set there is no telling what is needed.
	four := equalSet(t, 0, 4)
	h := head(10, four, four).Trim(equalSet(t, 0, 3).Validators)
	if err := h.CheckAll(four.Validators); err != nil || h.Commit.Votes[3].Kind != verify.VoteBlock {
		t.Errorf("trimmed for another set: %v", err)
	}
	// Validators that did not sign are passed over, and nothing is written to
	// the original.
	set := equalSet(t, 0, 7)
	h = head(10, set, set)
	h.Commit.Votes[0] = verify.Vote{}
	h.Commit.Votes[1].Kind = verify.VoteNil
	sign(&h, set)
	trimmed := h.Trim(set.Validators)
	if err := trimmed.Check(set.Validators); err != nil {
		t.Error(err)
	}
	if trimmed.Commit.Votes[1].Kind != verify.VoteAbsent || h.Commit.Votes[1].Kind != verify.VoteNil {
		t.Error("a nil vote should go from the copy only")
	}
}
