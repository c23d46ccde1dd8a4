package main

import (
	"encoding/hex"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func possessionVerb() command.Verb {
	return command.Verb{
		Name:  "possession",
		Short: "prove whose this validator's key is",
		Long: `Signs with the validator's key that it belongs to the operator's account, on
this chain and no other. The account's offer to run a validator carries this
proof, so that nobody can offer somebody else's key. It is no vote: it can be
made while the validator runs.`,
		Examples: []string{"confab-validator possession --account 5f3a…"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "account", Usage: "the operator's account, its `ID`"},
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
		return c.Usagef("--account is missing: the operator's account id, as confab account show prints it")
	}
	id, err := namesvc.ParseAccountID(c.String("account"))
	if err != nil {
		return wire.Errorf(wire.Invalid, "--account: %w", err)
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
