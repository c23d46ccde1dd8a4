package chain_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/encoding"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// TestScripts_OnTheApp runs every name script on the ABCI application in this
// process, and after each block compares its root with that of the bare law.
func TestScripts_OnTheApp(t *testing.T) {
	paths, err := filepath.Glob("../namesvc/testdata/scripts/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := namescript.Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			m := newMachine(t, s.Params, s.Founders...)
			bare := m.twin.Clone()
			_, want := namescript.Run(s, struct {
				namescript.Machine
				namescript.Faulter
			}{bare, bare})
			_, got := namescript.Run(s, m)
			// A tie between commits of one height is settled by the chain's own
			// root, and may fall here in another way than the script says; but
			// it must fall as on the bare law of the same genesis.
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("on the app: %v\non the law: %v", got, want)
			}
		})
	}
}

// machine is the app in this process with a bare law beside it.
type machine struct {
	app    *chain.App
	store  *store.Store
	fs     vfs.FS
	twin   *namescript.Law
	params namesvc.Params
	height uint64
	time   uint64

	founders []namesvc.Validator
	faults   []namesvc.Fault        // for the next block
	told     []abci.ValidatorUpdate // what consensus was told by the last block
	version  uint64                 // the version it was told, or 0
}

var ctx = context.Background()

const begins = 1767225600 // 2026-01-01 00:00:00 UTC

func newMachine(t testing.TB, p namesvc.Params, founders ...namescript.Founder) *machine {
	t.Helper()
	m := &machine{params: p, time: begins}
	m.memory(t)
	state := chain.AppState{Params: p}
	var err error
	if m.founders, err = namescript.Validators(founders); err != nil {
		t.Fatal(err)
	}
	for _, v := range m.founders {
		state.Operators = append(state.Operators, chain.GenesisOperator{Key: hex.EncodeToString(v.Key[:]), Account: v.Operator})
	}
	b, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	res, err := m.begin(t, b)
	if err != nil {
		t.Fatal(err)
	}
	m.twin, err = namescript.BeginLaw(p, m.founders, chain.Seed(p, time.Unix(begins, 0)), begins)
	if err != nil {
		t.Fatal(err)
	}
	if root := m.twin.Root(); string(res.AppHash) != string(root[:]) {
		t.Fatalf("genesis: the app's root is %x, the law's %x", res.AppHash, root)
	}
	return m
}

func validatorKeys() (keys []crypto.PubKey) {
	for i := range 4 {
		keys = append(keys, secp256k1eth.GenPrivKeySecp256k1Eth([]byte{byte(i)}).PubKey())
	}
	return keys
}

// memory gives the machine a store in memory.
func (m *machine) memory(t testing.TB) {
	m.fs = vfs.NewMem()
	m.open(t)
}

// begin hands the app its genesis.
func (m *machine) begin(t testing.TB, state []byte) (*abci.ResponseInitChain, error) {
	t.Helper()
	var updates []abci.ValidatorUpdate
	if m.founders == nil {
		for _, k := range validatorKeys() {
			m.founders = append(m.founders, namesvc.Validator{Key: [33]byte(k.Bytes()), Power: 10})
		}
	}
	for _, v := range m.founders {
		pk, err := encoding.PubKeyToProto(secp256k1eth.PubKey(v.Key[:]))
		if err != nil {
			t.Fatal(err)
		}
		updates = append(updates, abci.ValidatorUpdate{PubKey: pk, Power: int64(v.Power)})
	}
	return m.app.InitChain(ctx, &abci.RequestInitChain{
		Time: time.Unix(begins, 0).UTC(), ChainId: m.params.Chain, InitialHeight: 1, AppStateBytes: state, Validators: updates,
		ConsensusParams: consensusParams(),
	})
}

func (m *machine) open(t testing.TB) {
	t.Helper()
	s, err := store.Open("state", store.Options{Chain: m.params.Chain, FS: m.fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	app, err := chain.New(s, m.params.Chain, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m.app, m.store = app, s
}

// Get implements namescript.Machine.
func (m *machine) Get(k namesvc.Key) ([]byte, error) {
	if m.height == 0 {
		return m.twin.Get(k) // nothing is durable before block 1
	}
	return m.store.Get(statetree.Key(k))
}

// Head implements namescript.Machine.
func (m *machine) Head() (height, time uint64) { return m.height, m.time }

// Block implements namescript.Machine: the ops go straight into a block, also
// those that no honest proposer would take.
func (m *machine) Block(ops [][]byte, after uint64) ([]namesvc.Receipt, error) {
	return m.finalize(ops, m.time+after)
}

// plainReceipts are the app's own, where there is no law beside it.
func plainReceipts(res *abci.ResponseFinalizeBlock) []namesvc.Receipt {
	out := make([]namesvc.Receipt, len(res.TxResults))
	for i, r := range res.TxResults {
		out[i] = namesvc.Receipt{Code: namesvc.RejectCode(r.Code), Detail: r.Log}
	}
	return out
}

// Fault implements namescript.Faulter.
func (m *machine) Fault(f namesvc.Fault) { m.faults = append(m.faults, f) }

// misbehavior is how CometBFT tells of the faults for the next block.
func (m *machine) misbehavior() (out []abci.Misbehavior) {
	for _, f := range m.faults {
		out = append(out, abci.Misbehavior{
			Type: abci.MisbehaviorType_DUPLICATE_VOTE, Height: int64(f.Height), Time: time.Unix(int64(m.time), 0), TotalVotingPower: 40,
			Validator: abci.Validator{Address: secp256k1eth.PubKey(f.Key[:]).Address(), Power: 10},
		})
	}
	m.faults = nil
	return out
}

func (m *machine) finalize(ops [][]byte, at uint64) ([]namesvc.Receipt, error) {
	height := m.height + 1
	hash := sha256.Sum256(fmt.Appendf(nil, "block %d", height))
	// The vote extension comes before the block and needs the one before it.
	if _, err := m.app.ExtendVote(ctx, &abci.RequestExtendVote{Height: int64(height), Hash: hash[:]}); err != nil {
		return nil, err
	}
	res, err := m.app.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{
		Txs: ops, Hash: hash[:], Height: int64(height), Time: time.Unix(int64(at), 0), Misbehavior: m.misbehavior(),
	})
	if err != nil {
		return nil, err
	}
	m.told, m.version = res.ValidatorUpdates, res.ConsensusParamUpdates.GetVersion().GetApp()
	var block namesvc.Block
	if m.twin != nil {
		block = namesvc.Block{Height: height, Time: at, Seed: m.twin.Root()}
	}
	if _, err := m.app.Commit(ctx, &abci.RequestCommit{}); err != nil {
		return nil, err
	}
	if m.twin == nil {
		m.height, m.time = height, at
		return plainReceipts(res), nil
	}
	if rec, ok, err := m.app.Block(height); err != nil {
		return nil, err
	} else if ok {
		block.Checkpoint, block.Faults = rec.Checkpoint, rec.Faults
	}
	receipts, err := m.twin.Apply(block, ops)
	if err != nil {
		return nil, err
	}
	if root := m.twin.Root(); string(res.AppHash) != string(root[:]) {
		return nil, fmt.Errorf("block %d: the app's root is %x, the law's %x", height, res.AppHash, root)
	}
	for i, r := range receipts {
		if got := res.TxResults[i].Code; got != uint32(r.Code) {
			return nil, fmt.Errorf("block %d: op %d: the app says %v, the law %v", height, i, namesvc.RejectCode(got), r.Code)
		}
	}
	m.height, m.time = height, at
	return receipts, nil
}
