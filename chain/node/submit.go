package node

import (
	"context"
	"errors"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/mempool"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc"
)

// submit hands an op to the mempool.
func (n *Node) submit(ctx context.Context, op []byte) (uint32, string, error) {
	verdict := make(chan *abci.ResponseCheckTx, 1)
	err := n.comet.Mempool().CheckTx(op, func(r *abci.ResponseCheckTx) { verdict <- r }, mempool.TxInfo{})
	var full mempool.ErrMempoolIsFull
	switch {
	case errors.Is(err, mempool.ErrTxInCache):
		return n.again(ctx, op)
	case errors.As(err, &full), errors.Is(err, mempool.ErrRecheckFull):
		return chain.LaneFull, "the mempool is full; try again in a moment", nil
	case err != nil:
		return 0, "", err
	}
	select {
	case r := <-verdict:
		return r.Code, r.Log, nil
	case <-ctx.Done():
		return 0, "", ctx.Err()
	}
}

// again answers for an op that CometBFT remembers. It waits already, or is being
// checked at this moment, and whoever sent it watches for it; or it was in a
// block, and then the law says what a replay deserves.
func (n *Node) again(ctx context.Context, op []byte) (uint32, string, error) {
	tx, _ := n.App.Parse(op)
	receipt, known, err := n.App.Receipt(tx.ID)
	if err != nil || !known || receipt.Code != namesvc.Accepted {
		return 0, "", err
	}
	r, err := n.App.CheckTx(ctx, &abci.RequestCheckTx{Tx: op})
	if err != nil {
		return 0, "", err
	}
	return r.Code, r.Log, nil
}
