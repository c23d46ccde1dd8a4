package main

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/lightclient/verify"
)

func possessionVerb() command.Verb {
	return command.Verb{
		Name:  "possession",
		Short: "prove whose this validator's key is",
		Long: `Signs with the validator's key that it belongs to the operator's account, on
this chain and no other. The account's offer to run a validator carries this
proof, so that nobody can offer somebody else's key. It is no vote: it can be
made while the validator runs.

For a handle it asks the network NAME of confab's, or the sources that the
folder's configuration has from join, or the validator in --home if it runs.
An id needs nobody.`,
		Examples: []string{"confab-validator possession --account 5f3a…", "confab-validator possession --account @anna --network main"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "account", Usage: "the operator's `ACCOUNT`, its id or a handle such as @anna"},
			confabFlag(),
			&cli.StringFlag{Name: "network", Usage: "ask the network `NAME` of confab's what a handle means"},
		},
		Run: possession,
	}
}

// proven is what possession prints.
type proven struct {
	Chain      string `json:"chain"`
	Account    string `json:"account"`
	Key        string `json:"key"`
	Possession string `json:"possession"`
}

func possession(c *command.Call) error {
	if !c.IsSet("account") {
		return c.Usagef("--account is missing: the operator's account id, as confab account show prints it, or its handle")
	}
	id, err := accountNamed(c, c.String("account"), func() (*lightclient.Client, error) { return handleClient(c) })
	if err != nil {
		return fmt.Errorf("--account: %w", err)
	}
	p, err := node.Possession(c.Setting("home"), id)
	if err != nil {
		return err
	}
	out := proven{Chain: p.ChainID, Account: id.String(), Key: hex.EncodeToString(p.Key[:]), Possession: p.String()}
	return c.Print(out, func(w io.Writer) {
		command.Row(w, "chain", out.Chain)
		command.Row(w, "account", out.Account)
		command.Row(w, "key", out.Key)
		command.Row(w, "possession", out.Possession)
	})
}

// handleClient returns a light client that says what a handle means: of the network
// that is named, of the one that the folder was joined by, or of the folder's own
// validator.
func handleClient(c *command.Call) (*lightclient.Client, error) {
	if c.String("network") == "" {
		config, err := node.LoadConfig(c.Setting("home"))
		if err != nil {
			return nil, err
		}
		if config.Join.Pin != "" {
			pin, err := verify.ParsePin(config.Join.Pin)
			if err != nil {
				return nil, fmt.Errorf("join.pin: %w", err)
			}
			return networks.Probe(networks.Network{Name: "joined", Pin: pin, Sources: config.Join.Sources})
		}
	}
	return client(c)
}
