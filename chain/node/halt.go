package node

import (
	"context"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc/wire"
)

// limits sets by which law the app goes on and after which height it stops, and
// reports if it cannot go on at all.
func (n *Node) limits(haltAt uint64, law *chain.Law) error {
	if law != nil {
		n.App.UseLaw(*law)
	}
	height := n.store.State().Height
	if haltAt != 0 && height >= haltAt {
		return wire.Errorf(wire.Invalid, "this validator is at height %d already and was to stop after %d: start it without --halt-height, and without halt_height in %s, to go on",
			height, haltAt, ConfigFile)
	}
	n.App.HaltAt(haltAt)
	select {
	case <-n.App.Halted():
		return n.App.HaltCause()
	default:
		return nil
	}
}

// heed stops taking part when the app has halted.
func (n *Node) heed(ctx context.Context) {
	select {
	case <-n.App.Halted():
		n.fail(n.App.HaltCause())
	case <-ctx.Done():
	}
}

// Cause returns why the validator cannot go on, once Failed is closed.
func (n *Node) Cause() error {
	select {
	case <-n.failed:
		return n.cause
	default:
		return nil
	}
}

// stopComet ends consensus.
func (n *Node) stopComet() error {
	if n.comet.ConsensusReactor().WaitSync() {
		n.stopCatchingUp()
	} else {
		n.App.Release()
	}
	err := n.comet.Stop()
	n.comet.Wait()
	return err
}

// stopCatchingUp ends the fetching of blocks before its peers go, as they do first
// where CometBFT stops: it ends the process if the peer of a block leaves while
// the block is looked at. A halted app holds up the next block for ever, since
// there CometBFT takes any answer but the right one for a reason to end the
// process too; nothing is looked at any more then.
func (n *Node) stopCatchingUp() {
	r, ok := n.comet.Switch().Reactor("BLOCKSYNC")
	if !ok {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Stop() // its only error is that it had stopped
	}()
	select {
	case <-ended:
	case <-time.After(stopPatience):
	}
}

// proofs implements chain.Proofs over the evidence in CometBFT's blocks.
func (d *databases) proofs(height uint64) []chain.Proof {
	block := d.blocks.LoadBlock(int64(height))
	if block == nil {
		return nil
	}
	var out []chain.Proof
	for _, e := range block.Evidence.Evidence {
		pb, err := cmttypes.EvidenceToProto(e)
		if err != nil {
			continue
		}
		b, err := pb.Marshal()
		if err != nil {
			continue
		}
		for _, m := range e.ABCI() {
			out = append(out, chain.Proof{Address: [20]byte(m.Validator.Address), Height: uint64(m.Height), Bytes: b})
		}
	}
	return out
}
