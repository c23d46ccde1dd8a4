package main

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func initVerb() command.Verb {
	return command.Verb{
		Name:  "init",
		Short: "make a validator's folder: keys and configuration",
		Long: `Makes new keys and a commented configuration.

With --chain it also founds a chain with this validator in it, and those
named by --with, and writes its genesis.json; the other founders put that
file into their own folders. With --genesis it joins the chain of such a
file. Without either it only makes the keys, which a founder needs to name
you.

Each founder has an operator: an account of kind service, which votes on who
else decides. Without --operator nobody votes on the chain that is founded:
its validators stay what they are.`,
		Examples: []string{
			"confab-validator init --chain my-chain --operator anna",
			"confab-validator init --home v0 --chain my-chain --operator anna --with 02ab…@10@7ce3…",
			"confab-validator init --home v1 --genesis genesis.json --peer 5f3a…@example.org:26656",
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Value: "validator", Usage: "a `NAME` for logs"},
			&cli.StringFlag{Name: "chain", Usage: "found a chain with this `ID`"},
			&cli.StringSliceFlag{Name: "with", Usage: "another founding validator, `KEY@POWER@OPERATOR`, the last an account id; repeat for more"},
			&cli.StringFlag{Name: "operator", Usage: "the `ACCOUNT` that operates this validator in the chain it founds: an id, or a name in confab's folder"},
			confabFlag(),
			&cli.Int64Flag{Name: "power", Value: 10, Usage: "this validator's `POWER` in the chain it founds"},
			command.Bool("dev", "the chain it founds is for trying things: short handles, little work"),
			&cli.StringFlag{Name: "genesis", Usage: "join the chain of this genesis `FILE`"},
			&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT` for other validators", Value: node.DefaultConfig().P2P.Listen},
			&cli.StringFlag{Name: "query", Usage: "`HOST:PORT` for everyone else", Value: node.DefaultConfig().Query.Listen},
			&cli.StringSliceFlag{Name: "peer", Usage: "a peer to stay connected to, `ID@HOST:PORT`; repeat for more"},
			command.Bool("local", "all validators are on this machine"),
		},
		Run: initHome,
	}
}

func initHome(c *command.Call) error {
	for _, name := range []string{"with", "power", "dev", "operator"} {
		if c.IsSet(name) && !c.IsSet("chain") {
			return c.Usagef("--%s is about a chain that is founded: give --chain too", name)
		}
	}
	if c.IsSet("chain") && c.IsSet("genesis") {
		return c.Usagef("--chain founds a chain and --genesis joins one: give one of them")
	}
	others, err := founders(c.StringSlice("with"))
	if err != nil {
		return err
	}
	operator, err := founder(c)
	if err != nil {
		return err
	}
	// Everything that can be wrong is found before the first file is written.
	doc, err := genesis(c, operator, others, secp256k1eth.GenPrivKey().PubKey().Bytes())
	if err != nil {
		return err
	}
	home := c.Setting("home")
	var found func(node.Identity) (*cmttypes.GenesisDoc, error)
	if doc != nil {
		found = func(id node.Identity) (*cmttypes.GenesisDoc, error) {
			return genesis(c, operator, others, id.Key[:])
		}
	}
	id, err := node.InitFor(home, configuration(c), found)
	if err != nil {
		return err
	}
	out := describe(id, home)
	if doc != nil {
		out.Chain = doc.ChainID
	}
	if operator != (namesvc.AccountID{}) {
		out.Operator = operator.String()
	}
	switch {
	case doc == nil:
		c.Say("give your key to whoever founds the chain, and put the genesis.json that you get into %s", home)
	case len(others) > 0:
		c.Say("give %s to the other founders, and list them as peers in %s", filepath.Join(home, "genesis.json"), filepath.Join(home, node.ConfigFile))
	}
	if c.IsSet("chain") && out.Operator == "" {
		c.Say("nobody votes on this chain: its validators stay what they are; found it with --operator if that is to change")
	}
	c.Say("next: %s", typed(c, "run"))
	return c.Print(out, out.write)
}

func configuration(c *command.Call) node.Config {
	config := node.DefaultConfig()
	config.Name = c.String("name")
	config.P2P.Local = c.Bool("local")
	config.P2P.Peers = c.StringSlice("peer")
	config.P2P.Listen = c.String("listen")
	config.Query.Listen = c.String("query")
	return config
}

// genesis returns the genesis file of the chain that is founded by a validator
// with this key, or joined, or nil.
func genesis(c *command.Call, operator namesvc.AccountID, others []chain.Founder, key []byte) (*cmttypes.GenesisDoc, error) {
	if path := c.String("genesis"); path != "" {
		doc, err := cmttypes.GenesisDocFromFile(path)
		if err == nil {
			err = chain.CheckGenesis(doc)
		}
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "--genesis: %w", err)
		}
		return doc, nil
	}
	id := c.String("chain")
	if !c.IsSet("chain") {
		return nil, nil
	}
	if err := namesvc.CheckChain(id); err != nil {
		return nil, wire.Errorf(wire.Invalid, "--chain: %w", err)
	}
	if c.Int64("power") <= 0 {
		return nil, wire.Errorf(wire.Invalid, "--power is %d: it must be above 0", c.Int64("power"))
	}
	p := namesvc.DefaultParams(id)
	if c.Bool("dev") {
		p = namesvc.DevParams(id)
	}
	me := chain.Founder{Operator: operator, GenesisValidator: cmttypes.GenesisValidator{
		PubKey: secp256k1eth.PubKey(key), Power: c.Int64("power"), Name: c.String("name"),
	}}
	doc, err := chain.Found(p, append([]chain.Founder{me}, others...), time.Now())
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "found chain %s: %w", id, err)
	}
	return doc, nil
}

// founder returns the account that operates the validator of a founder, or zero.
func founder(c *command.Call) (namesvc.AccountID, error) {
	text := c.String("operator")
	if text == "" {
		return namesvc.AccountID{}, nil
	}
	if id, err := namesvc.ParseAccountID(text); err == nil {
		return id, nil
	}
	a, err := operatorAccount(c, text)
	if err != nil {
		return a.ID, fmt.Errorf("--operator: %w", err)
	}
	return a.ID, nil
}

// founders parses KEY@POWER@OPERATOR; the last may be missing.
func founders(list []string) ([]chain.Founder, error) {
	var out []chain.Founder
	for _, text := range list {
		k, power, ok := strings.Cut(text, "@")
		power, operator, voting := strings.Cut(power, "@")
		var id namesvc.AccountID
		if voting {
			var err error
			if id, err = namesvc.ParseAccountID(operator); err != nil {
				return nil, wire.Errorf(wire.Invalid, "--with %q: the operator is the id of an account, 64 digits", text)
			}
		}
		b, err := hex.DecodeString(k)
		n, perr := strconv.ParseInt(power, 10, 64)
		if !ok || err != nil || perr != nil || n <= 0 {
			return nil, wire.Errorf(wire.Invalid, "--with %q: write KEY@POWER@OPERATOR, the key as confab-validator init printed it", text)
		}
		pub, err := secp256k1eth.NewPubKeyFromBytes(b)
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "--with %q: %w", text, err)
		}
		out = append(out, chain.Founder{Operator: id, GenesisValidator: cmttypes.GenesisValidator{PubKey: pub, Power: n}})
	}
	return out, nil
}
