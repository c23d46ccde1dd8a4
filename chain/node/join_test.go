package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// told is a Trusted that says what a validator says, but for what a test changes.
type told struct {
	n     *testnet.Network
	turns func(height uint64, turns []int64) []int64
	head  func(verify.Head) verify.Head
}

func (f told) Head(ctx context.Context, height uint64) (verify.Head, verify.Validators, error) {
	for {
		head, set, err := f.n.Nodes[0].Query.Heads.Head(height)
		if err == nil && f.head != nil {
			head = f.head(head)
		}
		if wire.CodeOf(err) != wire.NotFound {
			return head, set, err
		}
		_, news := f.n.Nodes[0].App.Last()
		select {
		case <-news:
		case <-ctx.Done():
			return head, set, ctx.Err()
		}
	}
}

func (f told) Newest(context.Context) (uint64, error) {
	return f.n.Nodes[0].Query.Heads.Newest(), nil
}

func (f told) Turns(_ context.Context, height uint64) ([]int64, error) {
	turns, err := f.n.Nodes[0].Query.Network.Turns(height)
	if err == nil && f.turns != nil {
		turns = f.turns(height, turns)
	}
	return turns, err
}

func (f told) Seals(_ context.Context, number uint64) (verify.Seals, error) {
	s, ok, err := f.n.Nodes[0].App.Seals(number)
	if err == nil && !ok {
		err = wire.Errorf(wire.NotFound, "none yet")
	}
	return s, err
}

func TestProvider_RefusesTurnsThatHeadersContradict(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := testnet.Start(ctx, testnet.Spec{Dir: t.TempDir(), Validators: 3, Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	reach(t, n, 12)
	p := node.NewProvider(told{n: n}, quiet)
	state, err := p.State(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	if hash, err := p.AppHash(ctx, 5); err != nil || string(hash) != string(state.AppHash) || state.LastBlockHeight != 5 {
		t.Errorf("height %d, app hash %x, %x, %v", state.LastBlockHeight, state.AppHash, hash, err)
	}
	commit, err := p.Commit(ctx, 5)
	if err != nil || state.LastValidators.VerifyCommitLight(n.Chain, state.LastBlockID, 5, commit) != nil {
		t.Errorf("its commit does not hold: %v", err)
	}
	for name, f := range map[string]told{
		"turned round": {turns: func(_ uint64, t []int64) []int64 { t[0], t[1], t[2] = t[1], t[2], t[0]; return t }},
		"later only": {turns: func(h uint64, t []int64) []int64 {
			if h == 7 {
				t[0], t[1], t[2] = t[2], t[0], t[1]
			}
			return t
		}},
		"too few":          {turns: func(_ uint64, t []int64) []int64 { return t[1:] }},
		"another app hash": {head: func(h verify.Head) verify.Head { h.Header.ConsensusHash[0]++; return h }},
	} {
		f.n = n
		if _, err := node.NewProvider(f, quiet).State(ctx, 5); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestJoin_GoesOnWhereverItWasInterrupted stops a node that joins at the moment
// when its state is there, and takes CometBFT's half, or its blocks alone, away from
// one that had come further.
func TestJoin_GoesOnWhereverItWasInterrupted(t *testing.T) {
	t.Parallel()
	const interval = 60 // so that ten snapshots outlive CometBFT's discovery
	n := alone(t, func(p *namesvc.Params) { p.Checkpoint = interval })
	reach(t, n, interval+2)
	pin, err := n.Pin()
	if err != nil {
		t.Fatal(err)
	}
	i, err := n.JoinBySnapshot(pin, n.URLs()[:1])
	if err != nil {
		t.Fatal(err)
	}
	v := n.Nodes[i]
	for deadline := time.Now().Add(30 * time.Second); v.Join().Height == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no snapshot is taken: %+v", v.Join())
		}
	}
	for _, spoil := range []func(){
		func() {},
		func() {
			if err := errors.Join(os.RemoveAll(filepath.Join(n.Home(i), "data/comet")), os.MkdirAll(filepath.Join(n.Home(i), "data/comet"), 0o700)); err != nil {
				t.Fatal(err)
			}
		},
		func() { // as it is between CometBFT's state and the votes on it
			if err := os.RemoveAll(filepath.Join(n.Home(i), "data/comet/blockstore.db")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		if err := n.StopOne(i); err != nil {
			t.Fatal(err)
		}
		spoil()
		if err := n.StartOne(i); err != nil {
			t.Fatal(err)
		}
		reach(t, n, n.Nodes[0].Query.Heads.Newest()+1)
		if from := n.Nodes[i].App.From(); from < interval+2 {
			t.Errorf("it has the history from height %d", from)
		}
	}
	// What was sealed before it came, it has from others.
	number := (n.Nodes[i].App.From() - 2) / interval
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, ok, err := n.Nodes[i].App.Seals(number); ok || err != nil || time.Now().After(deadline) {
			if !ok {
				t.Errorf("checkpoint %d has no seals, %v", number, err)
			}
			break
		}
	}
}

func TestOpen_AFolderWithoutHalfOfItSaysWhatToDo(t *testing.T) {
	n := alone(t)
	reach(t, n, 5)
	n.Stop()
	if err := os.RemoveAll(filepath.Join(n.Home(0), "data/comet")); err != nil {
		t.Fatal(err)
	}
	if _, err := openHome(n.Home(0)); err == nil || !strings.Contains(err.Error(), "restore both from one backup") {
		t.Errorf("a state without blocks, which did not come by a snapshot: %v", err)
	}
}
