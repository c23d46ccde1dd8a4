package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/remote"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func joinVerb() command.Verb {
	return command.Verb{
		Name:  "join",
		Short: "join a running network by a snapshot",
		Long: `Makes a validator's folder for a network that runs already, takes a snapshot
of its state from peers, and follows the chain as a full node. Nothing is
believed that the pin does not vouch for: get it from somebody you trust.
Others then see a node that keeps up; it becomes a validator when operators
who hold two thirds of the power vote for it.

It stops when interrupted, or with --once when it has caught up; run goes on
from there, also if it was stopped half-way.`,
		Examples: []string{
			"confab-validator join --pin my-chain:1:5f3a… --source https://v0.example.org",
			"confab-validator join --network ~/.config/confab/networks/my-chain.toml --once",
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pin", Usage: "where trust begins, `CHAIN:HEIGHT:HASH`"},
			&cli.StringSliceFlag{Name: "source", Usage: "the query `URL` of a validator; repeat for more, so that they confirm one another"},
			&cli.StringFlag{Name: "network", Usage: "pin and sources from this `FILE`, as confab net add writes it"},
			&cli.StringSliceFlag{Name: "peer", Usage: "a peer beside those that the sources name, `ID@HOST:PORT`; repeat for more"},
			&cli.StringFlag{Name: "name", Value: "validator", Usage: "a `NAME` for logs"},
			&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT` for other validators", Value: node.DefaultConfig().P2P.Listen},
			&cli.StringFlag{Name: "query", Usage: "`HOST:PORT` for everyone else", Value: node.DefaultConfig().Query.Listen},
			command.Bool("local", "all validators are on this machine"),
			command.Bool("replay", "fetch all blocks from the first one instead of a snapshot: the node then keeps the whole history"),
			command.Bool("once", "stop when the node has caught up"),
		},
		Run: join,
	}
}

func join(c *command.Call) error {
	pin, sources, err := whom(c)
	if err != nil {
		return err
	}
	from, err := remote.New(pin, sources, nil)
	if err != nil {
		return err
	}
	net := &questioned{Network: from, c: c, told: map[string]bool{}}
	home := c.Setting("home")
	if _, err := os.Stat(filepath.Join(home, node.ConfigFile)); err == nil {
		return wire.Errorf(wire.Exists, "%s is a validator's folder already; to go on with it: %s", home, typed(c, "run"))
	}
	config, doc, err := prepare(c, net, sources)
	if err != nil {
		return err
	}
	if _, err := node.InitFor(home, config, func(node.Identity) (*cmttypes.GenesisDoc, error) { return doc, nil }); err != nil {
		return err
	}
	c.Say("made %s; its keys are new, and %s is the secret", home, filepath.Join(home, "keys", "validator.json"))
	return follow(c, home, config, net)
}

// whom returns the pin and the sources that the command line says.
func whom(c *command.Call) (verify.Pin, []string, error) {
	if file := c.String("network"); file != "" {
		if c.IsSet("pin") || c.IsSet("source") {
			return verify.Pin{}, nil, c.Usagef("--network has the pin and the sources: leave out --pin and --source")
		}
		dir, base := filepath.Split(file)
		n, err := networks.Dir{Path: dir}.Load(strings.TrimSuffix(base, filepath.Ext(base)))
		return n.Pin, n.Sources, err
	}
	if !c.IsSet("pin") || !c.IsSet("source") {
		return verify.Pin{}, nil, c.Usagef("--pin and --source are needed, or --network: ask an operator of the network for them")
	}
	pin, err := verify.ParsePin(c.String("pin"))
	if err != nil {
		return verify.Pin{}, nil, fmt.Errorf("--pin: %w", err)
	}
	return pin, c.StringSlice("source"), nil
}

// inquiry bounds what is asked before anything is written.
const inquiry = 30 * time.Second

// prepare asks the network, verifies that it is the pin's, and returns what the
// folder will hold.
func prepare(c *command.Call, net *questioned, sources []string) (node.Config, *cmttypes.GenesisDoc, error) {
	ctx, cancel := context.WithTimeout(c.Ctx(), inquiry)
	defer cancel()
	pin := net.Pin()
	newest, err := net.Newest(ctx)
	if err != nil {
		return node.Config{}, nil, fmt.Errorf("verify %s from the pin: %w", pin.ChainID, err)
	}
	c.Say("%s is at height %d, verified from the pin at height %d", pin.ChainID, newest, pin.Height)
	net.sayDoubts()
	b, err := net.Genesis(ctx)
	if err != nil {
		return node.Config{}, nil, err
	}
	doc, err := cmttypes.GenesisDocFromJSON(b)
	if err == nil {
		err = chain.CheckGenesis(doc)
	}
	if err != nil {
		return node.Config{}, nil, wire.Errorf(wire.Invalid, "the genesis file that the source gave: %w", err)
	}
	if doc.ChainID != pin.ChainID {
		return node.Config{}, nil, wire.Errorf(wire.Invalid, "the source gave the genesis file of chain %q, the pin is of %q", doc.ChainID, pin.ChainID)
	}
	config := configuration(c)
	found, err := net.Peers(ctx)
	if err != nil && len(config.P2P.Peers) == 0 {
		return node.Config{}, nil, err
	}
	config.P2P.Peers = append(config.P2P.Peers, found...)
	if !c.Bool("replay") {
		config.Join.Pin, config.Join.Sources = pin.String(), sources
	}
	return config, doc, config.Check()
}

// questioned is a network of which is told, once for each, what source confirms
// nothing.
type questioned struct {
	*remote.Network
	c    *command.Call
	told map[string]bool
}

func (q *questioned) sayDoubts() {
	doubts, others := q.Doubts()
	for _, d := range doubts {
		if q.told[d.Source] {
			continue
		}
		q.told[d.Source] = true
		consequence := ""
		if others == 1 {
			consequence = "; what the other one says is verified from the pin, but nobody confirms it"
		}
		q.c.Say("warning: the source %s gives no answer that holds (%v)%s", d.Source, d.Err, consequence)
	}
}

// trusted returns what a node verifies by that has no block yet, nil if its
// configuration names nothing.
func trusted(config node.Config) (node.Trusted, error) {
	if config.Join.Pin == "" {
		return nil, nil
	}
	pin, err := verify.ParsePin(config.Join.Pin)
	if err != nil {
		return nil, fmt.Errorf("join.pin: %w", err)
	}
	return remote.New(pin, config.Join.Sources, nil)
}

// follow runs the node, says how far it has come, and what is next when it has
// caught up.
func follow(c *command.Call, home string, config node.Config, net *questioned) error {
	logger, err := node.NewLogger(c.Stderr, config.Log)
	if err != nil {
		return err
	}
	var caught atomic.Bool
	parts := node.Parts{}
	if config.Join.Pin != "" {
		parts.Trusted = net.Network
	}
	n, err := node.OpenWith(home, config, parts, slog.New(quiet{logger.Handler(), &caught}))
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		n.Stop()
		return err
	}
	err = catchUp(c, n, net)
	if err == nil {
		err = arrived(c, n, home)
	}
	if err == nil && !c.Bool("once") {
		caught.Store(true)
		select {
		case <-c.Ctx().Done():
		case <-n.Failed():
			err = stopped(n)
		}
	}
	if serr := n.Stop(); err == nil && serr != nil {
		err = fmt.Errorf("stop validator: %w", serr)
	}
	return err
}

// catchUp waits until the node has the newest block.
func catchUp(c *command.Call, n *node.Node, net *questioned) error {
	p := c.Progress()
	defer p.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var newest uint64
	var asked time.Time
	last := ""
	for {
		j := n.Join()
		if time.Since(asked) > 2*time.Second {
			asked = time.Now()
			if h, err := net.Newest(c.Ctx()); err == nil {
				newest = h
			} else if wire.CodeOf(err) == wire.Conflict {
				return err
			}
			net.sayDoubts()
		}
		if text := stage(j, newest); text != last {
			p.Step("%s", text)
			last = text
		}
		if j.Height > 0 && newest > 0 && j.Height+1 >= newest {
			return nil
		}
		select {
		case <-tick.C:
		case <-n.Failed():
			return wire.Errorf(wire.Unavailable, "this node cannot go on; the log above says why. What it has is kept: %s", typed(c, "run"))
		case <-c.Ctx().Done():
			c.Say("stopped before it had caught up; to go on: %s", typed(c, "run"))
			return command.ErrStopped
		}
	}
}

// stage says how far a node has come.
func stage(j node.Join, newest uint64) string {
	switch {
	case j.Of > 0:
		return fmt.Sprintf("taking the snapshot of height %d: %d of %d chunks", j.Taking, j.Chunks, j.Of)
	case j.Height == 0:
		return fmt.Sprintf("looking for a snapshot at %d peers", j.Peers)
	}
	return fmt.Sprintf("catching up: block %d of %d", j.Height, max(newest, uint64(j.Height))) // the second was asked for earlier
}

// joined is what join prints.
type joined struct {
	report
	From uint64 `json:"history_from"`
}

func arrived(c *command.Call, n *node.Node, home string) error {
	id, err := node.LoadIdentity(home)
	if err != nil {
		return err
	}
	j := n.Join()
	out := joined{report: describe(id, home), From: j.From}
	out.Chain, out.Height, out.Query = n.Query.Chain, j.Height, "http://"+n.QueryAddr()
	c.Say("caught up at height %d. To become a validator: sign your key over to your operator account with %s, "+
		"let the account offer it, and ask the operators to vote for it (docs/OPERATOR.md)", j.Height, typed(c, "possession --account ID"))
	return c.Print(out, func(w io.Writer) {
		command.Row(w, "home", home)
		command.Row(w, "chain", out.Chain)
		command.Row(w, "key", hex.EncodeToString(id.Key[:]))
		command.Row(w, "address", out.Address)
		command.Row(w, "peer id", out.PeerID)
		command.Row(w, "height", strconv.FormatUint(out.Height, 10))
		command.Row(w, "history from", strconv.FormatUint(out.From, 10))
		command.Row(w, "query", out.Query)
	})
}

// quiet is a log that says only warnings until the node has caught up: progress
// is shown otherwise meanwhile.
type quiet struct {
	slog.Handler
	open *atomic.Bool
}

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return (l >= slog.LevelWarn || q.open.Load()) && q.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a), q.open} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name), q.open} }
