package chain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc"
)

func founder(name string, power int64) cmttypes.GenesisValidator {
	return cmttypes.GenesisValidator{PubKey: secp256k1eth.GenPrivKeySecp256k1Eth([]byte(name)).PubKey(), Power: power, Name: name}
}

func TestCheckGenesis_RefusesWhatIsNotAConfabChain(t *testing.T) {
	good := func() *cmttypes.GenesisDoc {
		doc, err := chain.Genesis(namesvc.DevParams("confab-test"), []cmttypes.GenesisValidator{founder("a", 1), founder("b", 2)}, time.Unix(begins, 0))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	if err := chain.CheckGenesis(good()); err != nil {
		t.Fatal(err)
	}
	keyed := func(k crypto.PubKey) []cmttypes.GenesisValidator {
		return []cmttypes.GenesisValidator{{PubKey: k, Power: 1}}
	}
	for name, tc := range map[string]struct {
		change func(*cmttypes.GenesisDoc)
		want   string
	}{
		"another chain id":        {func(d *cmttypes.GenesisDoc) { d.ChainID = "other" }, `chain id is "other"`},
		"another first height":    {func(d *cmttypes.GenesisDoc) { d.InitialHeight = 2 }, "height 2"},
		"an app hash":             {func(d *cmttypes.GenesisDoc) { d.AppHash = []byte{1} }, "app hash"},
		"no consensus params":     {func(d *cmttypes.GenesisDoc) { d.ConsensusParams = nil }, "not confab's"},
		"other block sizes":       {func(d *cmttypes.GenesisDoc) { d.ConsensusParams.Block.MaxBytes++ }, "not confab's"},
		"shorter evidence":        {func(d *cmttypes.GenesisDoc) { d.ConsensusParams.Evidence.MaxAgeNumBlocks-- }, "not confab's"},
		"other key types":         {func(d *cmttypes.GenesisDoc) { d.ConsensusParams.Validator.PubKeyTypes[0] = "ed25519" }, "not confab's"},
		"no vote extensions":      {func(d *cmttypes.GenesisDoc) { d.ConsensusParams.ABCI.VoteExtensionsEnableHeight = 0 }, "not confab's"},
		"another rule set":        {func(d *cmttypes.GenesisDoc) { d.ConsensusParams.Version.App++ }, "not confab's"},
		"an authority":            {func(d *cmttypes.GenesisDoc) { d.ConsensusParams.Authority.Authority = "me" }, "not confab's"},
		"no validators":           {func(d *cmttypes.GenesisDoc) { d.Validators = nil }, "0 validators"},
		"too many validators":     {func(d *cmttypes.GenesisDoc) { d.Validators = make([]cmttypes.GenesisValidator, 257) }, "257 validators"},
		"an ed25519 validator":    {func(d *cmttypes.GenesisDoc) { d.Validators = keyed(ed25519.GenPrivKey().PubKey()) }, "secp256k1eth"},
		"a validator with no key": {func(d *cmttypes.GenesisDoc) { d.Validators = keyed(nil) }, "secp256k1eth"},
		"a key that is none":      {func(d *cmttypes.GenesisDoc) { d.Validators = keyed(secp256k1eth.PubKey(make([]byte, 33))) }, "validator 0"},
		"a validator twice":       {func(d *cmttypes.GenesisDoc) { d.Validators[1] = d.Validators[0] }, "listed twice"},
		"a validator of power 0":  {func(d *cmttypes.GenesisDoc) { d.Validators[0].Power = 0 }, "power of 0"},
		"of negative power":       {func(d *cmttypes.GenesisDoc) { d.Validators[0].Power = -1 }, "power of -1"},
		"too much power":          {func(d *cmttypes.GenesisDoc) { d.Validators[0].Power = cmttypes.MaxTotalVotingPower }, "all together"},
		"more in the app state":   {func(d *cmttypes.GenesisDoc) { d.AppState = append(d.AppState, '1') }, "follows it"},
		"no app state":            {func(d *cmttypes.GenesisDoc) { d.AppState = nil }, "app_state"},
	} {
		doc := good()
		tc.change(doc)
		if err := chain.CheckGenesis(doc); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error about %q", name, err, tc.want)
		}
	}
}

// TestSeed_IsOfWhatAGenesisSays: CometBFT keeps the genesis file formatted in
// its own way and hands that over after a restart. The first state must not
// depend on it.
func TestSeed_IsOfWhatAGenesisSays(t *testing.T) {
	p := namesvc.DevParams("confab-test")
	doc, err := chain.Genesis(p, []cmttypes.GenesisValidator{founder("a", 1)}, time.Unix(begins, 0))
	if err != nil {
		t.Fatal(err)
	}
	roots := map[string]bool{}
	for _, state := range []string{string(doc.AppState), strings.Join(strings.Fields(string(doc.AppState)), "")} {
		m := &machine{params: p, time: begins}
		m.memory(t)
		res, err := m.begin(t, []byte(state))
		if err != nil {
			t.Fatal(err)
		}
		roots[string(res.AppHash)] = true
	}
	if len(roots) != 1 {
		t.Error("the first root depends on how the genesis file is formatted")
	}
	other := p
	other.Daily++
	if chain.Seed(p, doc.GenesisTime) == chain.Seed(other, doc.GenesisTime) || chain.Seed(p, doc.GenesisTime) == chain.Seed(p, doc.GenesisTime.Add(time.Second)) {
		t.Error("two chains have one seed")
	}
}

// TestCheckGenesis_WantsAnOperatorForEachValidator, or for none.
func TestCheckGenesis_WantsAnOperatorForEachValidator(t *testing.T) {
	a, b := namesvc.AccountID{1}, namesvc.AccountID{2}
	found := func(first, second namesvc.AccountID) (*cmttypes.GenesisDoc, error) {
		return chain.Found(namesvc.DevParams("confab-test"), []chain.Founder{
			{GenesisValidator: founder("a", 1), Operator: first}, {GenesisValidator: founder("b", 2), Operator: second},
		}, time.Unix(begins, 0))
	}
	doc, err := found(a, b)
	if err != nil {
		t.Fatal(err)
	}
	state, err := chain.DecodeAppState(doc.AppState)
	if err != nil || state.Operator([33]byte(founder("b", 2).PubKey.Bytes())) != b {
		t.Errorf("the operators are %v, %v", state.Operators, err)
	}
	for name, pair := range map[string][2]namesvc.AccountID{"the second has none": {a}, "one account for both": {a, a}} {
		if _, err := found(pair[0], pair[1]); err == nil || !strings.Contains(err.Error(), "an operator of its own") {
			t.Errorf("%s: %v", name, err)
		}
	}
	doc.Validators = doc.Validators[:1]
	if err := chain.CheckGenesis(doc); err == nil || !strings.Contains(err.Error(), "2 entries for 1 validators") {
		t.Errorf("an operator of nobody: %v", err)
	}
}
