package node_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
)

// TestSubmit_OpsThatTheMempoolDropsInSilenceAreSentAgain makes CometBFT do what
// it does under load: it says "taken" of ops that it drops, because its mempool
// was full by the time they had been checked. The mempool here holds two ops,
// and two dozen clients submit at once through the API. Nobody's op may be lost.
func TestSubmit_OpsThatTheMempoolDropsInSilenceAreSentAgain(t *testing.T) {
	// Checking a commit takes milliseconds, as it does in earnest: while one is
	// checked, others get past the first look at whether there is room.
	n := alone(t, func(p *namesvc.Params) { p.WorkKiB, p.Checkpoint = 4096, 1<<20 })
	n.StopOne(0)
	c, err := node.LoadConfig(n.Home(0))
	if err != nil {
		t.Fatal(err)
	}
	v, err := node.OpenWith(n.Home(0), c, node.Parts{Comet: func(m *cmtcfg.Config) { m.Mempool.Size = 2 }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	const clients = 24
	var again, told atomic.Int32 // sent more than once; told that the mempool was full
	var all sync.WaitGroup
	for i := range clients {
		client, err := follow(v, &told)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			op, err := commit(ctx, client)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			sent := 0
			proof, err := client.Submit(ctx, op, func(p lightclient.Progress) {
				if p.Stage == lightclient.Sent {
					sent++
				}
			})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			if sent > 1 {
				again.Add(1)
			}
			// What was acknowledged as proven is in the state for everyone.
			tx, _ := namesvc.Parse(op)
			b, err := v.Query.Store.At(proof.Height - 1)
			if err != nil {
				return // that height has been left behind
			}
			defer b.Close()
			leaf, err := b.Get([32]byte(namesvc.CommitKey(tx.Commit.ID())))
			if err != nil || leaf == nil {
				t.Errorf("client %d: proven at height %d, and not in the state: %v", i, proof.Height, err)
			}
		})
	}
	all.Wait()
	t.Logf("of %d ops %d had to be sent again; %d times the mempool said that it was full", clients, again.Load(), told.Load())
	if again.Load() == 0 {
		t.Error("the mempool dropped nothing, so this has shown nothing")
	}
}

// follow returns a light client of the validator's API that counts refusals for
// want of room.
func follow(v *node.Node, told *atomic.Int32) (*lightclient.Client, error) {
	s, err := source.NewHTTP("http://"+v.QueryAddr(), nil)
	if err != nil {
		return nil, err
	}
	head, _, err := v.Query.Heads.Head(1)
	if err != nil {
		return nil, err
	}
	pin := verify.Pin{ChainID: v.Query.Chain, Height: 1, Hash: head.Header.Hash()}
	return lightclient.New(lightclient.Config{Pin: pin, Sources: []lightclient.Source{&counter{s, told}}})
}

type counter struct {
	*source.HTTP
	full *atomic.Int32
}

func (c *counter) Submit(ctx context.Context, op []byte) error {
	err := c.HTTP.Submit(ctx, op)
	if err != nil {
		c.full.Add(1)
	}
	return err
}

// commit makes the commit of a registration that nobody will ever reveal.
func commit(ctx context.Context, c *lightclient.Client) ([]byte, error) {
	info, err := c.Chain(ctx)
	if err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	var hash [32]byte
	rand.Read(hash[:])
	nonce, err := ticket.Solve(ctx, ticket.Challenge(info.Params.Chain, hash, info.Checkpoint.Digest),
		namesvc.RequiredBits(info.Params, info.Meter, uint64(info.Proof.Time.Unix())), info.Params.WorkKiB, 0, 1, nil)
	if err != nil {
		return nil, err
	}
	return namesvc.EncodeCommit(namesvc.Commit{
		Chain: info.Params.Chain, Expires: info.Proof.Height + info.Params.Reveal/2, Hash: hash,
		Checkpoint: info.Checkpoint.Number, Payment: ticket.Work, Proof: ticket.Nonce(nonce),
	}), nil
}
