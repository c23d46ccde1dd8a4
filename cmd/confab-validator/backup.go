package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
)

func backupVerb() command.Verb {
	return command.Verb{
		Name:  "backup",
		Short: "copy a validator's folder, also while it runs",
		Long: `Copies state, blocks, genesis file and configuration of one moment into a new
folder, and lists every file with its hash. A validator that runs goes on
meanwhile.

Without --keys there is no secret in it. With --keys the validator's keys and
what it signed last are in it, in files that only you can read: whoever has
them can sign in its name. Keep such a backup encrypted.`,
		Examples: []string{"confab-validator backup --to /backup/v0-monday", "confab-validator backup --home v0 --to ./copy --keys"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "a `FOLDER` that is not there yet"},
			command.Bool("keys", "the validator's secret too"),
		},
		Run: runBackup,
	}
}

// backedUp is what backup and restore print.
type backedUp struct {
	Folder string    `json:"folder"`
	Chain  string    `json:"chain"`
	State  uint64    `json:"state_height"`
	Blocks uint64    `json:"block_height"`
	Taken  time.Time `json:"taken"`
	Keys   bool      `json:"keys"`
	Bytes  int64     `json:"bytes"`
}

func describeBackup(folder string, i node.BackupInfo) backedUp {
	return backedUp{Folder: folder, Chain: i.Chain, State: i.State, Blocks: i.Blocks, Taken: i.Taken, Keys: i.Keys, Bytes: i.Bytes}
}

func (b backedUp) write(w io.Writer) {
	command.Row(w, "folder", b.Folder)
	command.Row(w, "chain", b.Chain)
	command.Row(w, "state", "height "+strconv.FormatUint(b.State, 10))
	command.Row(w, "blocks", "up to "+strconv.FormatUint(b.Blocks, 10))
	command.Row(w, "taken", b.Taken.Format(time.RFC3339))
	command.Row(w, "bytes", strconv.FormatInt(b.Bytes, 10))
	if b.Keys {
		command.Row(w, "keys", "yes: keep it secret")
	} else {
		command.Row(w, "keys", "no")
	}
}

func runBackup(c *command.Call) error {
	if !c.IsSet("to") {
		return c.Usagef("--to is missing: a folder that is not there yet")
	}
	home := c.Setting("home")
	if _, err := node.LoadConfig(home); err != nil {
		return err
	}
	to, err := filepath.Abs(c.String("to"))
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	info, err := node.AskBackup(c.Ctx(), home, to, c.Bool("keys"))
	if errors.Is(err, node.ErrNotRunning) {
		info, err = node.BackupFolder(c.Ctx(), home, to, c.Bool("keys"), slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return err
	}
	if info.Keys {
		c.Say("the backup has the validator's secret: only you can read it here, so keep it so, encrypted")
	}
	out := describeBackup(c.String("to"), info)
	return c.Print(out, out.write)
}

func restoreVerb() command.Verb {
	return command.Verb{
		Name:  "restore",
		Short: "make a validator's folder of a backup",
		Long: `Checks a backup, file by file and as a whole, and makes a folder of it. Keys
that are in the folder already stay; else those of the backup come, else new
ones are made, which are another validator's.

Blocks since the backup are fetched from peers. Before you run it, be sure
that no other process signs with the same key, now or ever again: two
signatures for one height are evidence against you. With a key that comes
from the backup, block.double_sign_check is set to 10, so that the validator
signs nothing before ten blocks were made without it. See docs/OPERATOR.md.`,
		Examples: []string{"confab-validator restore --from /backup/v0-monday --home v0"},
		Flags:    []cli.Flag{&cli.StringFlag{Name: "from", Usage: "the backup's `FOLDER`"}},
		Run:      runRestore,
	}
}

func runRestore(c *command.Call) error {
	if !c.IsSet("from") {
		return c.Usagef("--from is missing: a folder that backup made")
	}
	home := c.Setting("home")
	info, err := node.Restore(c.Ctx(), c.String("from"), home, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if info.Signs {
		c.Say("the folder signs with the backup's key, which may have signed since %s. So block.double_sign_check is %d in %s: "+
			"the validator refuses to sign until %d blocks were made without it; set it back to 0 once it signs. "+
			"If it was stopped before the backup was taken, and has not run anywhere since, you can set it to 0 now",
			info.Taken.Format(time.RFC3339), node.RestoredCheck, filepath.Join(home, node.ConfigFile), node.RestoredCheck)
	}
	c.Say("next: %s", typed(c, "run"))
	out := describeBackup(home, info)
	return c.Print(out, out.write)
}
