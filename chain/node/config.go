package node

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/cometbft/cometbft/p2p"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Config is a validator's configuration, the file validator.toml in its folder.
type Config struct {
	Name  string      `toml:"name"`
	P2P   P2PConfig   `toml:"p2p"`
	Query QueryConfig `toml:"query"`
	Log   LogConfig   `toml:"log"`
	Block BlockConfig `toml:"block"`

	Snapshots SnapshotConfig `toml:"snapshots"`
	Join      JoinConfig     `toml:"join"`
	Metrics   MetricsConfig  `toml:"metrics"`
}

// SnapshotConfig is what the node keeps for others to join by.
type SnapshotConfig struct {
	Every uint64 `toml:"every"`
	Keep  int    `toml:"keep"`
}

// JoinConfig is what a node without a block begins with.
type JoinConfig struct {
	Pin     string   `toml:"pin"`
	Sources []string `toml:"sources"`
}

// MetricsConfig is where Prometheus finds the node's figures.
type MetricsConfig struct {
	Listen string `toml:"listen"`
}

// P2PConfig is how validators reach one another.
type P2PConfig struct {
	Listen   string   `toml:"listen"`
	External string   `toml:"external"`
	Peers    []string `toml:"peers"`
	Local    bool     `toml:"local"`
}

// QueryConfig is the door for everyone else.
type QueryConfig struct {
	Listen   string `toml:"listen"`
	Explorer bool   `toml:"explorer"`
}

// LogConfig is what the log says.
type LogConfig struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// BlockConfig is how the validator paces itself.
type BlockConfig struct {
	Pause           Duration `toml:"pause"`
	DoubleSignCheck int64    `toml:"double_sign_check"`
	HaltHeight      uint64   `toml:"halt_height"`
}

// Duration is a time.Duration that reads "1s" or "300ms".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// DefaultConfig returns the configuration of a public validator.
func DefaultConfig() Config {
	return Config{
		Name:  "validator",
		P2P:   P2PConfig{Listen: "0.0.0.0:26656"},
		Query: QueryConfig{Listen: "127.0.0.1:7780", Explorer: true},
		Log:   LogConfig{Level: "info", Format: "text"},
		Block: BlockConfig{Pause: Duration(time.Second)},

		Snapshots: SnapshotConfig{Every: 1, Keep: 2},
	}
}

// template is the file that Init writes, with every key and why one would
// change it.
const template = `# A confab validator. Every key is here; strict: a key that is unknown is an error.

# A name for your logs and your peers' logs. Not part of consensus.
name = %q

[p2p]
# Where other validators connect. Open this port to the world.
listen = %q
# The address that others should use, if it is not the one above ("host:port").
external = %q
# Peers to stay connected to: "id@host:port". confab-validator status prints yours.
peers = [%s]
# true only for networks on one machine: allows loopback and repeated addresses.
local = %t

[query]
# The HTTP API for everyone: proofs, submission, health. Put a TLS proxy before
# it to serve the world. Everything it says is proven, so it needs no trust.
listen = %q
# Pages for people at the same port, under / and /explorer/: names, operations,
# checkpoints, validators. They have no scripts and change nothing.
explorer = %t

[log]
# debug, info, warn or error. info is a line for what an operator wants to know.
level = %q
# text or json.
format = %q

[block]
# The pause after each block. All validators should agree; the network's pace is
# that of the middle one.
pause = %q
# Refuse to start if this validator's own signature is in one of the last so
# many blocks: it means that another process signs with the same key. 0 turns
# the check off. With 10, wait ten blocks before you restart after a crash.
double_sign_check = %d
# Stop after the block of this height, to take a backup that all validators have
# alike or to change programs together. 0 never stops.
halt_height = %d

[snapshots]
# Others join by a snapshot of the state. One is kept at each so many checkpoints
# (0 for none), and of those the newest few. They cost what has changed since.
every = %d
keep = %d

[join]
# What this node verifies by while it has no block: a pin, "chain:height:hash",
# and whom to ask, which need not be trusted. Without a pin it fetches all blocks
# from the first one on.
pin = %q
sources = [%s]

[metrics]
# Where Prometheus finds this node's figures, at /metrics; empty for nowhere. Keep
# it to this machine or a private network.
listen = %q
`

// Encode returns the configuration as a commented file.
func (c Config) Encode() []byte {
	return fmt.Appendf(nil, template, c.Name, c.P2P.Listen, c.P2P.External, quoted(c.P2P.Peers), c.P2P.Local,
		c.Query.Listen, c.Query.Explorer, c.Log.Level, c.Log.Format, time.Duration(c.Block.Pause).String(), c.Block.DoubleSignCheck, c.Block.HaltHeight,
		c.Snapshots.Every, c.Snapshots.Keep, c.Join.Pin, quoted(c.Join.Sources), c.Metrics.Listen)
}

// quoted writes the entries of a list.
func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// ConfigFile is the name of the configuration file in a validator's folder.
const ConfigFile = "validator.toml"

// LoadConfig reads the configuration of the folder. Missing keys keep their
// defaults, unknown ones are errors.
func LoadConfig(home string) (Config, error) {
	path := filepath.Join(home, ConfigFile)
	c := DefaultConfig()
	meta, err := toml.DecodeFile(path, &c)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, wire.Errorf(wire.NotFound, "%s does not exist: run confab-validator init first, or name the folder with --home", path)
	case err != nil:
		return c, wire.Errorf(wire.Invalid, "read %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, wire.Errorf(wire.Invalid, "read %s: the key %v is unknown; correct its spelling or remove it", path, unknown[0])
	}
	return c, c.Check()
}

// maxName bounds a validator's name, which stands in lines of logs.
const maxName = 64

// Check reports the first value that makes no sense.
func (c Config) Check() error {
	for _, a := range []struct{ key, addr string }{{"p2p.listen", c.P2P.Listen}, {"p2p.external", c.P2P.External}, {"query.listen", c.Query.Listen}, {"metrics.listen", c.Metrics.Listen}} {
		if optional := a.key == "p2p.external" || a.key == "metrics.listen"; !address(a.addr) && (a.addr != "" || !optional) {
			return wire.Errorf(wire.Invalid, "%s is %q: it must be host:port", a.key, a.addr)
		}
	}
	for _, p := range c.P2P.Peers {
		if err := checkPeer(p); err != nil {
			return wire.Errorf(wire.Invalid, "p2p.peers has %q: %w", p, err)
		}
	}
	switch {
	case c.Name != strings.TrimSpace(c.Name) || c.Name == "" || len(c.Name) > maxName ||
		strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r > '~' }):
		return wire.Errorf(wire.Invalid, "name is %.80q: it must have 1 to %d ASCII characters, the first and last no spaces", c.Name, maxName)
	case c.Block.Pause < 0 || c.Block.Pause > Duration(time.Minute):
		return wire.Errorf(wire.Invalid, "block.pause is %v: it must be from 0s to 1m", time.Duration(c.Block.Pause))
	case c.Block.DoubleSignCheck < 0 || c.Block.DoubleSignCheck > 1000:
		return wire.Errorf(wire.Invalid, "block.double_sign_check is %d: it must be from 0 to 1000", c.Block.DoubleSignCheck)
	case c.Snapshots.Keep < 1 || c.Snapshots.Keep > chain.MaxSnapshots:
		return wire.Errorf(wire.Invalid, "snapshots.keep is %d: it must be from 1 to %d; snapshots.every = 0 turns them off", c.Snapshots.Keep, chain.MaxSnapshots)
	case c.Join.Pin != "" && len(c.Join.Sources) == 0:
		return wire.Errorf(wire.Invalid, "join.pin is there and join.sources is empty: name one validator's query address at least")
	}
	if c.Join.Pin != "" {
		if _, err := verify.ParsePin(c.Join.Pin); err != nil {
			return wire.Errorf(wire.Invalid, "join.pin: %w", err)
		}
	}
	if _, err := NewLogger(nil, c.Log); err != nil {
		return err
	}
	return nil
}

// checkPeer reports why p is not the address of a peer.
func checkPeer(p string) error {
	id, addr, _ := strings.Cut(p, "@")
	if b, err := hex.DecodeString(id); err != nil || len(b) != p2p.IDByteLength || !address(addr) {
		return errors.New("it must be id@host:port, as confab-validator status prints it on the peer")
	}
	return nil
}

// address reports whether a is host:port.
func address(a string) bool {
	_, port, err := net.SplitHostPort(a)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && perr == nil && strconv.FormatUint(n, 10) == port
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
