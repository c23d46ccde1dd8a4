package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/audit"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/remote"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func auditVerb() command.Verb {
	return command.Verb{
		Name:  "audit",
		Short: "compute every root again, from the first block",
		Long: `Reads the record of all blocks and applies it to the genesis state by the law
of names alone. The first block whose root, or whose verdict on an op, is not
what the law gives is named, and the exit status is 14.

The record comes from the folder of a validator that is stopped, or with
--source from one that runs. With --pin, the last root is compared with a
header verified from the pin: then the record is that of the chain that
everyone else follows. A node that joined by a snapshot has not all of the
record; ask one that has.`,
		Examples: []string{
			"confab-validator audit --home v0",
			"confab-validator audit --source https://v0.example.org --pin my-chain:1:5f3a…",
		},
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "source", Usage: "read from the query `URL` of a validator; repeat for more"},
			&cli.StringFlag{Name: "pin", Usage: "compare the last root with a header verified from this pin, `CHAIN:HEIGHT:HASH`"},
			&cli.StringFlag{Name: "genesis", Usage: "begin with this genesis `FILE` instead of the one that the source gives"},
			&cli.StringFlag{Name: "scratch", Usage: "keep the state that is computed in a new folder in this `FOLDER`, not in that for temporary files"},
		},
		Run: runAudit,
	}
}

// record is where the rows of an audit come from.
type record struct {
	genesis *cmttypes.GenesisDoc
	// after returns the rows after a height, the height of the newest block, and
	// whether there are more rows.
	after func(ctx context.Context, height uint64) (rows []chain.ExportRow, newest uint64, more bool, err error)
	// root compares the root after the last row, if there is anything to compare
	// it with, and says with what.
	root  func(ctx context.Context, a *audit.Auditor) (string, error)
	close func() error
}

// audited is what audit prints.
type audited struct {
	Chain    string  `json:"chain"`
	Rows     uint64  `json:"rows"`
	Ops      uint64  `json:"ops"`
	Height   uint64  `json:"height"`
	Root     string  `json:"root"`
	Compared string  `json:"compared_with,omitempty"`
	Seconds  float64 `json:"seconds"`
}

func runAudit(c *command.Call) error {
	r, err := openRecord(c)
	if err != nil {
		return err
	}
	defer r.close()
	dir, err := os.MkdirTemp(c.String("scratch"), "confab-audit-")
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer os.RemoveAll(dir)
	a, err := audit.New(dir, r.genesis)
	if err != nil {
		return err
	}
	defer a.Close()
	begun := time.Now()
	if err := applyAll(c, r, a); err != nil {
		return err
	}
	out := audited{Chain: r.genesis.ChainID, Height: a.Height(), Root: fmt.Sprintf("%x", a.Root()), Seconds: time.Since(begun).Seconds()}
	out.Rows, out.Ops = a.Count()
	if out.Compared, err = r.root(c.Ctx(), a); err != nil {
		return err
	}
	if out.Compared == "" {
		c.Say("the record agrees with itself; give --pin to compare it with the chain that others follow")
	}
	return c.Print(out, func(w io.Writer) {
		command.Row(w, "chain", out.Chain)
		command.Row(w, "rows", strconv.FormatUint(out.Rows, 10))
		command.Row(w, "ops", strconv.FormatUint(out.Ops, 10))
		command.Row(w, "height", strconv.FormatUint(out.Height, 10))
		command.Row(w, "root", out.Root)
		if out.Compared != "" {
			command.Row(w, "same as", out.Compared)
		}
	})
}

// applyAll applies all rows there are.
func applyAll(c *command.Call, r *record, a *audit.Auditor) error {
	p := c.Progress()
	defer p.Close()
	told := time.Time{}
	for {
		rows, newest, more, err := r.after(c.Ctx(), a.Height())
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := c.Ctx().Err(); err != nil {
				return command.ErrStopped
			}
			if err := a.Apply(row); err != nil {
				return err
			}
			if time.Since(told) > time.Second {
				told = time.Now()
				n, ops := a.Count()
				p.Step("block %d of %d: %d rows, %d ops, every root as the law gives it", a.Height(), newest, n, ops)
			}
		}
		if !more || len(rows) == 0 {
			return nil // a chain that goes on would keep this busy for ever
		}
	}
}

func openRecord(c *command.Call) (*record, error) {
	if c.IsSet("source") {
		return openRemote(c)
	}
	for _, name := range []string{"pin", "genesis"} {
		if c.IsSet(name) {
			return nil, c.Usagef("--%s is about what a --source says: give --source too", name)
		}
	}
	config, err := node.LoadConfig(c.Setting("home"))
	if err != nil {
		return nil, err
	}
	logger, err := node.NewLogger(io.Discard, config.Log)
	if err != nil {
		return nil, err
	}
	archive, err := node.OpenArchive(c.Setting("home"), logger)
	if err != nil {
		return nil, err
	}
	state := archive.State()
	return &record{
		genesis: archive.Genesis, close: archive.Close,
		after: func(_ context.Context, height uint64) ([]chain.ExportRow, uint64, bool, error) {
			rows, more, err := archive.App.Export(height)
			return rows, state.Height, more, err
		},
		root: func(_ context.Context, a *audit.Auditor) (string, error) {
			if a.Root() != state.Root {
				return "", &audit.Difference{Height: state.Height, What: fmt.Sprintf("the folder's state has root %x, its record gives %x", state.Root, a.Root())}
			}
			return fmt.Sprintf("the folder's state at height %d", state.Height), nil
		},
	}, nil
}

func openRemote(c *command.Call) (*record, error) {
	var pin verify.Pin // without one nothing is verified
	if text := c.String("pin"); text != "" {
		var err error
		if pin, err = verify.ParsePin(text); err != nil {
			return nil, fmt.Errorf("--pin: %w", err)
		}
	}
	net, err := remote.New(pin, c.StringSlice("source"), nil)
	if err != nil {
		return nil, err
	}
	doc, err := genesisOf(c, net)
	if err != nil {
		return nil, err
	}
	var newest uint64
	return &record{
		genesis: doc, close: func() error { return nil },
		after: func(ctx context.Context, height uint64) ([]chain.ExportRow, uint64, bool, error) {
			e, err := net.Export(ctx, height)
			newest = e.Height
			return e.Rows, e.Height, e.More, err
		},
		root: func(ctx context.Context, a *audit.Auditor) (string, error) {
			if !c.IsSet("pin") {
				return "", nil
			}
			// No block after the last row has changed anything, as the source says,
			// and a header has the root after the block before it.
			at := max(newest, a.Height()+1)
			ctx, cancel := context.WithTimeout(ctx, inquiry)
			defer cancel()
			head, _, err := net.Head(ctx, at)
			if err != nil {
				return "", fmt.Errorf("compare with the chain: %w", err)
			}
			if head.Header.AppHash != a.Root() {
				return "", &audit.Difference{Height: at - 1, What: fmt.Sprintf("the validators signed root %x, the record gives %x", head.Header.AppHash, a.Root())}
			}
			return fmt.Sprintf("the root that validators signed at height %d, verified from the pin", at), nil
		},
	}, nil
}

// genesisOf returns the genesis file to begin with.
func genesisOf(c *command.Call, net *remote.Network) (*cmttypes.GenesisDoc, error) {
	b, err := []byte(nil), error(nil)
	if path := c.String("genesis"); path != "" {
		b, err = os.ReadFile(path)
	} else {
		b, err = net.Genesis(c.Ctx())
	}
	if err != nil {
		return nil, err
	}
	doc, err := cmttypes.GenesisDocFromJSON(b)
	if err == nil {
		err = chain.CheckGenesis(doc)
	}
	if err == nil && c.IsSet("pin") && doc.ChainID != net.Pin().ChainID {
		err = fmt.Errorf("it is of chain %q, the pin is of %q", doc.ChainID, net.Pin().ChainID)
	}
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "genesis file: %w", err)
	}
	return doc, nil
}
