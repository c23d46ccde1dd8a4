package namesvc

import (
	"bytes"
	"slices"
)

// Getter reads leaves. A leaf that is not there is nil. An error is the
// machine's (a disk, a corrupt page) and stops the block; it never means "not
// there". Callers must not change what Get returns.
type Getter interface {
	Get(Key) ([]byte, error)
}

// View is the state as an op sees it. Set with nil deletes.
type View interface {
	Getter
	Set(Key, []byte)
}

// Change is one changed leaf; a nil Value is a deleted one.
type Change struct {
	Key   Key
	Value []byte
}

// Overlay is a View that keeps its changes in memory, above a Getter that it
// never changes.
type Overlay struct {
	below Getter
	set   map[Key][]byte
}

// NewOverlay returns an empty overlay above g.
func NewOverlay(g Getter) *Overlay { return &Overlay{below: g, set: map[Key][]byte{}} }

// Get implements Getter.
func (o *Overlay) Get(k Key) ([]byte, error) {
	if v, ok := o.set[k]; ok {
		return v, nil
	}
	return o.below.Get(k)
}

// Set implements View.
func (o *Overlay) Set(k Key, v []byte) { o.set[k] = v }

// Changes returns the changed leaves in the order of their keys. A leaf that
// was set to what it was below is still listed.
func (o *Overlay) Changes() []Change {
	out := make([]Change, 0, len(o.set))
	for k, v := range o.set {
		out = append(out, Change{k, v})
	}
	slices.SortFunc(out, func(a, b Change) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return out
}

// flush writes the changes to v and forgets them. The order does not matter,
// because every key is written once.
func (o *Overlay) flush(v View) {
	for k, val := range o.set {
		v.Set(k, val)
	}
	clear(o.set)
}

func (o *Overlay) drop() { clear(o.set) }
