package chain

import (
	"bytes"
	"fmt"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/encoding"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// The law says who decides; consensus follows it. A checkpoint of height H names
// the signers of the next one before the block that records it, H+1, is even
// made, because both are functions of the state after H. That block tells
// CometBFT the difference, which takes it up two heights later: H+1 and H+2 are
// still decided by the old set, H+3 by the new one.

// Validators returns the validator set of the newest state.
func (a *App) Validators() (namesvc.ValidatorSet, error) { return readValidators(a.view()) }

func readValidators(g namesvc.Getter) (namesvc.ValidatorSet, error) {
	b, err := g.Get(namesvc.ValidatorsKey())
	if err != nil {
		return namesvc.ValidatorSet{}, err
	}
	return namesvc.DecodeValidatorSet(b)
}

// signers returns the hashes of who seals the checkpoint of this height and time,
// which is that of the newest state, and of who seals the next one.
func (a *App) signers(height, time uint64) (now, next [32]byte, err error) {
	set, err := readValidators(a.view())
	if err != nil {
		return now, next, err
	}
	if now, err = hashSigners(set); err != nil {
		return now, next, err
	}
	if set, err = namesvc.NextValidators(a.view(), height, time); err != nil {
		return now, next, err
	}
	next, err = hashSigners(set)
	return now, next, err
}

func hashSigners(set namesvc.ValidatorSet) ([32]byte, error) {
	v, err := validatorsOf(set)
	if err != nil {
		return [32]byte{}, err
	}
	return verify.HashSigners(v), nil
}

// tellConsensus adds to a block's result what consensus has to change: the
// validators, and the version of the rules in the headers to come.
func (a *App) tellConsensus(did *outcome, res *abci.ResponseFinalizeBlock) error {
	if did.due != nil {
		before, err := readValidators(a.view())
		if err != nil {
			return err
		}
		after, err := readValidators(did.state)
		if err != nil {
			return err
		}
		if res.ValidatorUpdates, err = updates(before, after); err != nil {
			return err
		}
		for _, u := range res.ValidatorUpdates {
			a.logger.Info("validators change", "checkpoint", did.due.Number, "key", fmt.Sprintf("%x", u.PubKey.GetSecp256K1Eth()), "power", u.Power)
		}
	}
	if did.next != did.rules {
		a.logger.Info("rules change", "rules", did.next, "from", did.block.Height+1)
		res.ConsensusParamUpdates = &cmtproto.ConsensusParams{Version: &cmtproto.VersionParams{App: uint64(did.next)}}
	}
	return nil
}

// updates returns how consensus gets from one set to another. Both are sorted by
// key, and so is the result.
func updates(before, after namesvc.ValidatorSet) ([]abci.ValidatorUpdate, error) {
	var out []abci.ValidatorUpdate
	add := func(k [33]byte, power uint64) error {
		pk, err := encoding.PubKeyToProto(secp256k1eth.PubKey(k[:]))
		if err != nil {
			return fmt.Errorf("validator %x: %w", k, err)
		}
		out = append(out, abci.ValidatorUpdate{PubKey: pk, Power: int64(power)})
		return nil
	}
	old, fresh := before.List, after.List
	for len(old) > 0 || len(fresh) > 0 {
		var err error
		switch {
		case len(fresh) == 0 || len(old) > 0 && bytes.Compare(old[0].Key[:], fresh[0].Key[:]) < 0:
			err = add(old[0].Key, 0)
			old = old[1:]
		case len(old) == 0 || old[0].Key != fresh[0].Key:
			err = add(fresh[0].Key, fresh[0].Power)
			fresh = fresh[1:]
		default:
			if old[0].Power != fresh[0].Power {
				err = add(fresh[0].Key, fresh[0].Power)
			}
			old, fresh = old[1:], fresh[1:]
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
