package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// The files of a validator's folder.
const (
	genesisFile   = "genesis.json"
	validatorKey  = "keys/validator.json" // the key that signs blocks: guard it
	nodeKey       = "keys/node.json"      // the key that peers know this node by
	signStateFile = "data/sign-state.json"
	cometData     = "data/comet"
	stateData     = "data/state"
)

// Init makes a validator's folder with new keys and a configuration. It refuses
// a folder that has any of its files already. A new or empty folder is made whole
// or not at all.
func Init(home string, c Config) (Identity, error) { return InitFor(home, c, nil) }

// InitFor is Init with a genesis file, which may depend on the keys; none if
// genesis is nil.
func InitFor(home string, c Config, genesis func(Identity) (*cmttypes.GenesisDoc, error)) (Identity, error) {
	if err := c.Check(); err != nil {
		return Identity{}, err
	}
	for _, name := range []string{ConfigFile, validatorKey, nodeKey, signStateFile, cometData, stateData} {
		if _, err := os.Stat(filepath.Join(home, name)); err == nil {
			return Identity{}, wire.Errorf(wire.Exists, "init validator: %s exists already; choose another folder with --home", filepath.Join(home, name))
		}
	}
	if err := makeHome(home, c, genesis); err != nil {
		return Identity{}, fmt.Errorf("init validator: %w", err)
	}
	return LoadIdentity(home)
}

// makeHome fills a folder beside the one that is wanted, and gives it its name
// when it is complete: a process that is killed leaves nothing in the way. Where
// there is something already, say a genesis file, it writes in place.
func makeHome(home string, c Config, genesis func(Identity) (*cmttypes.GenesisDoc, error)) error {
	home, err := filepath.Abs(home)
	if err != nil {
		return err
	}
	if there, err := os.ReadDir(home); err == nil && len(there) > 0 {
		return fillHome(home, c, genesis)
	}
	part := home + partSuffix
	if err := os.RemoveAll(part); err != nil { // of one that was interrupted
		return err
	}
	if err := fillHome(part, c, genesis); err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	if err := os.Remove(home); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(part, home)
}

func fillHome(home string, c Config, genesis func(Identity) (*cmttypes.GenesisDoc, error)) error {
	for _, dir := range []string{"keys", cometData} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
			return err
		}
	}
	if err := writeKeys(home); err != nil {
		return err
	}
	if genesis != nil {
		id, err := LoadIdentity(home)
		if err != nil {
			return err
		}
		doc, err := genesis(id)
		if err != nil {
			return err
		}
		if err := SetGenesis(home, doc); err != nil {
			return err
		}
	}
	return writeNew(filepath.Join(home, ConfigFile), c.Encode(), 0o600)
}

// Identity is who a validator is to others.
type Identity struct {
	PeerID  string   // how peers name the node
	Key     [33]byte // compressed secp256k1 key that signs blocks
	Address [20]byte // its Ethereum address
}

// LoadIdentity reads the public half of the folder's keys.
func LoadIdentity(home string) (Identity, error) {
	pv, err := loadKey(home)
	if err != nil {
		return Identity{}, err
	}
	nk, err := loadNodeKey(home)
	if err != nil {
		return Identity{}, err
	}
	k := pv.Key.PubKey
	return Identity{PeerID: string(nk.ID()), Key: [33]byte(k.Bytes()), Address: [20]byte(k.Address())}, nil
}

// SetGenesis writes the genesis file of a folder that has none.
func SetGenesis(home string, doc *cmttypes.GenesisDoc) error {
	path := filepath.Join(home, genesisFile)
	if _, err := os.Stat(path); err == nil {
		return wire.Errorf(wire.Exists, "%s exists already; a validator belongs to one chain for ever", path)
	}
	if err := chain.CheckGenesis(doc); err != nil {
		return wire.Errorf(wire.Invalid, "%w", err)
	}
	if err := doc.SaveAs(path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// loadGenesis reads the folder's genesis file and checks that it is of a chain
// this program can run.
func loadGenesis(home string) (*cmttypes.GenesisDoc, error) {
	path := filepath.Join(home, genesisFile)
	doc, err := cmttypes.GenesisDocFromFile(path)
	if err != nil {
		if _, serr := os.Stat(path); errors.Is(serr, fs.ErrNotExist) {
			return nil, wire.Errorf(wire.NotFound, "%s does not exist: put the network's genesis file there", path)
		}
		return nil, wire.Errorf(wire.Invalid, "read %s: %w", path, err)
	}
	if err := chain.CheckGenesis(doc); err != nil {
		return nil, wire.Errorf(wire.Invalid, "read %s: %w", path, err)
	}
	return doc, nil
}

// cometConfig returns CometBFT's configuration for this folder, with every
// default changed that research and measurement told us to change.
func cometConfig(home string, c Config) *cmtcfg.Config {
	m := cmtcfg.DefaultConfig()
	m.SetRoot(home)
	m.Moniker = c.Name
	m.DBPath = cometData
	m.Genesis, m.NodeKey = genesisFile, nodeKey
	m.PrivValidatorKey, m.PrivValidatorState = validatorKey, signStateFile

	// Its RPC has many cheap ways to burn a public node. Ours is chain/query.
	m.RPC.ListenAddress, m.RPC.GRPCListenAddress, m.RPC.PprofListenAddress = "", "", ""
	m.TxIndex.Indexer = "null" // 17 % of CPU for what the app records itself
	m.Storage.DiscardABCIResponses = true
	// Its figures are counted if somebody reads them, on our port: its own would
	// be on all interfaces.
	m.Instrumentation.Prometheus, m.Instrumentation.PrometheusListenAddr = c.Metrics.Listen != "", ""

	m.P2P.ListenAddress = "tcp://" + c.P2P.Listen
	m.P2P.ExternalAddress = c.P2P.External
	m.P2P.PersistentPeers = joinPeers(c.P2P.Peers)
	m.P2P.AddrBook = "data/peers.json"
	m.P2P.AddrBookStrict = !c.P2P.Local
	m.P2P.AllowDuplicateIP = c.P2P.Local
	m.P2P.SendRate, m.P2P.RecvRate = 20<<20, 20<<20

	// What waits is bounded by the app's lanes, about 3 MiB; these are above.
	m.Mempool.Size, m.Mempool.MaxTxsBytes, m.Mempool.CacheSize = 20000, 64<<20, 50000
	m.Mempool.MaxTxBytes = maxTx

	m.Consensus.WalPath = cometData + "/cs.wal/wal"
	m.Consensus.TimeoutCommit = duration(c.Block.Pause)
	m.Consensus.DoubleSignCheckHeight = 0 // ours does not panic: see guard
	if c.P2P.Local {
		m.Consensus.PeerGossipSleepDuration = localGossip
	}
	return m
}

func duration(d Duration) time.Duration { return time.Duration(d) }

func joinPeers(peers []string) string { return strings.Join(peers, ",") }

const (
	// maxTx is the largest transaction the mempool looks at: one op.
	maxTx = namesvc.MaxOp
	// localGossip is how long CometBFT's gossip rests between looks when all
	// peers are on one machine; over a network the default of 100 ms is kinder.
	localGossip = 10 * time.Millisecond
)
