package mls

import (
	"bytes"
	"cmp"
	"crypto"
	"fmt"
	"slices"
)

// Record is one stored piece of a group's state. Keys are short, printable and
// unique within the group; values hold secrets and belong encrypted.
type Record struct {
	Key   string
	Value []byte
}

// Delta is what has changed since the last one: one atomic write that puts the
// records and deletes the keys. Deleting is not tidiness: the keys of messages
// already read go with it.
type Delta struct {
	Put    []Record
	Delete []string
}

// Empty reports whether there is nothing to write.
func (d Delta) Empty() bool { return len(d.Put) == 0 && len(d.Delete) == 0 }

// recordKind is the first letter of a record's key.
type recordKind byte

const (
	kindHead        recordKind = 'h' // context, secrets, own place
	kindLeaf        recordKind = 'l' // by leaf index
	kindParent      recordKind = 'n' // by node index
	kindPrivate     recordKind = 'k' // by node index
	kindSecretNode  recordKind = 's' // by epoch and node index
	kindApplication recordKind = 'a' // ratchet, by epoch and leaf index
	kindHandshake   recordKind = 'c' // ratchet, by epoch and leaf index
	kindPast        recordKind = 'e' // by epoch
	kindResumption  recordKind = 'r' // by epoch
	kindProposal    recordKind = 'p' // by position
)

type recordKey struct {
	kind  recordKind
	epoch uint64
	index uint32
}

// String is the key as it is stored.
func (k recordKey) String() string { return fmt.Sprintf("%c%016x%08x", k.kind, k.epoch, k.index) }

func parseRecordKey(s string) (k recordKey, err error) {
	if len(s) == 25 {
		k.kind = recordKind(s[0])
		if _, err = fmt.Sscanf(s[1:], "%16x%8x", &k.epoch, &k.index); err == nil && k.String() == s {
			return k, nil
		}
	}
	return k, fmt.Errorf("read record: unknown key: %w", ErrMalformed)
}

func compareKeys(a, b recordKey) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.index, b.index))
}

func (id ratchetID) record(epoch uint64) recordKey {
	if id.handshake {
		return recordKey{kindHandshake, epoch, uint32(id.leaf)}
	}
	return recordKey{kindApplication, epoch, uint32(id.leaf)}
}

func (g *Group) mark(k recordKey) {
	if g.dirty == nil {
		g.dirty = map[recordKey]struct{}{}
	}
	g.dirty[k] = struct{}{}
}

func (g *Group) markProposals() {
	for i := range g.proposals {
		g.mark(recordKey{kindProposal, 0, uint32(i)})
	}
}

func (g *Group) markSecretTree(epoch uint64, t *secretTree) {
	for x := range t.nodes {
		g.mark(recordKey{kindSecretNode, epoch, uint32(x)})
	}
	for id := range t.ratchets {
		g.mark(id.record(epoch))
	}
}

// markTree marks the nodes in which two trees differ; they share the others.
func (g *Group) markTree(old, new *ratchetTree) {
	for i := range max(len(old.leaves), len(new.leaves)) {
		if old.leaf(LeafIndex(i)) != new.leaf(LeafIndex(i)) {
			g.mark(recordKey{kindLeaf, 0, uint32(i)})
		}
	}
	at := func(t *ratchetTree, i int) *parentNode {
		if i < len(t.parents) {
			return t.parents[i]
		}
		return nil
	}
	for i := range max(len(old.parents), len(new.parents)) {
		if at(old, i) != at(new, i) {
			g.mark(recordKey{kindParent, 0, uint32(2*i + 1)})
		}
	}
}

// markAll marks everything, as for a new group.
func (g *Group) markAll() {
	g.mark(recordKey{kind: kindHead})
	g.markTree(newTree(1), g.tree)
	for x := range g.priv {
		g.mark(recordKey{kindPrivate, 0, uint32(x)})
	}
	g.markSecretTree(g.Epoch(), g.cur.tree)
	for _, p := range g.past {
		g.mark(recordKey{kindPast, p.epoch, 0})
		g.markSecretTree(p.epoch, p.tree)
	}
	for _, r := range g.resumption {
		g.mark(recordKey{kindResumption, r.epoch, 0})
	}
	g.markProposals()
}

// TakeDelta returns what changed since the last call and forgets it: the whole
// state after Create, Join or JoinExternal. Write it atomically before any
// message that was made leaves and before anything that was received is acted
// on. If the write fails, drop the Group and Load it again.
func (g *Group) TakeDelta() Delta {
	keys := make([]recordKey, 0, len(g.dirty))
	for k := range g.dirty {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	g.dirty = nil
	var d Delta
	for _, k := range keys {
		if v := g.record(k); v != nil {
			d.Put = append(d.Put, Record{k.String(), v})
		} else {
			d.Delete = append(d.Delete, k.String())
		}
	}
	return d
}

// Snapshot returns the whole state, sorted by key. It does not touch what
// TakeDelta will return.
func (g *Group) Snapshot() []Record {
	all := *g
	all.dirty = nil
	all.markAll()
	return all.TakeDelta().Put
}

// Clone returns a group that shares nothing secret with g, as Load of its
// Snapshot would, and with the same changes still to be taken.
func (g *Group) Clone() (*Group, error) {
	c, err := Load(g.Snapshot(), g.policy, g.signers...)
	if err != nil {
		return nil, err
	}
	for k := range g.dirty {
		c.mark(k)
	}
	return c, nil
}

// record encodes the record of a key, nil if there is none now.
func (g *Group) record(k recordKey) []byte {
	var w writer
	switch k.kind {
	case kindHead:
		g.encodeHead(&w)
	case kindLeaf:
		if l := g.tree.leaf(LeafIndex(k.index)); l != nil {
			l.encode(&w)
		}
	case kindParent:
		if i := int(k.index / 2); i < len(g.tree.parents) && g.tree.parents[i] != nil {
			g.tree.parents[i].encode(&w)
		}
	case kindPrivate:
		w.b = append(w.b, g.priv[nodeIndex(k.index)]...)
	case kindSecretNode:
		if t := g.secretTreeOf(k.epoch); t != nil {
			w.b = append(w.b, t.nodes[nodeIndex(k.index)]...)
		}
	case kindApplication, kindHandshake:
		if t := g.secretTreeOf(k.epoch); t != nil {
			if r := t.ratchets[ratchetID{LeafIndex(k.index), k.kind == kindHandshake}]; r != nil {
				r.encode(&w)
			}
		}
	case kindPast:
		if i := g.pastIndex(k.epoch); i >= 0 {
			g.past[i].encode(&w)
		}
	case kindResumption:
		for _, r := range g.resumption {
			if r.epoch == k.epoch {
				w.b = append(w.b, r.secret...)
			}
		}
	case kindProposal:
		if int(k.index) < len(g.proposals) {
			g.proposals[k.index].encode(&w)
		}
	}
	return w.b
}

func (g *Group) pastIndex(epoch uint64) int {
	return slices.IndexFunc(g.past, func(p *pastEpoch) bool { return p.epoch == epoch })
}

func (g *Group) secretTreeOf(epoch uint64) *secretTree {
	if epoch == g.Epoch() {
		return g.cur.tree
	}
	if i := g.pastIndex(epoch); i >= 0 {
		return g.past[i].tree
	}
	return nil
}

// stateVersion starts each head record. Change it with any stored encoding.
const stateVersion = 1

func (g *Group) encodeHead(w *writer) {
	w.u8(stateVersion)
	w.u32(uint32(g.self))
	w.u32(uint32(g.tree.size()))
	w.u8(boolByte(g.removed))
	w.u8(boolByte(g.reinit != nil))
	if g.reinit != nil {
		g.reinit.encode(w)
	}
	w.raw(g.cur.contextRaw)
	w.vec(g.cur.confirmationTag)
	for _, s := range g.cur.secrets.all() {
		w.vec(*s)
	}
}

func boolByte(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// head reads what encodeHead wrote, into a group with an empty tree.
func (r *reader) head() *Group {
	if v := r.u8(); r.err == nil && v != stateVersion {
		r.fail(ErrUnsupported, "state of version %d", v)
	}
	g := &Group{self: LeafIndex(r.u32()), priv: map[nodeIndex]secret{}}
	size := int(r.u32())
	if size < 1 || size > MaxMembers || size != ceilPow2(size) || int(g.self) >= size {
		r.fail(ErrMalformed, "tree of %d leaves", size)
		return g
	}
	g.tree = newTree(size)
	g.removed = r.optional()
	if r.optional() {
		g.reinit = r.reInit()
	}
	g.cur = &epoch{context: r.groupContext(), secrets: &epochSecrets{}}
	g.cur.contextRaw = g.cur.context.bytes()
	g.cur.confirm(r.vec(maxDigest))
	for _, s := range g.cur.secrets.all() {
		*s = bytes.Clone(r.vec(maxSecret))
	}
	return g
}

func (t *ratchet) encode(w *writer) {
	w.u64(t.next)
	w.vec(t.secret)
	w.nested(func() {
		for _, k := range t.skipped {
			w.u32(k.generation)
			w.vec(k.key)
			w.vec(k.nonce)
		}
	})
}

func (r *reader) ratchet() *ratchet {
	t := &ratchet{next: r.u64(), secret: r.vec(maxSecret)}
	r.list(MaxSkipped*128, MaxSkipped, func(r *reader) {
		t.skipped = append(t.skipped, messageKey{r.u32(), r.vec(maxSecret), r.vec(maxSecret)})
	})
	if r.err == nil && len(t.secret) != hashSize {
		r.fail(ErrMalformed, "ratchet secret of %d bytes", len(t.secret))
	}
	return t
}

func (p *pastEpoch) encode(w *writer) {
	w.vec(p.contextRaw)
	w.vec(p.senderData)
	w.u32(uint32(p.tree.leaves))
	indexes := make([]LeafIndex, 0, len(p.undo))
	for l := range p.undo {
		indexes = append(indexes, l)
	}
	slices.Sort(indexes)
	w.nested(func() {
		for _, l := range indexes {
			w.u32(uint32(l))
			if leaf := p.undo[l]; leaf != nil {
				w.u8(1)
				leaf.encode(w)
			} else {
				w.u8(0)
			}
		}
	})
}

func (r *reader) pastEpoch(s suite, number uint64) *pastEpoch {
	p := &pastEpoch{epoch: number, contextRaw: r.vec(MaxMessage), senderData: r.vec(maxSecret), undo: map[LeafIndex]*LeafNode{}}
	p.tree = emptySecretTree(s, int(r.u32()))
	if p.tree.leaves > MaxMembers || p.tree.leaves != ceilPow2(p.tree.leaves) {
		r.fail(ErrMalformed, "past epoch of %d leaves", p.tree.leaves)
	}
	r.list(MaxMessage, MaxMembers, func(r *reader) {
		l := LeafIndex(r.u32())
		p.undo[l] = nil
		if r.optional() {
			p.undo[l] = r.leafNode()
		}
	})
	return p
}

func (q queued) encode(w *writer) {
	q.sender.encode(w)
	w.vec(q.ref)
	w.vec(q.leafKey)
	q.Proposal.encode(w)
}

func (r *reader) queued() queued {
	q := queued{sender: r.sender(), ref: r.vec(maxDigest), leafKey: r.vec(maxKey)}
	if len(q.leafKey) == 0 {
		q.leafKey = nil
	}
	q.Proposal = r.proposal()
	return q
}

// Load rebuilds a group from its records, in any order. Give the policy it was
// made with and the signing keys this member may be using: one must belong to
// its leaf if it is to send.
func Load(records []Record, policy Policy, signers ...crypto.Signer) (*Group, error) {
	if err := policy.valid(); err != nil {
		return nil, fmt.Errorf("load group: %w", err)
	}
	g, err := loadRecords(records)
	if err != nil {
		return nil, fmt.Errorf("load group: %w", err)
	}
	g.policy, g.signers = policy, slices.Clone(signers)
	return g, nil
}
