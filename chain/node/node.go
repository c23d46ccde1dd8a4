package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/mempool"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/proxy"
	sm "github.com/cometbft/cometbft/state"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/anchor"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// maxTx is the largest transaction the mempool looks at: one op.
	maxTx = namesvc.MaxOp
	// localGossip is how long CometBFT's gossip rests between looks when all
	// peers are on one machine; over a network the default of 100 ms is kinder.
	localGossip = 10 * time.Millisecond
)

func duration(d Duration) time.Duration { return time.Duration(d) }

func joinPeers(peers []string) string { return strings.Join(peers, ",") }

// Node is a running validator.
type Node struct {
	App    *chain.App
	Query  *query.Server
	logger *slog.Logger
	comet  *cmtnode.Node
	store  *store.Store
	server *http.Server
	listen net.Listener
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Open assembles the validator of a folder. It holds the folder until Stop;
// nothing runs before Start.
func Open(home string, c Config, logger *slog.Logger) (_ *Node, err error) {
	doc, err := loadGenesis(home)
	if err != nil {
		return nil, err
	}
	// The store comes first: its lock is what keeps a second process out.
	st, err := store.Open(filepath.Join(home, stateData), store.Options{Chain: doc.ChainID})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			st.Close()
		}
	}()
	pv, err := loadKey(home)
	if err != nil {
		return nil, err
	}
	nk, err := p2p.LoadNodeKey(filepath.Join(home, nodeKey))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "read %s: %w", filepath.Join(home, nodeKey), err)
	}
	app, err := chain.New(st, doc.ChainID, logger)
	if err != nil {
		return nil, err
	}
	var stateDB dbm.DB
	provider := func(ctx *cmtcfg.DBContext) (dbm.DB, error) {
		db, err := cmtcfg.DefaultDBProvider(ctx)
		if ctx.ID == "state" {
			stateDB = db
		}
		return db, err
	}
	config := cometConfig(home, c)
	comet, err := cmtnode.NewNode(config, pv, nk, proxy.NewConnSyncLocalClientCreator(app),
		func() (*cmttypes.GenesisDoc, error) { return doc, nil },
		provider, cmtnode.DefaultMetricsProvider(config.Instrumentation), cometLogger{l: logger})
	if err != nil {
		return nil, fmt.Errorf("start consensus: %w", err)
	}
	n := &Node{App: app, logger: logger, comet: comet, store: st}
	heads := newHeads(doc.ChainID, comet.BlockStore(), sm.NewStore(stateDB, sm.StoreOptions{DiscardABCIResponses: true}))
	n.Query = &query.Server{Chain: doc.ChainID, App: app, Store: st, Heads: heads, Submit: n.submit, Logger: logger}
	if n.listen, err = net.Listen("tcp", c.Query.Listen); err != nil {
		return nil, wire.Errorf(wire.Unavailable, "query.listen: %w; is another validator running? change the port in %s", err, ConfigFile)
	}
	return n, nil
}

// Start runs the validator until Stop.
func (n *Node) Start() error {
	if err := n.comet.Start(); err != nil {
		return fmt.Errorf("start consensus: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.server = &http.Server{
		Handler: n.Query.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(n.logger.Handler(), slog.LevelDebug),
	}
	n.done.Go(func() {
		if err := n.server.Serve(n.listen); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.logger.Error("query server ended", "err", err)
		}
	})
	n.done.Go(func() { n.watch(ctx) })
	return nil
}

// QueryAddr returns the address that the query server listens on.
func (n *Node) QueryAddr() string { return n.listen.Addr().String() }

// PeerAddr returns the address that peers connect to, as "id@host:port".
func (n *Node) PeerAddr() string {
	return string(n.comet.NodeInfo().ID()) + "@" + strings.TrimPrefix(n.comet.Config().P2P.ListenAddress, "tcp://")
}

// Genesis returns the chain's genesis file.
func (n *Node) Genesis() *cmttypes.GenesisDoc { return n.comet.GenesisDoc() }

// Failed is closed when consensus has stopped by itself.
func (n *Node) Failed() <-chan struct{} { return n.comet.Quit() }

// Stop ends the validator: first the door, then consensus, then the store. What
// was committed is durable.
func (n *Node) Stop() error {
	if n.cancel != nil {
		n.cancel()
	}
	var errs []error
	if n.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := n.server.Shutdown(ctx); err != nil {
			n.server.Close()
		}
	} else {
		n.listen.Close()
	}
	n.done.Wait()
	if n.comet.IsRunning() {
		if err := n.comet.Stop(); err != nil {
			errs = append(errs, err)
		}
		n.comet.Wait()
	}
	return errors.Join(append(errs, n.store.Close())...)
}

// watch tells the log what an operator wants to know, and gathers seals.
func (n *Node) watch(ctx context.Context) {
	heads := n.Query.Heads
	c := &anchor.Collector{Chain: n.Query.Chain, Votes: n.comet.BlockStore(), App: n.App, Logger: n.logger,
		Signers: func(h uint64) (verify.Validators, error) {
			_, v, err := heads.Head(h)
			return v, err
		}}
	var next uint64 // the checkpoint whose seals are wanted
	for {
		mark, news := n.App.Last()
		if p, ok := n.App.Params(); ok && mark.Height > 0 {
			newest := mark.Height / p.Checkpoint
			if next == 0 || newest > next {
				next = newest
			}
			if next > 0 {
				done, err := c.Collect(ctx, next, heads.Newest())
				if err != nil && ctx.Err() == nil {
					n.logger.Warn("seals not gathered", "checkpoint", next, "err", err)
				}
				if done {
					next = newest + 1
				}
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// again answers for an op that CometBFT remembers. It waits already, which is
// fine, or it was in a block, and then the law says what a replay deserves.
func (n *Node) again(ctx context.Context, op []byte) (uint32, string, error) {
	tx, _ := namesvc.Parse(op)
	if _, known, err := n.App.Receipt(tx.ID); err != nil || !known {
		return 0, "", err
	}
	r, err := n.App.CheckTx(ctx, &abci.RequestCheckTx{Tx: op})
	if err != nil {
		return 0, "", err
	}
	return r.Code, r.Log, nil
}

// submit hands an op to the mempool.
func (n *Node) submit(ctx context.Context, op []byte) (uint32, string, error) {
	verdict := make(chan *abci.ResponseCheckTx, 1)
	err := n.comet.Mempool().CheckTx(op, func(r *abci.ResponseCheckTx) { verdict <- r }, mempool.TxInfo{})
	var full mempool.ErrMempoolIsFull
	switch {
	case errors.Is(err, mempool.ErrTxInCache):
		return n.again(ctx, op)
	case errors.As(err, &full), errors.Is(err, mempool.ErrRecheckFull):
		return chain.LaneFull, "the mempool is full; try again in a moment", nil
	case err != nil:
		return 0, "", err
	}
	select {
	case r := <-verdict:
		return r.Code, r.Log, nil
	case <-ctx.Done():
		return 0, "", ctx.Err()
	}
}
