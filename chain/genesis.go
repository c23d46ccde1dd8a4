package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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
	Params    namesvc.Params    `json:"params"`
	Operators []GenesisOperator `json:"operators,omitempty"` // for all founding validators, or for none
}

// GenesisOperator says which account operates a founding validator. The account
// need not be on the chain yet.
type GenesisOperator struct {
	Key     string            `json:"key"` // the validator's, 66 hexadecimal digits
	Account namesvc.AccountID `json:"account"`
}

// Operator returns the account that operates the founding validator with this
// key, or zero.
func (s AppState) Operator(k [33]byte) namesvc.AccountID {
	for _, o := range s.Operators {
		if o.Key == hex.EncodeToString(k[:]) {
			return o.Account
		}
	}
	return namesvc.AccountID{}
}

// checkOperators reports why the operators are not those of the validators.
func (s AppState) checkOperators(list []cmttypes.GenesisValidator) error {
	if len(s.Operators) == 0 {
		return nil // nobody will vote on this chain
	}
	known := map[namesvc.AccountID]bool{{}: true}
	for _, v := range list {
		id := s.Operator([33]byte(v.PubKey.Bytes()))
		if known[id] {
			return fmt.Errorf("app_state.operators: validator %x needs an operator of its own, the id of an account", v.PubKey.Bytes())
		}
		known[id] = true
	}
	if len(s.Operators) != len(list) {
		return fmt.Errorf("app_state.operators: it has %d entries for %d validators", len(s.Operators), len(list))
	}
	return nil
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
	if len(s.Operators) == 0 {
		s.Operators = nil
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

// Founder is a validator that a chain begins with.
type Founder struct {
	cmttypes.GenesisValidator
	Operator namesvc.AccountID // zero if nobody is to vote on this chain
}

// Genesis returns the genesis file of a new chain on which nobody votes: its
// validators stay what they are.
func Genesis(p namesvc.Params, validators []cmttypes.GenesisValidator, at time.Time) (*cmttypes.GenesisDoc, error) {
	founders := make([]Founder, len(validators))
	for i, v := range validators {
		founders[i].GenesisValidator = v
	}
	return Found(p, founders, at)
}

// Found returns the genesis file of a new chain.
func Found(p namesvc.Params, founders []Founder, at time.Time) (*cmttypes.GenesisDoc, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	app := AppState{Params: p}
	var validators []cmttypes.GenesisValidator
	for _, f := range founders {
		validators = append(validators, f.GenesisValidator)
		if f.Operator != (namesvc.AccountID{}) && f.PubKey != nil {
			app.Operators = append(app.Operators, GenesisOperator{Key: hex.EncodeToString(f.PubKey.Bytes()), Account: f.Operator})
		}
	}
	state, err := json.MarshalIndent(app, "", "  ")
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
	if err := state.checkOperators(doc.Validators); err != nil {
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
	c.Version.App = namesvc.FirstRules
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
