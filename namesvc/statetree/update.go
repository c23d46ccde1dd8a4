package statetree

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// Update computes what changes turn the tree with this root, read from s, into
// another one. It writes nothing. The changes must be in ascending order of key,
// each key once; setting a value that is there already and deleting a key that
// is not are no changes, and are not listed in the Delta.
//
// The root of an empty tree is 32 zero bytes.
//
// Errors: [ErrChanges] for a batch that is not sorted, names a key twice or sets
// a value of zero length (ICS-23 can prove none such); [ErrCorrupt] if a page is
// damaged or missing; otherwise the error of the store.
func Update(s Store, root [32]byte, changes []Change) (*Delta, error) {
	items, err := itemsOf(changes)
	if err != nil {
		return nil, err
	}
	u := updater{store: s, delta: &Delta{Base: root}, touched: make([]bool, len(changes))}
	was := subtree{kind: inner, hash: root}
	if root == empty {
		was = subtree{}
	}
	now := was
	if len(items) > 0 {
		if now, err = u.update(PageID{}, was, items); err != nil {
			return nil, err
		}
	}
	u.delta.Root = now.hash
	slices.SortFunc(u.delta.Pages, func(a, b PageWrite) int { return a.ID.Compare(b.ID) })
	for i, yes := range u.touched {
		if yes {
			u.delta.Values = append(u.delta.Values, changes[i])
		}
	}
	return u.delta, nil
}

// An item is one change on its way down the tree.
type item struct {
	leaf   Leaf
	remove bool
	index  int // in the batch
}

func itemsOf(changes []Change) ([]item, error) {
	items := make([]item, len(changes))
	for i := range changes {
		c := &changes[i]
		if i > 0 && string(changes[i-1].Key[:]) >= string(c.Key[:]) {
			return nil, fmt.Errorf("%w: key %s is not above the one before it", ErrChanges, c.Key)
		}
		items[i] = item{leaf: Leaf{Key: c.Key}, remove: c.Value == nil, index: i}
		if c.Value == nil {
			continue
		}
		if len(c.Value) == 0 {
			return nil, fmt.Errorf("%w: key %s gets an empty value", ErrChanges, c.Key)
		}
		items[i].leaf.ValueHash = sha256.Sum256(c.Value)
	}
	return items, nil
}

type updater struct {
	store   Store
	delta   *Delta
	touched []bool // by index in the batch: it changes a value
}

// update applies items, all of them below id and at least one, to the subtree
// that was there, and returns the one that is there then. The page of the root
// holds a tree of one leaf too; the caller of all others keeps a lone leaf.
func (u *updater) update(id PageID, was subtree, items []item) (subtree, error) {
	p := page{id: id}
	depth := id.Depth()
	var dirty uint16
	switch was.kind {
	case inner:
		if err := p.load(u.store, &was.hash); err != nil {
			return subtree{}, err
		}
	case leaf:
		s := was.leaf.Key.nibble(depth)
		p.set(s, &was)
		dirty |= 1 << s
	}
	changed := false
	for len(items) > 0 {
		s, n := items[0].leaf.Key.nibble(depth), 1
		for n < len(items) && items[n].leaf.Key.nibble(depth) == s {
			n++
		}
		was := p.get(s)
		now, err := u.fill(&p, s, was, items[:n])
		if err != nil {
			return subtree{}, err
		}
		if now != was {
			p.set(s, &now)
			dirty |= 1 << s
			changed = true
		}
		items = items[n:]
	}
	if !changed {
		return was, nil
	}
	p.build(dirty)
	top := p.top()
	if depth == 0 && top.kind == leaf {
		top = subtree{kind: inner, hash: p.hash[1]}
	}
	if top.kind == inner {
		u.delta.Pages = append(u.delta.Pages, PageWrite{ID: id, Data: p.encode()})
	} else if was.kind == inner {
		u.delta.Pages = append(u.delta.Pages, PageWrite{ID: id})
	}
	return top, nil
}

// fill applies items, all of them below slot s of p, to the subtree in it.
func (u *updater) fill(p *page, s int, was subtree, items []item) (subtree, error) {
	if was.kind == inner || len(items) > 1 {
		return u.update(p.id.child(s), was, items)
	}
	it := &items[0]
	if was.kind == leaf && was.leaf.Key != it.leaf.Key {
		if it.remove {
			return was, nil
		}
		return u.update(p.id.child(s), was, items)
	}
	now := subtree{kind: leaf, leaf: it.leaf}
	if it.remove {
		now = subtree{}
	}
	if now != was {
		u.touched[it.index] = true
	}
	return now, nil
}
