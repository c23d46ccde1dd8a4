package namescript

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// Law is the machine for the bare law: a state tree in memory and nothing else.
type Law struct {
	params namesvc.Params
	tree   *statetree.Mem
	height uint64
	time   uint64
	faults []namesvc.Fault // for the next block
}

// genesisTime is when scripts begin: 2026-01-01 00:00:00 UTC.
const genesisTime = 1767225600

// NewLaw returns a state that has begun with these parameters and founders, or
// one validator that nobody operates if there are none.
func NewLaw(p namesvc.Params, founders ...Founder) (*Law, error) {
	set, err := Validators(founders)
	if err != nil {
		return nil, err
	}
	if len(set) == 0 {
		set = []namesvc.Validator{{Key: [33]byte{2, 1}, Power: 1}}
	}
	return BeginLaw(p, set, sha256.Sum256([]byte("confab name script")), genesisTime)
}

// BeginLaw returns the first state of a chain, to replay its blocks on.
func BeginLaw(p namesvc.Params, validators []namesvc.Validator, seed [32]byte, time uint64) (*Law, error) {
	l := &Law{params: p, tree: statetree.NewMem(), time: time}
	scratch := namesvc.NewOverlay(l)
	if err := namesvc.Begin(scratch, p, validators, seed); err != nil {
		return nil, err
	}
	return l, l.keep(scratch)
}

// Get implements namesvc.Getter.
func (l *Law) Get(k namesvc.Key) ([]byte, error) { return l.tree.Get(statetree.Key(k)) }

// Head implements Machine.
func (l *Law) Head() (height, time uint64) { return l.height, l.time }

// Root implements Rooter.
func (l *Law) Root() [32]byte { return l.tree.Root() }

// All implements Lister.
func (l *Law) All() iter.Seq2[namesvc.Key, []byte] {
	return func(yield func(namesvc.Key, []byte) bool) {
		for k, v := range l.tree.All() {
			if !yield(namesvc.Key(k), v) {
				return
			}
		}
	}
}

// Fault implements Faulter.
func (l *Law) Fault(f namesvc.Fault) { l.faults = append(slices.Clone(l.faults), f) }

// Clone returns a copy that goes its own way.
func (l *Law) Clone() *Law {
	c := *l
	c.tree = l.tree.Clone()
	return &c
}

// Block implements Machine. Checkpoints are recorded where a chain records
// them, in the block after each Params.Checkpoint; their digests are made up.
func (l *Law) Block(ops [][]byte, after uint64) ([]namesvc.Receipt, error) {
	return l.Apply(l.Next(after), ops)
}

// Next returns the block that Block would apply its ops in.
func (l *Law) Next(after uint64) namesvc.Block {
	b := namesvc.Block{Height: l.height + 1, Time: l.time + after, Seed: l.Root(), Faults: l.faults}
	if l.height != 0 && l.height%l.params.Checkpoint == 0 {
		n := l.height / l.params.Checkpoint
		b.Checkpoint = &namesvc.Checkpoint{
			Number: n, Height: l.height, Time: l.time, Digest: sha256.Sum256(fmt.Appendf(nil, "checkpoint %d", n)),
		}
	}
	return b
}

// Apply applies a block that is given whole, as it was on another machine.
func (l *Law) Apply(b namesvc.Block, ops [][]byte) ([]namesvc.Receipt, error) {
	txs := make([]*namesvc.Tx, len(ops))
	for i, op := range ops {
		txs[i], _ = namesvc.Parse(op)
	}
	rules, err := namesvc.RulesAt(l, b.Height)
	if err != nil {
		return nil, err
	}
	scratch := namesvc.NewOverlay(l)
	receipts, err := namesvc.ApplyBlock(rules, scratch, b, txs)
	if err != nil {
		return nil, err
	}
	l.height, l.time, l.faults = b.Height, b.Time, nil
	return receipts, l.keep(scratch)
}

// keep writes the changes into the tree.
func (l *Law) keep(o *namesvc.Overlay) error {
	list := o.Changes()
	changes := make([]statetree.Change, len(list))
	for i, c := range list {
		changes[i] = statetree.Change{Key: statetree.Key(c.Key), Value: c.Value}
	}
	_, err := l.tree.Update(changes)
	return err
}
