package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// AppState is the app_state of a genesis file.
type AppState struct {
	Params namesvc.Params `json:"params"`
}

// DecodeAppState parses an app_state strictly: an unknown field is a mistake
// that would otherwise make one validator differ from the rest.
func DecodeAppState(b []byte) (AppState, error) {
	var s AppState
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return AppState{}, fmt.Errorf("genesis app_state: %w", err)
	}
	if d.More() {
		return AppState{}, fmt.Errorf("genesis app_state: something follows it")
	}
	return s, s.Params.Check()
}

// Bounds of a block in bytes.
const (
	// maxBlock leaves 3 MiB for ops beside the 860 kB that CometBFT reserves
	// for the votes of 256 validators.
	maxBlock = 4 << 20
	// maxEvidence is evidence's share; CometBFT wants it below maxBlock.
	maxEvidence = 256 << 10
)

// Genesis returns the genesis file of a new chain.
func Genesis(p namesvc.Params, validators []cmttypes.GenesisValidator, at time.Time) (*cmttypes.GenesisDoc, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	state, err := json.MarshalIndent(AppState{Params: p}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("genesis app_state: %w", err)
	}
	doc := &cmttypes.GenesisDoc{
		GenesisTime: at.UTC().Truncate(time.Second), ChainID: p.Chain, InitialHeight: 1,
		ConsensusParams: ConsensusParams(), Validators: validators, AppState: state,
	}
	return doc, CheckGenesis(doc)
}

// CheckGenesis reports why a genesis file is not that of a confab chain. Unless
// it is, CometBFT would panic on it, or run a chain by other rules than light
// clients expect. It completes what CometBFT lets a genesis file leave out.
func CheckGenesis(doc *cmttypes.GenesisDoc) error {
	state, err := DecodeAppState(doc.AppState)
	if err != nil {
		return err
	}
	if err := checkValidators(doc.Validators); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	switch {
	case state.Params.Chain != doc.ChainID:
		return fmt.Errorf("genesis: its parameters are of chain %q, its chain id is %q", state.Params.Chain, doc.ChainID)
	case doc.InitialHeight != 1:
		return fmt.Errorf("genesis: it begins at height %d, not at 1", doc.InitialHeight)
	case len(doc.AppHash) > 0:
		return errors.New("genesis: it has an app hash, which is for the program to compute")
	case doc.ConsensusParams == nil || !reflect.DeepEqual(*doc.ConsensusParams, *ConsensusParams()):
		return errors.New("genesis: its consensus parameters are not confab's; confab-validator init writes the right ones")
	}
	if err := doc.ValidateAndComplete(); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	return nil
}

// checkValidators checks the founding validators.
func checkValidators(list []cmttypes.GenesisValidator) error {
	if len(list) == 0 || len(list) > namesvc.MaxValidators {
		return fmt.Errorf("it has %d validators, a chain begins with 1 to %d", len(list), namesvc.MaxValidators)
	}
	total := int64(0)
	known := map[string]bool{}
	for i, v := range list {
		switch {
		case v.PubKey == nil || v.PubKey.Type() != KeyType:
			return fmt.Errorf("validator %d has no key of type %s, the only one that confab's validators use", i, KeyType)
		case known[string(v.PubKey.Bytes())]:
			return fmt.Errorf("validator %d is listed twice", i)
		case v.Power < 1 || v.Power > cmttypes.MaxTotalVotingPower-total:
			return fmt.Errorf("validator %d has a power of %d: it must be at least 1, and all together at most %d", i, v.Power, cmttypes.MaxTotalVotingPower)
		}
		if _, err := secp256k1eth.NewPubKeyFromBytes(v.PubKey.Bytes()); err != nil {
			return fmt.Errorf("validator %d: %w", i, err)
		}
		known[string(v.PubKey.Bytes())] = true
		total += v.Power
	}
	return nil
}

// ConsensusParams returns the consensus parameters of every confab chain.
func ConsensusParams() *cmttypes.ConsensusParams {
	c := cmttypes.DefaultConsensusParams()
	c.Block.MaxBytes = maxBlock
	// The validators' power stays locked for 21 days; a light client trusts
	// for 14. Evidence must count for all of the first.
	c.Evidence.MaxAgeDuration = 21 * 24 * time.Hour
	c.Evidence.MaxAgeNumBlocks = 21 * 24 * 3600
	c.Evidence.MaxBytes = maxEvidence
	c.Validator.PubKeyTypes = []string{KeyType}
	c.Version.App = namesvc.Rules
	c.ABCI.VoteExtensionsEnableHeight = 1
	return c
}

// KeyType is the only type of validator key: a validator is an Ethereum address.
const KeyType = "secp256k1eth"

// Seed returns the digest of checkpoint 0, which ties the first work to this
// very chain. It is made of what the genesis file says, not of its bytes:
// CometBFT keeps a copy that it has formatted anew.
func Seed(p namesvc.Params, at time.Time) [32]byte {
	return sha256.Sum256(wire.Encode([]any{"confab genesis 1", p.Chain, at.Unix(), p.Encode()}))
}
