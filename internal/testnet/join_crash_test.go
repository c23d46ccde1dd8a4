//go:build unix

package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// snapshotChunks is how many chunks a snapshot of wide's state has, and
// snapshotEvery how many blocks lie between two.
const (
	snapshotChunks = 3
	snapshotEvery  = 30
)

// wide is the law, and besides gives the state as many leaves as make a snapshot
// of several chunks, each of more than one batch of the store's writes.
func wide() *chain.Law {
	return &chain.Law{Newest: namesvc.Rules, Apply: func(rules uint32, v namesvc.View, b namesvc.Block, txs []*namesvc.Tx) ([]namesvc.Receipt, error) {
		if b.Height == 2 {
			for i := range snapshotChunks * 7000 {
				v.Set(namesvc.LeafKey('z', fmt.Append(nil, i)), make([]byte, 350))
			}
		}
		return namesvc.ApplyBlock(rules, v, b, txs)
	}}
}

// snapshots starts a network of one that has snapshots to give, and returns it
// with a pin. A snapshot must outlive the ten seconds and more that somebody takes
// to find and fetch it.
func snapshots(t *testing.T, ctx context.Context) (*testnet.Network, testnet.Spec, verify.Pin) {
	t.Helper()
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, snapshotEvery
	spec := testnet.Spec{
		Dir: t.TempDir(), Validators: 1, Params: p, Pause: 200 * time.Millisecond,
		Parts: func(int) node.Parts { return node.Parts{Law: wide()} },
	}
	n, err := testnet.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	for {
		_, news := n.Nodes[0].App.Last()
		if len(n.Nodes[0].App.Snapshots()) > 0 {
			break
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatal("there is no snapshot")
		}
	}
	pin, err := n.Pin()
	if err != nil {
		t.Fatal(err)
	}
	return n, spec, pin
}

// TestCrash_OfOneThatJoinsIsOnlyADelay kills a node that joins by a snapshot, a
// real process, before and after each call by which CometBFT hands it the
// snapshot, at writes of the store meanwhile, between what the store and what
// CometBFT writes in the end, and again while it clears up what such a death left.
// Started once more, it joins, with the same state.
func TestCrash_OfOneThatJoinsIsOnlyADelay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	n, _, pin := snapshots(t, ctx)
	all := fmt.Sprintf("applied:%d", snapshotChunks)
	deaths := [][]string{
		{"offer:1"}, {"offered:1"}, {"apply:1"}, {"applied:1"}, {"apply:2"}, {"applied:2"}, {fmt.Sprintf("apply:%d", snapshotChunks)},
		{all}, {"look at what was taken:1"},
		{"restore-write:1"}, {"restore-write:20", "restore-write:100"}, {"restore-write:200"},
		{all, "store-write:1"}, {all, "store-write:4"},
		{"µs after it was taken:1000", "store-write:2"}, {"µs after it was taken:5000"}, {"µs after it was taken:30000"},
	}
	var names []string
	for _, points := range deaths {
		names = append(names, strings.Join(points, ", "))
	}
	atOnce(t, names, func(t *testing.T, i int) {
		home := filepath.Join(t.TempDir(), "joiner")
		if err := n.Newcomer(home, pin, n.URLs()); err != nil {
			t.Fatal(err)
		}
		for _, point := range deaths[i] {
			diesAt(t, ctx, spawn(t, home, point, -1), point)
		}
		joins(t, ctx, n, home)
	})
}

// atOnce runs a test for each name, nine at one time: they wait for the most part,
// so that it need not be as few as there are processors, as t.Parallel has it; but
// each has a process or two.
func atOnce(t *testing.T, names []string, f func(t *testing.T, i int)) {
	var all sync.WaitGroup
	room := make(chan struct{}, 9)
	for i, name := range names {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			t.Run(name, func(t *testing.T) { f(t, i) })
		})
	}
	all.Wait()
}

// diesAt waits for the death of a process.
func diesAt(t *testing.T, ctx context.Context, c *child, point string) {
	t.Helper()
	select {
	case <-c.gone:
	case <-ctx.Done():
		t.Fatalf("%s: it does not come to this point: %s", point, c.said.String())
	}
	if !c.killed() {
		t.Fatalf("%s: it ended by itself, %v: %s", point, c.ProcessState, c.said.String())
	}
}

// joins starts a node, waits until it has a block that is yet to come, and
// compares its state with what the network's headers say.
func joins(t *testing.T, ctx context.Context, n *testnet.Network, home string) {
	t.Helper()
	follows(t, ctx, spawn(t, home, "", -1), func() uint64 { return n.Nodes[0].Query.Heads.Newest() + 1 })
	a := fromSnapshot(t, home)
	defer a.Close()
	state := a.State()
	if err := n.WaitHeight(ctx, state.Height+1); err != nil {
		t.Fatal(err)
	}
	if head, _, err := n.Nodes[0].Query.Heads.Head(state.Height + 1); err != nil || head.Header.AppHash != state.Root {
		t.Errorf("height %d: root %x, the chain's is %x, %v", state.Height, state.Root, head.Header.AppHash, err)
	}
}

// fromSnapshot opens the folder of a node that has ended, and checks that it began
// with a snapshot.
func fromSnapshot(t *testing.T, home string) *node.Archive {
	t.Helper()
	a, err := node.OpenArchive(home, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if from := a.App.From(); from <= snapshotEvery || from%snapshotEvery != 2 {
		t.Errorf("it has the history from height %d", from)
	}
	return a
}

// follows waits until a node has the head of the height that the network has come
// to, 0 if that is not known just now, and ends it.
func follows(t *testing.T, ctx context.Context, c *child, height func() uint64) {
	t.Helper()
	err := errors.New("it does not say where")
	for {
		at := height()
		if _, rest, ok := strings.Cut(c.said.String(), childQuery); ok && at > 0 {
			address, _, _ := strings.Cut(rest, "\n")
			var s *source.HTTP
			if s, err = source.NewHTTP("http://"+address, nil); err != nil {
				t.Fatal(err)
			}
			if _, err = s.Bundle(ctx, lightclient.Request{At: at}); err == nil {
				break
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-c.gone:
			t.Fatalf("it ended with %v: %s", c.ProcessState, c.said.String())
		case <-ctx.Done():
			t.Fatalf("it does not come to height %d: %v: %s", at, err, c.said.String())
		}
	}
	c.end(t)
}

// TestCrash_OfOneThatGivesASnapshotIsOnlyADelay kills the only validator that
// gives snapshots, a real process, while it tells what it has and while it gives
// out chunks. Started once more it goes on, and who joins has the snapshot from it,
// without being started anew.
func TestCrash_OfOneThatGivesASnapshotIsOnlyADelay(t *testing.T) {
	t.Parallel()
	points := []string{"list:1", "listed:1", "load:1", "loaded:2", "load:3"}
	atOnce(t, points, func(t *testing.T, i int) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		n, spec, pin := snapshots(t, ctx)
		home := filepath.Join(spec.Dir, "joiner")
		client, err := n.Client()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Newcomer(home, pin, n.URLs()); err != nil {
			t.Fatal(err)
		}
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		giver := spawn(t, n.Home(0), points[i], -1)
		joiner := spawn(t, home, "", -1)
		diesAt(t, ctx, giver, points[i])
		giver = spawn(t, n.Home(0), "", -1)
		follows(t, ctx, joiner, func() uint64 {
			info, err := client.Chain(ctx)
			if err != nil {
				return 0 // it starts
			}
			return info.Proof.Height
		})
		giver.end(t)
		fromSnapshot(t, home).Close()
	})
}
