package fakechain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// Spec says what chain to make.
type Spec struct {
	ID     string         // "confab-fake" if empty
	Set    Set            // Equal(0, 4) if empty
	Params namesvc.Params // DevParams without work if zero
	Start  time.Time      // of the genesis; 2026-01-01 if zero
	Fill   int            // so many leaves of other people's from the beginning
}

// Chain is a chain that grows when its caller says so.
type Chain struct {
	spec Spec

	mu     sync.Mutex
	blocks []block // blocks[0] is the genesis: a state without a head
	next   Set     // signs the block after the next
	salt   byte    // makes the blocks of a fork others
	ops    map[namesvc.AccountID][]lightclient.LoggedOp
	pool   [][]byte
	news   chan struct{} // closed and replaced at each block
}

// block is a block with what it leaves behind.
type block struct {
	head    verify.Head
	set     Set
	tree    *statetree.Mem // the state after it
	history verify.History
	due     *verify.Checkpoint // that the block before asked for, or nil
}

// New returns a chain with its genesis and its first block, which is empty.
func New(s Spec) *Chain {
	if s.ID == "" {
		s.ID = "confab-fake"
	}
	if s.Set.Len() == 0 {
		s.Set = Equal(0, 4)
	}
	if s.Params == (namesvc.Params{}) {
		s.Params = namesvc.DevParams(s.ID)
		s.Params.WorkBits, s.Params.WorkKiB = 0, 8
	}
	if s.Start.IsZero() {
		s.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	c := &Chain{spec: s, next: s.Set, ops: map[namesvc.AccountID][]lightclient.LoggedOp{}, news: make(chan struct{})}
	tree := statetree.NewMem()
	var fill []statetree.Change
	for i := range s.Fill {
		k := statetree.Key(sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))))
		fill = append(fill, statetree.Change{Key: k, Value: k[:]})
	}
	slices.SortFunc(fill, func(a, b statetree.Change) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	must(tree.Update(fill))
	genesis := namesvc.NewOverlay(getter{tree})
	var validators []namesvc.Validator
	for i := range s.Set.Len() {
		v := s.Set.At(i)
		validators = append(validators, namesvc.Validator{Key: v.Key, Power: v.Power})
	}
	if err := namesvc.Begin(genesis, s.Params, validators, sha256.Sum256([]byte("seed of "+s.ID))); err != nil {
		panic("fakechain: " + err.Error())
	}
	must(tree.Update(changes(genesis)))
	c.blocks = []block{{set: s.Set, tree: tree, head: verify.Head{Header: verify.Header{Time: verify.TimeOf(s.Start)}}}}
	c.Cut(s.Start.Add(time.Second))
	return c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("fakechain: " + err.Error())
	}
	return v
}

// getter is a tree as the law reads it.
type getter struct{ t *statetree.Mem }

func (g getter) Get(k namesvc.Key) ([]byte, error) { return g.t.Get(statetree.Key(k)) }

func changes(o *namesvc.Overlay) []statetree.Change {
	var out []statetree.Change
	for _, ch := range o.Changes() {
		out = append(out, statetree.Change{Key: statetree.Key(ch.Key), Value: ch.Value})
	}
	return out
}

// ID returns the chain id.
func (c *Chain) ID() string { return c.spec.ID }

// Height returns the height of the newest block, whose head carries the state
// before it.
func (c *Chain) Height() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.height()
}

func (c *Chain) height() uint64 { return uint64(len(c.blocks) - 1) }

// Now is a clock that shows half a second after the newest block.
func (c *Chain) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time().Add(time.Second / 2)
}

func (c *Chain) time() time.Time { return c.blocks[c.height()].head.Header.Time.Std() }

// SetValidators makes the set sign from the block after the next on: the next
// block announces it.
func (c *Chain) SetValidators(s Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = s
}

// Next cuts a block a second after the newest one. The error is about ops that
// were rejected.
func (c *Chain) Next(ops ...[]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return rejected(c.cut(c.time().Add(time.Second), ops))
}

// Skip cuts n empty blocks, a second apart.
func (c *Chain) Skip(n int) {
	for range n {
		if err := c.Next(); err != nil {
			panic("fakechain: " + err.Error())
		}
	}
}

// Cut cuts a block of this time and returns the receipts of its ops.
func (c *Chain) Cut(at time.Time, ops ...[]byte) []namesvc.Receipt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut(at, ops)
}

func rejected(receipts []namesvc.Receipt) error {
	for _, r := range receipts {
		if r.Code != namesvc.Accepted {
			return fmt.Errorf("op %v: %v: %s", r.ID, r.Code, r.Detail)
		}
	}
	return nil
}

func (c *Chain) cut(at time.Time, ops [][]byte) []namesvc.Receipt {
	last := &c.blocks[c.height()]
	height := c.height() + 1
	if before := c.time(); !at.After(before) {
		at = before.Add(time.Millisecond) // who cuts two at once read his clock before he had his turn
	}
	b := block{set: c.signers(), history: last.history, tree: last.tree}
	b.head.Header = c.header(height, at, b.set, ops)
	b.head.Commit.Parts = verify.Parts{Total: 1, Hash: sha256.Sum256(b.head.Header.DataHash[:])}
	hash := b.head.Header.Hash()
	b.history = b.history.Append(hash)

	law := namesvc.Block{Height: height, Time: uint64(at.Unix()), Seed: last.tree.Root()}
	if interval := c.spec.Params.Checkpoint; height > 1 && (height-1)%interval == 0 {
		b.due = &verify.Checkpoint{
			Number: (height - 1) / interval, Height: height - 1, Time: uint64(last.head.Header.Time.Seconds),
			BlockHash: last.head.Header.Hash(), AppHash: last.tree.Root(), HistoryRoot: last.history.Root(),
			Signers: verify.HashSigners(last.set.Validators), NextSigners: verify.HashSigners(last.set.Validators),
		}
		law.Checkpoint = &namesvc.Checkpoint{
			Number: b.due.Number, Height: b.due.Height, Time: b.due.Time, Digest: b.due.Digest(verify.ChainTag(c.spec.ID)),
		}
	}
	txs := make([]*namesvc.Tx, len(ops))
	for i, op := range ops {
		txs[i], _ = namesvc.Parse(op)
	}
	scratch := namesvc.NewOverlay(getter{b.tree})
	receipts := must(namesvc.ApplyBlock(namesvc.Rules, scratch, law, txs))
	if changed := changes(scratch); len(changed) > 0 {
		b.tree = b.tree.Clone()
		must(b.tree.Update(changed))
	}
	for i, r := range receipts {
		if op := txs[i].Op; op != nil && r.Code == namesvc.Accepted {
			c.ops[op.Account] = append(c.ops[op.Account], lightclient.LoggedOp{Seq: op.Seq, Height: height, Time: law.Time, Bytes: ops[i]})
		}
	}
	c.blocks = append(c.blocks, b)
	close(c.news)
	c.news = make(chan struct{})
	return receipts
}

// signers returns the set that signs the next block: the one that the newest
// block announced.
func (c *Chain) signers() Set {
	last := c.blocks[c.height()]
	for _, s := range []Set{last.set, c.next} {
		if c.height() == 0 || s.Hash() == last.head.Header.NextValidatorsHash {
			return s
		}
	}
	panic("fakechain: SetValidators was called twice for one block")
}

func (c *Chain) header(height uint64, at time.Time, set Set, ops [][]byte) verify.Header {
	hash := func(what string, parts ...[]byte) [32]byte {
		b := binary.BigEndian.AppendUint64(append([]byte(what), c.salt), height)
		return sha256.Sum256(append(b, bytes.Join(parts, nil)...))
	}
	last := c.blocks[height-1]
	h := verify.Header{
		BlockVersion: 11, AppVersion: namesvc.Rules, ChainID: c.spec.ID, Height: height, Time: verify.TimeOf(at),
		LastCommitHash: hash("last commit"), DataHash: hash("data", ops...),
		ValidatorsHash: set.Hash(), NextValidatorsHash: c.next.Hash(), ConsensusHash: sha256.Sum256([]byte("consensus")),
		AppHash: last.tree.Root(), LastResultsHash: hash("results"), EvidenceHash: sha256.Sum256(nil),
		Proposer: set.Address(int(height) % set.Len()),
	}
	if height > 1 {
		h.LastBlock = verify.BlockID{Hash: last.head.Header.Hash(), Parts: last.head.Commit.Parts}
	}
	return h
}

// Fork returns a chain that shares the past and the validators and goes its own
// way: whatever both cut from now on, the same keys have signed twice.
func (c *Chain) Fork() *Chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &Chain{
		spec: c.spec, blocks: slices.Clone(c.blocks), next: c.next, salt: c.salt + 1,
		ops: maps.Clone(c.ops), news: make(chan struct{}),
	}
	for id, ops := range f.ops {
		f.ops[id] = slices.Clip(ops)
	}
	return f
}

// Head returns the head of a height with the set that signed it.
func (c *Chain) Head(height uint64) (verify.Head, Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &c.blocks[height]
	if height > 0 && b.head.Commit.Votes == nil {
		b.set.Sign(&b.head) // only now: most heads of a long chain nobody sees
	}
	return b.head, b.set
}

// Pin returns the pin of a height.
func (c *Chain) Pin(height uint64) verify.Pin {
	h, _ := c.Head(height)
	return verify.Pin{ChainID: c.spec.ID, Height: height, Hash: h.Header.Hash()}
}

// Trust returns what a client keeps that has verified the head of a height.
func (c *Chain) Trust(height uint64) *verify.Trust {
	h, set := c.Head(height)
	t := must(c.Pin(height).Trust(h, set.Validators))
	return &t
}

// Entry returns an account's entry in the newest state, and whether it is on the
// chain.
func (c *Chain) Entry(id namesvc.AccountID) (namesvc.Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, _ := c.blocks[c.height()].tree.Get(statetree.Key(namesvc.AccountKey(id)))
	if b == nil {
		return namesvc.Entry{}, false
	}
	return must(namesvc.DecodeEntry(b)), true
}

// checkpoints returns the number of the newest checkpoint.
func (c *Chain) checkpoints() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.meter(c.height()).Checkpoint
}

func (c *Chain) meter(height uint64) namesvc.Meter {
	return must(namesvc.DecodeMeter(must(c.blocks[height].tree.Get(statetree.Key(namesvc.MeterKey())))))
}

// Checkpoint returns checkpoint n, which the chain must have reached.
func (c *Chain) Checkpoint(n uint64) verify.Checkpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.blocks[n*c.spec.Params.Checkpoint+1].due
}
