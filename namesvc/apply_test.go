package namesvc_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
)

func TestBegin_RefusesAStateThatCannotWork(t *testing.T) {
	good := []namesvc.Validator{{Key: [33]byte{2, 1}, Power: 1}, {Key: [33]byte{2, 2}, Power: 1}}
	p := namesvc.DevParams("chain")
	begin := func(p namesvc.Params, list []namesvc.Validator) error {
		return namesvc.Begin(namesvc.NewOverlay(emptyState{}), p, list, [32]byte{})
	}
	if err := begin(p, good); err != nil {
		t.Fatal(err)
	}
	bad := p
	bad.Reveal = 0
	for name, err := range map[string]error{
		"parameters":    begin(bad, good),
		"no validators": begin(p, nil),
		"too many":      begin(p, make([]namesvc.Validator, namesvc.MaxValidators+1)),
		"twice":         begin(p, append(slices.Clone(good), good[0])),
		"no power":      begin(p, []namesvc.Validator{{Key: [33]byte{2, 1}}}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestBegin_DoesNotDependOnTheOrderOfValidators: each writes its own genesis
// state, from lists that may be in another order.
func TestBegin_DoesNotDependOnTheOrderOfValidators(t *testing.T) {
	list := []namesvc.Validator{{Key: [33]byte{2, 9}, Power: 1}, {Key: [33]byte{2, 1}, Power: 5}}
	roots := map[[32]byte]bool{}
	for range 2 {
		law, err := namescript.BeginLaw(namesvc.DevParams("chain"), list, [32]byte{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		roots[law.Root()] = true
		slices.Reverse(list)
	}
	if len(roots) != 1 {
		t.Error("another order gives another state")
	}
	if list[0].Key != [33]byte{2, 9} {
		t.Error("the caller's list was sorted")
	}
}

type emptyState struct{}

func (emptyState) Get(namesvc.Key) ([]byte, error) { return nil, nil }

func TestApplyBlock_RefusesRulesItDoesNotKnow(t *testing.T) {
	law := newLaw(t, namesvc.DevParams("chain"))
	for _, rules := range []uint32{0, namesvc.Rules + 1} {
		o := namesvc.NewOverlay(law)
		_, err := namesvc.ApplyBlock(rules, o, law.Next(1), nil)
		var r *namesvc.Reject
		if !errors.As(err, &r) || r.Code != namesvc.UnknownRules || len(o.Changes()) != 0 {
			t.Errorf("rule set %d: %v", rules, err)
		}
	}
}

// broken is a state with one leaf that cannot be read, or is damaged.
type broken struct {
	namesvc.Getter
	key    namesvc.Key
	err    error
	damage bool
}

func (b broken) Get(k namesvc.Key) ([]byte, error) {
	v, err := b.Getter.Get(k)
	if k != b.key {
		return v, err
	}
	if b.damage && v != nil {
		return v[:len(v)-1], nil
	}
	return v, b.err
}

// TestApplyBlock_StopsAtAStateItCannotRead: an error of the machine must never
// become a receipt, or one validator with a bad disk would disagree with the
// rest about what was accepted.
func TestApplyBlock_StopsAtAStateItCannotRead(t *testing.T) {
	s := newTale(t)
	s.tell()
	disk := errors.New("disk")
	person := s.person.Account()
	op := s.sign(namesvc.OpRelease, namesvc.Release{Handle: "alice"}, s.phrase.Root(1))
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		t.Fatal(fault)
	}
	b := s.law.Next(1)
	whole := namesvc.NewOverlay(s.law)
	if receipts, err := namesvc.ApplyBlock(namesvc.Rules, whole, b, []*namesvc.Tx{tx}); err != nil || receipts[0].Code != namesvc.Accepted {
		t.Fatalf("%v, %v", receipts, err)
	}
	for name, k := range map[string]namesvc.Key{
		"parameters": namesvc.ParamsKey(), "entry": namesvc.AccountKey(person), "handle": namesvc.HandleKey(namesvc.Handle("alice").Skeleton()),
	} {
		for _, damage := range []bool{false, true} {
			o := namesvc.NewOverlay(broken{s.law, k, disk, damage})
			receipts, err := namesvc.ApplyBlock(namesvc.Rules, o, b, []*namesvc.Tx{tx})
			if err == nil || receipts != nil || !damage && !errors.Is(err, disk) {
				t.Errorf("%s, damaged %v: %v, %v", name, damage, receipts, err)
			}
		}
	}
}

func TestApplyBlock_RefusesACheckpointOutOfTurn(t *testing.T) {
	law := newLaw(t, namesvc.DevParams("chain"))
	for n, ok := range map[uint64]bool{0: false, 1: true, 2: false} {
		b := law.Next(1)
		b.Checkpoint = &namesvc.Checkpoint{Number: n, Height: 0}
		_, err := namesvc.ApplyBlock(namesvc.Rules, namesvc.NewOverlay(law), b, nil)
		if (err == nil) != ok {
			t.Errorf("checkpoint %d after 0: %v", n, err)
		}
	}
	b := law.Next(1)
	b.Checkpoint = &namesvc.Checkpoint{Number: 1, Height: b.Height}
	if _, err := namesvc.ApplyBlock(namesvc.Rules, namesvc.NewOverlay(law), b, nil); err == nil {
		t.Error("a checkpoint of the block itself was recorded in it")
	}
}

// TestApplyBlock_AnEmptyBlockChangesNothing: the root, and so the app hash,
// changes only with ops and checkpoints.
func TestApplyBlock_AnEmptyBlockChangesNothing(t *testing.T) {
	law := newLaw(t, namesvc.DevParams("chain"))
	root := law.Root()
	for range 5 {
		if _, err := law.Block(nil, 86400*1000); err != nil {
			t.Fatal(err)
		}
	}
	if law.Root() != root {
		t.Error("time alone changed the state")
	}
}

// TestApplyBlock_OneTxInManyHands: the mempool checks an op while consensus
// applies it, with the same parsed Tx.
func TestApplyBlock_OneTxInManyHands(t *testing.T) {
	s := newTale(t)
	s.tell()
	commit, fault := namesvc.Parse(s.ops.Vectors[0].Bytes)
	if fault != nil {
		t.Fatal(fault)
	}
	first := newTale(t)
	want, err := namesvc.ApplyBlock(namesvc.Rules, namesvc.NewOverlay(first.law), first.law.Next(1), []*namesvc.Tx{commit})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := namesvc.ApplyBlock(namesvc.Rules, namesvc.NewOverlay(first.law), first.law.Next(1), []*namesvc.Tx{commit})
			if err != nil || got[0] != want[0] {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
}

// TestApplyBlock_ReceiptsComeInTheOrderGiven although registrations are applied
// last.
func TestApplyBlock_ReceiptsComeInTheOrderGiven(t *testing.T) {
	s := newTale(t)
	s.tell()
	var ops [][]byte
	for _, v := range s.ops.Vectors {
		ops = append(ops, v.Bytes)
	}
	ops = append(ops, []byte("no op"))
	slices.Reverse(ops)
	receipts, err := s.law.Block(ops, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, op := range ops {
		tx, _ := namesvc.Parse(op)
		if receipts[i].ID != tx.ID || receipts[i].Code == namesvc.Accepted {
			t.Errorf("receipt %d: %v", i, receipts[i])
		}
	}
	if receipts[0].Code != namesvc.Malformed {
		t.Errorf("the first is %v", receipts[0].Code)
	}
}

func TestOverlay_KeepsItsChangesToItself(t *testing.T) {
	below := namesvc.NewOverlay(emptyState{})
	below.Set(namesvc.Key{1}, []byte("one"))
	below.Set(namesvc.Key{2}, []byte("two"))
	o := namesvc.NewOverlay(below)
	o.Set(namesvc.Key{2}, nil)
	o.Set(namesvc.Key{3}, []byte("three"))
	read := func(v namesvc.Getter) string {
		var out []string
		for i := range byte(4) {
			b, err := v.Get(namesvc.Key{i})
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(b))
		}
		return strings.Join(out, ",")
	}
	if got := read(o); got != ",one,,three" {
		t.Errorf("above: %s", got)
	}
	if got := read(below); got != ",one,two," {
		t.Errorf("below: %s", got)
	}
	want := []namesvc.Change{{Key: namesvc.Key{2}}, {Key: namesvc.Key{3}, Value: []byte("three")}}
	if got := o.Changes(); len(got) != 2 || got[0].Key != want[0].Key || got[0].Value != nil || string(got[1].Value) != "three" {
		t.Errorf("changes: %v", got)
	}
}

// TestApplyBlock_BlockCutsDoNotMatter: the ops of one account give the same
// state, op log apart, in one block and in many of the same time.
func TestApplyBlock_BlockCutsDoNotMatter(t *testing.T) {
	var states []map[namesvc.Key][]byte
	for _, together := range []bool{true, false} {
		law := newLaw(t, parseScript(t, "testdata/scripts/devices.txt").Params)
		script, err := namescript.Parse(strings.ReplaceAll(cutStory, "CUT", map[bool]string{true: "", false: "block"}[together]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := namescript.Run(script, law); err != nil {
			t.Fatal(err)
		}
		states = append(states, maps.Collect(law.All()))
	}
	if len(states[0]) != len(states[1]) {
		t.Fatalf("%d leaves and %d", len(states[0]), len(states[1]))
	}
	for k, b := range states[0] {
		one, err := namesvc.DecodeEntry(b)
		if err != nil {
			continue
		}
		two, err := namesvc.DecodeEntry(states[1][k])
		if err != nil || one.Seq != two.Seq || one.DeviceSeq != two.DeviceSeq || one.Records.Profile != nil != (two.Records.Profile != nil) {
			t.Errorf("%v differs: %v", one.Account, err)
		}
	}
}

const cutStory = `
actor alice person
register alice @alice device=d1 => ok
records alice by=d1 profile=a   => ok
CUT
devices alice by=r0 d1 d2       => ok
CUT
roots alice by=r0 r0 r2         => ok
CUT
release alice @alice            => ok
block
entry alice => seq=5 handles=none devices=d1,d2 roots=r0,r2
`
