package chain_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// relay gives the same blocks, with true headers, to several apps.
type relay struct {
	t       testing.TB
	params  namesvc.Params
	height  uint64
	headers map[uint64]verify.Header
	root    [32]byte
}

// Header implements chain.Headers.
func (r *relay) Header(_ context.Context, height uint64) (verify.Header, error) {
	h, ok := r.headers[height]
	if !ok {
		return h, errors.New("no such header")
	}
	return h, nil
}

// next makes the header of the next block, which carries the root before it.
func (r *relay) next(at uint64) (verify.Header, time.Time) {
	r.height++
	now := time.Unix(int64(at), 5000)
	h := verify.Header{BlockVersion: 11, ChainID: r.params.Chain, Height: r.height, Time: verify.TimeOf(now), AppHash: r.root}
	r.headers[r.height] = h
	return h, now
}

// block gives a block to apps, which must agree on its root.
func (r *relay) block(apps []*chain.App, ops ...[]byte) {
	r.t.Helper()
	h, now := r.next(begins + r.height + 1)
	hash := h.Hash()
	for i, app := range apps {
		res, err := app.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Txs: ops, Hash: hash[:], Height: int64(r.height), Time: now})
		if err != nil {
			r.t.Fatal(err)
		}
		if i > 0 && [32]byte(res.AppHash) != r.root {
			r.t.Fatalf("block %d: app %d has another root", r.height, i)
		}
		r.root = [32]byte(res.AppHash)
		if _, err := app.Commit(ctx, &abci.RequestCommit{}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// fill puts n made-up leaves into the state, as a block without ops.
func (r *relay) fill(m *machine, n int) {
	r.t.Helper()
	changes := make([]statetree.Change, n)
	for i := range changes {
		key := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
		changes[i] = statetree.Change{Key: key, Value: bytes.Repeat(key[:1], 100+int(key[1]))}
	}
	slices.SortFunc(changes, func(a, b statetree.Change) int { return a.Key.Compare(b.Key) })
	last, _ := m.app.Last()
	h, now := r.next(begins + r.height + 1)
	p, err := m.store.Prepare(r.height, changes)
	if err != nil {
		r.t.Fatal(err)
	}
	mark := chain.Mark{Height: r.height, Time: uint64(now.Unix()), Hash: h.Hash(), History: last.History.Append(h.Hash())}
	if err := p.Commit(store.Also{Records: chain.MarkRecord(mark)}); err != nil {
		r.t.Fatal(err)
	}
	r.root = m.store.State().Root
	m.open2(r.t)
}

// open2 makes the app anew over the open store.
func (m *machine) open2(t testing.TB) {
	t.Helper()
	app, err := chain.New(m.store, m.params.Chain, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m.app = app
}

const testInterval = 4

// giver is a machine with 20,000 leaves and a snapshot of height 9.
func giver(t testing.TB) (*machine, *relay) {
	t.Helper()
	p := testParams()
	p.Checkpoint = testInterval
	m := newMachine(t, p)
	m.twin = nil
	r := &relay{t: t, params: p, headers: map[uint64]verify.Header{}}
	r.block([]*chain.App{m.app})
	r.fill(m, 20_000)
	m.app.KeepSnapshots(chain.SnapshotPolicy{Every: 2, Keep: 1})
	for r.height < 9 {
		r.block([]*chain.App{m.app})
	}
	m.makeSnapshots(t, 9)
	m.height = r.height
	return m, r
}

// makeSnapshots lets the app make its snapshots until that of a height is there.
func (m *machine) makeSnapshots(t testing.TB, height uint64) {
	t.Helper()
	going, leave := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { m.app.MakeSnapshots(going); close(done) }()
	for deadline := time.Now().Add(10 * time.Second); !slices.Contains(m.app.Snapshots(), height); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there is no snapshot of height %d: %v", height, m.app.Snapshots())
		}
	}
	leave()
	<-done
}

// newcomer is a machine without a block that may take a snapshot.
func newcomer(t testing.TB, r *relay) *machine {
	t.Helper()
	m := &machine{params: r.params, time: begins}
	m.fs = vfs.NewMem()
	m.open(t)
	m.app.KeepSnapshots(chain.SnapshotPolicy{Every: 1, Keep: 3})
	m.app.Join(r, chain.Seed(r.params, time.Unix(begins, 0)))
	return m
}

// offered is the giver's newest snapshot.
func (m *machine) offered(t testing.TB) *abci.Snapshot {
	t.Helper()
	res, err := m.app.ListSnapshots(ctx, &abci.RequestListSnapshots{})
	if err != nil || len(res.Snapshots) == 0 {
		t.Fatalf("%d snapshots, %v", len(res.Snapshots), err)
	}
	return res.Snapshots[len(res.Snapshots)-1]
}

func (m *machine) chunk(t testing.TB, s *abci.Snapshot, i uint32) []byte {
	t.Helper()
	res, err := m.app.LoadSnapshotChunk(ctx, &abci.RequestLoadSnapshotChunk{Height: s.Height, Format: s.Format, Chunk: i})
	if err != nil {
		t.Fatal(err)
	}
	return res.Chunk
}

func (m *machine) offer(t testing.TB, s *abci.Snapshot, root [32]byte) abci.ResponseOfferSnapshot_Result {
	t.Helper()
	res, err := m.app.OfferSnapshot(ctx, &abci.RequestOfferSnapshot{Snapshot: s, AppHash: root[:]})
	if err != nil {
		t.Fatal(err)
	}
	return res.Result
}

func (m *machine) apply(t testing.TB, i uint32, chunk []byte) *abci.ResponseApplySnapshotChunk {
	t.Helper()
	res, err := m.app.ApplySnapshotChunk(ctx, &abci.RequestApplySnapshotChunk{Index: i, Chunk: chunk, Sender: "somebody"})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// take takes the giver's snapshot whole and returns the last answer.
func (m *machine) take(t testing.TB, from *machine, s *abci.Snapshot) abci.ResponseApplySnapshotChunk_Result {
	t.Helper()
	last := abci.ResponseApplySnapshotChunk_UNKNOWN
	for i := range s.Chunks {
		last = m.apply(t, i, from.chunk(t, s, i)).Result
		if last != abci.ResponseApplySnapshotChunk_ACCEPT {
			break
		}
	}
	return last
}

// empty checks that the machine has nothing, now and after a restart.
func (m *machine) empty(t testing.TB) {
	t.Helper()
	for range 2 {
		if last, _ := m.app.Last(); last.Height != 0 || m.store.State() != (store.State{}) {
			t.Fatalf("height %d is left", m.store.State().Height)
		}
		if list, err := m.store.Range(nil, nil, 10); len(list) > 0 || err != nil {
			t.Fatalf("%d records are left, %v", len(list), err)
		}
		m.restart(t)
	}
}

func TestSnapshot_GivesAnAppThatGoesOnLikeTheOthers(t *testing.T) {
	old, r := giver(t)
	s := old.offered(t)
	if s.Height != 9 || s.Chunks < 2 {
		t.Fatalf("snapshot of height %d in %d chunks", s.Height, s.Chunks)
	}
	m := newcomer(t, r)
	if got := m.offer(t, s, r.root); got != abci.ResponseOfferSnapshot_ACCEPT {
		t.Fatal(got)
	}
	if got := m.take(t, old, s); got != abci.ResponseApplySnapshotChunk_ACCEPT {
		t.Fatal(got)
	}
	want, _ := old.app.Last()
	if got, _ := m.app.Last(); !bytes.Equal(wire.Encode(got), wire.Encode(want)) {
		t.Errorf("its newest block is %+v, the others' %+v", got, want)
	}
	if m.app.From() != 10 || old.app.From() != 1 {
		t.Errorf("it has the history from height %d", m.app.From())
	}
	// A day in the life of both: roots, checkpoints, vote extensions, and the
	// next snapshot, which must be the same.
	apps := []*chain.App{old.app, m.app}
	for r.height < 17 {
		r.block(apps)
		var ext [][]byte
		for _, a := range apps {
			res, err := a.ExtendVote(ctx, &abci.RequestExtendVote{Height: int64(r.height + 1)})
			if err != nil {
				t.Fatal(err)
			}
			ext = append(ext, res.VoteExtension)
		}
		if !bytes.Equal(ext[0], ext[1]) {
			t.Errorf("height %d: it seals %x, the other %x", r.height, ext[1], ext[0])
		}
	}
	for n := uint64(1); n <= 4; n++ {
		a, _, err := old.app.Checkpoint(n)
		b, ok, berr := m.app.Checkpoint(n)
		if a != b || !ok || err != nil || berr != nil {
			t.Errorf("checkpoint %d: %+v, the other has %+v", n, b, a)
		}
	}
	old.makeSnapshots(t, 17)
	m.makeSnapshots(t, 17)
	list, err := m.app.ListSnapshots(ctx, &abci.RequestListSnapshots{})
	if err != nil {
		t.Fatal(err)
	}
	next := old.offered(t)
	if got := list.Snapshots[len(list.Snapshots)-1]; !bytes.Equal(got.Hash, next.Hash) || next.Height != 17 {
		t.Errorf("the snapshot of one is %x, of the other %x", got.Hash, next.Hash)
	}
	if old.chunk(t, s, 0) == nil {
		t.Error("a snapshot that somebody fetches is let go")
	}
	m.restart(t)
	if m.app.From() != 10 {
		t.Errorf("after a restart it has the history from height %d", m.app.From())
	}
	m.makeSnapshots(t, 13)
	if err := m.store.Check(); err != nil {
		t.Error(err)
	}
}

func TestSnapshot_ABadChunkIsFetchedAgainFromAnother(t *testing.T) {
	old, r := giver(t)
	s := old.offered(t)
	m := newcomer(t, r)
	if got := m.offer(t, s, r.root); got != abci.ResponseOfferSnapshot_ACCEPT {
		t.Fatal(got)
	}
	for i := range s.Chunks {
		good := old.chunk(t, s, i)
		touched := bytes.Clone(good)
		touched[len(touched)/2] ^= 1
		for name, bad := range map[string][]byte{"empty": nil, "cut": good[:len(good)-1], "touched": touched, "another": old.chunk(t, s, (i+1)%s.Chunks)} {
			res := m.apply(t, i, bad)
			if res.Result != abci.ResponseApplySnapshotChunk_RETRY || !slices.Equal(res.RefetchChunks, []uint32{i}) || !slices.Equal(res.RejectSenders, []string{"somebody"}) {
				t.Errorf("%s chunk %d: %v", name, i, res)
			}
		}
		if res := m.apply(t, i, good); res.Result != abci.ResponseApplySnapshotChunk_ACCEPT || len(res.RejectSenders) > 0 {
			t.Fatalf("the good chunk %d: %v", i, res)
		}
	}
	if last, _ := m.app.Last(); last.Height != 9 {
		t.Errorf("it is at height %d", last.Height)
	}
}

// TestSnapshot_LiesAreRefusedAndLeaveNothing offers snapshots whose manifest
// says other things than the chain.
func TestSnapshot_LiesAreRefusedAndLeaveNothing(t *testing.T) {
	old, r := giver(t)
	good := old.offered(t)
	const (
		reject = abci.ResponseOfferSnapshot_REJECT
		sender = abci.ResponseOfferSnapshot_REJECT_SENDER
		accept = abci.ResponseOfferSnapshot_ACCEPT
	)
	for name, tc := range map[string]struct {
		change func(*chain.Manifest)
		raw    func(*abci.Snapshot)
		want   abci.ResponseOfferSnapshot_Result
	}{
		"another chain":          {func(m *chain.Manifest) { m.Chain = "another" }, nil, sender},
		"another height":         {func(m *chain.Manifest) { m.Height++ }, nil, sender},
		"another root":           {func(m *chain.Manifest) { m.Root[0]++ }, nil, sender},
		"no chunks":              {func(m *chain.Manifest) { m.Chunks = nil }, func(s *abci.Snapshot) { s.Chunks = 0 }, sender},
		"other count of chunks":  {nil, func(s *abci.Snapshot) { s.Chunks++ }, sender},
		"no checkpoint":          {func(m *chain.Manifest) { m.Checkpoints = nil }, nil, sender},
		"another history":        {func(m *chain.Manifest) { m.History = m.History.Append([32]byte{}) }, nil, sender},
		"older checkpoint last":  {func(m *chain.Manifest) { m.Checkpoints = m.Checkpoints[:1] }, nil, sender},
		"garbage":                {nil, func(s *abci.Snapshot) { s.Metadata = []byte("garbage"); rehash(s) }, sender},
		"hash of something else": {nil, func(s *abci.Snapshot) { s.Hash[0] ^= 1 }, sender},
		"another format":         {nil, func(s *abci.Snapshot) { s.Format = 2 }, abci.ResponseOfferSnapshot_REJECT_FORMAT},
		"a height without header": {func(m *chain.Manifest) {
			m.Height, m.Checkpoints[1].Height, m.Checkpoints[1].HistoryRoot = 1000, 999, m.History.Root()
			for m.History.Size() < 999 {
				m.History = m.History.Append([32]byte{})
			}
			m.Checkpoints[1].HistoryRoot = m.History.Root()
		}, func(s *abci.Snapshot) { s.Height = 1000 }, reject},
		// These can be seen only at the end.
		"a checkpoint of its own": {func(m *chain.Manifest) { m.Checkpoints[1].InboxCount++ }, nil, accept},
		"an older one of its own": {func(m *chain.Manifest) { m.Checkpoints[0].AppHash[3]++ }, nil, accept},
		"another count of leaves": {func(m *chain.Manifest) { m.Leaves-- }, nil, accept},
		"a history of its own": {func(m *chain.Manifest) {
			h := verify.History{}
			for range m.History.Size() {
				h = h.Append([32]byte{1})
			}
			m.History, m.Checkpoints[1].HistoryRoot = h, h.Root()
		}, nil, accept},
	} {
		t.Run(name, func(t *testing.T) {
			s := *good
			s.Hash, s.Metadata = bytes.Clone(s.Hash), bytes.Clone(s.Metadata)
			if tc.change != nil {
				var m chain.Manifest
				if err := wire.Decode(s.Metadata, &m, 1<<20); err != nil {
					t.Fatal(err)
				}
				tc.change(&m)
				s.Metadata = wire.Encode(m)
				rehash(&s)
			}
			if tc.raw != nil {
				tc.raw(&s)
			}
			m := newcomer(t, r)
			if got := m.offer(t, &s, r.root); got != tc.want {
				t.Fatalf("offered: %v", got)
			}
			if tc.want == accept {
				if got := m.take(t, old, good); got != abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT {
					t.Fatalf("taken: %v", got)
				}
			}
			m.empty(t)
		})
	}
}

func rehash(s *abci.Snapshot) { h := sha256.Sum256(s.Metadata); s.Hash = h[:] }

// TestSnapshot_ChunksThatMakeAnotherTree have the hashes that a lying manifest
// names, and are out of order, or lack a leaf, or hold one too many.
func TestSnapshot_ChunksThatMakeAnotherTree(t *testing.T) {
	old, r := giver(t)
	good := old.offered(t)
	for name, change := range map[string]func(c *chain.Chunk){
		"a leaf too few":  func(c *chain.Chunk) { c.Leaves = c.Leaves[1:] },
		"another value":   func(c *chain.Chunk) { c.Leaves[5].Value = []byte("mine") },
		"an empty value":  func(c *chain.Chunk) { c.Leaves[5].Value = nil },
		"out of order":    func(c *chain.Chunk) { c.Leaves[0], c.Leaves[1] = c.Leaves[1], c.Leaves[0] },
		"a leaf repeated": func(c *chain.Chunk) { c.Leaves[1] = c.Leaves[0] },
	} {
		t.Run(name, func(t *testing.T) {
			var m chain.Manifest
			if err := wire.Decode(good.Metadata, &m, 1<<20); err != nil {
				t.Fatal(err)
			}
			var chunks [][]byte
			for i := range good.Chunks {
				chunks = append(chunks, old.chunk(t, good, i))
			}
			var c chain.Chunk
			if err := wire.Decode(chunks[1], &c, 5<<20); err != nil {
				t.Fatal(err)
			}
			n := len(c.Leaves)
			change(&c)
			chunks[1] = wire.Encode(c)
			m.Leaves += uint64(len(c.Leaves) - n)
			m.Chunks[1] = sha256.Sum256(chunks[1])
			s := *good
			s.Metadata = wire.Encode(m)
			rehash(&s)
			taker := newcomer(t, r)
			if got := taker.offer(t, &s, r.root); got != abci.ResponseOfferSnapshot_ACCEPT {
				t.Fatal(got)
			}
			var last abci.ResponseApplySnapshotChunk_Result
			for i, b := range chunks {
				if last = taker.apply(t, uint32(i), b).Result; last != abci.ResponseApplySnapshotChunk_ACCEPT {
					break
				}
			}
			if last != abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT {
				t.Errorf("%v", last)
			}
			// The true one can be taken afterwards.
			if got := taker.offer(t, good, r.root); got != abci.ResponseOfferSnapshot_ACCEPT {
				t.Fatal(got)
			}
			if got := taker.take(t, old, good); got != abci.ResponseApplySnapshotChunk_ACCEPT {
				t.Fatal(got)
			}
		})
	}
}

func TestSnapshot_OneOfAnotherGenesisIsRefused(t *testing.T) {
	old, r := giver(t)
	s := old.offered(t)
	m := newcomer(t, r)
	m.app.Join(r, [32]byte{1})
	if got := m.offer(t, s, r.root); got != abci.ResponseOfferSnapshot_ACCEPT {
		t.Fatal(got)
	}
	if got := m.take(t, old, s); got != abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT {
		t.Error(got)
	}
	m.empty(t)
}

func TestSnapshot_OneThatIsAbandonedLeavesNothing(t *testing.T) {
	old, r := giver(t)
	s := old.offered(t)
	for name, end := range map[string]func(m *machine){
		"abandoned":     func(m *machine) { m.app.Abandon() },
		"another offer": func(m *machine) { m.offer(t, s, r.root); m.app.Abandon() },
		"a crash":       func(m *machine) { m.restart(t) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newcomer(t, r)
			m.offer(t, s, r.root)
			m.apply(t, 0, old.chunk(t, s, 0))
			if height, done, of := m.app.Taking(); height != 9 || done != 1 || of != int(s.Chunks) {
				t.Errorf("%d of %d chunks of height %d", done, of, height)
			}
			end(m)
			m.empty(t)
		})
	}
}

func TestSnapshot_IsNotTakenOverAState(t *testing.T) {
	old, r := giver(t)
	s := old.offered(t)
	m, _ := giver(t)
	m.app.Join(r, [32]byte{})
	if got := m.offer(t, s, r.root); got != abci.ResponseOfferSnapshot_ABORT {
		t.Error(got)
	}
	if res := m.apply(t, 0, old.chunk(t, s, 0)); res.Result != abci.ResponseApplySnapshotChunk_ABORT {
		t.Error(res)
	}
}

// TestSnapshot_IsMadeAgainAfterARestart: one that was due when the process ended.
func TestSnapshot_IsMadeAgainAfterARestart(t *testing.T) {
	old, r := giver(t)
	for r.height < 17 {
		r.block([]*chain.App{old.app})
	}
	if got := old.app.Snapshots(); len(got) != 0 {
		t.Fatalf("made already: %v", got)
	}
	old.restart(t)
	old.makeSnapshots(t, 17)
	old.restart(t) // before a block stored it
	old.makeSnapshots(t, 17)
	r.block([]*chain.App{old.app})
	old.restart(t)
	if got := old.app.Snapshots(); !slices.Equal(got, []uint64{17}) {
		t.Errorf("after a restart: %v", got)
	}
}

// TestSnapshots_AreLetGoUnlessSomebodyFetchesThem: of those that nobody asks for
// the newest stay, and of those that somebody does no more than fit.
func TestSnapshots_AreLetGoUnlessSomebodyFetchesThem(t *testing.T) {
	old, r := giver(t) // keeps one
	for r.height < 17 {
		r.block([]*chain.App{old.app})
	}
	old.makeSnapshots(t, 17)
	if got := old.app.Snapshots(); !slices.Equal(got, []uint64{17}) {
		t.Fatalf("nobody fetches, and there are %v", got)
	}
	for k := range uint64(12) {
		s := old.offered(t)
		if old.chunk(t, s, 0) == nil {
			t.Fatalf("no chunk of height %d", s.Height)
		}
		for r.height < s.Height+8 {
			r.block([]*chain.App{old.app})
		}
		old.makeSnapshots(t, s.Height+8)
		if got := old.app.Snapshots(); len(got) != min(int(k)+2, chain.MaxSnapshots) {
			t.Errorf("all are fetched, and there are %v", got)
		}
	}
	if _, _, marked := old.store.Heights(); len(marked) != chain.MaxSnapshots+int(r.height-1)/testInterval {
		t.Errorf("at height %d the store keeps %v", r.height, marked)
	}
}

func TestLoadSnapshotChunk_AnswersOnlyWhatItHas(t *testing.T) {
	old, _ := giver(t)
	s := old.offered(t)
	for _, req := range []abci.RequestLoadSnapshotChunk{
		{Height: s.Height, Format: 1, Chunk: s.Chunks}, {Height: s.Height, Format: 1, Chunk: 1<<32 - 1},
		{Height: s.Height, Format: 2}, {Height: s.Height + 1, Format: 1}, {Height: 1 << 63, Format: 1}, {},
	} {
		res, err := old.app.LoadSnapshotChunk(ctx, &req)
		if err != nil || res.Chunk != nil {
			t.Errorf("%v: %d bytes, %v", req, len(res.Chunk), err)
		}
	}
	total := 0
	for i := range s.Chunks {
		b := old.chunk(t, s, i)
		if total += len(b); len(b) > 5<<20 {
			t.Errorf("chunk %d has %d bytes", i, len(b))
		}
	}
	if !strings.Contains(fmt.Sprint(s.Chunks), "3") || total < 20_000*100 {
		t.Errorf("%d chunks of %d bytes", s.Chunks, total)
	}
}

// FuzzManifest offers made-up metadata.
func FuzzManifest(f *testing.F) {
	r := &relay{t: f, params: testParams(), headers: map[uint64]verify.Header{}}
	m := newcomer(f, r)
	var h verify.History
	for range 8 {
		h = h.Append([32]byte{})
	}
	f.Add(wire.Encode(chain.Manifest{
		Chain: r.params.Chain, Height: 9, Leaves: 3, History: h, Chunks: [][32]byte{{1}, {2}, {3}},
		Checkpoints: []verify.Checkpoint{{Number: 2, Height: 8, HistoryRoot: h.Root()}},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &abci.Snapshot{Height: 9, Format: 1, Chunks: 3, Metadata: b}
		rehash(s)
		// There is no header, so that the best answer is to leave it.
		res, err := m.app.OfferSnapshot(ctx, &abci.RequestOfferSnapshot{Snapshot: s, AppHash: r.root[:]})
		if err != nil || res.Result == abci.ResponseOfferSnapshot_ACCEPT {
			t.Fatal(res, err)
		}
		var got chain.Manifest
		if wire.Decode(b, &got, 1<<20) == nil && !bytes.Equal(wire.Encode(got), b) {
			t.Errorf("%x is not the only encoding of its value", b)
		}
	})
}
