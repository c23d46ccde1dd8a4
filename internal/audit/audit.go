package audit

import (
	"bytes"
	"fmt"
	"slices"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// An Auditor applies rows in their order. It is for one goroutine.
type Auditor struct {
	chain  string
	store  *store.Store
	begun  *namesvc.Overlay // the first state, until a row is applied
	root   [32]byte
	height uint64 // of the last row
	time   uint64
	rows   uint64
	ops    uint64
}

// Difference is the first row that is not what the law makes of those before it.
type Difference struct {
	Height uint64
	What   string
}

func (d *Difference) Error() string { return fmt.Sprintf("block %d differs: %s", d.Height, d.What) }

// Unwrap gives the error its kind.
func (d *Difference) Unwrap() error { return &wire.Error{Code: wire.Conflict, Text: d.Error()} }

// nothing is the state before there is one.
type nothing struct{}

func (nothing) Get(namesvc.Key) ([]byte, error) { return nil, nil }

// New returns an auditor of the chain of a genesis file, which keeps its state in
// a folder that is empty or not there.
func New(dir string, doc *cmttypes.GenesisDoc) (*Auditor, error) {
	if err := chain.CheckGenesis(doc); err != nil {
		return nil, wire.Errorf(wire.Invalid, "audit: %w", err)
	}
	state, err := chain.DecodeAppState(doc.AppState)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	var founders []namesvc.Validator
	for _, v := range doc.Validators {
		k := [33]byte(v.PubKey.Bytes())
		founders = append(founders, namesvc.Validator{Key: k, Power: uint64(v.Power), Operator: state.Operator(k)})
	}
	a := &Auditor{chain: doc.ChainID, begun: namesvc.NewOverlay(nothing{})}
	if err := namesvc.Begin(a.begun, state.Params, founders, chain.Seed(state.Params, doc.GenesisTime)); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if a.store, err = store.Open(dir, store.Options{Chain: doc.ChainID}); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	first, err := a.store.Prepare(1, changes(a.begun))
	if err != nil {
		a.store.Close()
		return nil, fmt.Errorf("audit: %w", err)
	}
	a.root = first.Root()
	return a, nil
}

// Close ends the audit. The folder can be deleted.
func (a *Auditor) Close() error { return a.store.Close() }

// Height returns the height of the last row, 0 before the first, and Root the root
// after it.
func (a *Auditor) Height() uint64 { return a.height }

// Root returns the root after the last row.
func (a *Auditor) Root() [32]byte { return a.root }

// Count returns how many rows and ops have been applied.
func (a *Auditor) Count() (rows, ops uint64) { return a.rows, a.ops }

// Get reads the state after the last row.
func (a *Auditor) Get(k namesvc.Key) ([]byte, error) {
	if a.begun != nil {
		return a.begun.Get(k)
	}
	return a.store.Get(statetree.Key(k))
}

// Apply applies the next row. The error is a *Difference if the row is not what
// it should be; nothing has changed then.
func (a *Auditor) Apply(r chain.ExportRow) error {
	b := r.Block
	differs := func(format string, args ...any) error {
		return &Difference{Height: b.Height, What: fmt.Sprintf(format, args...)}
	}
	switch {
	case b.Height <= a.height:
		return differs("it comes after block %d", a.height)
	case b.Time < a.time:
		return differs("its time lies before that of block %d", a.height)
	case b.Seed != a.root:
		return differs("the root before it is said to be %x, the law gives %x after block %d", b.Seed, a.root, a.height)
	case len(b.Codes) != len(b.Ops):
		return differs("it has %d ops and %d receipts", len(b.Ops), len(b.Codes))
	}
	state := namesvc.NewOverlay(a)
	rules, err := namesvc.RulesAt(state, b.Height)
	if err != nil {
		return fmt.Errorf("audit block %d: %w", b.Height, err)
	}
	if rules > namesvc.Rules {
		return wire.Errorf(wire.Unavailable, "block %d is of rule set %d, this program knows %d: upgrade it", b.Height, rules, namesvc.Rules)
	}
	txs := make([]*namesvc.Tx, len(b.Ops))
	for i, raw := range b.Ops {
		txs[i], _ = namesvc.Parse(raw)
	}
	receipts, err := namesvc.ApplyBlock(rules, state, b.Law(), txs)
	if err != nil {
		return differs("the law cannot apply it: %v", err)
	}
	for i, receipt := range receipts {
		if receipt.Code != b.Codes[i] {
			return differs("op %d is said to have been %v, the law says %v", i, b.Codes[i], receipt.Code)
		}
	}
	return a.commit(r, changes(state))
}

// commit makes the changes of a row the state, if they lead to its root.
func (a *Auditor) commit(r chain.ExportRow, changed []statetree.Change) error {
	if a.begun != nil {
		changed = merge(changes(a.begun), changed)
	}
	p, err := a.store.Prepare(a.rows+1, changed)
	if err != nil {
		return fmt.Errorf("audit block %d: %w", r.Block.Height, err)
	}
	if p.Root() != r.Root {
		return &Difference{Height: r.Block.Height, What: fmt.Sprintf("the root after it is said to be %x, the law gives %x", r.Root, p.Root())}
	}
	if err := p.Commit(store.Also{}); err != nil {
		return fmt.Errorf("audit block %d: %w", r.Block.Height, err)
	}
	a.begun, a.root, a.height, a.time = nil, r.Root, r.Block.Height, r.Block.Time
	a.rows++
	a.ops += uint64(len(r.Block.Ops))
	return nil
}

func changes(o *namesvc.Overlay) []statetree.Change {
	list := o.Changes()
	out := make([]statetree.Change, len(list))
	for i, c := range list {
		out[i] = statetree.Change{Key: statetree.Key(c.Key), Value: c.Value}
	}
	return out
}

// merge returns the changes of both, sorted by key, later ones winning.
func merge(first, later []statetree.Change) []statetree.Change {
	out := slices.DeleteFunc(slices.Clone(first), func(f statetree.Change) bool {
		return slices.ContainsFunc(later, func(l statetree.Change) bool { return l.Key == f.Key })
	})
	out = append(out, later...)
	slices.SortFunc(out, func(x, y statetree.Change) int { return bytes.Compare(x.Key[:], y.Key[:]) })
	return out
}
