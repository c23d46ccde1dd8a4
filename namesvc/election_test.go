package namesvc_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// leaves is a state made by hand.
type leaves map[namesvc.Key][]byte

func (l leaves) Get(k namesvc.Key) ([]byte, error) { return l[k], nil }

// seat is a validator with what its operator says.
type seat struct {
	power  uint64
	fault  uint64
	leaves bool
	votes  []namesvc.Vote
}

func account(i int) (id namesvc.AccountID) {
	binary.BigEndian.PutUint32(id[:], uint32(i)+1)
	return id
}

func consensusOf(i int) (k key.Consensus) {
	k[0] = 2
	binary.BigEndian.PutUint32(k[1:], uint32(i)+1)
	return k
}

// electorate writes a set, and candidates beside it.
func electorate(seats []seat, candidates int) leaves {
	l := leaves{}
	set := namesvc.ValidatorSet{Version: 1}
	for i, s := range seats {
		set.List = append(set.List, namesvc.Validator{Key: consensusOf(i), Power: s.power, Operator: account(i), Fault: s.fault})
		o := namesvc.Operator{Version: 1, Account: account(i), Votes: s.votes}
		if !s.leaves {
			k := consensusOf(i)
			o.Key = k[:]
		}
		l[namesvc.OperatorKey(o.Account)] = o.Encode()
	}
	for i := range candidates {
		k := consensusOf(len(seats) + i)
		l[namesvc.OperatorKey(account(len(seats)+i))] = namesvc.Operator{Version: 1, Account: account(len(seats) + i), Key: k[:]}.Encode()
	}
	l[namesvc.ValidatorsKey()] = wire.Encode(set)
	return l
}

func power(i int, n uint64) namesvc.Vote {
	return namesvc.Vote{Kind: namesvc.VotePower, Account: account(i), Number: n, Until: 1000}
}

// powers are those of the accounts after an election at time 100.
func powers(t *testing.T, l leaves) map[int]uint64 {
	t.Helper()
	set, err := namesvc.NextValidators(l, 10, 100)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]uint64{}
	for _, v := range set.List {
		out[int(binary.BigEndian.Uint32(v.Operator[:]))-1] = v.Power
	}
	return out
}

// all gives the same votes to so many equal seats.
func all(n int, p uint64, votes ...namesvc.Vote) []seat {
	out := make([]seat, n)
	for i := range out {
		out[i] = seat{power: p, votes: votes}
	}
	return out
}

// TestElection_ChangesNoMoreThanItMay goes to the edge of each bound.
func TestElection_ChangesNoMoreThanItMay(t *testing.T) {
	faulty := func(s []seat, which ...int) []seat {
		for _, i := range which {
			s[i].fault = 50
		}
		return s
	}
	leaving := func(s []seat, which ...int) []seat {
		for _, i := range which {
			s[i].leaves = true
		}
		return s
	}
	ten := func(n int) map[int]uint64 {
		m := map[int]uint64{}
		for i := range n {
			m[i] = 10
		}
		return m
	}
	with := func(m map[int]uint64, pairs ...uint64) map[int]uint64 {
		for i := 0; i < len(pairs); i += 2 {
			if m[int(pairs[i])] = pairs[i+1]; pairs[i+1] == 0 {
				delete(m, int(pairs[i]))
			}
		}
		return m
	}
	for _, c := range []struct {
		name       string
		seats      []seat
		candidates int
		want       map[int]uint64
	}{
		{"a third is gained", all(6, 10, power(6, 20)), 1, with(ten(6), 6, 20)},
		{"more than a third is not", all(6, 10, power(6, 21)), 1, ten(6)},
		{"one that fits is, where another does not", all(6, 10, power(6, 21), power(7, 20)), 2, with(ten(6), 7, 20)},
		{"only so many as fit", all(6, 10, power(6, 10), power(7, 10), power(8, 10)), 3, with(ten(6), 6, 10, 7, 10)},
		{"half is lost", all(6, 10, power(0, 0), power(1, 0), power(2, 0)), 0, with(ten(6), 0, 0, 1, 0, 2, 0)},
		{"more than half is not", all(6, 10, power(0, 0), power(1, 0), power(2, 0), power(3, 0)), 0, with(ten(6), 0, 0, 1, 0, 2, 0)},
		{"what is gained counts against what is lost", all(6, 10, power(0, 20), power(1, 0), power(2, 0), power(3, 9)), 0, with(ten(6), 0, 20, 1, 0, 2, 0, 3, 9)},
		{"to the last bit", all(6, 10, power(0, 20), power(1, 0), power(2, 0), power(3, 5)), 0, with(ten(6), 0, 20, 1, 0, 2, 0, 3, 5)},
		{"and no more", all(6, 10, power(0, 20), power(1, 0), power(2, 0), power(3, 4)), 0, with(ten(6), 0, 20, 1, 0, 2, 0)},
		{"who misbehaved goes first", faulty(all(4, 10, power(0, 0), power(1, 0)), 3), 0, with(ten(4), 0, 0, 3, 0)},
		{"and does not come back by a vote from before", faulty(all(4, 10, power(3, 9)), 3), 0, with(ten(4), 3, 0)},
		{"and the others have to carry a vote alone", faulty(all(3, 10, power(0, 0)), 2), 0, with(ten(3), 2, 0)},
		{"two of two may misbehave, one stays", faulty(all(2, 10), 0, 1), 0, with(ten(2), 0, 0)},
		{"the only one stays", faulty(all(1, 10), 0), 0, ten(1)},
		{"who leaves leaves", leaving(all(5, 10), 2), 0, with(ten(5), 2, 0)},
		{"but four stay", leaving(all(6, 10), 0, 1, 2), 0, with(ten(6), 0, 0, 1, 0)},
		{"the last one is not voted out", all(1, 10, power(0, 0)), 0, ten(1)},
		{"not by half and a bit", []seat{{power: 10, votes: []namesvc.Vote{power(2, 9)}}, {power: 10, votes: []namesvc.Vote{power(2, 9)}}, {power: 10}}, 0, ten(3)},
		{"by two thirds and a bit", []seat{{power: 11, votes: []namesvc.Vote{power(2, 9)}}, {power: 10, votes: []namesvc.Vote{power(2, 9)}}, {power: 10}}, 0,
			map[int]uint64{0: 11, 1: 10, 2: 9}},
		{"not after its time", all(4, 10, namesvc.Vote{Kind: namesvc.VotePower, Account: account(1), Number: 9, Until: 100}), 0, ten(4)},
		{"nobody who does not offer", all(4, 10, power(9, 9)), 1, ten(4)},
	} {
		if got := powers(t, electorate(c.seats, c.candidates)); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestElection_LeavesLightClientsAWay makes up sets and votes, and checks the
// bound's own reason by trying every group of validators: whoever holds more than
// two thirds of the new set holds more than a third of the old one.
func TestElection_LeavesLightClientsAWay(t *testing.T) {
	changed := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 3))
		n, candidates := 1+r.IntN(9), r.IntN(3)
		var common []namesvc.Vote
		for range r.IntN(7) {
			v := power(r.IntN(n+candidates), r.Uint64N(30))
			common = slices.DeleteFunc(common, func(o namesvc.Vote) bool { return o.Account == v.Account })
			common = append(common, v)
		}
		seats := all(n, 0, common...)
		for i := range seats {
			seats[i].power = 1 + r.Uint64N(25)
			seats[i].leaves = r.IntN(6) == 0
			if r.IntN(8) == 0 {
				seats[i].fault = 7
			}
		}
		before := map[int]uint64{}
		var total uint64
		for i, s := range seats {
			before[i] = s.power
			total += s.power
		}
		after := powers(t, electorate(seats, candidates))
		if fmt.Sprint(before) != fmt.Sprint(after) {
			changed++
		}
		everyGroup(t, seed, before, after, total, n+candidates)
	}
	if changed < 100 {
		t.Errorf("only %d elections changed anything", changed)
	}
}

func everyGroup(t *testing.T, seed uint64, before, after map[int]uint64, total uint64, n int) {
	t.Helper()
	var now, gained uint64
	for i, p := range after {
		now += p
		gained += max(p, before[i]) - before[i]
	}
	if gained > total/3 {
		t.Errorf("seed %d: of %d, %d is gained at once", seed, total, gained)
	}
	for group := range 1 << n {
		var old, fresh uint64
		for i := range n {
			if group&(1<<i) != 0 {
				old, fresh = old+before[i], fresh+after[i]
			}
		}
		if fresh > now*2/3 && old <= total/3 {
			t.Fatalf("seed %d: %v became %v, and %b has %d of %d now and had %d of %d", seed, before, after, group, fresh, now, old, total)
		}
	}
}

// TestElection_IsThatOfTheCheckpointAlone: the block that records a checkpoint
// comes to the set that the checkpoint named, whatever its own time and ops.
func TestElection_IsThatOfTheCheckpointAlone(t *testing.T) {
	law := newLaw(t, parseScript(t, "testdata/scripts/validators.txt").Params, parseScript(t, "testdata/scripts/validators.txt").Founders...)
	o := namesvc.NewOverlay(law)
	vote := power(1, 9)
	vote.Account = first(t, law)
	vote.Until = 200
	var set namesvc.ValidatorSet
	decodeLeaf(t, law, namesvc.ValidatorsKey(), &set)
	for _, v := range set.List {
		k := v.Key
		o.Set(namesvc.OperatorKey(v.Operator), namesvc.Operator{Version: 1, Account: v.Operator, Key: k[:], Votes: []namesvc.Vote{vote}}.Encode())
	}
	for _, c := range []struct {
		at    uint64
		moved bool
	}{{199, true}, {200, false}} {
		want, err := namesvc.NextValidators(o, 10, c.at)
		if err != nil {
			t.Fatal(err)
		}
		after := namesvc.NewOverlay(o)
		b := namesvc.Block{Height: 11, Time: 100_000, Checkpoint: &namesvc.Checkpoint{Number: 1, Height: 10, Time: c.at}}
		if _, err := namesvc.ApplyBlock(namesvc.Rules, after, b, nil); err != nil {
			t.Fatal(err)
		}
		var got namesvc.ValidatorSet
		decodeLeaf(t, after, namesvc.ValidatorsKey(), &got)
		if !bytes.Equal(wire.Encode(got), wire.Encode(want)) || bytes.Equal(wire.Encode(got), wire.Encode(set)) == c.moved {
			t.Errorf("at %d: %v, the checkpoint named %v", c.at, got, want)
		}
	}
}

func first(t *testing.T, g namesvc.Getter) namesvc.AccountID {
	t.Helper()
	var set namesvc.ValidatorSet
	decodeLeaf(t, g, namesvc.ValidatorsKey(), &set)
	return set.List[0].Operator
}

// TestTallies_TellTheMostFirst, and count nobody who misbehaved or whose vote has
// ended.
func TestTallies_TellTheMostFirst(t *testing.T) {
	seats := all(4, 10, power(0, 5))
	seats[0].votes = []namesvc.Vote{{Kind: namesvc.VoteRules, Number: 2, Until: 300}}
	seats[1].fault = 3
	seats[2].votes = append(slices.Clone(seats[2].votes), namesvc.Vote{Kind: namesvc.VoteRules, Number: 2, Until: 200})
	seats[3].votes = append(slices.Clone(seats[3].votes), namesvc.Vote{Kind: namesvc.VotePower, Account: account(2), Number: 1, Until: 100})
	list, err := namesvc.Tallies(electorate(seats, 0), 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Power != 20 || list[1].Power != 20 || list[0].Total != 40 ||
		list[0].Vote != power(0, 5) || list[1].Vote.Until != 200 || !slices.Equal(list[1].Voters, []namesvc.AccountID{account(0), account(2)}) {
		t.Errorf("%+v", list)
	}
}

// TestBegin_WantsOperatorsForAllOrForNone: a validator without one could never be
// voted out.
func TestBegin_WantsOperatorsForAllOrForNone(t *testing.T) {
	p := namesvc.DevParams("chain")
	list := []namesvc.Validator{{Key: [33]byte{2, 1}, Power: 1, Operator: account(1)}, {Key: [33]byte{2, 2}, Power: 1}}
	if err := namesvc.Begin(namesvc.NewOverlay(emptyState{}), p, list, [32]byte{}); err == nil {
		t.Error("one of two has an operator")
	}
	list[1].Operator = account(1)
	if err := namesvc.Begin(namesvc.NewOverlay(emptyState{}), p, list, [32]byte{}); err == nil {
		t.Error("one account operates both")
	}
	list[1].Operator = account(2)
	if err := namesvc.Begin(namesvc.NewOverlay(emptyState{}), p, list, [32]byte{}); err != nil {
		t.Error(err)
	}
}

// TestApplyBlock_NotesTheFirstFaultOnly, of those in the set.
func TestApplyBlock_NotesTheFirstFaultOnly(t *testing.T) {
	law := newLaw(t, namesvc.DevParams("chain"), namescript.Founder{Name: "anna", Power: 1}, namescript.Founder{Name: "bert", Power: 1})
	var set namesvc.ValidatorSet
	decodeLeaf(t, law, namesvc.ValidatorsKey(), &set)
	k := set.List[1].Key
	for _, faults := range [][]namesvc.Fault{{{Key: k, Height: 4}, {Key: key.Consensus{2, 9}, Height: 4}}, {{Key: k, Height: 3}, {Key: k, Height: 5}}} {
		b := law.Next(1)
		b.Faults = faults
		if _, err := law.Apply(b, nil); err != nil {
			t.Fatal(err)
		}
		decodeLeaf(t, law, namesvc.ValidatorsKey(), &set)
		if set.List[0].Fault != 0 || set.List[1].Fault != 4 {
			t.Errorf("after %v: %v", faults, set.List)
		}
	}
}

// BenchmarkElection settles the votes of 256 operators with 16 votes each.
func BenchmarkElection(b *testing.B) {
	var votes []namesvc.Vote
	for i := range namesvc.MaxVotes {
		votes = append(votes, power(i, 11))
	}
	l := electorate(all(namesvc.MaxValidators, 10, votes...), 0)
	for b.Loop() {
		if _, err := namesvc.NextValidators(l, 10, 100); err != nil {
			b.Fatal(err)
		}
	}
}
