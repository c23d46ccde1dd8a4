package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// TestScripts_OnFourLiveValidators runs the live name scripts on a network of
// four validators, one network at a time. Then it takes the blocks that the
// network made and applies them to the bare law: at every height the root must
// be the one that all four validators' headers carry.
func TestScripts_OnFourLiveValidators(t *testing.T) {
	paths, err := filepath.Glob("../../namesvc/testdata/scripts/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := namescript.Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if !s.Live {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			n := start(t, testnet.Spec{Params: s.Params, Pause: 50 * time.Millisecond})
			if _, err := namescript.Run(s, &live{n: n}); err != nil {
				t.Error(err)
			}
			compareRoots(t, n, s.Params)
		})
	}
}

// start starts a network that ends with the test.
func start(t testing.TB, s testnet.Spec) *testnet.Network {
	t.Helper()
	s.Dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := testnet.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// live is the machine for a network.
type live struct {
	n    *testnet.Network
	next int // validator to submit to
}

// Get implements namescript.Machine.
func (l *live) Get(k namesvc.Key) ([]byte, error) {
	return l.n.Nodes[0].Query.Store.Get(statetree.Key(k))
}

// Head implements namescript.Machine.
func (l *live) Head() (height, time uint64) {
	mark, _ := l.n.Nodes[0].App.Last()
	return mark.Height, mark.Time
}

// Block implements namescript.Machine: each op goes to another validator's API,
// but those of one batch to the same, since they may follow one another.
func (l *live) Block(ops [][]byte, after uint64) ([]namesvc.Receipt, error) {
	if after > 1 {
		return nil, errors.New("a live network cannot be hurried")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	source := l.n.Sources()[l.next%len(l.n.Nodes)].(lightclient.Submitter)
	l.next++
	receipts := make([]namesvc.Receipt, len(ops))
	var waiting []int
	for i, op := range ops {
		tx, _ := namesvc.Parse(op)
		receipts[i].ID = tx.ID
		err := source.Submit(ctx, op)
		var reject *lightclient.RejectError
		switch {
		case errors.As(err, &reject):
			receipts[i].Code, receipts[i].Detail = reject.Code, reject.Text
		case err != nil:
			return nil, err
		default:
			waiting = append(waiting, i)
		}
	}
	height, _ := l.Head()
	for _, i := range waiting {
		r, err := l.receipt(ctx, receipts[i].ID)
		if err != nil {
			return nil, err
		}
		receipts[i].Code, receipts[i].Detail = r.Code, r.Detail
	}
	if len(waiting) == 0 {
		// Nothing to wait for but the block itself.
		if err := l.n.WaitHeight(ctx, height+1); err != nil {
			return nil, err
		}
	}
	// All validators must have it before the next op goes to another one.
	height, _ = l.Head()
	for _, v := range l.n.Nodes {
		for {
			mark, news := v.App.Last()
			if mark.Height >= height {
				break
			}
			select {
			case <-news:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	return receipts, nil
}

func (l *live) receipt(ctx context.Context, id namesvc.OpID) (chain.ReceiptRecord, error) {
	app := l.n.Nodes[0].App
	for {
		_, news := app.Last()
		r, ok, err := app.Receipt(id)
		if ok || err != nil {
			return r, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return r, fmt.Errorf("op %v is in no block: %w", id, ctx.Err())
		}
	}
}

// compareRoots replays the network's blocks on the bare law.
func compareRoots(t *testing.T, n *testnet.Network, p namesvc.Params) {
	t.Helper()
	doc := n.Genesis()
	law, err := namescript.BeginLaw(p, n.GenesisValidators(), chain.Seed(p, doc.GenesisTime), uint64(doc.GenesisTime.Unix()))
	if err != nil {
		t.Fatal(err)
	}
	newest := n.Nodes[0].Query.Heads.Newest()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.WaitHeight(ctx, newest); err != nil {
		t.Fatal(err)
	}
	ops := 0
	for h := uint64(1); h <= newest; h++ {
		// Header h carries the root of the state before block h.
		root := law.Root()
		for i, v := range n.Nodes {
			head, _, err := v.Query.Heads.Head(h)
			if err != nil {
				t.Fatal(err)
			}
			if head.Header.AppHash != root {
				t.Fatalf("height %d: validator %d's header carries root %x, the bare law has %x", h, i, head.Header.AppHash, root)
			}
		}
		head, _, err := n.Nodes[0].Query.Heads.Head(h)
		if err != nil {
			t.Fatal(err)
		}
		rec, ok, err := n.Nodes[0].App.Block(h)
		if err != nil {
			t.Fatal(err)
		}
		if h == newest && !ok {
			break // its block may not be applied yet
		}
		block := namesvc.Block{Height: h, Time: uint64(head.Header.Time.Seconds), Seed: root}
		if ok {
			block.Checkpoint, block.Faults = rec.Checkpoint, rec.Faults
		}
		if _, err := law.Apply(block, rec.Ops); err != nil {
			t.Fatal(err)
		}
		ops += len(rec.Ops)
	}
	t.Logf("%d blocks with %d ops, all roots equal", newest, ops)
}
