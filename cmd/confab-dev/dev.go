package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

func newApp(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:  "confab-dev",
		Usage: "run a whole confab network in this process",
		Description: "Starts validators and a query endpoint on loopback, registers two services\n" +
			"to choose as concierge, prints what to type next, and runs until Ctrl-C.\n\n" +
			"Example:\n   confab-dev --home ./devnet",
		Writer: stdout, ErrWriter: stderr,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "home", Usage: "keep the network's data in `DIR`; without it, a temporary folder that is deleted at the end"},
			&cli.IntFlag{Name: "validators", Value: 4, Usage: "how many validators, 1 to 16"},
			&cli.DurationFlag{Name: "pause", Value: 500 * time.Millisecond, Usage: "pause between blocks"},
			&cli.StringFlag{Name: "query", Value: "127.0.0.1:7780", Usage: "address of the query endpoint"},
			&cli.StringFlag{Name: "log", Value: "warn", Usage: "log level: debug, info, warn or error"},
		},
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		Action:          run,
	}
}

func run(c *cli.Context) error {
	began := time.Now()
	if c.NArg() > 0 {
		return wire.Errorf(wire.Invalid, "confab-dev takes no arguments, only flags; see confab-dev --help")
	}
	if n := c.Int("validators"); n < 1 || n > 16 {
		return wire.Errorf(wire.Invalid, "--validators is %d: it must be from 1 to 16", n)
	}
	logger, err := node.NewLogger(c.App.ErrWriter, node.LogConfig{Level: c.String("log"), Format: "text"})
	if err != nil {
		return err
	}
	dir, kept := c.String("home"), "kept"
	if dir == "" {
		if dir, err = os.MkdirTemp("", "confab-dev-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		kept = "deleted at the end; --home DIR keeps it"
	}
	fmt.Fprintf(c.App.ErrWriter, "starting %d validators ...\n", c.Int("validators"))
	start, cancel := context.WithTimeout(c.Context, time.Minute)
	defer cancel()
	network, err := testnet.Start(start, testnet.Spec{
		Dir: dir, Validators: c.Int("validators"), Pause: c.Duration("pause"), Query: c.String("query"), Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("start network: %w", err)
	}
	defer network.Stop()
	fmt.Fprintf(c.App.ErrWriter, "registering services ...\n")
	for _, h := range services {
		if err := registerService(start, network, h); err != nil {
			return fmt.Errorf("register %v: %w", h, err)
		}
	}
	pin, err := network.Pin()
	if err != nil {
		return err
	}
	pinFile := filepath.Join(dir, "dev.pin")
	if err := os.WriteFile(pinFile, []byte(pin.String()+"\n"), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, tour, network.Chain, c.Int("validators"), c.Duration("pause"),
		network.URLs()[0], services[0], services[1], pin, dir, kept, time.Since(began).Round(100*time.Millisecond),
		strings.ReplaceAll(commands, "PINFILE", pinFile))
	select {
	case <-c.Context.Done():
		fmt.Fprintln(c.App.ErrWriter, "stopping ...")
		return nil
	case <-network.Nodes[0].Failed():
		return wire.Errorf(wire.Internal, "a validator stopped by itself; run with --log info to see why")
	}
}

// services are the handles to choose as a concierge.
var services = [2]namesvc.Handle{"harbor", "lantern"}

const tour = `confab-dev: a whole network in this process
  chain       %s: %d validators, a block about every %v
  query       %s
  services    %v and %v, to choose as concierge
  pin         %v
  data        %s (%s)
  ready       after %v

%s
Ctrl-C stops the network.
`

// commands is what a new user types next; a test types it too.
const commands = `In a second terminal, from the same folder:

  export CONFAB_HOME=$(mktemp -d)
  go run ./cmd/confab net add --source http://127.0.0.1:7780 --pin PINFILE dev
  go run ./cmd/confab account new
  go run ./cmd/confab handle register alice
  go run ./cmd/confab handle set-concierge @harbor
  go run ./cmd/confab handle show @alice
  go run ./cmd/confab proof save --out alice.bundle @alice

Then, as someone else who has nothing but that file and the pin, offline:

  go run ./cmd/confab proof verify --pin PINFILE alice.bundle

And when @alice wants another concierge:

  go run ./cmd/confab handle set-concierge @lantern
`

// registerService registers a service account under this handle, unless a kept
// network has it already.
func registerService(ctx context.Context, n *testnet.Network, h namesvc.Handle) error {
	client, err := n.Client()
	if err != nil {
		return err
	}
	if _, err := client.Resolve(ctx, h, 0); err == nil {
		return nil
	}
	root, err := key.NewRoot(rand.Reader)
	if err != nil {
		return err
	}
	device, err := key.NewDevice(rand.Reader)
	if err != nil {
		return err
	}
	server, err := key.NewServer(rand.Reader)
	if err != nil {
		return err
	}
	genesis, err := namesvc.NewGenesis(rand.Reader, namesvc.Service, [32]byte{}, root.Public())
	if err != nil {
		return err
	}
	names := agent.Names{Client: client, Rand: rand.Reader, Now: time.Now}
	_, err = names.Register(ctx, agent.Plan{
		Handle: h, Account: genesis.Account(), Genesis: genesis, Root: root,
		Devices: []agent.Member{{Device: device, Scopes: namesvc.AllScopes, Expires: time.Now().AddDate(1, 0, 0)}},
		Records: &namesvc.Records{Service: &namesvc.Endpoint{Roles: namesvc.RoleConcierge, Key: server.Public()}},
	}, nil, nil)
	return err
}
