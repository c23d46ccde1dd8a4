package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
)

func backupVerb() command.Verb {
	return command.Verb{
		Name:  "backup",
		Short: "copy a concierge's folder, also while it runs",
		Long: `Copies configuration, messages of one moment and files into a new folder on
the same file system. Messages and files are ciphertext. Files never change
and get a second name there, which takes no room; from another file system
they are copied. Uploads that are not whole are left out. With --no-files,
copy the folder of files yourself, after the backup.

With --keys the server key is in it too, and the key of your tickets: whoever
has those can pose as this concierge. Keep such a backup encrypted.`,
		Examples: []string{"confab-concierge backup --to /backup/monday"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "a `FOLDER` that is not there yet"},
			command.Bool("keys", "the server key and the key of tickets too"),
			command.Bool("no-files", "leave out the files that people sent and stored"),
		},
		Run: backup,
	}
}

// copied is what backup and restore print.
type copied struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Files   uint64 `json:"files"`
	Bytes   uint64 `json:"bytes"` // of files
	Damaged uint64 `json:"damaged,omitempty"`
}

func (r copied) write(w io.Writer) {
	command.Row(w, "from", r.From)
	command.Row(w, "to", r.To)
	command.Row(w, "files", fmt.Sprintf("%d, %d bytes", r.Files, r.Bytes))
	if r.Damaged > 0 {
		command.Row(w, "damaged", fmt.Sprintf("%d files, which were left out", r.Damaged))
	}
}

func backup(c *command.Call) error {
	if !c.IsSet("to") {
		return c.Usagef("--to is missing: a folder that is not there yet")
	}
	home := c.Setting("home")
	files, err := host.Backup(c.Ctx(), home, c.String("to"), host.BackupOptions{Keys: c.Bool("keys"), NoFiles: c.Bool("no-files")})
	if err != nil {
		return err
	}
	out := copied{From: home, To: c.String("to"), Files: files.Blobs, Bytes: files.Bytes}
	return c.Print(out, out.write)
}

func restoreVerb() command.Verb {
	return command.Verb{
		Name:  "restore",
		Short: "make a concierge's folder of a backup",
		Long: `Copies a backup into the folder. What was fetched since the backup is offered
again, which devices notice; what came since is lost. Key packages of the
backup are not given out any more: devices upload new ones. Invitation codes
that were made before are void. Files are checked; owners of those that are
damaged or not there are told so.

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
	files, err := host.Restore(c.Ctx(), c.String("from"), home)
	if err != nil {
		return err
	}
	c.Say("next: %s", typed(c, "run"))
	out := copied{From: c.String("from"), To: home, Files: files.Blobs, Bytes: files.Bytes, Damaged: files.Damaged}
	return c.Print(out, out.write)
}
