package chain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Headers gives out verified headers to an app that takes a snapshot: the hash
// and time of its block are in no leaf.
type Headers interface {
	Header(ctx context.Context, height uint64) (verify.Header, error)
}

// Join lets an app without a block take a snapshot from peers. seed is the
// genesis file's, [Seed]: a snapshot of another chain than that file's is
// refused, whatever the headers say. It must be called before the first block.
func (a *App) Join(h Headers, seed [32]byte) { a.headers, a.seed = h, seed }

// restoring is a snapshot on its way into the store. It belongs to the snapshot
// connection.
type restoring struct {
	manifest manifest
	mark     Mark // of its block
	restore  *store.Restore
	next     uint32                   // the chunk that comes next
	wanted   map[statetree.Key][]byte // leaves that bind what lies beside the tree
}

// headerPatience bounds the wait for a verified header.
const headerPatience = 30 * time.Second

// OfferSnapshot implements abci.Application. CometBFT has the app hash from the
// verified header of the next block.
func (a *App) OfferSnapshot(ctx context.Context, req *abci.RequestOfferSnapshot) (*abci.ResponseOfferSnapshot, error) {
	answer := func(r abci.ResponseOfferSnapshot_Result, why error) (*abci.ResponseOfferSnapshot, error) {
		if why != nil {
			a.logger.Warn("snapshot refused", "height", req.Snapshot.GetHeight(), "why", why)
		}
		return &abci.ResponseOfferSnapshot{Result: r}, nil
	}
	s := req.Snapshot
	switch {
	case a.headers == nil || a.store.State().Height > 0:
		return answer(abci.ResponseOfferSnapshot_ABORT, errors.New("this node has a state already"))
	case s == nil:
		return answer(abci.ResponseOfferSnapshot_REJECT, errors.New("there is none"))
	case s.Format != snapshotFormat:
		return answer(abci.ResponseOfferSnapshot_REJECT_FORMAT, fmt.Errorf("format %d is unknown to this program", s.Format))
	}
	m, err := a.readManifest(s, req.AppHash)
	if err != nil {
		return answer(abci.ResponseOfferSnapshot_REJECT_SENDER, err)
	}
	ctx, cancel := context.WithTimeout(ctx, headerPatience)
	defer cancel()
	header, err := a.headers.Header(ctx, m.Height)
	if err != nil {
		return answer(abci.ResponseOfferSnapshot_REJECT, err)
	}
	if err := a.beginRestore(m, header); err != nil {
		return nil, fmt.Errorf("take snapshot of height %d: %w", m.Height, err)
	}
	a.logger.Info("taking a snapshot", "height", m.Height, "leaves", m.Leaves, "chunks", len(m.Chunks))
	return answer(abci.ResponseOfferSnapshot_ACCEPT, nil)
}

// readManifest reads a snapshot's metadata and checks what can be checked before
// its leaves are here.
func (a *App) readManifest(s *abci.Snapshot, appHash []byte) (manifest, error) {
	var m manifest
	if sum := sha256.Sum256(s.Metadata); !bytes.Equal(sum[:], s.Hash) {
		return m, errors.New("its hash is not that of its manifest")
	}
	if err := wire.Decode(s.Metadata, &m, maxManifest); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	switch {
	case m.Chain != a.chain:
		return m, fmt.Errorf("it is of chain %.60q, not of %q", m.Chain, a.chain)
	case m.Height != s.Height || m.Height < 2:
		return m, fmt.Errorf("its manifest is of height %d", m.Height)
	case len(m.Chunks) == 0 || len(m.Chunks) > MaxSnapshotChunks || uint32(len(m.Chunks)) != s.Chunks:
		return m, fmt.Errorf("its manifest lists %d chunks, it has %d", len(m.Chunks), s.Chunks)
	case !bytes.Equal(m.Root[:], appHash):
		return m, fmt.Errorf("its root is %x, the chain's is %x", m.Root, appHash)
	case len(m.Checkpoints) == 0 || len(m.Checkpoints) > keptCheckpoints:
		return m, fmt.Errorf("it has %d checkpoints", len(m.Checkpoints))
	}
	newest := m.Checkpoints[len(m.Checkpoints)-1]
	if newest.Height+1 != m.Height || m.History.Size() != newest.Height || m.History.Root() != newest.HistoryRoot {
		return m, errors.New("its history is not that of its newest checkpoint")
	}
	return m, nil
}

func (a *App) beginRestore(m manifest, h verify.Header) error {
	if err := a.Abandon(); err != nil {
		return err
	}
	into, err := a.store.Restore(m.Height)
	if err != nil {
		return err
	}
	hash := h.Hash()
	r := &restoring{
		manifest: m, restore: into, wanted: map[statetree.Key][]byte{statetree.Key(namesvc.CheckpointKey(0)): nil},
		mark: Mark{Height: m.Height, Time: uint64(h.Time.Std().Unix()), Hash: hash, History: m.History.Append(hash)},
	}
	for _, c := range m.Checkpoints {
		r.wanted[statetree.Key(namesvc.CheckpointKey(c.Number))] = nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taking = r
	return nil
}

// Abandon takes back what there is of a snapshot that is not complete.
func (a *App) Abandon() error {
	a.mu.Lock()
	r := a.taking
	a.taking = nil
	a.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.restore.Abort()
}

// Taking returns how much of a snapshot has come: chunks done of all, 0 of 0
// while none is being taken.
func (a *App) Taking() (height uint64, done, chunks int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.taking == nil {
		return 0, 0, 0
	}
	return a.taking.manifest.Height, int(a.taking.next), len(a.taking.manifest.Chunks)
}

// ApplySnapshotChunk implements abci.Application. A chunk that is not the one the
// manifest names is thrown away, fetched again from another peer, and its sender
// asked no more. If all chunks are, and the whole is not what the root and the
// newest checkpoint bind, the snapshot was a lie, and nothing of it is left.
func (a *App) ApplySnapshotChunk(_ context.Context, req *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	a.mu.Lock()
	r := a.taking
	a.mu.Unlock()
	if r == nil {
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ABORT}, nil
	}
	if req.Index != r.next || sha256.Sum256(req.Chunk) != r.manifest.Chunks[req.Index] {
		a.logger.Warn("snapshot chunk is not the one asked for; another peer is asked", "chunk", req.Index, "bytes", len(req.Chunk), "sender", req.Sender)
		res := &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_RETRY, RefetchChunks: []uint32{req.Index}}
		if req.Sender != "" {
			res.RejectSenders = []string{req.Sender}
		}
		return res, nil
	}
	err := r.add(req.Chunk)
	if err == nil {
		a.mu.Lock()
		r.next++
		a.mu.Unlock()
		if int(r.next) < len(r.manifest.Chunks) {
			return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ACCEPT}, nil
		}
		err = a.finishRestore(r)
	}
	if err == nil {
		a.logger.Info("snapshot taken", "height", r.manifest.Height, "leaves", r.restore.Leaves())
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ACCEPT}, nil
	}
	if broken := a.Abandon(); broken != nil || errors.Is(err, store.ErrBroken) || errors.Is(err, store.ErrClosed) {
		return nil, fmt.Errorf("take snapshot: %w", errors.Join(err, broken))
	}
	a.logger.Warn("snapshot refused", "height", r.manifest.Height, "why", err)
	return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT}, nil
}

// add puts a chunk's leaves into the store.
func (r *restoring) add(b []byte) error {
	var c chunk
	if err := wire.Decode(b, &c, maxChunk); err != nil {
		return fmt.Errorf("chunk %d: %w", r.next, err)
	}
	for _, l := range c.Leaves {
		key := statetree.Key(l.Key)
		if _, ok := r.wanted[key]; ok {
			r.wanted[key] = l.Value
		}
		if err := r.restore.Add(key, l.Value); err != nil {
			return fmt.Errorf("chunk %d: %w", r.next, err)
		}
	}
	return nil
}

// finishRestore makes a snapshot the app's state, if it is what it says.
func (a *App) finishRestore(r *restoring) error {
	m := &r.manifest
	if r.restore.Leaves() != m.Leaves {
		return fmt.Errorf("it has %d leaves, its manifest says %d", r.restore.Leaves(), m.Leaves)
	}
	first, err := namesvc.DecodeCheckpoint(r.wanted[statetree.Key(namesvc.CheckpointKey(0))])
	if err != nil || first.Digest != a.seed {
		return errors.New("it is of a chain that began otherwise than the genesis file says")
	}
	records := []store.Record{
		{Key: markKey, Value: wire.Encode(r.mark)},
		{Key: fromKey, Value: height8(m.Height + 1)},
	}
	for _, c := range m.Checkpoints {
		leaf, err := namesvc.DecodeCheckpoint(r.wanted[statetree.Key(namesvc.CheckpointKey(c.Number))])
		if err != nil || leaf != *a.lawCheckpoint(&c) {
			return fmt.Errorf("checkpoint %d is not the one in its state", c.Number)
		}
		records = append(records, store.Record{Key: checkpointKey(c.Number), Value: wire.Encode(c)})
	}
	if err := r.restore.Commit(m.Root, records); err != nil {
		return err
	}
	a.mu.Lock()
	a.taking = nil
	a.mu.Unlock()
	a.leaves.forget()
	return a.load()
}

// Discard empties the state of a node that took a snapshot and whose CometBFT
// did not come to know of it: the next snapshot can then be taken.
func (a *App) Discard() error {
	if err := a.store.Reset(); err != nil {
		return fmt.Errorf("discard state: %w", err)
	}
	a.leaves.forget()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last, a.params, a.sealed, a.snapshots, a.from, a.rules = Mark{}, nil, 0, nil, 0, namesvc.FirstRules
	return nil
}

// readFrom reads what From returns, 0 for 1.
func (a *App) readFrom() (uint64, error) {
	b, err := a.store.Record(fromKey)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, errors.New("the record of where the history begins is damaged")
	}
	return binary.BigEndian.Uint64(b), nil
}

// From returns the height from which this node has the record of blocks, ops and
// receipts: 1, or where it joined.
func (a *App) From() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(1, a.from)
}

// Missing reports whether an account has ops after a sequence that this node does
// not have, given whether it has later ones.
func (a *App) Missing(id namesvc.AccountID, after uint64, later bool) (bool, error) {
	if later {
		return true, nil
	}
	b, err := a.view().Get(namesvc.AccountKey(id))
	if err != nil || b == nil {
		return false, err
	}
	e, err := namesvc.DecodeEntry(b)
	return err == nil && e.Seq > after, err
}

// Sealed returns the number of the newest checkpoint whose seals this node has, 0
// for none.
func (a *App) Sealed() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sealed
}
