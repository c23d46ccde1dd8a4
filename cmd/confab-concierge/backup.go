package main

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
)

func backupVerb() command.Verb {
	return command.Verb{
		Name:  "backup",
		Short: "copy a concierge's folder, also while it runs",
		Long: `Copies configuration and messages of one moment into a new folder on the same
file system. Messages are ciphertext.

With --keys the server key is in it too, and the key of your tickets: whoever
has those can pose as this concierge. Keep such a backup encrypted.`,
		Examples: []string{"confab-concierge backup --to /backup/monday"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "a `FOLDER` that is not there yet"},
			command.Bool("keys", "the server key and the key of tickets too"),
		},
		Run: backup,
	}
}

// copied is what backup and restore print.
type copied struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (r copied) write(w io.Writer) {
	command.Row(w, "from", r.From)
	command.Row(w, "to", r.To)
}

func backup(c *command.Call) error {
	if !c.IsSet("to") {
		return c.Usagef("--to is missing: a folder that is not there yet")
	}
	home := c.Setting("home")
	if err := host.Backup(c.Ctx(), home, c.String("to"), c.Bool("keys")); err != nil {
		return err
	}
	out := copied{From: home, To: c.String("to")}
	return c.Print(out, out.write)
}

func restoreVerb() command.Verb {
	return command.Verb{
		Name:  "restore",
		Short: "make a concierge's folder of a backup",
		Long: `Copies a backup into the folder. What was fetched since the backup is offered
again, which devices notice; what came since is lost. Key packages of the
backup are not given out any more: devices upload new ones. Invitation codes
that were made before are void.

Without a key in the backup, put server.key into the folder, or make a new
one with init elsewhere and change the entry.`,
		Examples: []string{"confab-concierge restore --from /backup/monday --home c1"},
		Flags:    []cli.Flag{&cli.StringFlag{Name: "from", Usage: "the backup's `FOLDER`"}},
		Run:      restore,
	}
}

func restore(c *command.Call) error {
	if !c.IsSet("from") {
		return c.Usagef("--from is missing: a folder that backup made")
	}
	home := c.Setting("home")
	if err := host.Restore(c.String("from"), home); err != nil {
		return err
	}
	c.Say("next: %s", typed(c, "run"))
	out := copied{From: c.String("from"), To: home}
	return c.Print(out, out.write)
}
