package audit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/encoding"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/internal/audit"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// world is a chain in this process, of the app alone.
type world struct {
	t      *testing.T
	doc    *cmttypes.GenesisDoc
	params namesvc.Params
	app    *chain.App
	store  *store.Store
	height uint64
	time   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	p := namesvc.DevParams("confab-audit")
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 3
	var validators []cmttypes.GenesisValidator
	for i := range 4 {
		validators = append(validators, cmttypes.GenesisValidator{PubKey: secp256k1eth.GenPrivKeySecp256k1Eth([]byte{byte(i)}).PubKey(), Power: 10})
	}
	w := &world{t: t, params: p, time: time.Unix(1_800_000_000, 0).UTC()}
	var err error
	if w.doc, err = chain.Genesis(p, validators, w.time); err != nil {
		t.Fatal(err)
	}
	if w.store, err = store.Open("state", store.Options{Chain: p.Chain, FS: vfs.NewMem()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	if w.app, err = chain.New(w.store, p.Chain, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var updates []abci.ValidatorUpdate
	for _, v := range w.doc.Validators {
		pk, err := encoding.PubKeyToProto(v.PubKey)
		if err != nil {
			t.Fatal(err)
		}
		updates = append(updates, abci.ValidatorUpdate{PubKey: pk, Power: v.Power})
	}
	params := chain.ConsensusParams().ToProto()
	if _, err := w.app.InitChain(context.Background(), &abci.RequestInitChain{
		Time: w.time, ChainId: p.Chain, InitialHeight: 1, AppStateBytes: w.doc.AppState, Validators: updates, ConsensusParams: &params,
	}); err != nil {
		t.Fatal(err)
	}
	w.block()
	return w
}

func (w *world) block(ops ...[]byte) {
	w.t.Helper()
	w.height++
	w.time = w.time.Add(time.Second)
	hash := sha256.Sum256(fmt.Appendf(nil, "block %d", w.height))
	if _, err := w.app.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{Txs: ops, Hash: hash[:], Height: int64(w.height), Time: w.time}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.app.Commit(context.Background(), &abci.RequestCommit{}); err != nil {
		w.t.Fatal(err)
	}
}

// info is what somebody must know to make ops.
func (w *world) info() lightclient.ChainInfo {
	w.t.Helper()
	get := func(k namesvc.Key) []byte {
		b, err := w.store.Get(statetree.Key(k))
		if err != nil {
			w.t.Fatal(err)
		}
		return b
	}
	meter, err := namesvc.DecodeMeter(get(namesvc.MeterKey()))
	if err != nil {
		w.t.Fatal(err)
	}
	cp, err := namesvc.DecodeCheckpoint(get(namesvc.CheckpointKey(meter.Checkpoint)))
	if err != nil {
		w.t.Fatal(err)
	}
	return lightclient.ChainInfo{Params: w.params, Meter: meter, Checkpoint: cp, Proof: lightclient.Proof{Height: w.height, Time: w.time}}
}

// live lets people register, change and fail.
func (w *world) live() {
	w.t.Helper()
	for i := range 3 {
		u, err := testnet.NewUser(rand.Reader, w.params.Chain)
		if err != nil {
			w.t.Fatal(err)
		}
		commit, register, err := u.Registration(context.Background(), namesvc.Handle(fmt.Sprintf("person%d", i)), w.info())
		if err != nil {
			w.t.Fatal(err)
		}
		w.block(commit)
		w.block()
		w.block(register)
		update := u.Update([32]byte{byte(i)}, w.height+50)
		w.block(update, update, []byte("garbage"))
	}
	w.block()
}

func (w *world) rows() []chain.ExportRow {
	w.t.Helper()
	rows, more, err := w.app.Export(0)
	if err != nil || more {
		w.t.Fatal(more, err)
	}
	return rows
}

func begin(t *testing.T, doc *cmttypes.GenesisDoc) *audit.Auditor {
	t.Helper()
	a, err := audit.New(filepath.Join(t.TempDir(), "audit"), doc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestAuditor_ComesToTheRootsOfTheChain(t *testing.T) {
	w := newWorld(t)
	w.live()
	a := begin(t, w.doc)
	for _, r := range w.rows() {
		if err := a.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	if a.Root() != w.store.State().Root {
		t.Errorf("root %x, the chain has %x", a.Root(), w.store.State().Root)
	}
	if rows, ops := a.Count(); rows == 0 || ops != 15 {
		t.Errorf("%d rows, %d ops", rows, ops)
	}
	// It goes on as the chain does.
	height := a.Height()
	w.live()
	more, _, err := w.app.Export(height)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range more {
		if err := a.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	if a.Root() != w.store.State().Root {
		t.Errorf("root %x, the chain has %x", a.Root(), w.store.State().Root)
	}
}

// TestAuditor_NamesTheFirstBlockThatDiffers changes each row in each way in which a
// record can be wrong.
func TestAuditor_NamesTheFirstBlockThatDiffers(t *testing.T) {
	w := newWorld(t)
	w.live()
	good := w.rows()
	at := slices.IndexFunc(good, func(r chain.ExportRow) bool { return len(r.Block.Ops) == 3 }) // good, repeated, garbage
	for name, tc := range map[string]struct {
		change func(rows []chain.ExportRow) []chain.ExportRow
		after  int // how many rows after at it shows
	}{
		"another root":      {func(r []chain.ExportRow) []chain.ExportRow { r[at].Root[0] ^= 1; return r }, 0},
		"another seed":      {func(r []chain.ExportRow) []chain.ExportRow { r[at].Block.Seed[0] ^= 1; return r }, 0},
		"an op left out":    {func(r []chain.ExportRow) []chain.ExportRow { cut(&r[at], 0); return r }, 0},
		"a refusal as good": {func(r []chain.ExportRow) []chain.ExportRow { r[at].Block.Codes[1] = namesvc.Accepted; return r }, 0},
		"a receipt missing": {func(r []chain.ExportRow) []chain.ExportRow { r[at].Block.Codes = r[at].Block.Codes[:2]; return r }, 0},
		"another time":      {func(r []chain.ExportRow) []chain.ExportRow { r[at].Block.Time++; return r }, 0},
		"time goes back":    {func(r []chain.ExportRow) []chain.ExportRow { r[at].Block.Time = 5; return r }, 0},
		"height goes back":  {func(r []chain.ExportRow) []chain.ExportRow { r[at].Block.Height = 1; return r }, 0},
		"a row left out":    {func(r []chain.ExportRow) []chain.ExportRow { return slices.Delete(r, at, at+1) }, 1},
		"a row repeated":    {func(r []chain.ExportRow) []chain.ExportRow { return slices.Insert(r, at, r[at]) }, 0},
		"a false checkpoint": {func(r []chain.ExportRow) []chain.ExportRow {
			r[at].Block.Checkpoint = &namesvc.Checkpoint{Number: 900}
			return r
		}, 0},
		"a made-up fault": {func(r []chain.ExportRow) []chain.ExportRow {
			r[at].Block.Faults = []namesvc.Fault{{Key: [33]byte(w.doc.Validators[0].PubKey.Bytes()), Height: 1}}
			return r
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var rows []chain.ExportRow
			if err := wire.Decode(wire.Encode(good), &rows, 1<<20); err != nil {
				t.Fatal(err)
			}
			rows = tc.change(rows)
			want := rows[at].Block.Height
			if name == "a row repeated" {
				want = rows[at+1].Block.Height
			}
			a := begin(t, w.doc)
			for i, r := range rows {
				before := a.Root()
				err := a.Apply(r)
				if err == nil {
					continue
				}
				var d *audit.Difference
				if !errors.As(err, &d) || d.Height != want || wire.CodeOf(err) != wire.Conflict {
					t.Errorf("row %d, at %d: %v; want block %d", i, at, err, want)
				}
				if a.Root() != before {
					t.Error("a refused row has changed the state")
				}
				return
			}
			t.Error("it is not noticed")
		})
	}
}

// cut takes op i out of a row.
func cut(r *chain.ExportRow, i int) {
	r.Block.Ops, r.Block.Codes = slices.Delete(r.Block.Ops, i, i+1), slices.Delete(r.Block.Codes, i, i+1)
}

func TestNew_AnotherGenesisIsNotedAtTheFirstRow(t *testing.T) {
	w := newWorld(t)
	w.live()
	other := *w.doc
	other.GenesisTime = other.GenesisTime.Add(time.Second)
	a := begin(t, &other)
	var d *audit.Difference
	if err := a.Apply(w.rows()[0]); !errors.As(err, &d) {
		t.Errorf("%v", err)
	}
	bad := *w.doc
	bad.AppState = bytes.ReplaceAll(bad.AppState, []byte("confab-audit"), []byte("confab-other"))
	if _, err := audit.New(t.TempDir(), &bad); err == nil {
		t.Error("a genesis file that contradicts itself is taken")
	}
}
