package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
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
// a folder that has any of its files already.
func Init(home string, c Config) (Identity, error) {
	if err := c.Check(); err != nil {
		return Identity{}, err
	}
	for _, dir := range []string{"keys", cometData} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
			return Identity{}, fmt.Errorf("init validator: %w", err)
		}
	}
	for _, name := range []string{ConfigFile, validatorKey, nodeKey} {
		if _, err := os.Stat(filepath.Join(home, name)); err == nil {
			return Identity{}, wire.Errorf(wire.Exists, "init validator: %s exists already; choose another folder with --home", filepath.Join(home, name))
		}
	}
	pv := privval.NewFilePV(secp256k1eth.GenPrivKey(), filepath.Join(home, validatorKey), filepath.Join(home, signStateFile))
	pv.Save()
	if _, err := p2p.LoadOrGenNodeKey(filepath.Join(home, nodeKey)); err != nil {
		return Identity{}, fmt.Errorf("init validator: %w", err)
	}
	if err := writeNew(filepath.Join(home, ConfigFile), c.Encode(), 0o600); err != nil {
		return Identity{}, fmt.Errorf("init validator: %w", err)
	}
	return LoadIdentity(home)
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
	nk, err := p2p.LoadNodeKey(filepath.Join(home, nodeKey))
	if err != nil {
		return Identity{}, wire.Errorf(wire.Invalid, "read %s: %w", filepath.Join(home, nodeKey), err)
	}
	k := pv.Key.PubKey
	return Identity{PeerID: string(nk.ID()), Key: [33]byte(k.Bytes()), Address: [20]byte(k.Address())}, nil
}

// loadKey loads the validator's key and what it signed last. CometBFT's loader
// ends the process on a bad file, so the files are looked at first.
func loadKey(home string) (*privval.FilePV, error) {
	keyPath, statePath := filepath.Join(home, validatorKey), filepath.Join(home, signStateFile)
	if err := readable(keyPath, &privval.FilePVKey{}); err != nil {
		return nil, err
	}
	if err := readable(statePath, &privval.FilePVLastSignState{}); err != nil {
		return nil, err
	}
	pv := privval.LoadFilePV(keyPath, statePath)
	if t := pv.Key.PubKey.Type(); t != chain.KeyType {
		return nil, wire.Errorf(wire.Invalid, "%s holds a key of type %s; confab's validators use %s", keyPath, t, chain.KeyType)
	}
	return pv, nil
}

// readable reports why a file of the validator's key cannot be used.
func readable(path string, into any) error {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.Errorf(wire.NotFound, "%s does not exist: run confab-validator init first, or restore it; a restored %s must be no older than the validator's last vote",
			path, signStateFile)
	case err != nil:
		return fmt.Errorf("read validator key: %w", err)
	case cmtjson.Unmarshal(b, into) != nil:
		// The parser's words may quote the file, and with it the key.
		return wire.Errorf(wire.Invalid, "%s is damaged; restore it from a backup", path)
	}
	return nil
}

// SetGenesis writes the genesis file of a folder that has none.
func SetGenesis(home string, doc *cmttypes.GenesisDoc) error {
	path := filepath.Join(home, genesisFile)
	if _, err := os.Stat(path); err == nil {
		return wire.Errorf(wire.Exists, "%s exists already; a validator belongs to one chain for ever", path)
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
	state, err := chain.DecodeAppState(doc.AppState)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "read %s: %w", path, err)
	}
	if state.Params.Chain != doc.ChainID {
		return nil, wire.Errorf(wire.Invalid, "read %s: its parameters are of chain %q, its chain id is %q", path, state.Params.Chain, doc.ChainID)
	}
	want := chain.ConsensusParams()
	if p := doc.ConsensusParams; p == nil || p.ABCI != want.ABCI || p.Block != want.Block ||
		len(p.Validator.PubKeyTypes) != 1 || p.Validator.PubKeyTypes[0] != chain.KeyType {
		return nil, wire.Errorf(wire.Invalid, "read %s: its consensus parameters are not confab's", path)
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
	m.Consensus.DoubleSignCheckHeight = c.Block.DoubleSignCheck
	if c.P2P.Local {
		m.Consensus.PeerGossipSleepDuration = localGossip
	}
	return m
}
