package chain_test

import (
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/encoding"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// election is a story in which anna, bert, cara and dora admit emil, and dora is
// caught and emil leaves again. It is cut where the machine is looked at.
var election = []string{`
params checkpoint=10
founders anna=10 bert=10 cara=10 dora=10
actor anna service
actor bert service
actor cara service
actor dora service
actor emil service
register anna device=d1 => ok
register bert device=d1 => ok
register cara device=d1 => ok
register emil device=d1 => ok
operate emil v1 => ok
block
vote anna emil power=12 => ok
vote bert emil power=12 => ok
vote cara emil power=12 => ok
block`, `
fault dora v0
block
operate emil none => ok
block`, `
vote anna rules=2 => ok
vote bert rules=2 => ok
vote cara rules=2 => ok
vote emil rules=2 => ok
block`}

// troupe runs the parts of a story one after the other.
type troupe struct {
	t *testing.T
	m *machine
	r *namescript.Runner
}

func newTroupe(t *testing.T, first string) *troupe {
	t.Helper()
	s, err := namescript.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, s.Params, s.Founders...)
	p := &troupe{t, m, namescript.NewRunner(s.Params, m)}
	p.play(s.Lines)
	return p
}

func (p *troupe) play(lines []namescript.Line) {
	p.t.Helper()
	for _, l := range lines {
		if err := p.r.Do(l); err != nil {
			p.t.Fatalf("%v: %v", l, err)
		}
	}
}

func (p *troupe) part(text string) {
	p.t.Helper()
	s, err := namescript.Parse(text)
	if err != nil {
		p.t.Fatal(err)
	}
	p.play(s.Lines)
}

// toRecord cuts blocks until the one that records checkpoint n, and returns what
// that block told consensus.
func (p *troupe) toRecord(n uint64) []abci.ValidatorUpdate {
	p.t.Helper()
	for p.m.height < n*p.m.params.Checkpoint+1 {
		if len(p.m.told) > 0 {
			p.t.Fatalf("height %d: consensus was told %v", p.m.height, p.m.told)
		}
		if _, err := p.m.Block(nil, 1); err != nil {
			p.t.Fatal(err)
		}
	}
	told := p.m.told
	p.m.told = nil
	return told
}

func (p *troupe) checkpoint(n uint64) verify.Checkpoint {
	p.t.Helper()
	c, ok, err := p.m.app.Checkpoint(n)
	if !ok || err != nil {
		p.t.Fatalf("checkpoint %d: %v %v", n, ok, err)
	}
	return c
}

// cometSet is CometBFT's own set, changed by what the app tells.
func cometSet(t *testing.T, list []namesvc.Validator) *cmttypes.ValidatorSet {
	t.Helper()
	var vals []*cmttypes.Validator
	for _, v := range list {
		vals = append(vals, cmttypes.NewValidator(secp256k1eth.PubKey(v.Key[:]), int64(v.Power)))
	}
	return cmttypes.NewValidatorSet(vals)
}

func change(t *testing.T, set *cmttypes.ValidatorSet, told []abci.ValidatorUpdate) {
	t.Helper()
	var vals []*cmttypes.Validator
	for _, u := range told {
		k, err := encoding.PubKeyFromProto(u.PubKey)
		if err != nil {
			t.Fatal(err)
		}
		vals = append(vals, cmttypes.NewValidator(k, u.Power))
	}
	if err := set.UpdateWithChangeSet(vals); err != nil {
		t.Fatal(err)
	}
}

func signersOf(t *testing.T, set *cmttypes.ValidatorSet) [32]byte {
	t.Helper()
	v, err := chain.ValidatorsOf(set)
	if err != nil {
		t.Fatal(err)
	}
	return verify.HashSigners(v)
}

// TestApp_TellsConsensusOfTheSetThatTheCheckpointNames: at each checkpoint
// CometBFT's own set, changed by what it is told, is the one that the checkpoint
// named as the next signers, and the next checkpoint's signers.
func TestApp_TellsConsensusOfTheSetThatTheCheckpointNames(t *testing.T) {
	p := newTroupe(t, election[0])
	set := cometSet(t, p.m.founders)
	before := signersOf(t, set)
	sizes := []int{4, 5, 4, 4} // emil may not leave fewer than four
	for n := uint64(1); n <= 3; n++ {
		told := p.toRecord(n)
		c := p.checkpoint(n)
		if c.Signers != before {
			t.Errorf("checkpoint %d: its signers are not those that the last one named", n)
		}
		change(t, set, told)
		if got := signersOf(t, set); got != c.NextSigners {
			t.Errorf("checkpoint %d: consensus has other validators than it names", n)
		}
		law, err := p.m.app.Validators()
		if err != nil {
			t.Fatal(err)
		}
		if len(law.List) != sizes[n] || set.Size() != sizes[n] {
			t.Errorf("after checkpoint %d there are %d validators in the state and %d in consensus, not %d", n, len(law.List), set.Size(), sizes[n])
		}
		before = c.NextSigners
		if n == 1 {
			p.part(election[1])
		}
	}
}

// TestApp_KeepsEvidenceOncePerSeat, with the proof that CometBFT has of it, and
// in the block's record, from which everyone can compute the state again.
func TestApp_KeepsEvidenceOncePerSeat(t *testing.T) {
	p := newTroupe(t, election[0])
	var asked []uint64
	p.m.app.KeepProofs(func(height uint64) []chain.Proof {
		asked = append(asked, height)
		var dora [20]byte
		copy(dora[:], secp256k1eth.PubKey(p.m.founders[p.seat("dora")].Key[:]).Address())
		return []chain.Proof{{Height: height - 1, Bytes: []byte("another's")}, {Address: dora, Height: height - 1, Bytes: []byte("two votes")}}
	})
	p.part("fault dora v0\nfault dora v0\nblock")
	at := p.m.height
	p.part("fault dora v0\nblock")
	list, err := p.m.app.Evidence(0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Height != at || list[0].At != at-1 || string(list[0].Proof) != "two votes" ||
		list[0].Kind != "DUPLICATE_VOTE" || list[0].Validator.Key != p.m.founders[p.seat("dora")].Key {
		t.Errorf("evidence is %+v, want one record of height %d", list, at)
	}
	rec, ok, err := p.m.app.Block(at)
	if err != nil || !ok || len(rec.Faults) != 1 || rec.Law().Faults[0].Height != at-1 {
		t.Errorf("the record of block %d has faults %v (%v)", at, rec.Faults, err)
	}
	if list, err := p.m.app.Evidence(at, 10); err != nil || len(list) != 0 {
		t.Errorf("after height %d there is %v, %v", at, list, err)
	}
}

// seat returns the index of a founder.
func (p *troupe) seat(name string) int {
	want, err := namescript.Validators([]namescript.Founder{{Name: name, Power: 10}})
	if err != nil {
		p.t.Fatal(err)
	}
	for i, v := range p.m.founders {
		if v.Key == want[0].Key {
			return i
		}
	}
	p.t.Fatalf("%s is no founder", name)
	return 0
}

// rehearsed is a rule set 2 that is not yet: it does all that rule set 1 does,
// and stops nobody from having a third opinion.
func rehearsed(applied *[]uint32) chain.Law {
	return chain.Law{Newest: 2, Apply: func(rules uint32, v namesvc.View, b namesvc.Block, txs []*namesvc.Tx) ([]namesvc.Receipt, error) {
		*applied = append(*applied, rules)
		receipts, err := namesvc.ApplyBlock(namesvc.Rules, v, b, txs)
		if rules == 2 {
			v.Set(namesvc.LeafKey('z', nil), []byte("two"))
		}
		return receipts, err
	}}
}

// TestApp_GoesOnWithTheNextRuleSet: voted for, scheduled at one checkpoint, in
// force at the next, in the headers of the very blocks that it applies to.
func TestApp_GoesOnWithTheNextRuleSet(t *testing.T) {
	p := newTroupe(t, election[0])
	p.m.twin = nil
	var applied []uint32
	p.m.app.UseLaw(rehearsed(&applied))
	p.toRecord(1)
	p.part(election[2])
	p.toRecord(2)
	z := func() []byte {
		b, err := p.m.Get(namesvc.LeafKey('z', nil))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for p.m.height < 30 {
		if p.m.version != 0 {
			t.Fatalf("height %d changes the version to %d", p.m.height, p.m.version)
		}
		if _, err := p.m.Block(nil, 1); err != nil {
			t.Fatal(err)
		}
	}
	if p.m.version != 2 || z() != nil {
		t.Fatalf("block 30 changes the version to %d; rule set 2 has written %q", p.m.version, z())
	}
	if _, err := p.m.Block(nil, 1); err != nil {
		t.Fatal(err)
	}
	if last := applied[len(applied)-1]; last != 2 || string(z()) != "two" || p.m.version != 0 {
		t.Errorf("block 31 was applied by rule set %d and wrote %q", last, z())
	}
	if info, err := p.m.app.Info(ctx, &abci.RequestInfo{}); err != nil || info.AppVersion != 2 {
		t.Errorf("info says %v, %v", info, err)
	}
}

// TestApp_StopsBeforeARuleSetItDoesNotKnow, with a sentence that says what to do;
// also when it is started again, and not once it knows more.
func TestApp_StopsBeforeARuleSetItDoesNotKnow(t *testing.T) {
	p := newTroupe(t, election[0])
	p.toRecord(1)
	p.part(election[2])
	p.toRecord(2)
	for p.m.height < 29 {
		if _, err := p.m.Block(nil, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.m.app.HaltCause(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.m.Block(nil, 1); err != nil {
		t.Fatal(err)
	}
	stopped(t, p.m, "install a newer confab")
	p.m.app.Release()
	if _, err := p.m.Block(nil, 1); err == nil || !strings.Contains(err.Error(), "rule set 2") {
		t.Errorf("block 31: %v", err)
	}
	p.m.store.Close()
	p.m.open(t)
	stopped(t, p.m, "install a newer confab")
	p.m.store.Close()
	p.m.open(t)
	p.m.twin = nil
	var applied []uint32
	p.m.app.UseLaw(rehearsed(&applied))
	select {
	case <-p.m.app.Halted():
		t.Fatal(p.m.app.HaltCause())
	default:
	}
	if _, err := p.m.Block(nil, 1); err != nil {
		t.Fatal(err)
	}
	p.m.store.Close()
	p.m.open(t) // the old program again, in the midst of the new rules
	stopped(t, p.m, "install a newer confab")
}

// stopped checks that an app takes no part any more.
func stopped(t *testing.T, m *machine, why string) {
	t.Helper()
	select {
	case <-m.app.Halted():
	default:
		t.Fatal("it goes on")
	}
	if err := m.app.HaltCause(); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("it says: %v", err)
	}
	if _, err := m.app.PrepareProposal(ctx, &abci.RequestPrepareProposal{Height: int64(m.height) + 1, MaxTxBytes: 1000}); err == nil {
		t.Error("it proposes a block")
	}
	res, err := m.app.ProcessProposal(ctx, &abci.RequestProcessProposal{Height: int64(m.height) + 1})
	if err != nil || res.Status != abci.ResponseProcessProposal_REJECT {
		t.Errorf("it votes for a block: %v %v", res, err)
	}
}

// TestApp_HaltsAfterAHeight, and goes on where it was.
func TestApp_HaltsAfterAHeight(t *testing.T) {
	m := newMachine(t, testParams())
	m.app.HaltAt(3)
	for range 2 {
		if _, err := m.Block(nil, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.app.HaltCause(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Block(nil, 1); err != nil {
		t.Fatal(err)
	}
	stopped(t, m, "halt_height")
	m.store.Close()
	m.open(t)
	if _, err := m.Block(nil, 1); err != nil {
		t.Fatal(err)
	}
}
