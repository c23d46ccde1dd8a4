package chain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// App is the ABCI application. CometBFT calls it from three connections at
// once: consensus, mempool and query; each has its own lock here.
type App struct {
	abci.BaseApplication
	chain  string
	store  *store.Store
	leaves *leaves
	logger *slog.Logger
	parsed *parsed
	law    Law

	// Set before the first block.
	halt    *halt
	proofs  Proofs
	policy  SnapshotPolicy
	headers Headers // of an app that may take a snapshot, or nil
	seed    [32]byte

	// Owned by the consensus connection.
	genesis *namesvc.Overlay // the first state, until block 1 is durable
	first   [32]byte         // its root
	pending *pendingBlock    // between FinalizeBlock and Commit
	planned *outcome         // of this node's own newest proposal, or nil

	pool pool // the mempool connection's

	mu     sync.Mutex // guards what follows
	last   Mark       // the newest durable block
	rules  uint32     // the rule set of the block after it
	params *namesvc.Params
	sealed uint64         // newest checkpoint whose seals this node has
	beside []store.Record // to be stored with the next block
	news   chan struct{}  // closed and replaced at each commit

	snapshots []*snapshotRecord // kept for others, ascending
	taking    *restoring        // a snapshot on its way into the store, or nil
	from      uint64            // the first block whose record is here; 0 for all
}

// pendingBlock is a block that has been applied and waits for Commit.
type pendingBlock struct {
	prepared *store.Prepared
	changes  []statetree.Change
	mark     Mark
	records  []store.Record
	due      *verify.Checkpoint // recorded in this block, or nil
	interval uint64             // between checkpoints
	rules    uint32             // of the block after it
}

// keptCheckpoints is how many checkpoint heights stay provable: at the default
// of one in six hours these are 16 days, longer than any light client trusts a
// header and than any anchor may lag behind.
const keptCheckpoints = 64

// also is what is written beside the state, in one batch with it.
func (p *pendingBlock) also(beside []store.Record) store.Also {
	a := store.Also{Records: append(p.records, beside...)}
	if p.due != nil {
		a.Keep = []uint64{p.due.Height}
		if p.due.Number > keptCheckpoints {
			a.Release = []uint64{p.due.Height - keptCheckpoints*p.interval}
		}
	}
	return a
}

// Mark is what the app keeps of the newest block beside its state.
type Mark struct {
	_       struct{} `cbor:",toarray"`
	Height  uint64
	Time    uint64 // seconds since 1970
	Hash    [32]byte
	History verify.History // over all block hashes so far
}

// maxMark bounds a Mark's encoding: History is the most of it.
const maxMark = verify.MaxHistorySize + 128

// New returns the app over an open store.
func New(s *store.Store, chain string, logger *slog.Logger) (*App, error) {
	a := &App{
		chain: chain, store: s, leaves: newLeaves(s), logger: logger, parsed: newParsed(), news: make(chan struct{}),
		law: Law{Newest: namesvc.Rules, Apply: namesvc.ApplyBlock}, halt: newHalt(), rules: namesvc.FirstRules,
	}
	if s.State().Height == 0 {
		return a, nil
	}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("open app: %w", err)
	}
	return a, nil
}

// load reads what the app keeps in memory of a state that has a block.
func (a *App) load() error {
	height := a.store.State().Height
	var last Mark
	b, err := a.store.Record(markKey)
	if err != nil {
		return err
	}
	if err := wire.Decode(b, &last, maxMark); err != nil {
		return fmt.Errorf("newest block: %w", err)
	}
	if last.Height != height {
		return fmt.Errorf("the state is at height %d, its mark at %d; restore the folder from a backup", height, last.Height)
	}
	p, err := readParams(a.leaves)
	if err != nil {
		return err
	}
	sealed, err := a.newestSealed(height / p.Checkpoint)
	if err != nil {
		return err
	}
	from, err := a.readFrom()
	if err != nil {
		return err
	}
	snapshots, err := a.loadSnapshots()
	if err != nil {
		return err
	}
	rules, err := namesvc.RulesAt(a.view(), height+1)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rules = rules
	a.last, a.params, a.sealed, a.from, a.snapshots = last, &p, sealed, from, snapshots
	a.pool.reset(a.view())
	return nil
}

// newestSealed returns the number of the newest checkpoint, up to this one, whose
// seals are here, 0 for none: those of the very newest may not have come yet.
func (a *App) newestSealed(newest uint64) (uint64, error) {
	for n := newest; n > 0 && newest-n < keptCheckpoints; n-- {
		if _, ok, err := a.Seals(n); ok || err != nil {
			return n, err
		}
	}
	return 0, nil
}

func readParams(g namesvc.Getter) (namesvc.Params, error) {
	b, err := g.Get(namesvc.ParamsKey())
	if err != nil {
		return namesvc.Params{}, err
	}
	return namesvc.DecodeParams(b)
}

// view returns the newest state as the law may read it: the durable one, or
// the genesis state while no block is durable.
func (a *App) view() namesvc.Getter {
	if a.genesis != nil {
		return a.genesis
	}
	return a.leaves
}

// root returns the root of the state that view reads.
func (a *App) root() [32]byte {
	if a.genesis != nil {
		return a.first
	}
	return a.store.State().Root
}

// Info implements abci.Application. It tells what is durable, no more.
func (a *App) Info(context.Context, *abci.RequestInfo) (*abci.ResponseInfo, error) {
	durable := a.store.State()
	info := &abci.ResponseInfo{Data: "confab", Version: "1", AppVersion: uint64(a.Rules()), LastBlockHeight: int64(durable.Height)}
	if durable.Height > 0 {
		info.LastBlockAppHash = durable.Root[:]
	}
	return info, nil
}

// InitChain implements abci.Application. Nothing is written until block 1 is:
// a crash in between calls it again.
func (a *App) InitChain(_ context.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	if req.ChainId != a.chain {
		return nil, fmt.Errorf("init chain: the genesis is of %q, this folder of %q", req.ChainId, a.chain)
	}
	state, err := DecodeAppState(req.AppStateBytes)
	if err != nil {
		return nil, fmt.Errorf("init chain: %w", err)
	}
	if state.Params.Chain != req.ChainId {
		return nil, fmt.Errorf("init chain: the parameters are of chain %q, the genesis of %q", state.Params.Chain, req.ChainId)
	}
	var validators []namesvc.Validator
	for _, v := range req.Validators {
		k := v.PubKey.GetSecp256K1Eth()
		if len(k) != 33 {
			return nil, fmt.Errorf("init chain: a validator's key is not of type %s", KeyType)
		}
		validators = append(validators, namesvc.Validator{Key: [33]byte(k), Power: uint64(v.Power), Operator: state.Operator([33]byte(k))})
	}
	genesis := namesvc.NewOverlay(nothing{})
	if err := namesvc.Begin(genesis, state.Params, validators, Seed(state.Params, req.Time)); err != nil {
		return nil, fmt.Errorf("init chain: %w", err)
	}
	prepared, err := a.store.Prepare(uint64(req.InitialHeight), changes(genesis))
	if err != nil {
		return nil, fmt.Errorf("init chain: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.genesis, a.first, a.params = genesis, prepared.Root(), &state.Params
	a.last = Mark{Time: uint64(req.Time.Unix())}
	a.pool.reset(a.view())
	root := prepared.Root()
	return &abci.ResponseInitChain{AppHash: root[:]}, nil
}

// nothing is the state before there is one.
type nothing struct{}

func (nothing) Get(namesvc.Key) ([]byte, error) { return nil, nil }

func changes(o *namesvc.Overlay) []statetree.Change {
	list := o.Changes()
	out := make([]statetree.Change, len(list))
	for i, c := range list {
		out[i] = statetree.Change{Key: statetree.Key(c.Key), Value: c.Value}
	}
	return out
}

// FinalizeBlock implements abci.Application: it applies the block to a scratch
// state and returns its root. Nothing is durable until Commit.
func (a *App) FinalizeBlock(_ context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	height := uint64(req.Height)
	fail := func(err error) (*abci.ResponseFinalizeBlock, error) {
		// CometBFT stops the node on an error, which is right: a state that
		// cannot be read must not be voted on.
		return nil, fmt.Errorf("finalize block %d: %w", height, err)
	}
	if len(req.Hash) != len(Mark{}.Hash) {
		return fail(fmt.Errorf("its hash has %d bytes", len(req.Hash)))
	}
	txs := make([]*namesvc.Tx, len(req.Txs))
	for i, raw := range req.Txs {
		txs[i], _ = a.parsed.parse(raw)
	}
	if a.HaltCause() != nil {
		return fail(a.halt.wait())
	}
	faults, err := a.faults(req.Misbehavior)
	if err != nil {
		return fail(err)
	}
	did, err := a.apply(height, uint64(req.Time.Unix()), faults, txs)
	if err != nil {
		return fail(err)
	}
	changed := changes(did.state)
	if a.genesis != nil {
		changed = merge(changes(a.genesis), changed)
	}
	prepared, err := a.store.Prepare(height, changed)
	if err != nil {
		return fail(err)
	}
	last, _ := a.Last()
	mark := Mark{Height: height, Time: did.block.Time, Hash: [32]byte(req.Hash), History: last.History.Append([32]byte(req.Hash))}
	records, err := a.records(did, mark, req.Txs, txs)
	if err != nil {
		return fail(err)
	}
	evidence, err := a.evidence(did, req.Misbehavior)
	if err != nil {
		return fail(err)
	}
	records = append(records, evidence...)
	params, _ := a.Params()
	a.pending = &pendingBlock{
		prepared: prepared, changes: changed, mark: mark, due: did.due, interval: params.Checkpoint, records: records,
	}
	root := prepared.Root()
	res := &abci.ResponseFinalizeBlock{AppHash: root[:], TxResults: make([]*abci.ExecTxResult, len(did.receipts))}
	for i, r := range did.receipts {
		res.TxResults[i] = &abci.ExecTxResult{Code: uint32(r.Code), Log: r.Detail}
	}
	if err := a.tellConsensus(did, res); err != nil {
		return fail(err)
	}
	a.pending.rules = did.next
	return res, nil
}

// outcome is what the law makes of a block on top of the newest state. It is a
// function of that state, the block and its ops alone.
type outcome struct {
	block    namesvc.Block
	due      *verify.Checkpoint // recorded in this block, or nil
	state    *namesvc.Overlay
	receipts []namesvc.Receipt
	rules    uint32 // of this block
	next     uint32 // of the block after it
}

// of reports whether the outcome is that of these ops at this height and time.
func (o *outcome) of(height, time uint64, seed [32]byte, faults []namesvc.Fault, txs []*namesvc.Tx) bool {
	return o.block.Height == height && o.block.Time == time && o.block.Seed == seed && slices.Equal(o.block.Faults, faults) &&
		slices.EqualFunc(o.receipts, txs, func(r namesvc.Receipt, tx *namesvc.Tx) bool { return r.ID == tx.ID })
}

// apply applies a block to a scratch state. A proposer has done so already with
// the block that it proposed itself.
func (a *App) apply(height, time uint64, faults []namesvc.Fault, txs []*namesvc.Tx) (*outcome, error) {
	seed := a.root()
	if p := a.planned; p != nil && p.of(height, time, seed, faults, txs) {
		return p, nil
	}
	last, _ := a.Last()
	due, err := a.checkpointDue(last)
	if err != nil {
		return nil, err
	}
	o := &outcome{block: namesvc.Block{Height: height, Time: time, Seed: seed, Faults: faults}, due: due, state: namesvc.NewOverlay(a.view())}
	if due != nil {
		o.block.Checkpoint = a.lawCheckpoint(due)
	}
	if o.rules, err = namesvc.RulesAt(o.state, height); err != nil {
		return nil, err
	}
	if o.receipts, err = a.law.Apply(o.rules, o.state, o.block, txs); err != nil {
		return nil, err
	}
	o.next, err = namesvc.RulesAt(o.state, height+1)
	return o, err
}

// merge returns the changes of both, later ones winning, sorted by key. Both
// are sorted.
func merge(first, later []statetree.Change) []statetree.Change {
	out := make([]statetree.Change, 0, len(first)+len(later))
	for len(first) > 0 && len(later) > 0 {
		switch f, l := first[0], later[0]; {
		case string(f.Key[:]) < string(l.Key[:]):
			out, first = append(out, f), first[1:]
		case f.Key == l.Key:
			first = first[1:]
		default:
			out, later = append(out, l), later[1:]
		}
	}
	return append(append(out, first...), later...)
}

// Commit implements abci.Application: it makes the block durable.
func (a *App) Commit(context.Context, *abci.RequestCommit) (*abci.ResponseCommit, error) {
	p := a.pending
	if p == nil {
		return nil, errors.New("commit: there is no finalized block")
	}
	a.mu.Lock()
	also := p.also(a.beside)
	a.beside = nil
	turn := a.turnSnapshots(p, &also)
	a.mu.Unlock()
	if err := p.prepared.Commit(also); err != nil {
		return nil, fmt.Errorf("commit block %d: %w", p.mark.Height, err)
	}
	a.leaves.committed(p.changes)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending, a.planned, a.genesis, a.last, a.rules = nil, nil, nil, p.mark, p.rules
	a.halt.reached(p.mark.Height, a.unknown(p.rules, p.mark.Height+1))
	turn()
	a.pool.reset(a.view())
	close(a.news)
	a.news = make(chan struct{})
	return &abci.ResponseCommit{}, nil
}

// Query implements abci.Application. Reads have their own door, chain/query:
// this one is serialised by CometBFT and cannot carry a proof of ours.
func (a *App) Query(context.Context, *abci.RequestQuery) (*abci.ResponseQuery, error) {
	return &abci.ResponseQuery{Code: uint32(wire.Invalid), Log: "queries are served by confab's own API"}, nil
}

// Last returns the newest durable block, and a channel that is closed when
// there is a newer one.
func (a *App) Last() (Mark, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last, a.news
}

// Params returns the chain's parameters; ok is false before the first block.
func (a *App) Params() (p namesvc.Params, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.params == nil {
		return namesvc.Params{}, false
	}
	return *a.params, true
}

func height8(h uint64) []byte { return binary.BigEndian.AppendUint64(nil, h) }
