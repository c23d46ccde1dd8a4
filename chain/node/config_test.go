package node_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestConfig_IsReadAsItWasWritten(t *testing.T) {
	c := node.Config{
		Name: `a "strange" \ name`,
		P2P: node.P2PConfig{
			Listen: "0.0.0.0:1", External: "example.org:2", Local: true,
			Peers: []string{"0123456789012345678901234567890123456789@127.0.0.1:3", "abcdefabcdefabcdefabcdefabcdefabcdefabcd@[::1]:4"},
		},
		Query: node.QueryConfig{Listen: "[::]:5"},
		Log:   node.LogConfig{Level: "warn", Format: "json"},
		Block: node.BlockConfig{Pause: node.Duration(1500 * time.Millisecond), DoubleSignCheck: 10},

		Snapshots: node.SnapshotConfig{Every: 7, Keep: 3},
		Join:      node.JoinConfig{Pin: "my-chain:5:" + strings.Repeat("ab", 32), Sources: []string{"https://a.example", `http://"b"`}},
		Metrics:   node.MetricsConfig{Listen: "127.0.0.1:7"},
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, node.ConfigFile), c.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := node.LoadConfig(home)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, %v; want %+v", got, err, c)
	}
}

// TestLoadConfig_SaysWhatIsWrong: each mistake is named by its key, and the
// sentence says what would be right.
func TestLoadConfig_SaysWhatIsWrong(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"unknown key", "nmae = \"x\"\n", "the key nmae is unknown; correct its spelling or remove it"},
		{"unknown key in a table", "[p2p]\nseeds = \"x\"\n", "the key p2p.seeds is unknown"},
		{"unknown table", "[rpc]\nlisten = \"x\"\n", "is unknown"},
		{"no TOML at all", "name: x\n", "read "},
		{"a number for a text", "name = 3\n", "name"},
		{"empty name", "name = \"\"\n", "name is \"\": it must have 1 to 64"},
		{"name with a line break", "name = \"a\\nb\"\n", "name is"},
		{"name beyond ASCII", "name = \"zoë\"\n", "name is"},
		{"listen without a port", "[p2p]\nlisten = \"0.0.0.0\"\n", "p2p.listen is \"0.0.0.0\": it must be host:port"},
		{"listen beyond the ports", "[p2p]\nlisten = \"0.0.0.0:65536\"\n", "p2p.listen"},
		{"listen on a named port", "[query]\nlisten = \"127.0.0.1:http\"\n", "query.listen"},
		{"empty listen", "[query]\nlisten = \"\"\n", "query.listen"},
		{"external", "[p2p]\nexternal = \"example.org\"\n", "p2p.external"},
		{"peer without an id", "[p2p]\npeers = [\"example.org:26656\"]\n", "p2p.peers has \"example.org:26656\": it must be id@host:port"},
		{"peer with a short id", "[p2p]\npeers = [\"abcd@example.org:26656\"]\n", "p2p.peers"},
		{"log level", "[log]\nlevel = \"loud\"\n", "log.level is \"loud\": use debug, info, warn or error"},
		{"no snapshots kept", "[snapshots]\nkeep = 0\n", "snapshots.keep is 0: it must be from 1 to 10; snapshots.every = 0 turns them off"},
		{"too many snapshots", "[snapshots]\nkeep = 11\n", "snapshots.keep is 11"},
		{"a pin without sources", "[join]\npin = \"my-chain:1:ab\"\n", "join.sources is empty"},
		{"no pin", "[join]\npin = \"x\"\nsources = [\"http://a\"]\n", "join.pin: not a pin"},
		{"metrics without a port", "[metrics]\nlisten = \"localhost\"\n", "metrics.listen is \"localhost\": it must be host:port"},
		{"log format", "[log]\nformat = \"xml\"\n", "log.format is \"xml\": use text or json"},
		{"pause without a unit", "[block]\npause = \"1\"\n", "block.pause"},
		{"pause that is too long", "[block]\npause = \"2m\"\n", "block.pause is 2m0s: it must be from 0s to 1m"},
		{"negative pause", "[block]\npause = \"-1s\"\n", "block.pause is -1s"},
		{"double sign check", "[block]\ndouble_sign_check = 1001\n", "block.double_sign_check is 1001: it must be from 0 to 1000"},
	} {
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, node.ConfigFile), []byte(tc.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := node.LoadConfig(home)
		if err == nil || !strings.Contains(err.Error(), tc.want) || wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v (%v), want an invalid one about %q", tc.name, err, wire.CodeOf(err), tc.want)
		}
	}
	_, err := node.LoadConfig(t.TempDir())
	if wire.CodeOf(err) != wire.NotFound || !strings.Contains(err.Error(), "confab-validator init") {
		t.Errorf("no file: %v", err)
	}
}

func FuzzLoadConfig(f *testing.F) {
	f.Add(string(node.DefaultConfig().Encode()))
	f.Add("name = \"\\u0000\"\n[block]\npause = \"9999999h\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, node.ConfigFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := node.LoadConfig(home)
		if err != nil {
			return
		}
		// What is accepted can be written, and means the same then.
		if err := os.WriteFile(filepath.Join(home, node.ConfigFile), c.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := node.LoadConfig(home)
		if err != nil || string(again.Encode()) != string(c.Encode()) {
			t.Errorf("%+v was written and read as %+v, %v", c, again, err)
		}
	})
}

// TestCometConfig_ChangesTheDefaultsThatMustBeChanged names each with its reason.
func TestCometConfig_ChangesTheDefaultsThatMustBeChanged(t *testing.T) {
	c := node.CometConfig("home", node.DefaultConfig())
	for _, tc := range []struct {
		why string
		ok  bool
	}{
		{"its RPC has many cheap ways to burn a node", c.RPC.ListenAddress == "" && c.RPC.GRPCListenAddress == ""},
		{"its profiler shows the inside", c.RPC.PprofListenAddress == "" && !c.RPC.IsPprofEnabled()},
		{"its metrics listen on all interfaces", !c.Instrumentation.Prometheus},
		{"its index costs 17 % of CPU", c.TxIndex.Indexer == "null"},
		{"answers of the app are kept by the app", c.Storage.DiscardABCIResponses},
		{"an op has at most 4,096 bytes", c.Mempool.MaxTxBytes == 4096},
		{"the default mempool of 1 GB is an attack", c.Mempool.MaxTxsBytes <= 64<<20 && c.Mempool.Size >= 20000},
		{"waiting ops must be checked again after each block", c.Mempool.Recheck},
		{"libp2p must be switched on by all at once", !c.P2P.LibP2PEnabled()},
		{"state sync needs an RPC that is shut", !c.StateSync.Enable},
		{"empty blocks carry the time that light clients need", c.Consensus.CreateEmptyBlocks && c.Consensus.CreateEmptyBlocksInterval == 0},
	} {
		if !tc.ok {
			t.Errorf("CometBFT's configuration: %s", tc.why)
		}
	}
	if err := c.ValidateBasic(); err != nil {
		t.Error(err)
	}
}
