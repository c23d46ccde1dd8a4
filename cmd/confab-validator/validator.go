package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func newApp(stdout, stderr io.Writer) *cli.App {
	home := &cli.StringFlag{Name: "home", Value: "./validator", EnvVars: []string{"CONFAB_VALIDATOR_HOME"}, Usage: "the validator's folder `DIR`"}
	return &cli.App{
		Name:  "confab-validator",
		Usage: "run a validator of a confab chain",
		Description: "A validator agrees with others on what handles mean, and serves proofs of it.\n\n" +
			"Example, a chain of one on this machine:\n" +
			"   confab-validator init --chain my-chain\n   confab-validator run",
		Writer: stdout, ErrWriter: stderr,
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		CommandNotFound: func(c *cli.Context, name string) {
			fmt.Fprintf(c.App.ErrWriter, "confab-validator: there is no command %q; see confab-validator --help\n", name)
			os.Exit(2)
		},
		Commands: []*cli.Command{
			{
				Name: "init", Usage: "make a validator's folder: keys, configuration, and perhaps a new chain",
				Description: "Makes new keys and a commented configuration. With --chain it also founds a\n" +
					"chain with this validator in it, and those named by --with; they put the\n" +
					"genesis.json that it writes into their own folders. With --genesis it joins one.\n\n" +
					"Example:\n   confab-validator init --home ./v0 --chain my-chain --with 02ab…@10",
				Flags: []cli.Flag{
					home,
					&cli.StringFlag{Name: "name", Value: "validator", Usage: "a `NAME` for logs"},
					&cli.StringFlag{Name: "chain", Usage: "found a chain with this `ID`"},
					&cli.StringSliceFlag{Name: "with", Usage: "another founding validator, `KEY@POWER`; repeat for more"},
					&cli.Int64Flag{Name: "power", Value: 10, Usage: "this validator's power in the chain it founds"},
					&cli.BoolFlag{Name: "dev", Usage: "the chain's parameters are for trying things: short handles, little work"},
					&cli.StringFlag{Name: "genesis", Usage: "join the chain of this genesis `FILE`"},
					&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT` for other validators (default 0.0.0.0:26656)"},
					&cli.StringFlag{Name: "query", Usage: "`HOST:PORT` for everyone else (default 127.0.0.1:7780)"},
					&cli.StringSliceFlag{Name: "peer", Usage: "a peer to stay connected to, `ID@HOST:PORT`; repeat for more"},
					&cli.BoolFlag{Name: "local", Usage: "all validators are on this machine"},
					asJSON,
				},
				Action: action(initHome),
			},
			{
				Name: "run", Usage: "run the validator until it is interrupted",
				Description: "Example:\n   confab-validator run --home ./v0",
				Flags:       []cli.Flag{home},
				Action:      action(run),
			},
			{
				Name: "status", Usage: "say who this validator is and how it does",
				Description: "Exits with 0 if the validator runs and its newest block is less than a minute old.\n\n" +
					"Example:\n   confab-validator status --home ./v0",
				Flags:  []cli.Flag{home, asJSON},
				Action: action(status),
			},
		},
	}
}

var asJSON = &cli.BoolFlag{Name: "json", Usage: "answer in JSON"}

// action refuses arguments: these commands have none, and a flag that follows
// one would be lost in silence.
func action(f cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() > 0 {
			return wire.Errorf(wire.Invalid, "%s takes no arguments, and %q looks like one; see --help", c.Command.FullName(), c.Args().First())
		}
		return f(c)
	}
}

func initHome(c *cli.Context) error {
	if c.IsSet("chain") && c.IsSet("genesis") {
		return wire.Errorf(wire.Invalid, "--chain founds a chain, --genesis joins one: give one of them")
	}
	var joined *cmttypes.GenesisDoc
	if path := c.String("genesis"); path != "" {
		var err error
		if joined, err = cmttypes.GenesisDocFromFile(path); err != nil {
			return wire.Errorf(wire.Invalid, "--genesis: %w", err)
		}
	}
	config := node.DefaultConfig()
	config.Name = c.String("name")
	config.P2P.Local = c.Bool("local")
	config.P2P.Peers = c.StringSlice("peer")
	if v := c.String("listen"); v != "" {
		config.P2P.Listen = v
	}
	if v := c.String("query"); v != "" {
		config.Query.Listen = v
	}
	others, err := founders(c.StringSlice("with"))
	if err != nil {
		return err
	}
	if id := c.String("chain"); id != "" {
		if err := namesvc.CheckChain(id); err != nil {
			return wire.Errorf(wire.Invalid, "--chain: %w", err)
		}
	}
	home := c.String("home")
	id, err := node.Init(home, config)
	if err != nil {
		return err
	}
	if chainID := c.String("chain"); chainID != "" {
		p := namesvc.DefaultParams(chainID)
		if c.Bool("dev") {
			p = namesvc.DevParams(chainID)
		}
		me := cmttypes.GenesisValidator{PubKey: secp256k1eth.PubKey(id.Key[:]), Power: c.Int64("power"), Name: config.Name}
		if joined, err = chain.Genesis(p, append([]cmttypes.GenesisValidator{me}, others...), time.Now()); err != nil {
			return wire.Errorf(wire.Invalid, "found chain: %w", err)
		}
	}
	if joined != nil {
		if err := node.SetGenesis(home, joined); err != nil {
			return err
		}
	}
	out := describe(id, home)
	if joined != nil {
		out.Chain = joined.ChainID
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(out)
	}
	out.print(c.App.Writer)
	switch {
	case joined == nil:
		fmt.Fprintf(c.App.ErrWriter, "give your key to whoever founds the chain, put the genesis.json you get into %s, then: confab-validator run --home %s\n", home, home)
	case c.IsSet("chain") && len(others) > 0:
		fmt.Fprintf(c.App.ErrWriter, "give %s to the other founders, list them as peers in %s, then: confab-validator run --home %s\n",
			filepath.Join(home, "genesis.json"), filepath.Join(home, node.ConfigFile), home)
	default:
		fmt.Fprintf(c.App.ErrWriter, "next: confab-validator run --home %s\n", home)
	}
	return nil
}

// founders parses KEY@POWER.
func founders(list []string) ([]cmttypes.GenesisValidator, error) {
	var out []cmttypes.GenesisValidator
	for _, text := range list {
		k, power, ok := strings.Cut(text, "@")
		b, err := hex.DecodeString(k)
		n, perr := strconv.ParseInt(power, 10, 64)
		if !ok || err != nil || perr != nil || n <= 0 {
			return nil, wire.Errorf(wire.Invalid, "--with %q: write KEY@POWER, the key as confab-validator init printed it", text)
		}
		pub, err := secp256k1eth.NewPubKeyFromBytes(b)
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "--with %q: %w", text, err)
		}
		out = append(out, cmttypes.GenesisValidator{PubKey: pub, Power: n})
	}
	return out, nil
}

func run(c *cli.Context) error {
	home := c.String("home")
	config, err := node.LoadConfig(home)
	if err != nil {
		return err
	}
	logger, err := node.NewLogger(c.App.ErrWriter, config.Log)
	if err != nil {
		return err
	}
	n, err := node.Open(home, config, logger)
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		n.Stop()
		return err
	}
	logger.Info("validator runs", "chain", n.Query.Chain, "query", "http://"+n.QueryAddr(), "peer_address", n.PeerAddr())
	stopped := wire.Errorf(wire.Internal, "consensus stopped by itself; the log above says why")
	select {
	case <-c.Context.Done():
		logger.Info("stopping", "why", "interrupted")
		stopped = nil
	case <-n.Failed():
	}
	if err := n.Stop(); err != nil {
		return fmt.Errorf("stop validator: %w", err)
	}
	if stopped != nil {
		return stopped
	}
	logger.Info("stopped")
	return nil
}

// report is what init and status say.
type report struct {
	Home    string `json:"home"`
	Chain   string `json:"chain,omitempty"`
	Key     string `json:"key"`
	Address string `json:"address"`
	PeerID  string `json:"peer_id"`

	Running    *bool  `json:"running,omitempty"`
	Height     uint64 `json:"height,omitempty"`
	AgeSeconds int64  `json:"age_seconds,omitempty"`
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	Validators int    `json:"validators,omitempty"`
	Query      string `json:"query,omitempty"`
}

func describe(id node.Identity, home string) report {
	return report{Home: home, Key: hex.EncodeToString(id.Key[:]), Address: "0x" + hex.EncodeToString(id.Address[:]), PeerID: id.PeerID}
}

func (r report) print(w io.Writer) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s%s\n", name, value)
		}
	}
	line("home", r.Home)
	line("chain", r.Chain)
	line("key", r.Key)
	line("address", r.Address)
	line("peer id", r.PeerID)
	if r.Running == nil {
		return
	}
	if !*r.Running {
		line("state", "not running")
		return
	}
	line("state", "running")
	line("query", r.Query)
	line("height", fmt.Sprintf("%d, %d s old", r.Height, r.AgeSeconds))
	line("checkpoint", strconv.FormatUint(r.Checkpoint, 10))
	line("validators", strconv.Itoa(r.Validators))
}

// status asks the validator's own API.
func status(c *cli.Context) error {
	home := c.String("home")
	config, err := node.LoadConfig(home)
	if err != nil {
		return err
	}
	id, err := node.LoadIdentity(home)
	if err != nil {
		return err
	}
	out := describe(id, home)
	out.Query = "http://" + config.Query.Listen
	running := true
	var answer struct {
		Chain      string
		Height     uint64
		Time       int64
		Checkpoint uint64
		Validators int
	}
	problem := ask(c.Context, out.Query+"/v1/status", &answer)
	if problem != nil {
		running = false
	} else {
		out.Chain, out.Height, out.Checkpoint, out.Validators = answer.Chain, answer.Height, answer.Checkpoint, answer.Validators
		out.AgeSeconds = max(0, time.Now().Unix()-answer.Time)
	}
	out.Running = &running
	if c.Bool("json") {
		err = json.NewEncoder(c.App.Writer).Encode(out)
	} else {
		out.print(c.App.Writer)
	}
	switch {
	case err != nil:
		return err
	case problem != nil:
		return wire.Errorf(wire.Unavailable, "the validator does not answer at %s: %w; start it with: confab-validator run --home %s", out.Query, problem, home)
	case out.AgeSeconds > 60:
		return wire.Errorf(wire.Stale, "the newest block is %d s old: the validator is catching up, or the chain has stopped; look at its log", out.AgeSeconds)
	}
	return nil
}

// maxAnswer bounds the status that is read.
const maxAnswer = 64 << 10

func ask(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return json.Unmarshal(b, into)
}
