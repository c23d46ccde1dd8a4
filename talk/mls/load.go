package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// stored is a record with its key parsed. The value is a private copy.
type stored struct {
	recordKey
	value []byte
}

func loadRecords(records []Record) (*Group, error) {
	list := make([]stored, len(records))
	for i, r := range records {
		k, err := parseRecordKey(r.Key)
		if err != nil {
			return nil, err
		}
		list[i] = stored{k, bytes.Clone(r.Value)}
	}
	slices.SortFunc(list, func(a, b stored) int { return compareKeys(a.recordKey, b.recordKey) })
	head := slices.IndexFunc(list, func(s stored) bool { return s.recordKey == recordKey{kind: kindHead} })
	if head < 0 {
		return nil, fmt.Errorf("read records: no head record among %d: %w", len(list), ErrMalformed)
	}
	r := reader{b: list[head].value}
	g := r.head()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("read head record: %w", err)
	}
	var err error
	if g.s, err = g.cur.context.Suite.lookup(); err != nil {
		return nil, err
	}
	g.cur.tree = emptySecretTree(g.s, g.tree.size())
	// Past epochs come before the secret trees that hang on them.
	for _, pass := range []func(stored) bool{
		func(s stored) bool { return s.kind == kindPast },
		func(s stored) bool { return s.kind != kindPast && s.kind != kindHead },
	} {
		for _, s := range list {
			if !pass(s) {
				continue
			}
			if err := g.place(s); err != nil {
				return nil, fmt.Errorf("read record of kind %q: %w", s.kind, err)
			}
		}
	}
	if !bytes.Equal(g.tree.rootHash(), g.cur.context.TreeHash) || g.tree.leaf(g.self) == nil {
		return nil, fmt.Errorf("read records: the tree is not that of the epoch; records are missing or of different times: %w", ErrMalformed)
	}
	return g, nil
}

// place puts one record where it belongs.
func (g *Group) place(s stored) error {
	r := reader{b: s.value}
	switch s.kind {
	case kindLeaf:
		if int(s.index) >= g.tree.size() {
			return fmt.Errorf("leaf %d of %d: %w", s.index, g.tree.size(), ErrMalformed)
		}
		g.tree.leaves[s.index] = r.leafNode()
	case kindParent:
		if i := int(s.index / 2); s.index%2 == 0 || i >= len(g.tree.parents) {
			return fmt.Errorf("node %d: %w", s.index, ErrMalformed)
		}
		g.tree.parents[s.index/2] = r.parentNode()
	case kindPrivate:
		g.priv[nodeIndex(s.index)] = r.take(len(r.b))
	case kindPast:
		g.past = append(g.past, r.pastEpoch(g.s, s.epoch))
	case kindResumption:
		g.resumption = append(g.resumption, resumptionSecret{s.epoch, r.take(len(r.b))})
	case kindProposal:
		g.proposals = append(g.proposals, r.queued())
	case kindSecretNode, kindApplication, kindHandshake:
		t := g.secretTreeOf(s.epoch)
		if t == nil {
			return fmt.Errorf("epoch %d is not kept: %w", s.epoch, ErrMalformed)
		}
		if s.kind == kindSecretNode {
			t.nodes[nodeIndex(s.index)] = r.take(len(r.b))
		} else {
			t.ratchets[ratchetID{LeafIndex(s.index), s.kind == kindHandshake}] = r.ratchet()
		}
	default:
		return fmt.Errorf("unknown: %w", ErrMalformed)
	}
	return r.end()
}

// MarshalBinary encodes a staged commit, so that one's own survives a restart
// between sending and merging. It holds secrets of the coming epoch. A commit
// that removes this member has no coming epoch and is not encoded.
func (s *Staged) MarshalBinary() ([]byte, error) {
	if s.next == nil {
		return nil, fmt.Errorf("encode staged commit: it removes this member: %w", ErrNotMember)
	}
	var w writer
	w.u8(stateVersion)
	w.vec(s.base)
	s.committer.encode(&w)
	w.vec(s.aad)
	w.u8(boolByte(s.pathLeaf))
	for _, list := range [][]LeafIndex{s.added, s.removed, s.updated} {
		w.nested(func() {
			for _, l := range list {
				w.u32(uint32(l))
			}
		})
	}
	w.nested(func() {
		for _, p := range s.proposals {
			w.nested(func() { queued{Proposal: p.Proposal, sender: p.Sender, ref: p.Ref}.encode(&w) })
		}
	})
	// The next state as records: the new head, the nodes that change, and all
	// private keys. No record is ever empty; an empty one deletes.
	g := &Group{self: s.self, tree: s.tree, priv: s.priv, cur: s.next, reinit: s.reinit}
	g.mark(recordKey{kind: kindHead})
	g.markTree(s.before, s.tree)
	for x := range s.priv {
		g.mark(recordKey{kindPrivate, 0, uint32(x)})
	}
	g.markSecretTree(g.Epoch(), s.next.tree)
	d := g.TakeDelta()
	w.nested(func() {
		for _, r := range d.Put {
			w.vec([]byte(r.Key))
			w.vec(r.Value)
		}
		for _, key := range d.Delete {
			w.vec([]byte(key))
			w.vec(nil)
		}
	})
	return w.b, nil
}

// LoadStaged reads what Staged.MarshalBinary wrote, for the epoch in which it
// was staged.
func (g *Group) LoadStaged(data []byte) (*Staged, error) {
	s, err := g.loadStaged(data)
	if err != nil {
		return nil, fmt.Errorf("load staged commit: %w", err)
	}
	return s, nil
}

func (g *Group) loadStaged(data []byte) (*Staged, error) {
	r := reader{b: bytes.Clone(data)}
	if v := r.u8(); r.err == nil && v != stateVersion {
		r.fail(ErrUnsupported, "state of version %d", v)
	}
	s := &Staged{base: r.vec(maxDigest), before: g.tree, committer: r.sender(), aad: r.vec(MaxMessage), pathLeaf: r.optional()}
	for _, list := range []*[]LeafIndex{&s.added, &s.removed, &s.updated} {
		r.list(4*maxProposals, maxProposals, func(r *reader) { *list = append(*list, LeafIndex(r.u32())) })
	}
	r.list(MaxMessage, maxProposals, func(r *reader) {
		p := r.sub(MaxMessage)
		q := p.queued()
		if p.end(); q.ref != nil && len(q.ref) == 0 {
			q.ref = nil
		}
		r.join(p)
		s.proposals = append(s.proposals, SentProposal{q.Proposal, q.sender, q.ref})
	})
	var records []stored
	r.list(MaxMessage, 4*MaxMembers, func(r *reader) {
		k, err := parseRecordKey(string(r.vec(64)))
		if err != nil {
			r.fail(ErrMalformed, "record key")
		}
		records = append(records, stored{k, r.vec(MaxMessage)})
	})
	if err := r.end(); err != nil {
		return nil, err
	}
	if !bytes.Equal(s.base, g.cur.confirmationTag) {
		return nil, fmt.Errorf("it follows another epoch: %w", ErrWrongEpoch)
	}
	if err := s.fill(g, records); err != nil {
		return nil, err
	}
	if err := s.checkPlaces(); err != nil {
		return nil, err
	}
	return s, nil
}

// checkPlaces checks that somebody sits at every leaf that a stored commit names,
// so that whoever lists them finds him.
func (s *Staged) checkPlaces() error {
	type places struct {
		tree *ratchetTree
		list []LeafIndex
	}
	all := []places{{s.before, s.removed}, {s.tree, s.added}, {s.tree, s.updated}}
	if s.committer.Type == SenderMember {
		own := []LeafIndex{s.committer.Leaf}
		all = append(all, places{s.before, own}, places{s.tree, own})
	}
	for _, p := range all {
		for _, l := range p.list {
			if p.tree.leaf(l) == nil {
				return fmt.Errorf("leaf %d is nobody's: %w", l, ErrMalformed)
			}
		}
	}
	return nil
}

// fill rebuilds the next state from records upon the current tree.
func (s *Staged) fill(g *Group, records []stored) error {
	i := slices.IndexFunc(records, func(s stored) bool { return s.recordKey == recordKey{kind: kindHead} })
	if i < 0 {
		return fmt.Errorf("no head record: %w", ErrMalformed)
	}
	r := reader{b: records[i].value}
	next := r.head()
	if err := r.end(); err != nil {
		return err
	}
	next.s = g.s
	next.cur.tree = emptySecretTree(g.s, next.tree.size())
	copy(next.tree.leaves, g.tree.leaves)
	copy(next.tree.parents, g.tree.parents)
	for _, rec := range records {
		var err error
		switch {
		case rec.kind == kindHead:
		case len(rec.value) > 0:
			err = next.place(rec)
		case rec.kind == kindLeaf && int(rec.index) < len(next.tree.leaves):
			next.tree.leaves[rec.index] = nil
		case rec.kind == kindParent && int(rec.index/2) < len(next.tree.parents):
			next.tree.parents[rec.index/2] = nil
		}
		if err != nil {
			return err
		}
	}
	if !bytes.Equal(next.tree.rootHash(), next.cur.context.TreeHash) {
		return fmt.Errorf("the tree is not that of the epoch: %w", ErrMalformed)
	}
	s.self, s.tree, s.priv, s.next, s.reinit = next.self, next.tree, next.priv, next.cur, next.reinit
	return nil
}
