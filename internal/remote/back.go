package remote

import (
	"context"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A pin is as a rule newer than the newest snapshot, and light clients go only
// forward. But the state under a verified head has the digest of each checkpoint,
// and a digest binds the hash of the checkpoint's block: that block is as good a
// beginning as the pin.

// reachBack finds the checkpoint at or before a height that lies before all
// beginnings known, and makes it one.
func (n *Network) reachBack(ctx context.Context, height uint64) error {
	var found verify.Pin
	err := n.first(func(s *origin) error {
		interval, err := n.interval(ctx, s)
		if err != nil {
			return err
		}
		number := height / interval
		if number == 0 {
			return wire.Errorf(wire.Invalid, "height %d lies before the pin and before the first checkpoint: start from an older pin", height)
		}
		found, err = n.checkpoint(ctx, s, number)
		if err == nil && found.Height > height {
			err = wire.Errorf(wire.Invalid, "%s: checkpoint %d is of height %d", s.api.base, number, found.Height)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("verify height %d from the pin at %d: %w", height, n.pin.Height, err)
	}
	n.bases = slices.Insert(n.bases, 0, found)
	return nil
}

// interval returns the blocks from one checkpoint to the next, a parameter that
// is proven.
func (n *Network) interval(ctx context.Context, s *origin) (uint64, error) {
	r := lightclient.Request{Chain: true, Pin: n.pin.Height}
	b, err := s.bundles.Bundle(ctx, r)
	if err != nil {
		return 0, err
	}
	v, err := bundle.Verify(b, bundle.Trust{Pin: n.pin, Rules: n.rules}, n.now())
	if err != nil {
		return 0, err
	}
	leaf, err := v.Leaf(namesvc.ParamsKey())
	if err != nil {
		return 0, err
	}
	p, err := namesvc.DecodeParams(leaf)
	if err != nil {
		return 0, wire.Errorf(wire.Invalid, "%s: %w", s.api.base, err)
	}
	return p.Checkpoint, nil
}

// checkpoint returns the block of a checkpoint as something to begin with.
func (n *Network) checkpoint(ctx context.Context, s *origin, number uint64) (verify.Pin, error) {
	b, err := s.api.get(ctx, fmt.Sprintf("/v1/bundle?checkpoint=%d&pin=%d", number, n.pin.Height), bundle.MaxSize)
	if err != nil {
		return verify.Pin{}, err
	}
	v, err := bundle.Verify(b, bundle.Trust{Pin: n.pin, Rules: n.rules}, n.now())
	if err != nil {
		return verify.Pin{}, fmt.Errorf("%s: %w", s.api.base, err)
	}
	leaf, err := v.Leaf(namesvc.CheckpointKey(number))
	if err != nil {
		return verify.Pin{}, err
	}
	kept, err := namesvc.DecodeCheckpoint(leaf)
	if err != nil {
		return verify.Pin{}, wire.Errorf(wire.NotFound, "%s: the state has no checkpoint %d", s.api.base, number)
	}
	c, err := n.sealed(ctx, s, number)
	if err != nil {
		return verify.Pin{}, err
	}
	if c.Checkpoint.Digest(verify.ChainTag(n.pin.ChainID)) != kept.Digest {
		return verify.Pin{}, wire.Errorf(wire.Invalid, "%s: its checkpoint %d is not the one in the state", s.api.base, number)
	}
	return verify.Pin{ChainID: n.pin.ChainID, Height: c.Checkpoint.Height, Hash: c.Checkpoint.BlockHash}, nil
}

// sealed returns a checkpoint as a source gives it.
func (n *Network) sealed(ctx context.Context, s *origin, number uint64) (c query.Sealed, err error) {
	const limit = verify.MaxSealsSize + verify.MaxCheckpointSize + 256
	b, err := s.api.get(ctx, fmt.Sprintf("/v1/checkpoints/%d", number), limit)
	if err != nil {
		return c, err
	}
	if err := wire.Decode(b, &c, limit); err != nil {
		return c, wire.Errorf(wire.Invalid, "%s: %w", s.api.base, err)
	}
	return c, nil
}
