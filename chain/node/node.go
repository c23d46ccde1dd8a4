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

	"github.com/cockroachdb/pebble/v2/vfs"
	abci "github.com/cometbft/cometbft/abci/types"
	cmtcfg "github.com/cometbft/cometbft/config"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Node is a running validator.
type Node struct {
	App    *chain.App
	Query  *query.Server
	home   string
	config Config
	key    [33]byte // that signs blocks
	logger *slog.Logger
	store  *store.Store
	data   *databases
	comet  *cmtnode.Node
	votes  votes
	server *http.Server
	listen net.Listener

	metrics net.Listener // for Prometheus, or nil

	trusted Trusted // of a node that began without a block, or nil

	leave   context.CancelFunc // ends what waits or watches
	done    sync.WaitGroup     // the server and the watch
	stopped func() error

	fault  sync.Once
	failed chan struct{}
	cause  error // set before failed is closed
}

// Open assembles the validator of a folder. It holds the folder and the query
// port until Stop; nothing runs before Start.
func Open(home string, c Config, logger *slog.Logger) (*Node, error) {
	return OpenWith(home, c, Parts{}, logger)
}

// Parts are what a validator is made of that can be replaced. The zero value is
// the validator that operators run; a test puts a faulty part in its place.
type Parts struct {
	Disk   vfs.FS                                              // under the store; nil: the machine's
	Signer func(cmttypes.PrivValidator) cmttypes.PrivValidator // what signs, around the key's file
	App    func(abci.Application) abci.Application             // what CometBFT calls, around the app
	Comet  func(*cmtcfg.Config)                                // changes CometBFT's configuration
	Law    *chain.Law                                          // nil: the one that is built in

	// Trusted is what a node verifies by that has no block yet and begins with a
	// snapshot from its peers; nil: it fetches all blocks. It is no part to
	// replace in tests alone: package node asks nobody by itself.
	Trusted Trusted
}

// OpenWith is Open with some parts replaced.
func OpenWith(home string, c Config, parts Parts, logger *slog.Logger) (_ *Node, err error) {
	config := cometConfig(home, c)
	if parts.Comet != nil {
		parts.Comet(config)
	}
	doc, err := loadGenesis(home)
	if err != nil {
		return nil, err
	}
	pv, err := loadKey(home)
	if err != nil {
		return nil, err
	}
	nk, err := loadNodeKey(home)
	if err != nil {
		return nil, err
	}
	n := &Node{home: home, config: c, key: [33]byte(pv.Key.PubKey.Bytes()), logger: logger, failed: make(chan struct{})}
	n.stopped = sync.OnceValue(n.stop)
	defer func() {
		if err != nil {
			n.Stop()
		}
	}()
	// The store comes first: its lock is what keeps a second process out.
	n.store, err = store.Open(filepath.Join(home, stateData), store.Options{Chain: doc.ChainID, FS: parts.Disk, Logger: logger})
	if err != nil {
		return nil, err
	}
	if n.App, err = chain.New(n.store, doc.ChainID, logger); err != nil {
		return nil, err
	}
	if err := n.limits(c.Block.HaltHeight, parts.Law); err != nil {
		return nil, err
	}
	if n.data, err = openDatabases(config); err != nil {
		return nil, err
	}
	n.App.KeepProofs(n.data.proofs)
	n.App.KeepSnapshots(chain.SnapshotPolicy{Every: c.Snapshots.Every, Keep: c.Snapshots.Keep})
	if err := n.halfJoined(); err != nil {
		return nil, fmt.Errorf("open %s: %w", home, err)
	}
	app := n.store.State()
	if err := n.data.check(doc, app, pv); err != nil {
		return nil, fmt.Errorf("open %s: %w", home, err)
	}
	listener, err := net.Listen("tcp", c.Query.Listen)
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "query.listen: %w; is another validator running? change the port in %s", err, ConfigFile)
	}
	n.listen = limit(listener, maxConnections)
	if err := n.listenMetrics(); err != nil {
		return nil, err
	}
	if exposed(home) {
		logger.Warn("others on this machine can read the validator's key", "file", filepath.Join(home, validatorKey), "do", "chmod 600")
	}
	if blocks := uint64(n.data.blocks.Height()); blocks > app.Height+1 {
		logger.Info("replaying blocks that the state does not have", "from", app.Height+1, "to", blocks)
	}
	key := &guard{FilePV: pv, depth: c.Block.DoubleSignCheck, alarm: n.fail}
	options, err := n.join(parts.Trusted, doc, config)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", home, err)
	}
	if n.comet, err = n.data.newComet(doc, parts.signer(key), nk, parts.app(n.App), cometLogger{l: logger, fatal: n.fail, halted: func() bool { return n.App.HaltCause() != nil }}, options...); err != nil {
		return nil, err
	}
	if n.votes, err = newVotes(n.comet); err != nil {
		return nil, err
	}
	key.commits = n.comet.BlockStore()
	heads := newHeads(doc.ChainID, n.comet.BlockStore(), n.data.states)
	n.Query = &query.Server{
		Chain: doc.ChainID, App: n.App, Store: n.store, Heads: heads, Submit: n.submit, Logger: logger,
		Explorer: c.Query.Explorer, Peers: func() int { return n.comet.Switch().Peers().Size() },
	}
	if n.Query.Network, err = n.network(doc, c.P2P); err != nil {
		return nil, fmt.Errorf("open %s: %w", home, err)
	}
	return n, nil
}

func (p Parts) signer(own cmttypes.PrivValidator) cmttypes.PrivValidator {
	if p.Signer == nil {
		return own
	}
	return p.Signer(own)
}

func (p Parts) app(own abci.Application) abci.Application {
	if p.App == nil {
		return own
	}
	return p.App(own)
}

// Start runs the validator until Stop.
func (n *Node) Start() error {
	if wait := time.Until(n.comet.GenesisDoc().GenesisTime); wait > time.Second {
		n.logger.Info("waiting for the chain to begin", "at", n.comet.GenesisDoc().GenesisTime)
	}
	if err := n.comet.Start(); err != nil {
		return fmt.Errorf("start consensus: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.leave = cancel
	n.server = newServer(ctx, n.Query.Handler(), queryPatience(), n.logger)
	n.done.Go(func() {
		if err := n.server.Serve(n.listen); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.logger.Error("query server ended", "err", err)
		}
	})
	n.done.Go(func() { n.watch(ctx) })
	n.done.Go(func() { n.heed(ctx) })
	n.done.Go(func() { n.App.MakeSnapshots(ctx) })
	n.done.Go(func() { n.serveControl(ctx) })
	if n.metrics != nil {
		n.done.Go(func() { n.serveMetrics(ctx) })
	}
	if n.trusted != nil {
		n.done.Go(func() { n.fetchSeals(ctx, n.trusted) })
	}
	return nil
}

// QueryAddr returns the address that the query server listens on.
func (n *Node) QueryAddr() string { return n.listen.Addr().String() }

// PeerAddr returns the address that peers connect to, as "id@host:port".
func (n *Node) PeerAddr() string {
	return string(n.comet.NodeInfo().ID()) + "@" + strings.TrimPrefix(n.comet.Config().P2P.ListenAddress, "tcp://")
}

// Drop ends the connection to a peer, by its id. One that the configuration
// names is dialled again.
func (n *Node) Drop(peer string) {
	s := n.comet.Switch()
	if p := s.Peers().Get(p2p.ID(peer)); p != nil {
		s.StopPeerForError(p, "dropped")
	}
}

// Genesis returns the chain's genesis file.
func (n *Node) Genesis() *cmttypes.GenesisDoc { return n.comet.GenesisDoc() }

// Failed is closed when the validator cannot go on, or has come to its halt height;
// the log says why, and so does Cause. Only Stop is left to be called then.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// fail tells why the validator cannot go on, or shall not.
func (n *Node) fail(err error) {
	n.fault.Do(func() {
		n.cause = err
		var asked *chain.HaltError
		if errors.As(err, &asked) {
			n.logger.Info("this validator has come to the height after which it was to stop, and takes no part any more", "height", asked.Height,
				"do", "back up or change the program, and start it without --halt-height and without halt_height in "+ConfigFile)
		} else {
			n.logger.Error("this validator has stopped taking part", "err", err)
		}
		close(n.failed)
	})
}

// stopPatience is how long requests under way may take to end: none waits any
// more, but connections on which nothing was asked yet hold a server up.
const stopPatience = 2 * time.Second

// Stop ends the validator: first the door, then consensus, then the store. What
// was committed is durable. It may be called more than once.
func (n *Node) Stop() error { return n.stopped() }

func (n *Node) stop() error {
	if n.leave != nil {
		n.leave()
	}
	if n.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
		defer cancel()
		if err := n.server.Shutdown(ctx); err != nil {
			n.server.Close()
		}
	} else if n.listen != nil {
		n.listen.Close()
	}
	n.done.Wait()
	if n.metrics != nil {
		n.metrics.Close()
	}
	var errs []error
	if n.comet != nil && n.comet.IsRunning() {
		errs = append(errs, n.stopComet())
	} else if n.data != nil {
		n.data.close()
	}
	if n.App != nil {
		errs = append(errs, n.App.Abandon())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
