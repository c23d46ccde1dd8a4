package testnet_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/remote"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// governed is a network whose validators have operators.
type governed struct {
	*testnet.Network
	t         *testing.T
	ctx       context.Context
	params    namesvc.Params
	client    *lightclient.Client
	operators []*testnet.User // of the founding validators, then candidates
}

// govern starts a network of four with a checkpoint every interval blocks, and
// registers their operators and so many candidates.
func govern(t *testing.T, interval uint64, candidates int, parts func(int) node.Parts) *governed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, interval
	g := &governed{t: t, ctx: ctx, params: p}
	spec := testnet.Spec{Params: p, Pause: 50 * time.Millisecond, Parts: func(i int) (all node.Parts) {
		if parts != nil {
			all = parts(i)
		}
		// Those who are switched off would be waited for in every fourth block.
		all.Comet = func(c *cmtcfg.Config) { c.Consensus.TimeoutPropose = 500 * time.Millisecond }
		return all
	}}
	for i := range 4 + candidates {
		u, err := testnet.NewService(rand.Reader, p.Chain)
		if err != nil {
			t.Fatal(err)
		}
		g.operators = append(g.operators, u)
		if i < 4 {
			spec.Operators = append(spec.Operators, u.ID)
		}
	}
	g.Network = start(t, spec)
	var err error
	if g.client, err = g.Client(); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, len(g.operators))
	for _, u := range g.operators {
		go func() { errs <- u.Register(ctx, g.client, "") }()
	}
	for range g.operators {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// submit sends an op and waits for its proof.
func (g *governed) submit(op []byte) {
	g.t.Helper()
	if _, err := g.client.Submit(g.ctx, op, nil); err != nil {
		g.t.Fatal(err)
	}
}

func (g *governed) expires() uint64 { return g.Nodes[0].Query.Heads.Newest() + 100 }

// vote has operators cast one vote each.
func (g *governed) vote(v namesvc.Vote, by ...int) {
	g.t.Helper()
	v.Until = uint64(time.Now().Add(time.Hour).Unix())
	for _, i := range by {
		g.submit(g.operators[i].Vote(v, g.expires()))
	}
}

// set returns the validator set that the first running node's state has.
func (g *governed) set(i int) namesvc.ValidatorSet {
	g.t.Helper()
	set, err := g.Nodes[i].App.Validators()
	if err != nil {
		g.t.Fatal(err)
	}
	return set
}

// await waits for a condition that a block brings about, as node i sees it.
func (g *governed) await(i int, what string, holds func() bool) {
	g.t.Helper()
	for !holds() {
		_, news := g.Nodes[i].App.Last()
		if holds() {
			return
		}
		select {
		case <-news:
		case <-g.ctx.Done():
			g.t.Fatalf("height %d: %s: %v", g.Nodes[i].Query.Heads.Newest(), what, g.ctx.Err())
		}
	}
}

// awaitVote waits until the newest head of node i has a vote of a validator.
func (g *governed) awaitVote(i int, key [33]byte) {
	g.t.Helper()
	g.await(i, "no vote of the new validator", func() bool {
		head, set, err := g.Nodes[i].Query.Heads.Head(g.Nodes[i].Query.Heads.Newest())
		if err != nil {
			g.t.Fatal(err)
		}
		for j := range set.Len() {
			if set.At(j).Key == key && head.Commit.Votes[j].Kind == verify.VoteBlock {
				return true
			}
		}
		return false
	})
}

// seals checks that all checkpoints up to the newest are sealed by the set that
// the one before named.
func (g *governed) seals(i int) {
	g.t.Helper()
	newest := g.Nodes[i].Query.Heads.Newest() / g.params.Checkpoint
	var last verify.Checkpoint
	for k := uint64(1); k < newest; k++ {
		c, ok, err := g.Nodes[i].App.Checkpoint(k)
		if !ok || err != nil {
			g.t.Fatalf("checkpoint %d: %v %v", k, ok, err)
		}
		if k > 1 && c.Signers != last.NextSigners {
			g.t.Errorf("checkpoint %d: its signers are not those that the one before named", k)
		}
		last = c
		var s verify.Seals
		g.await(i, fmt.Sprintf("checkpoint %d is not sealed", k), func() bool {
			var known bool
			s, known, err = g.Nodes[i].App.Seals(k)
			return known || err != nil
		})
		if err != nil {
			g.t.Fatal(err)
		}
		_, set, err := g.Nodes[i].Query.Heads.Head(c.Height + 1)
		if err != nil {
			g.t.Fatal(err)
		}
		if _, err := verify.CheckSeals(g.Chain, c, s, set); err != nil {
			g.t.Error(err)
		}
	}
}

// newcomer checks that a light client that knows only the first header believes
// the newest, across all changes of the set, in one request.
func (g *governed) newcomer() {
	g.t.Helper()
	client, err := g.Client()
	if err != nil {
		g.t.Fatal(err)
	}
	info, err := client.Chain(g.ctx)
	if err != nil {
		g.t.Fatal(err)
	}
	if info.Proof.Height == 0 {
		g.t.Error("no height is proven")
	}
}

// TestOperators_AdmitAndLeave: a fifth node joins a running network, offers to be
// a validator, is voted in, and signs; the first leaves in order and is switched
// off. Light clients follow, and all checkpoints are sealed by the right set.
func TestOperators_AdmitAndLeave(t *testing.T) {
	g := govern(t, 6, 1, nil)
	five, err := g.Join()
	if err != nil {
		t.Fatal(err)
	}
	candidate := g.operators[4]
	p, err := node.Possession(g.Home(five), candidate.ID)
	if err != nil {
		t.Fatal(err)
	}
	g.submit(candidate.Offer(namesvc.Offer{Key: p.Key[:], Possession: p.Signature[:]}, g.expires()))
	g.vote(namesvc.Vote{Kind: namesvc.VotePower, Account: candidate.ID, Number: 10}, 0, 1)
	if got := len(g.set(0).List); got != 4 {
		t.Fatalf("two of four operators have brought the set to %d", got)
	}
	g.vote(namesvc.Vote{Kind: namesvc.VotePower, Account: candidate.ID, Number: 10}, 2)
	g.await(0, "the candidate is not admitted", func() bool { return len(g.set(0).List) == 5 })
	g.awaitVote(0, p.Key)

	g.submit(g.operators[0].Offer(namesvc.Offer{}, g.expires()))
	g.await(1, "the leaver is still there", func() bool { return len(g.set(1).List) == 4 })
	gone := g.Nodes[1].Query.Heads.Newest()
	g.await(1, "consensus has not followed", func() bool {
		_, set, err := g.Nodes[1].Query.Heads.Head(g.Nodes[1].Query.Heads.Newest())
		return err == nil && set.Len() == 4
	})
	if slices.ContainsFunc(g.set(1).List, func(v namesvc.Validator) bool { return v.Operator == g.operators[0].ID }) {
		t.Fatal("another one has left")
	}
	g.newcomer()
	if err := g.StopOne(0); err != nil {
		t.Fatal(err)
	}
	wait(t, g.ctx, g.Network, gone+2*g.params.Checkpoint)
	g.seals(1)
	if err := g.StartOne(0); err != nil { // it follows the chain that it left
		t.Fatal(err)
	}
	wait(t, g.ctx, g.Network, g.Nodes[1].Query.Heads.Newest())
	compareRoots(t, g.Network, g.params)
	t.Logf("admitted and left within %d blocks", g.Nodes[1].Query.Heads.Newest())
}

// TestOperators_ReWeight: votes of three operators change the power of the fourth's
// validator, at a checkpoint and not before; CometBFT counts its votes by the new
// power, and a light client finds it in the validators of a head that it verifies
// from the first header.
func TestOperators_ReWeight(t *testing.T) {
	g := govern(t, 6, 0, nil)
	id, err := node.LoadIdentity(g.Home(3))
	if err != nil {
		t.Fatal(err)
	}
	pin, err := g.Pin()
	if err != nil {
		t.Fatal(err)
	}
	sources, err := remote.New(pin, g.URLs(), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := g.Nodes[0].Query.Heads.Newest()
	g.vote(namesvc.Vote{Kind: namesvc.VotePower, Account: g.operators[3].ID, Number: 16}, 0, 1, 2)
	var at uint64 // the first block that the new set decides
	g.await(0, "its power is the old one", func() bool {
		newest := g.Nodes[0].Query.Heads.Newest()
		for h := before; h <= newest; h++ {
			if g.power(0, h, id.Key) == 16 {
				at = h
				return true
			}
		}
		return false
	})
	// The block after a checkpoint records it, and counts the votes; what it says of
	// the validators holds from the next but one on.
	if (at-3)%g.params.Checkpoint != 0 {
		t.Errorf("the power changed at height %d, which does not belong to a checkpoint", at)
	}
	if got := g.power(0, at-1, id.Key); got != 10 {
		t.Errorf("its power was %d before", got)
	}
	for i, n := range g.Nodes {
		wait(t, g.ctx, g.Network, at)
		if v, ok := g.set(i).Find(id.Key); !ok || v.Power != 16 {
			t.Errorf("validator %d: the state says %+v", i, v)
		}
		if r := n.Report(); r.TotalPower != 46 || i == 3 && r.Power != 16 {
			t.Errorf("validator %d reports power %d of %d", i, r.Power, r.TotalPower)
		}
	}
	_, set, err := sources.Head(g.ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	if got := powerIn(set, id.Key); got != 16 || set.TotalPower() != 46 {
		t.Errorf("a light client finds power %d of %d", got, set.TotalPower())
	}
	g.newcomer()
	// The other three have 30 of 46, which is less than two thirds: they stand still
	// without it.
	if err := g.StopOne(3); err != nil {
		t.Fatal(err)
	}
	still := standsStill(t, g.ctx, g.Nodes[0].Query.Heads.Newest)
	if err := g.StartOne(3); err != nil {
		t.Fatal(err)
	}
	wait(t, g.ctx, g.Network, still+3)
	g.seals(0)
	compareRoots(t, g.Network, g.params)
}

// power returns the power of a validator among those that decided a height.
func (g *governed) power(i int, height uint64, key [33]byte) uint64 {
	g.t.Helper()
	_, set, err := g.Nodes[i].Query.Heads.Head(height)
	if err != nil {
		g.t.Fatal(err)
	}
	return powerIn(set, key)
}

func powerIn(set verify.Validators, key [33]byte) uint64 {
	for i := range set.Len() {
		if v := set.At(i); v.Key == key {
			return v.Power
		}
	}
	return 0
}

// secondLaw is a rule set 2 that does what rule set 1 does and leaves its mark.
func secondLaw() *chain.Law {
	return &chain.Law{Newest: 2, Apply: func(rules uint32, v namesvc.View, b namesvc.Block, txs []*namesvc.Tx) ([]namesvc.Receipt, error) {
		receipts, err := namesvc.ApplyBlock(namesvc.Rules, v, b, txs)
		if rules == 2 {
			v.Set(namesvc.LeafKey('z', nil), fmt.Appendf(nil, "height %d", b.Height))
		}
		return receipts, err
	}}
}

// toSecond has three operators vote for rule set 2, and returns when it is
// scheduled.
func (g *governed) toSecond() (in namesvc.InForce) {
	g.t.Helper()
	g.vote(namesvc.Vote{Kind: namesvc.VoteRules, Number: 2}, 0, 1, 2)
	g.await(0, "rule set 2 is not scheduled", func() bool {
		b, err := g.Nodes[0].Query.Store.Get(statetree.Key(namesvc.RulesKey()))
		if err == nil {
			in, err = namesvc.DecodeInForce(b)
		}
		if err != nil {
			g.t.Fatal(err)
		}
		return in.Next == 2
	})
	return in
}

// stopsBefore checks that node i stops before rule set 2 begins, and says why.
func (g *governed) stopsBefore(i int, in namesvc.InForce) {
	g.t.Helper()
	select {
	case <-g.Nodes[i].Failed():
	case <-g.ctx.Done():
		g.t.Fatal("a validator goes on with rules that it does not know")
	}
	if err := g.Nodes[i].Cause(); err == nil || !strings.Contains(err.Error(), "install a newer confab") {
		g.t.Errorf("it says: %v", err)
	}
	mark, _ := g.Nodes[i].App.Last()
	if mark.Height != in.From-1 {
		g.t.Errorf("it stopped at height %d, rule set 2 begins at %d", mark.Height, in.From)
	}
	if err := g.StopOne(i); err != nil {
		g.t.Error(err)
	}
}

// TestOperators_WhoCatchesUpStopsToo: a validator that was away while the others
// went on to rule set 2 fetches their blocks up to there and no further.
func TestOperators_WhoCatchesUpStopsToo(t *testing.T) {
	upgraded := false
	g := govern(t, 6, 0, func(i int) node.Parts {
		if i == 3 && !upgraded {
			return node.Parts{}
		}
		return node.Parts{Law: secondLaw()}
	})
	if err := g.StopOne(3); err != nil {
		t.Fatal(err)
	}
	in := g.toSecond()
	wait(t, g.ctx, g.Network, in.From+10)
	if err := g.StartOne(3); err != nil {
		t.Fatal(err)
	}
	g.stopsBefore(3, in)
	upgraded = true
	if err := g.StartOne(3); err != nil {
		t.Fatal(err)
	}
	wait(t, g.ctx, g.Network, in.From+12)
}

// TestOperators_GoToTheNextRuleSet: three of four validators have a program that
// knows rule set 2, and vote for it. At the height that the state then says, they
// go on with it, and headers say so. The fourth stops before, with a sentence,
// and goes on once it has the program too.
func TestOperators_GoToTheNextRuleSet(t *testing.T) {
	upgraded := false
	g := govern(t, 6, 0, func(i int) node.Parts {
		if i == 3 && !upgraded {
			return node.Parts{}
		}
		return node.Parts{Law: secondLaw()}
	})
	in := g.toSecond()
	g.stopsBefore(3, in)
	if err := g.StartOne(3); err == nil || !strings.Contains(err.Error(), "install a newer confab") {
		t.Errorf("started again, it says: %v", err)
	}
	wait(t, g.ctx, g.Network, in.From+3)
	for h := in.From - 2; h <= in.From+2; h++ {
		head, _, err := g.Nodes[0].Query.Heads.Head(h)
		if err != nil {
			t.Fatal(err)
		}
		if want := uint64(1); h >= in.From && head.Header.AppVersion != 2 || h < in.From && head.Header.AppVersion != want {
			t.Errorf("the header of height %d says rule set %d", h, head.Header.AppVersion)
		}
	}
	upgraded = true
	if err := g.StartOne(3); err != nil {
		t.Fatal(err)
	}
	newest := g.Nodes[0].Query.Heads.Newest() + 2
	wait(t, g.ctx, g.Network, newest)
	g.newcomer()
	head, _, err := g.Nodes[3].Query.Heads.Head(newest)
	if err != nil {
		t.Fatal(err)
	}
	if ours, _, err := g.Nodes[0].Query.Heads.Head(newest); err != nil || ours.Header.Hash() != head.Header.Hash() {
		t.Errorf("height %d: the fourth has another header (%v)", newest, err)
	}
	if b, err := g.Nodes[3].Query.Store.Get(statetree.Key(namesvc.LeafKey('z', nil))); err != nil || b == nil {
		t.Errorf("rule set 2 has left no mark: %v", err)
	}
}
