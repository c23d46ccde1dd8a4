package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

func accountNoun(e *env) command.Noun {
	return command.Noun{Name: "account", Short: "make, show and carry the accounts on this machine", Verbs: []command.Verb{
		accountNew(e), accountList(e), accountShow(e), accountUse(e),
		accountExport(e), accountImport(e), accountRestore(e), accountPassphrase(e), accountRemove(e),
	}}
}

// accountView is an account as --json shows it.
type accountView struct {
	Name    string    `json:"name"`
	Account string    `json:"account"`
	Kind    string    `json:"kind"`
	Created time.Time `json:"created"`
	Device  string    `json:"device"`
	Root    string    `json:"root,omitempty"` // of the lower root key kept here
	Default bool      `json:"default"`
	File    string    `json:"file,omitempty"`   // that it was exported to
	Phrase  string    `json:"phrase,omitempty"` // with --unattended, and this once
}

func view(r keyring.Reader, a keyring.Account) accountView {
	v := accountView{
		Name: a.Name, Account: a.ID.String(), Kind: a.Kind.String(), Created: a.Created, Device: a.Device.String(),
	}
	if !a.Root.IsZero() {
		v.Root = a.Root.String()
	}
	chosen, err := r.Default()
	v.Default = err == nil && chosen.ID == a.ID
	return v
}

func (v accountView) write(w io.Writer) {
	command.Row(w, "name", v.Name)
	command.Row(w, "account", v.Account)
	command.Row(w, "kind", v.Kind)
	command.Row(w, "created", v.Created.Format(time.RFC3339))
	command.Row(w, "device", v.Device)
	if v.Root == "" {
		command.Row(w, "root", "none kept here; each change of keys needs the recovery phrase")
	} else {
		command.Row(w, "root", v.Root)
	}
	if v.Default {
		command.Row(w, "default", "yes")
	} else {
		command.Row(w, "default", "no")
	}
	if v.File != "" {
		command.Row(w, "file", v.File)
	}
	if v.Phrase != "" {
		command.Row(w, "phrase", v.Phrase)
	}
}

func accountList(e *env) command.Verb {
	return command.Verb{
		Name:     "list",
		Short:    "list the accounts on this machine",
		Long:     "Lists name, kind, id and which one is used when none is named.",
		Examples: []string{"confab account list", "confab account list --json"},
		Run: e.with(func(c *call) error {
			r, err := c.readAccounts()
			if err != nil {
				return err
			}
			list, broken := r.List()
			views := []accountView{}
			for _, a := range list {
				views = append(views, view(r, a))
			}
			if len(list) == 0 && broken == nil {
				c.Say("there is no account on this machine; make one with confab account new")
			}
			err = c.Print(struct {
				Accounts []accountView `json:"accounts"`
			}{views}, func(w io.Writer) {
				for _, v := range views {
					mark := ""
					if v.Default {
						mark = "  default"
					}
					fmt.Fprintf(w, "%-16s  %-12s  %s%s\n", v.Name, v.Kind, v.Account, mark)
				}
			})
			if err != nil {
				return err
			}
			return broken
		}),
	}
}

func accountShow(e *env) command.Verb {
	return command.Verb{
		Name:     "show",
		Args:     "[NAME]",
		Short:    "show an account",
		Long:     "Shows what this machine knows of an account without its passphrase. NAME is\nits name here or its id.",
		Examples: []string{"confab account show", "confab account show --json me"},
		Flags:    []cli.Flag{accountFlag()},
		Run: e.with(func(c *call) error {
			r, err := c.readAccounts()
			if err != nil {
				return err
			}
			a, err := c.account(r, c.Args().First())
			if err != nil {
				return err
			}
			v := view(r, a)
			return c.Print(v, v.write)
		}),
	}
}

func accountUse(e *env) command.Verb {
	return command.Verb{
		Name:     "use",
		Args:     "NAME",
		Short:    "choose the account that commands use when none is named",
		Examples: []string{"confab account use work"},
		Run: e.with(func(c *call) error {
			r, err := c.openAccounts()
			if err != nil {
				return err
			}
			defer r.Close()
			a, err := c.account(r.Reader, c.Args().First())
			if err != nil {
				return err
			}
			if err := r.Choose(a.ID); err != nil {
				return err
			}
			v := view(r.Reader, a)
			return c.Print(v, v.write)
		}),
	}
}

func accountRemove(e *env) command.Verb {
	return command.Verb{
		Name:  "remove",
		Args:  "NAME",
		Short: "delete an account's keys from this machine",
		Long: `Deletes the keys that this machine has of an account, and the registrations
that are under way. The account itself stays: its recovery phrase brings it
back (confab account restore), which is also how it gets new keys here if the
passphrase is forgotten or this machine's device was removed. One that is not
on the chain yet cannot come back without a file of it: export it before.

If this machine's device is listed, take it off the list before: confab
handle devices --revoke KEY.`,
		Examples: []string{"confab account remove --yes work"},
		Flags:    []cli.Flag{command.Bool("yes", "yes, delete the keys")},
		Run:      e.with(removeAccount),
	}
}

func removeAccount(c *call) error {
	r, err := c.openAccounts()
	if err != nil {
		return err
	}
	defer r.Close()
	a, err := c.account(r.Reader, c.Args().First())
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		return c.Usagef("without its recovery phrase or an export of it, account %s is lost afterwards; say --yes if you mean it", a.Name)
	}
	v := view(r.Reader, a)
	if err := r.Remove(a.ID); err != nil {
		return err
	}
	v.Default = false
	c.Say("account %s is on this machine no more", a.Name)
	return c.Print(v, v.write)
}

func accountPassphrase(e *env) command.Verb {
	return command.Verb{
		Name:  "passphrase",
		Args:  "[NAME]",
		Short: "give an account another passphrase",
		Long: `Encrypts the keys anew. Copies of the old file, such as exports and backups,
keep the old passphrase.`,
		Examples: []string{
			"confab account passphrase",
			"confab account passphrase --passphrase-file old.txt --new-passphrase-file new.txt me",
		},
		Flags: []cli.Flag{accountFlag(), passphraseFlag(), newPassphraseFlag("from now on")},
		Run: e.with(func(c *call) error {
			r, err := c.openAccounts()
			if err != nil {
				return err
			}
			defer r.Close()
			a, err := c.account(r.Reader, c.Args().First())
			if err != nil {
				return err
			}
			a, err = c.reencrypt(a, "", "passphrase of "+a.Name, "new passphrase")
			if err != nil {
				return err
			}
			if err := r.Replace(a); err != nil {
				return err
			}
			c.Say("account %s has a new passphrase", a.Name)
			v := view(r.Reader, a)
			return c.Print(v, v.write)
		}),
	}
}

// reencrypt returns the account under another passphrase, both asked for, and
// under another name unless name is empty.
func (c *call) reencrypt(a keyring.Account, name, prompt, newPrompt string) (keyring.Account, error) {
	old, err := c.passphrase("passphrase-file", prompt)
	defer clear(old)
	if err != nil {
		return a, err
	}
	if _, err := a.Unlock(old); err != nil { // before more is asked
		return a, err
	}
	fresh, err := c.newPassphrase("new-passphrase-file", newPrompt)
	defer clear(fresh)
	if err != nil {
		return a, err
	}
	return a.Reencrypt(c.rand, old, name, keyring.Protect(fresh, c.cost))
}

// firstName is the name of an account when none is given.
const firstName = "me"

// nameFlag is that of commands that bring an account to this machine.
func nameFlag(otherwise string) cli.Flag {
	return &cli.StringFlag{Name: "name", Usage: "call it `NAME` on this machine (" + otherwise + " otherwise)"}
}

// freeName returns the name for an account that is to come, and checks early,
// before anything is asked, that it can have it.
func (c *call) freeName(r keyring.Reader, otherwise string) (string, error) {
	name := c.String("name")
	if name == "" {
		name = otherwise
	}
	err := r.Free(name)
	if wire.CodeOf(err) == wire.Exists {
		err = wire.Errorf(wire.Exists, "%w with --name NAME", err)
	}
	return name, err
}
