package anchor

import (
	"context"
	"log/slog"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Votes is where the node keeps the votes of each height with their
// extensions; CometBFT's block store is one. It returns nil where it has none.
type Votes interface {
	LoadBlockExtendedCommit(height int64) *cmttypes.ExtendedCommit
}

// Chain is where checkpoints come from and seals go to.
type Chain interface {
	// Checkpoint returns checkpoint n, and whether there is one.
	Checkpoint(n uint64) (verify.Checkpoint, bool, error)
	// Seals returns the seals of checkpoint n, and whether there are any.
	Seals(n uint64) (verify.Seals, bool, error)
	// KeepSeals stores checked seals.
	KeepSeals(n uint64, s verify.Seals)
}

// Collector finds the seals of checkpoints. It is for one goroutine.
type Collector struct {
	Chain   string
	Votes   Votes
	App     Chain
	Signers func(height uint64) (verify.Validators, error)
	Logger  *slog.Logger

	next    uint64   // the first checkpoint not yet looked at; 0 before the first call
	missing []uint64 // those before it whose seals are wanted
}

// Window is how many heights after a checkpoint carry its seals, and are searched
// for them. Seals of two heights do not add up, and one height has them all
// unless votes were late: this many are more than bad luck takes.
const Window = 50

const (
	// lookBack is how many checkpoints are searched for at the start: as many as
	// a chain keeps provable. A node that was away has their votes too.
	lookBack = 64
)

// Follow looks for the seals of all checkpoints up to the newest that have none,
// among the votes up to a height. It is called again when the height rises.
func (c *Collector) Follow(ctx context.Context, newest, height uint64) error {
	if c.next == 0 {
		c.next = 1
		if newest > lookBack {
			c.next = newest - lookBack + 1
		}
	}
	for ; c.next <= newest; c.next++ {
		c.missing = append(c.missing, c.next)
	}
	if len(c.missing) > lookBack {
		c.missing = c.missing[len(c.missing)-lookBack:]
	}
	var still []uint64
	for i, n := range c.missing {
		wanted, err := c.collect(ctx, n, height)
		if err != nil {
			c.missing = append(still, c.missing[i:]...)
			return err
		}
		if wanted {
			still = append(still, n)
		}
	}
	c.missing = still
	return nil
}

// Missing reports whether there are checkpoints whose seals may yet come.
func (c *Collector) Missing() bool { return len(c.missing) > 0 }

// collect looks for the seals of checkpoint n among the votes up to height, and
// stores the first group that suffices. It reports whether to look again when
// there are more votes.
func (c *Collector) collect(ctx context.Context, n, height uint64) (again bool, err error) {
	if _, ok, err := c.App.Seals(n); ok || err != nil {
		return false, err
	}
	cp, ok, err := c.App.Checkpoint(n)
	if !ok || err != nil {
		return true, err
	}
	if height <= cp.Height {
		return true, nil
	}
	// Who seals a checkpoint is who decides the block after it: a set that the
	// checkpoint before brought in may not yet decide this one's own block.
	signers, err := c.Signers(cp.Height + 1)
	if wire.CodeOf(err) == wire.NotFound {
		return false, nil // it is from before this node joined, and so are its votes
	}
	if err != nil {
		return true, err
	}
	for h := cp.Height + 1; h <= min(height, cp.Height+Window); h++ {
		if err := ctx.Err(); err != nil {
			return true, err
		}
		votes := c.Votes.LoadBlockExtendedCommit(int64(h))
		if votes == nil {
			continue
		}
		voters, err := c.Signers(h)
		if err != nil {
			return true, err
		}
		seals := gather(c.Chain, cp, votes, voters, signers)
		power, err := verify.CheckSeals(c.Chain, cp, seals, signers)
		if err != nil {
			continue // too few at this height; the next may have more
		}
		c.App.KeepSeals(n, seals)
		c.Logger.Info("checkpoint sealed", "number", n, "height", cp.Height, "sealed_at", h, "power", power, "of", signers.TotalPower())
		return false, nil
	}
	if height >= cp.Height+Window {
		c.Logger.Warn("checkpoint not sealed: no height had the seals of two thirds", "number", n, "height", cp.Height)
		return false, nil
	}
	return true, nil
}

// gather picks from one height's votes the seals of this checkpoint. The votes
// are in the order of that height's validators, who need not be the signers any
// more. CometBFT has checked each extension's signature before it kept the vote;
// CheckSeals checks them again.
func gather(chain string, cp verify.Checkpoint, votes *cmttypes.ExtendedCommit, voters, signers verify.Validators) verify.Seals {
	place := make(map[[33]byte]int, signers.Len())
	for i := range signers.Len() {
		place[signers.At(i).Key] = i
	}
	seals := verify.Seals{
		Height: uint64(votes.Height), Round: uint32(votes.Round),
		Signatures: make([]verify.Signature, signers.Len()),
	}
	want := string(verify.SealExtension(cp.Number, cp.Digest(verify.ChainTag(chain))))
	for i, v := range votes.ExtendedSignatures {
		if i >= voters.Len() || string(v.Extension) != want || len(v.ExtensionSignature) != len(verify.Signature{}) {
			continue
		}
		if j, ok := place[voters.At(i).Key]; ok {
			seals.Signatures[j] = verify.Signature(v.ExtensionSignature)
		}
	}
	return seals
}
