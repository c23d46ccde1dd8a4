package anchor_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain/anchor"
	"github.com/confab-chat/confab/lightclient/verify"
)

const chainID = "confab-test"

// network is a few validators' votes and checkpoints, as a node keeps them.
type network struct {
	keys    []crypto.PrivKey // in the set's order
	set     verify.Validators
	later   verify.Validators // from height changed on, if there is one
	changed uint64
	commits map[int64]*cmttypes.ExtendedCommit
	asked   int // how many commits were looked at

	checkpoints map[uint64]verify.Checkpoint
	seals       map[uint64]verify.Seals
	broken      error
}

func newNetwork(t *testing.T, n int) *network {
	t.Helper()
	net := &network{commits: map[int64]*cmttypes.ExtendedCommit{}, checkpoints: map[uint64]verify.Checkpoint{}, seals: map[uint64]verify.Seals{}}
	for i := range n {
		net.keys = append(net.keys, secp256k1eth.GenPrivKeySecp256k1Eth([]byte{byte(i)}))
	}
	slices.SortFunc(net.keys, func(a, b crypto.PrivKey) int { return bytes.Compare(a.PubKey().Address(), b.PubKey().Address()) })
	var list []verify.Validator
	for _, k := range net.keys {
		list = append(list, verify.Validator{Key: [33]byte(k.PubKey().Bytes()), Power: 10})
	}
	var err error
	if net.set, err = verify.NewValidators(list); err != nil {
		t.Fatal(err)
	}
	return net
}

// checkpoint records checkpoint n, of height 100·n.
func (n *network) checkpoint(number uint64) verify.Checkpoint {
	c := verify.Checkpoint{Number: number, Height: 100 * number, Time: 5, Signers: verify.HashSigners(n.set), NextSigners: verify.HashSigners(n.set)}
	n.checkpoints[number] = c
	return c
}

// vote makes the votes of a height, in which some validators seal a checkpoint.
func (n *network) vote(t *testing.T, height int64, c verify.Checkpoint, sealers ...int) {
	t.Helper()
	votes := &cmttypes.ExtendedCommit{Height: height, Round: 2}
	for i, k := range n.keys {
		v := &cmttypes.Vote{Type: cmtproto.PrecommitType, Height: height, Round: 2, ValidatorAddress: k.PubKey().Address()}
		if slices.Contains(sealers, i) {
			v.Extension = verify.SealExtension(c.Number, c.Digest(verify.ChainTag(chainID)))
		}
		sig, err := k.Sign(cmttypes.VoteExtensionSignBytes(chainID, v.ToProto()))
		if err != nil {
			t.Fatal(err)
		}
		votes.ExtendedSignatures = append(votes.ExtendedSignatures, cmttypes.ExtendedCommitSig{
			CommitSig: cmttypes.CommitSig{BlockIDFlag: cmttypes.BlockIDFlagCommit}, Extension: v.Extension, ExtensionSignature: sig,
		})
	}
	n.commits[height] = votes
}

func (n *network) LoadBlockExtendedCommit(height int64) *cmttypes.ExtendedCommit {
	n.asked++
	return n.commits[height]
}

func (n *network) Checkpoint(k uint64) (verify.Checkpoint, bool, error) {
	c, ok := n.checkpoints[k]
	return c, ok, n.broken
}

func (n *network) Seals(k uint64) (verify.Seals, bool, error) {
	s, ok := n.seals[k]
	return s, ok, nil
}

func (n *network) KeepSeals(k uint64, s verify.Seals) { n.seals[k] = s }

func (n *network) collector(log *bytes.Buffer) *anchor.Collector {
	return &anchor.Collector{
		Chain: chainID, Votes: n, App: n, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Signers: func(h uint64) (verify.Validators, error) {
			if n.later.Len() > 0 && h >= n.changed {
				return n.later, nil
			}
			return n.set, nil
		},
	}
}

func follow(t *testing.T, c *anchor.Collector, newest, height uint64) {
	t.Helper()
	if err := c.Follow(context.Background(), newest, height); err != nil {
		t.Fatal(err)
	}
}

func (n *network) check(t *testing.T, number, height, power uint64) {
	t.Helper()
	s, ok := n.seals[number]
	if !ok {
		t.Fatalf("checkpoint %d has no seals", number)
	}
	got, err := verify.CheckSeals(chainID, n.checkpoints[number], s, n.set)
	if err != nil || got != power || s.Height != height {
		t.Errorf("checkpoint %d: seals of power %d from height %d, %v; want %d from %d", number, got, s.Height, err, power, height)
	}
}

func TestCollector_TakesTheFirstHeightWithTwoThirds(t *testing.T) {
	n := newNetwork(t, 4)
	c := n.collector(&bytes.Buffer{})
	cp := n.checkpoint(1)
	n.vote(t, 101, cp, 0, 1)
	other := cp
	other.Time++
	n.vote(t, 102, other, 0, 1, 2, 3) // what is sealed there is something else
	for h := uint64(99); h <= 102; h++ {
		follow(t, c, 1, h)
	}
	if len(n.seals) != 0 {
		t.Fatal("seals were kept that do not suffice")
	}
	n.vote(t, 103, cp, 0, 2, 3)
	n.vote(t, 104, cp, 0, 1, 2, 3)
	follow(t, c, 1, 104)
	n.check(t, 1, 103, 30)
	asked := n.asked
	follow(t, c, 1, 105)
	if n.asked != asked {
		t.Error("it still looks for seals that it has")
	}
}

func TestCollector_FindsWhatPassedWhileItWasAway(t *testing.T) {
	n := newNetwork(t, 4)
	for k := uint64(1); k <= 100; k++ {
		n.vote(t, int64(100*k+1), n.checkpoint(k), 0, 1, 2, 3)
	}
	n.seals[99] = verify.Seals{} // that one it has
	c := n.collector(&bytes.Buffer{})
	follow(t, c, 100, 10_001)
	for k := uint64(37); k <= 100; k++ { // as many as are kept provable
		if k != 99 {
			n.check(t, k, 100*k+1, 40)
		}
	}
	if _, ok := n.seals[36]; ok {
		t.Error("it looks back for ever")
	}
	// From then on each new one, also if several come at once.
	for k := uint64(101); k <= 103; k++ {
		n.vote(t, int64(100*k+1), n.checkpoint(k), 0, 1, 2)
	}
	follow(t, c, 103, 10_301)
	for k := uint64(101); k <= 103; k++ {
		n.check(t, k, 100*k+1, 30)
	}
}

func TestCollector_GivesUpAndSaysSo(t *testing.T) {
	n := newNetwork(t, 4)
	var log bytes.Buffer
	c := n.collector(&log)
	cp := n.checkpoint(1)
	n.vote(t, 101, cp, 0, 1)
	for h := uint64(101); h < 150; h++ {
		follow(t, c, 1, h)
	}
	if log.Len() > 0 {
		t.Errorf("too early: %s", log.String())
	}
	follow(t, c, 1, 150)
	follow(t, c, 1, 151)
	if got := bytes.Count(log.Bytes(), []byte("checkpoint not sealed")); got != 1 {
		t.Errorf("it said so %d times: %s", got, log.String())
	}
}

func TestCollector_GoesOnAfterAFault(t *testing.T) {
	n := newNetwork(t, 4)
	c := n.collector(&bytes.Buffer{})
	n.vote(t, 101, n.checkpoint(1), 0, 1, 2, 3)
	n.vote(t, 201, n.checkpoint(2), 0, 1, 2, 3)
	n.broken = errors.New("disk")
	if err := c.Follow(context.Background(), 2, 201); !errors.Is(err, n.broken) {
		t.Errorf("the fault is hidden: %v", err)
	}
	n.broken = nil
	gone, leave := context.WithCancel(context.Background())
	leave()
	if err := c.Follow(gone, 2, 201); !errors.Is(err, context.Canceled) {
		t.Errorf("it does not stop: %v", err)
	}
	follow(t, c, 2, 201)
	n.check(t, 1, 101, 40)
	n.check(t, 2, 201, 40)
}

// TestCollector_LeavesOutWhatIsNoSeal: validators may put anything into an
// extension.
func TestCollector_LeavesOutWhatIsNoSeal(t *testing.T) {
	n := newNetwork(t, 4)
	c := n.collector(&bytes.Buffer{})
	n.vote(t, 101, n.checkpoint(1), 0, 1, 2, 3)
	votes := n.commits[101].ExtendedSignatures
	votes[3].Extension = []byte("anything")
	votes[3].ExtensionSignature = votes[3].ExtensionSignature[:5]
	n.commits[101].ExtendedSignatures = append(votes, votes...) // more votes than validators
	follow(t, c, 1, 101)
	n.check(t, 1, 101, 30)
}

// TestCollector_SealsByTheSetOfTheCheckpoint: a set that changes while seals are
// gathered votes in another order, and who has joined seals nothing yet.
func TestCollector_SealsByTheSetOfTheCheckpoint(t *testing.T) {
	n := newNetwork(t, 5)
	all := n.set
	list := func(powers ...uint64) (set verify.Validators) {
		var members []verify.Validator
		for i, p := range powers {
			if p > 0 {
				members = append(members, verify.Validator{Key: all.At(i).Key, Power: p})
			}
		}
		slices.SortStableFunc(members, func(a, b verify.Validator) int { return int(b.Power) - int(a.Power) })
		set, err := verify.NewValidators(members)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	n.set, n.later, n.changed = list(10, 10, 10, 10, 0), list(0, 10, 10, 20, 30), 103
	cp := n.checkpoint(1)
	keys := n.keys
	n.keys = keys[:4]
	n.vote(t, 101, cp, 0, 1)
	n.vote(t, 102, cp, 0, 1)
	n.keys = []crypto.PrivKey{keys[4], keys[3], keys[1], keys[2]} // by power
	n.vote(t, 103, cp, 0, 1, 2, 3)
	c := n.collector(&bytes.Buffer{})
	follow(t, c, 1, 103)
	n.check(t, 1, 103, 30)
	if s := n.seals[1].Signatures; s[0] != (verify.Signature{}) || s[3] == (verify.Signature{}) {
		t.Error("a seal stands at another validator's place")
	}
}

// TestCollector_WhoDecidesTheBlockAfterACheckpointSealsIt: where checkpoints are
// two blocks apart, the set that the last one brought in decides from there on.
func TestCollector_WhoDecidesTheBlockAfterACheckpointSealsIt(t *testing.T) {
	n := newNetwork(t, 4)
	before := n.set
	var err error
	if n.later, err = verify.NewValidators([]verify.Validator{before.At(1), before.At(2), before.At(3)}); err != nil {
		t.Fatal(err)
	}
	n.changed = 101
	n.set = n.later
	cp := n.checkpoint(1) // names those
	n.set = before
	n.keys = n.keys[1:]
	n.vote(t, 101, cp, 0, 1, 2)
	follow(t, n.collector(&bytes.Buffer{}), 1, 101)
	n.set = n.later
	n.check(t, 1, 101, 30)
}
