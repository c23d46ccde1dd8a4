package statetree

import (
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Mem is a tree in memory: a [Store] and its root. Any number of goroutines may
// read it while none applies a Delta.
type Mem struct {
	root   [32]byte
	pages  map[PageID][]byte
	values map[Key][]byte
}

// NewMem returns an empty tree.
func NewMem() *Mem {
	return &Mem{pages: make(map[PageID][]byte), values: make(map[Key][]byte)}
}

// Root returns the root of the tree, 32 zero bytes if it is empty.
func (m *Mem) Root() [32]byte { return m.root }

// Len returns the number of keys that have a value.
func (m *Mem) Len() int { return len(m.values) }

// Page implements [Store].
func (m *Mem) Page(id PageID) ([]byte, error) { return m.pages[id], nil }

// Get implements [Store].
func (m *Mem) Get(key Key) ([]byte, error) { return m.values[key], nil }

// Apply makes a Delta's changes. It keeps the slices in it. A Delta that was
// made from another root is an error and changes nothing.
func (m *Mem) Apply(d *Delta) error {
	if d.Base != m.root {
		return fmt.Errorf("apply changes: they were made from root %x, the tree has %x", d.Base, m.root)
	}
	for _, w := range d.Pages {
		if w.Data == nil {
			delete(m.pages, w.ID)
		} else {
			m.pages[w.ID] = w.Data
		}
	}
	for _, c := range d.Values {
		if c.Value == nil {
			delete(m.values, c.Key)
		} else {
			m.values[c.Key] = c.Value
		}
	}
	m.root = d.Root
	return nil
}

// Update applies a batch of changes, in the form that [Update] wants, and
// returns the new root. On error nothing has changed.
func (m *Mem) Update(changes []Change) ([32]byte, error) {
	d, err := Update(m, m.root, changes)
	if err != nil {
		return m.root, err
	}
	return d.Root, m.Apply(d)
}

// Prove returns the proof of what the tree says of key.
func (m *Mem) Prove(key Key) (Proof, error) { return Prove(m, m.root, key) }

// Clone returns a tree that begins as this one and goes its own way. They share
// the bytes of pages and values, which neither changes.
func (m *Mem) Clone() *Mem {
	return &Mem{root: m.root, pages: maps.Clone(m.pages), values: maps.Clone(m.values)}
}

// All yields every key and value, in ascending order of key.
func (m *Mem) All() iter.Seq2[Key, []byte] {
	return func(yield func(Key, []byte) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(m.values), Key.Compare) {
			if !yield(k, m.values[k]) {
				return
			}
		}
	}
}
