package statetree

import (
	"crypto/sha256"
	"fmt"
)

// A Builder makes a tree from all its keys and values in ascending order,
// without reading a store: to check one, or to fill one from a snapshot. It
// holds one path of pages at a time, however large the tree.
type Builder struct {
	emit   func(PageID, []byte) error
	open   []*page // the pages on the path of last, from the root down
	last   Leaf    // the newest leaf, whose page the next one decides
	shared int     // nibbles that last shares with the leaf before it
	leaves int
	err    error // of emit; no call after it does anything
}

// NewBuilder returns a Builder that hands each finished page to emit, the root's
// page last. An error of emit ends the building.
func NewBuilder(emit func(id PageID, data []byte) error) *Builder {
	return &Builder{emit: emit}
}

// Add adds a key above all before it. The error is of kind [ErrChanges] if it is
// not, or if the value is empty; otherwise it is that of emit.
func (b *Builder) Add(key Key, value []byte) error {
	if b.err != nil {
		return b.err
	}
	if len(value) == 0 {
		return fmt.Errorf("%w: key %s gets an empty value", ErrChanges, key)
	}
	if b.leaves > 0 {
		if key.Compare(b.last.Key) <= 0 {
			return fmt.Errorf("%w: key %s is not above the one before it", ErrChanges, key)
		}
		shared := commonNibbles(&b.last.Key, &key)
		b.place(max(shared, b.shared))
		if b.err = b.close(shared); b.err != nil {
			return b.err
		}
		b.shared = shared
	}
	b.last = Leaf{Key: key, ValueHash: sha256.Sum256(value)}
	b.leaves++
	return nil
}

// Finish emits the pages that are left and returns the root. The Builder is of
// no use afterwards.
func (b *Builder) Finish() ([32]byte, error) {
	if b.err != nil || b.leaves == 0 {
		return empty, b.err
	}
	b.place(b.shared)
	if err := b.close(0); err != nil {
		return empty, err
	}
	root := b.open[0]
	root.build(root.leaves | root.inners)
	return root.hash[1], b.emit(root.id, root.encode())
}

// place puts the newest leaf into its page, the one at this depth: its path and
// that of a neighbour part there.
func (b *Builder) place(depth int) {
	for d := len(b.open); d <= depth; d++ {
		b.open = append(b.open, &page{id: pageOf(d, &b.last.Key)})
	}
	b.open[depth].set(b.last.Key.nibble(depth), &subtree{kind: leaf, leaf: b.last})
}

// close emits the pages below this depth: no further leaf comes under them.
func (b *Builder) close(depth int) error {
	for d := len(b.open) - 1; d > depth; d-- {
		p := b.open[d]
		b.open = b.open[:d]
		p.build(p.leaves | p.inners)
		top := p.top()
		b.open[d-1].set(p.id.prefix.nibble(d-1), &top)
		if err := b.emit(p.id, p.encode()); err != nil {
			return err
		}
	}
	return nil
}
