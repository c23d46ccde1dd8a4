package main

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

func exportVerb() command.Verb {
	return command.Verb{
		Name:  "export",
		Short: "print the record of all blocks as lines of JSON",
		Long: `Prints every block that the law was given something in: its ops, what became
of each, the root after it, and evidence against validators. From the genesis
file and these rows anyone can compute every root again, as audit does.

The record comes from the folder of a validator that is stopped, or with
--source from one that runs. It is resumable: --after goes on behind the
height of the last row that was seen. A node that joined by a snapshot has
the record from there on only.`,
		Examples: []string{
			"confab-validator export --home v0",
			"confab-validator export --source https://v0.example.org --after 1200 --follow",
		},
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "source", Usage: "read from the query `URL` of a validator; repeat for more"},
			&cli.Uint64Flag{Name: "after", DefaultText: "0: all of it", Usage: "begin after the block of this `HEIGHT`"},
			command.Bool("follow", "go on with new blocks as they come, until interrupted (with --source)"),
		},
		Run: runExport,
	}
}

// exportPause is how long --follow waits before it asks for more: about a block.
const exportPause = time.Second

func runExport(c *command.Call) error {
	if c.Bool("follow") && !c.IsSet("source") {
		return c.Usagef("--follow needs --source: a validator that is stopped makes no blocks")
	}
	r, err := openRecord(c)
	if err != nil {
		return err
	}
	defer r.close()
	for after := c.Uint64("after"); ; {
		rows, _, more, err := r.after(c.Ctx(), after)
		if err != nil {
			return stoppedOr(c, err)
		}
		for _, row := range rows {
			text, err := wire.JSON(row)
			if err != nil {
				return err
			}
			var line bytes.Buffer
			if err := json.Compact(&line, text); err != nil {
				return err
			}
			line.WriteByte('\n')
			if _, err := c.Stdout.Write(line.Bytes()); err != nil {
				return err // whoever reads it has gone
			}
			after = row.Block.Height
		}
		if more {
			continue
		}
		if !c.Bool("follow") {
			return nil
		}
		select {
		case <-time.After(exportPause):
		case <-c.Ctx().Done():
			return nil
		}
	}
}

// stoppedOr returns nothing if it was the interrupt that ended a call, which is how
// a live tail ends.
func stoppedOr(c *command.Call, err error) error {
	if c.Ctx().Err() != nil && c.Bool("follow") {
		return nil
	}
	return err
}
