package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// defaultValidators is the fewest that survive the loss of one.
	defaultValidators = 4
	// maxValidators share this process's memory and two cores or so.
	maxValidators = 16
	// startTime is ten times what a start takes on a slow machine.
	startTime = 2 * time.Minute
)

func newProgram(w command.World) *command.Program {
	return &command.Program{
		World: w,
		Name:  "confab-dev",
		Short: "a whole confab network in one process",
		Long: `Starts validators, a query endpoint and two concierges on this machine alone,
prints what to type next, and runs until Ctrl-C. Handles of three characters
and more cost little work here, and so do knocks of strangers.

The concierges' folders are FOLDER/harbor and FOLDER/lantern, for
confab-concierge status --home FOLDER/harbor. Their accounts are in
FOLDER/services, which is a home of confab's; their passphrase is confab-dev.
So are those of the validators' operators, for confab-validator vote --home
FOLDER/validator0.`,
		Examples: []string{"confab-dev", "confab-dev --home devnet --query 127.0.0.1:7790"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "home", Usage: "keep the network in `FOLDER` for the next time; a temporary one is deleted otherwise"},
			&cli.IntFlag{Name: "validators", Usage: "run `N` validators, 1 to 16", DefaultText: "4, or as many as --home has"},
			&cli.DurationFlag{Name: "pause", Value: 500 * time.Millisecond, DefaultText: "500ms", Usage: "wait this `TIME` between blocks"},
			&cli.StringFlag{Name: "query", Value: "127.0.0.1:7780", Usage: "answer queries at `HOST:PORT`; port 0 is any that is free"},
			&cli.StringFlag{Name: "log", Value: "warn", Usage: "log at this `LEVEL`: debug, info, warn or error"},
		},
		Do: dev,
	}
}

// devnet is the network of one run.
type devnet struct {
	dir     string
	kept    bool // dir is there for the next time
	running *testnet.Network
	pin     verify.Pin
}

func dev(c *command.Call) error {
	began := time.Now()
	spec, err := specify(c)
	if err != nil {
		return err
	}
	d := &devnet{dir: c.String("home"), kept: c.String("home") != ""}
	if !d.kept {
		if d.dir, err = os.MkdirTemp("", "confab-dev-"); err != nil {
			return err
		}
		defer os.RemoveAll(d.dir)
	}
	services, err := openServices(d.dir)
	if err != nil {
		return err
	}
	defer services.Close()
	if spec.Validators, err = d.validators(c.Int("validators")); err != nil {
		return err
	}
	operators, err := openOperators(services, spec.Validators)
	if err != nil {
		return err
	}
	for _, a := range operators {
		spec.Operators = append(spec.Operators, a.ID)
	}
	spec.Dir = d.dir
	c.Say("starting %d validators …", spec.Validators)
	if err := d.start(c.Ctx(), spec); err != nil {
		return orStopped(c, fmt.Errorf("start network: %w", err))
	}
	defer d.running.Stop()
	c.Say("registering services …")
	desks, err := d.openDesks()
	if err != nil {
		return err
	}
	if err := d.serve(c.Ctx(), services, operators, desks); err != nil {
		return orStopped(c, err)
	}
	defer closeHosts(desks)
	if err := d.openHosts(c.Ctx(), desks, spec.Logger); err != nil {
		return orStopped(c, err)
	}
	defer d.stopAgents()
	tour := d.tour(spec, desks, time.Since(began))
	if err := c.Print(tour, tour.write); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Ctx())
	defer cancel()
	failed := d.failed(ctx, desks)
	select {
	case <-ctx.Done():
		c.Say("stopping …")
		return nil
	case who := <-failed:
		return wire.Errorf(wire.Internal, "%s stopped by itself; run with --log info to see why", who)
	}
}

// orStopped is the error, unless the person ended what it is about.
func orStopped(c *command.Call, err error) error {
	if c.Ctx().Err() != nil {
		return command.ErrStopped
	}
	return err
}

// specify reads the flags, and finds out early that an address is taken.
func specify(c *command.Call) (spec testnet.Spec, err error) {
	spec = testnet.Spec{Pause: c.Duration("pause"), Query: c.String("query")}
	if spec.Pause <= 0 || spec.Pause > time.Minute {
		return spec, c.Usagef("--pause is %v: it must be above 0 and at most 1m", spec.Pause)
	}
	if n := c.Int("validators"); c.IsSet("validators") && (n < 1 || n > maxValidators) {
		return spec, c.Usagef("--validators is %d: it must be from 1 to %d", n, maxValidators)
	}
	if _, _, err := net.SplitHostPort(spec.Query); err != nil {
		return spec, c.Usagef("--query is %q: it must be HOST:PORT", spec.Query)
	}
	l, err := net.Listen("tcp", spec.Query)
	if err != nil {
		return spec, wire.Errorf(wire.Unavailable, "%s cannot be used (%w): does another confab-dev run? choose another address with --query 127.0.0.1:0", spec.Query, cause(err))
	}
	spec.Query = l.Addr().String() // now that a free port is known, keep it
	l.Close()
	spec.Logger, err = node.NewLogger(c.Stderr, node.LogConfig{Level: c.String("log"), Format: "text"})
	return spec, err
}

// cause returns the reason within a network error: the address is known.
func cause(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}

// validators returns how many validators to run: as many as the folder has.
func (d *devnet) validators(asked int) (int, error) {
	n := 0
	for ; n < maxValidators; n++ {
		_, err := os.Stat(filepath.Join(d.dir, fmt.Sprintf("validator%d", n), node.ConfigFile))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	switch {
	case n == 0 && asked == 0:
		return defaultValidators, nil
	case n == 0 || asked == n:
		return asked, nil
	case asked == 0:
		return n, nil
	}
	return 0, wire.Errorf(wire.Conflict, "the network in %s has %d validators, and --validators asks for %d: leave that out, or choose another --home", d.dir, n, asked)
}

func (d *devnet) start(ctx context.Context, spec testnet.Spec) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if d.running, err = testnet.Start(ctx, spec); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.running.Stop()
		}
	}()
	// The blocks that a kept network has are old, and the time of the next one
	// is still that of old votes: light clients believe the one after.
	newest := d.running.Nodes[0].Query.Heads.Newest()
	if newest > 2 {
		err = d.running.WaitHeight(ctx, newest+2)
	}
	if err == nil {
		d.pin, err = d.findPin()
	}
	return err
}

// failed tells of the first validator or concierge that stops by itself before
// ctx ends.
func (d *devnet) failed(ctx context.Context, desks []*desk) <-chan string {
	first := make(chan string, len(d.running.Nodes)+len(desks))
	for i, n := range d.running.Nodes {
		go func() {
			select {
			case <-n.Failed():
				first <- fmt.Sprintf("validator %d", i)
			case <-ctx.Done():
			}
		}()
	}
	for _, s := range desks {
		go func() {
			select {
			case err := <-s.host.Failed():
				first <- fmt.Sprintf("concierge %v (%v)", s.handle, err)
			case <-ctx.Done():
			}
		}()
	}
	return first
}

// pinFile is where the pin is, for those who add the network.
const pinFile = "dev.pin"

// findPin returns the pin in the folder, or makes a new one of the newest head
// if there is none or it is past half of its life.
func (d *devnet) findPin() (verify.Pin, error) {
	path := filepath.Join(d.dir, pinFile)
	heads := d.running.Nodes[0].Query.Heads
	b, err := os.ReadFile(path)
	if err == nil {
		pin, err := verify.ParsePin(string(b))
		if err != nil {
			return pin, fmt.Errorf("%s: %w; delete it to get a new one", path, err)
		}
		head, _, err := heads.Head(pin.Height)
		life := verify.DefaultRules().TrustingPeriod
		if err == nil && head.Header.Hash() == pin.Hash && time.Since(head.Header.Time.Std()) < life/2 {
			return pin, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return verify.Pin{}, err
	}
	newest := heads.Newest()
	head, _, err := heads.Head(newest)
	if err != nil {
		return verify.Pin{}, err
	}
	pin := verify.Pin{ChainID: d.running.Chain, Height: newest, Hash: head.Header.Hash()}
	return pin, os.WriteFile(path, []byte(pin.String()+"\n"), 0o644)
}
