package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

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
	if err := doc.ValidateAndComplete(); err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return doc, nil
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
// very chain.
func Seed(chain string, at time.Time, appState []byte) [32]byte {
	return sha256.Sum256(wire.Encode([]any{"confab genesis 1", chain, at.Unix(), appState}))
}
