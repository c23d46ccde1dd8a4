package chain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A snapshot is the state after one block: the sorted list of its leaves, cut
// into chunks, and a manifest that names each chunk by its hash. Nothing of it is
// stored: its height is kept in the store like that of a checkpoint, and chunks
// are read from there when somebody asks. The block is the one that records a
// checkpoint, because that makes everything provable by the root: the leaves
// directly, what lies beside the tree by the checkpoint's digest, which is one of
// them. The same state gives the same snapshot on all validators, so that its
// chunks can be fetched from any of them.

// snapshotFormat is the format that this program writes and reads.
const snapshotFormat = 1

// Bounds of a snapshot. The first three say where a list of leaves is cut: they
// are part of the format.
const (
	// chunkLeaves and chunkBytes bound a chunk: CometBFT carries at most 16 MB,
	// and package wire decodes at most 16,384 elements.
	chunkLeaves = 8192
	chunkBytes  = 4 << 20
	// leafOverhead is what a leaf is counted for beside its value: its key and
	// the frame around both.
	leafOverhead = 40
	// maxLeaf bounds a leaf's value. The largest is a set of 256 validators,
	// 23 kB.
	maxLeaf = 64 << 10
	// maxChunk bounds an encoded chunk that comes from a peer.
	maxChunk = chunkBytes + maxLeaf + 1024
	// MaxSnapshotChunks bounds the chunks of a snapshot: 128 million leaves.
	MaxSnapshotChunks = 16_000
	// maxManifest bounds a manifest: its chunks, its checkpoints, its history.
	// CometBFT carries at most 4 MB.
	maxManifest = MaxSnapshotChunks*34 + keptCheckpoints*verify.MaxCheckpointSize + verify.MaxHistorySize + 1024
	// maxSnapshotRecord is a manifest and as many keys.
	maxSnapshotRecord = maxManifest + MaxSnapshotChunks*34 + 64
)

// manifest is a snapshot's metadata, as it travels.
type manifest struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Height uint64
	Root   [32]byte // of the state after the block
	Leaves uint64
	// History is that of the blocks before this one. The newest of Checkpoints
	// has its root.
	History     verify.History
	Checkpoints []verify.Checkpoint // the newest, ascending, the last of the block before
	Chunks      [][32]byte          // SHA-256 of each chunk
}

// chunk is a run of leaves as it travels.
type chunk struct {
	_      struct{} `cbor:",toarray"`
	Leaves []leaf
}

type leaf struct {
	_     struct{} `cbor:",toarray"`
	Key   [32]byte
	Value []byte
}

// snapshotRecord is what a node keeps of a snapshot.
type snapshotRecord struct {
	_        struct{} `cbor:",toarray"`
	Height   uint64
	History  verify.History
	Manifest []byte     // empty until it is made
	First    [][32]byte // the first key of each chunk

	used time.Time // when somebody last asked for a chunk
}

// fetching is how long a snapshot counts as being fetched after each chunk: it is
// not let go meanwhile, or whoever fetches it would begin anew.
const fetching = time.Minute

func snapshotKey(h uint64) []byte { return append([]byte("n/"), height8(h)...) }

// SnapshotPolicy says which snapshots a node keeps for others.
type SnapshotPolicy struct {
	Every uint64 // one at each checkpoint whose number this divides; 0 for none
	Keep  int    // how many, the newest
}

// MaxSnapshots bounds SnapshotPolicy.Keep: CometBFT tells a peer of ten.
const MaxSnapshots = 10

// KeepSnapshots sets which snapshots are kept from the next checkpoint on. It
// must be called before the first block.
func (a *App) KeepSnapshots(p SnapshotPolicy) {
	p.Keep = min(p.Keep, MaxSnapshots)
	if p.Keep <= 0 {
		p.Every = 0
	}
	a.policy = p
}

// loadSnapshots reads what is kept of snapshots.
func (a *App) loadSnapshots() ([]*snapshotRecord, error) {
	list, err := a.store.Range([]byte("n/"), nil, 2*MaxSnapshots)
	if err != nil {
		return nil, err
	}
	_, _, marked := a.store.Heights()
	var out []*snapshotRecord
	for _, r := range list {
		s := &snapshotRecord{}
		if err := wire.Decode(r.Value, s, maxSnapshotRecord); err != nil {
			return nil, fmt.Errorf("snapshot record: %w", err)
		}
		if slices.Contains(marked, s.Height) {
			out = append(out, s)
		}
	}
	return out, nil
}

// turnSnapshots adds to what is written with a block that its height is kept for
// a snapshot, if one is due, and that older ones are let go. What it returns is
// to be called once that is written. Both are called under a.mu.
func (a *App) turnSnapshots(p *pendingBlock, also *store.Also) (written func()) {
	if p.due == nil || a.policy.Every == 0 || p.due.Number%a.policy.Every != 0 {
		return func() {}
	}
	s := &snapshotRecord{Height: p.mark.Height, History: a.last.History}
	also.Keep = append(also.Keep, s.Height)
	also.Records = append(also.Records, store.Record{Key: snapshotKey(s.Height), Value: wire.Encode(*s)})
	gone := a.snapshotsToGo(time.Now())
	for _, h := range gone {
		also.Release = append(also.Release, h)
		also.Records = append(also.Records, store.Record{Key: snapshotKey(h)})
	}
	return func() {
		for _, h := range gone { // one that was made in this moment
			a.beside = slices.DeleteFunc(a.beside, func(r store.Record) bool { return bytes.Equal(r.Key, snapshotKey(h)) })
		}
		stay := slices.DeleteFunc(slices.Clone(a.snapshots), func(s *snapshotRecord) bool { return slices.Contains(gone, s.Height) })
		a.snapshots = append(stay, s)
	}
}

// snapshotsToGo returns the heights of the snapshots to let go for a new one: the
// oldest beyond what the policy keeps, but for those that somebody is fetching,
// while there is room.
func (a *App) snapshotsToGo(now time.Time) (gone []uint64) {
	for _, s := range a.snapshots {
		left := len(a.snapshots) + 1 - len(gone)
		if left <= a.policy.Keep {
			break
		}
		if left > MaxSnapshots || now.Sub(s.used) > fetching {
			gone = append(gone, s.Height)
		}
	}
	return gone
}

// Snapshots returns the heights of the snapshots that others can fetch,
// ascending.
func (a *App) Snapshots() []uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []uint64
	for _, s := range a.snapshots {
		if len(s.Manifest) > 0 {
			out = append(out, s.Height)
		}
	}
	return out
}

// MakeSnapshots makes the manifests of snapshots as they become due, until the
// context ends. It reads each state once, beside consensus.
func (a *App) MakeSnapshots(ctx context.Context) {
	for {
		_, news := a.Last()
		for s := a.unmade(); s != nil && ctx.Err() == nil; s = a.unmade() {
			if err := a.makeSnapshot(ctx, s); err != nil {
				if ctx.Err() == nil && !errors.Is(err, store.ErrGone) {
					a.logger.Warn("snapshot not made", "height", s.Height, "err", err)
				}
				break
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// unmade returns the newest snapshot that has no manifest, or nil.
func (a *App) unmade() *snapshotRecord {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range slices.Backward(a.snapshots) {
		if len(s.Manifest) == 0 {
			return s
		}
	}
	return nil
}

// makeSnapshot makes the manifest of a snapshot. It is stored with the next
// block; if the process ends before, it is made again.
func (a *App) makeSnapshot(ctx context.Context, s *snapshotRecord) error {
	r, err := a.store.At(s.Height)
	if err != nil {
		return err
	}
	defer r.Close()
	m := manifest{Chain: a.chain, Height: s.Height, Root: r.Root(), History: s.History}
	if m.Checkpoints, err = a.checkpointsBefore(s.Height); err != nil {
		return err
	}
	made := &snapshotRecord{Height: s.Height, History: s.History}
	c := cutter{full: func(leaves []leaf) error {
		if len(m.Chunks) == MaxSnapshotChunks {
			return fmt.Errorf("it has more than %d chunks", MaxSnapshotChunks)
		}
		made.First = append(made.First, leaves[0].Key)
		m.Chunks = append(m.Chunks, sha256.Sum256(wire.Encode(chunk{Leaves: leaves})))
		m.Leaves += uint64(len(leaves))
		return ctx.Err()
	}}
	if err := r.Leaves(statetree.Key{}, c.add); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	made.Manifest = wire.Encode(m)
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.snapshots, func(s *snapshotRecord) bool { return s.Height == made.Height })
	if i < 0 {
		return store.ErrGone // meanwhile
	}
	a.snapshots[i] = made
	a.beside = append(a.beside, store.Record{Key: snapshotKey(made.Height), Value: wire.Encode(*made)})
	a.logger.Info("snapshot made", "height", made.Height, "leaves", m.Leaves, "chunks", len(m.Chunks))
	return nil
}

// checkpointsBefore returns the newest checkpoints of heights below this one,
// ascending.
func (a *App) checkpointsBefore(height uint64) ([]verify.Checkpoint, error) {
	p, ok := a.Params()
	if !ok {
		return nil, errors.New("the chain has no parameters yet")
	}
	newest := (height - 1) / p.Checkpoint
	var out []verify.Checkpoint
	for n := newest; n > 0 && newest-n < keptCheckpoints; n-- {
		c, ok, err := a.Checkpoint(n)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		out = append(out, c)
	}
	slices.Reverse(out)
	return out, nil
}

// cutter cuts a list of leaves into chunks.
type cutter struct {
	leaves []leaf
	bytes  int
	full   func([]leaf) error // takes a chunk; the slice is reused afterwards
}

func (c *cutter) add(key statetree.Key, value []byte) error {
	if len(value) > maxLeaf {
		return fmt.Errorf("leaf %v has %d bytes, a snapshot takes at most %d", key, len(value), maxLeaf)
	}
	size := leafOverhead + len(value)
	if len(c.leaves) == chunkLeaves || c.bytes+size > chunkBytes {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.leaves = append(c.leaves, leaf{Key: key, Value: slices.Clone(value)})
	c.bytes += size
	return nil
}

func (c *cutter) flush() error {
	if len(c.leaves) == 0 {
		return nil
	}
	err := c.full(c.leaves)
	c.leaves, c.bytes = c.leaves[:0], 0
	return err
}

// ListSnapshots implements abci.Application.
func (a *App) ListSnapshots(context.Context, *abci.RequestListSnapshots) (*abci.ResponseListSnapshots, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	res := &abci.ResponseListSnapshots{}
	for _, s := range a.snapshots {
		if len(s.Manifest) == 0 {
			continue
		}
		hash := sha256.Sum256(s.Manifest)
		res.Snapshots = append(res.Snapshots, &abci.Snapshot{
			Height: s.Height, Format: snapshotFormat, Chunks: uint32(len(s.First)), Hash: hash[:], Metadata: s.Manifest,
		})
	}
	return res, nil
}

// errChunkFull ends the reading of a chunk's leaves.
var errChunkFull = errors.New("chunk is full")

// LoadSnapshotChunk implements abci.Application. What is no longer kept, or never
// was, is answered with nothing, which tells the peer to ask another.
func (a *App) LoadSnapshotChunk(_ context.Context, req *abci.RequestLoadSnapshotChunk) (*abci.ResponseLoadSnapshotChunk, error) {
	first, ok := a.firstKey(req)
	if !ok {
		return &abci.ResponseLoadSnapshotChunk{}, nil
	}
	r, err := a.store.At(req.Height)
	if errors.Is(err, store.ErrGone) {
		return &abci.ResponseLoadSnapshotChunk{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot chunk: %w", err)
	}
	defer r.Close()
	var out []byte
	c := cutter{full: func(leaves []leaf) error {
		out = wire.Encode(chunk{Leaves: leaves})
		return errChunkFull
	}}
	err = r.Leaves(first, c.add)
	if err == nil {
		err = c.flush()
	}
	if err != nil && !errors.Is(err, errChunkFull) {
		return nil, fmt.Errorf("snapshot chunk: %w", err)
	}
	return &abci.ResponseLoadSnapshotChunk{Chunk: out}, nil
}

// firstKey returns the first key of the chunk that is asked for.
func (a *App) firstKey(req *abci.RequestLoadSnapshotChunk) (statetree.Key, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.snapshots {
		if s.Height == req.Height && req.Format == snapshotFormat && uint64(req.Chunk) < uint64(len(s.First)) {
			s.used = time.Now()
			return s.First[req.Chunk], true
		}
	}
	return statetree.Key{}, false
}
