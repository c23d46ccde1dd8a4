package node

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	cmtcfg "github.com/cometbft/cometbft/config"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	sm "github.com/cometbft/cometbft/state"
	cmtstore "github.com/cometbft/cometbft/store"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/wire"
)

// databases are CometBFT's. They are opened here, so that they can be looked at
// before CometBFT acts on them, and closed if it never starts.
type databases struct {
	config *cmtcfg.Config
	open   map[string]dbm.DB

	figures *prometheus.Registry // CometBFT's own, if they are counted

	blocks *cmtstore.BlockStore // as they were when it was opened
	states sm.Store
}

func openDatabases(config *cmtcfg.Config) (*databases, error) {
	d := &databases{config: config, open: map[string]dbm.DB{}, figures: prometheus.NewRegistry()}
	for _, id := range []string{"blockstore", "state", "evidence"} {
		if _, err := d.provide(&cmtcfg.DBContext{ID: id, Config: config}); err != nil {
			d.close()
			return nil, fmt.Errorf("open %s of %s: %w", id, cometData, err)
		}
	}
	d.blocks = cmtstore.NewBlockStore(d.open["blockstore"])
	d.states = sm.NewStore(d.open["state"], sm.StoreOptions{DiscardABCIResponses: true})
	return d, nil
}

// provide implements CometBFT's DBProvider.
func (d *databases) provide(ctx *cmtcfg.DBContext) (dbm.DB, error) {
	if db, ok := d.open[ctx.ID]; ok {
		return db, nil
	}
	db, err := cmtcfg.DefaultDBProvider(ctx)
	if err != nil {
		return nil, err
	}
	late := &lateDB{DB: db}
	d.open[ctx.ID] = late
	return late, nil
}

func (d *databases) close() {
	for _, db := range d.open {
		db.Close()
	}
}

// forget empties CometBFT's state, of a node that has no block.
func (d *databases) forget() error {
	db := d.open["state"]
	it, err := db.Iterator(nil, nil)
	if err != nil {
		return err
	}
	batch := db.NewBatch()
	defer batch.Close()
	for ; it.Valid() && err == nil; it.Next() {
		err = batch.Delete(it.Key())
	}
	if err = errors.Join(err, it.Error(), it.Close()); err != nil {
		return err
	}
	return batch.WriteSync()
}

// check reports why CometBFT and the app cannot go on together from what is in
// the folder. CometBFT itself would panic, or go on in silence.
func (d *databases) check(doc *cmttypes.GenesisDoc, app store.State, pv *privval.FilePV) error {
	state, began, err := cmtnode.LoadStateFromDBOrGenesisDocProvider(d.open["state"], func() (*cmttypes.GenesisDoc, error) { return doc, nil })
	if err != nil {
		return err
	}
	if same, err := sameGenesis(doc, began); err != nil || !same {
		return cmp.Or(err, error(wire.Errorf(wire.Conflict, "%s is not the one that this folder's chain %q began with: put that one back, or take a new folder", genesisFile, began.ChainID)))
	}
	height, blocks := uint64(state.LastBlockHeight), uint64(d.blocks.Height())
	if blocks == 0 && app.Height == height {
		blocks = height // it took a snapshot, and no block has come since
	}
	switch {
	case blocks != height && blocks != height+1:
		return wire.Errorf(wire.Conflict, "%s is damaged: it has %d blocks and the state of block %d; "+advice, cometData, blocks, height)
	case app.Height > blocks:
		return wire.Errorf(wire.Conflict, "%s is at height %d, but %s has only %d blocks: they are not of one moment; "+advice,
			stateData, app.Height, cometData, blocks)
	case app.Height > 0 && !bytes.Equal(d.rootAfter(app.Height, state), app.Root[:]):
		return wire.Errorf(wire.Conflict, "%s and %s are of two chains, or one of them is damaged: the state after block %d is not the one that the validators agreed on; "+advice,
			stateData, cometData, app.Height)
	}
	if last := d.blocks.LoadSeenCommit(int64(blocks)); signedIn(last, pv.GetAddress()) && pv.LastSignState.Height < last.Height {
		return wire.Errorf(wire.Conflict, "%s is older than this validator's last vote, at height %d: an old copy was restored, and signing with it could be taken for fraud; "+
			"restore the newest one, or see OPERATOR.md", signStateFile, last.Height)
	}
	return nil
}

// advice is what to do about data that does not fit together.
const advice = "restore both from one backup, or remove " + cometData + " and " + stateData + " (never " + signStateFile + ") and let the validator fetch the chain again"

// rootAfter returns the root after a block as the chain has it: in the next
// header, or in CometBFT's state. It is nil if that is not known yet.
func (d *databases) rootAfter(height uint64, state sm.State) []byte {
	if height == uint64(state.LastBlockHeight) {
		return state.AppHash
	}
	if meta := d.blocks.LoadBlockMeta(int64(height) + 1); meta != nil {
		return meta.Header.AppHash
	}
	// The app has committed the newest block and CometBFT crashed before it
	// noted that. What the app answered is kept.
	if res, err := d.states.LoadLastFinalizeBlockResponse(int64(height)); err == nil {
		return res.AppHash
	}
	return nil
}

// sameGenesis reports whether two genesis files say the same.
func sameGenesis(a, b *cmttypes.GenesisDoc) (bool, error) {
	x, err := cmtjson.Marshal(a)
	if err != nil {
		return false, err
	}
	y, err := cmtjson.Marshal(b)
	return bytes.Equal(x, y), err
}

// newComet assembles CometBFT over the databases. It replays the blocks that the
// app does not have yet.
func (d *databases) newComet(doc *cmttypes.GenesisDoc, pv cmttypes.PrivValidator, nk *p2p.NodeKey, app abci.Application, logger cometLogger, options ...cmtnode.Option) (n *cmtnode.Node, err error) {
	// CometBFT panics where it finds its files inconsistent. The text can be a
	// whole state long, and its first line says it.
	defer func() {
		if cause := recover(); cause != nil {
			line, _, _ := strings.Cut(fmt.Sprint(cause), "\n")
			err = wire.Errorf(wire.Internal, "start consensus: %.200s; if it stays so, %s", line, advice)
		}
	}()
	if d.config.Instrumentation.Prometheus {
		defer registerWith(d.figures)()
	}
	n, err = cmtnode.NewNode(d.config, pv, nk, proxy.NewConnSyncLocalClientCreator(app),
		func() (*cmttypes.GenesisDoc, error) { return doc, nil },
		d.provide, cmtnode.DefaultMetricsProvider(d.config.Instrumentation), logger, options...)
	if err != nil {
		return nil, fmt.Errorf("start consensus: %w", err)
	}
	return n, nil
}
