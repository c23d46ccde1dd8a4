package testnet_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
)

// TestTrap_OpsAreCheckedWhileABlockIsApplied: CometBFT's usual local client has
// one lock for all its connections, and a block that takes a while would hold up
// everybody who sends an op or asks.
func TestTrap_OpsAreCheckedWhileABlockIsApplied(t *testing.T) {
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB = 0, 8
	slow := &slowApp{began: make(chan struct{}), end: make(chan struct{})}
	n := start(t, testnet.Spec{Params: p, Validators: 1, Pause: 20 * time.Millisecond, Parts: func(int) node.Parts {
		return node.Parts{App: func(own abci.Application) abci.Application { slow.Application = own; return slow }}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case <-slow.began:
	case <-ctx.Done():
		t.Fatal("no block is applied")
	}
	u, err := testnet.NewUser(rand.Reader, n.Chain)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody knows this account, which the law says when it looks.
	submitting := make(chan error, 1)
	go func() {
		submitting <- n.Sources()[0].(lightclient.Submitter).Submit(ctx, u.Update([32]byte{1}, 100))
	}()
	var reject *lightclient.RejectError
	select {
	case err := <-submitting:
		if !errors.As(err, &reject) {
			t.Errorf("the op was not refused by the law: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("an op waits for the end of a block")
	}
	close(slow.end)
}

// slowApp takes as long over its fifth block as it is told.
type slowApp struct {
	abci.Application
	began, end chan struct{}
}

func (a *slowApp) FinalizeBlock(ctx context.Context, r *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	if r.Height == 5 {
		close(a.began)
		<-a.end
	}
	return a.Application.FinalizeBlock(ctx, r)
}
