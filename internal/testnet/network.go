package testnet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// Spec says what network to run.
type Spec struct {
	Dir        string         // of all validators; reused if it holds a network
	Validators int            // 4 if 0
	Params     namesvc.Params // namesvc.DevParams of a new chain id if zero
	Pause      time.Duration  // between blocks; 1 s if 0
	Query      string         // address of the first validator's API; a free port if empty
	Logger     *slog.Logger   // nil discards

	// Operators are the accounts that operate the validators, one for each; if
	// there are none, nobody votes on this network.
	Operators []namesvc.AccountID
	// Parts replaces parts of validator i, each time that it is opened.
	Parts func(i int) node.Parts
	// Edge returns the address under which validator i reaches another one, which
	// listens on addr: a test puts a wire of its own in between.
	Edge func(from, to int, addr string) string
}

// Network is a running network.
type Network struct {
	Chain string
	Nodes []*node.Node

	homes  []string
	parts  func(i int) node.Parts
	logger *slog.Logger
	down   map[int]bool // validators that StopOne stopped
}

// Genesis returns the network's genesis file.
func (n *Network) Genesis() *cmttypes.GenesisDoc { return n.Nodes[0].Genesis() }

// GenesisValidators returns the founding validators as the law knows them.
func (n *Network) GenesisValidators() []namesvc.Validator {
	state, err := chain.DecodeAppState(n.Genesis().AppState)
	if err != nil {
		panic("testnet: " + err.Error()) // our own file
	}
	var out []namesvc.Validator
	for _, v := range n.Genesis().Validators {
		k := [33]byte(v.PubKey.Bytes())
		out = append(out, namesvc.Validator{Key: k, Power: uint64(v.Power), Operator: state.Operator(k)})
	}
	return out
}

// portTries is how often ports are chosen anew: between their choice and their
// use, any connection on this machine may have got one of them.
const portTries = 4

// Start makes the folders that are missing, starts all validators and waits for
// the first blocks.
func Start(ctx context.Context, s Spec) (*Network, error) {
	for try := 1; ; try++ {
		n, err := start(ctx, s)
		if !errors.Is(err, syscall.EADDRINUSE) || try == portTries {
			return n, err
		}
	}
}

func start(ctx context.Context, s Spec) (_ *Network, err error) {
	if s.Validators == 0 {
		s.Validators = 4
	}
	if s.Pause == 0 {
		s.Pause = time.Second
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	homes, err := s.homes()
	if err != nil {
		return nil, err
	}
	n := &Network{homes: homes, parts: s.Parts, logger: s.Logger, down: map[int]bool{}}
	defer func() {
		if err != nil {
			n.Stop()
		}
	}()
	for i := range homes {
		v, err := n.open(i)
		if err != nil {
			return nil, err
		}
		n.Nodes = append(n.Nodes, v)
	}
	n.Chain = n.Nodes[0].Query.Chain
	for _, v := range n.Nodes {
		if err := v.Start(); err != nil {
			return nil, err
		}
	}
	return n, n.WaitHeight(ctx, 2)
}

func (n *Network) open(i int) (*node.Node, error) {
	c, err := node.LoadConfig(n.homes[i])
	if err != nil {
		return nil, err
	}
	var parts node.Parts
	if n.parts != nil {
		parts = n.parts(i)
	}
	return node.OpenWith(n.homes[i], c, parts, n.logger.With("validator", i))
}

// Home returns the folder of validator i.
func (n *Network) Home(i int) string { return n.homes[i] }

// StopOne ends validator i. The others go on while they have more than two
// thirds of the power.
func (n *Network) StopOne(i int) error {
	n.down[i] = true
	return n.Nodes[i].Stop()
}

// forget makes the other validators drop validator i, which is stopped. CometBFT
// leaves connections open that came in while it stopped; the end of a process
// would close them, and as long as they are open no other one is let in.
func (n *Network) forget(i int) error {
	id, err := node.LoadIdentity(n.homes[i])
	if err != nil {
		return err
	}
	for j, v := range n.Nodes {
		if j != i && !n.down[j] {
			v.Drop(id.PeerID)
		}
	}
	return nil
}

// StartOne starts validator i again, from its folder, which the caller may have
// changed meanwhile, on the ports it had. It does not wait for it to catch up:
// see WaitHeight.
func (n *Network) StartOne(i int) error {
	if err := n.forget(i); err != nil {
		return err
	}
	v, err := n.open(i)
	if err != nil {
		return err
	}
	if err := v.Start(); err != nil {
		v.Stop()
		return err
	}
	n.Nodes[i], n.down[i] = v, false
	return nil
}

// homes returns the validators' folders, made if they are not there. Ports are
// chosen afresh each time: those of the last run may be taken.
func (s Spec) homes() ([]string, error) {
	var homes []string
	for i := range s.Validators {
		homes = append(homes, filepath.Join(s.Dir, fmt.Sprintf("validator%d", i)))
	}
	ports, err := freePorts(2 * s.Validators)
	if err != nil {
		return nil, err
	}
	fresh := false
	configs := make([]node.Config, s.Validators)
	for i, home := range homes {
		c := node.DefaultConfig()
		c.Name = filepath.Base(home)
		c.P2P.Listen, c.Query.Listen = ports[2*i], ports[2*i+1]
		c.P2P.Local = true
		c.Block.Pause = node.Duration(s.Pause)
		c.Snapshots.Keep = chain.MaxSnapshots // checkpoints come within seconds here
		if i == 0 && s.Query != "" {
			c.Query.Listen = s.Query
		}
		configs[i] = c
		if _, err := os.Stat(filepath.Join(home, node.ConfigFile)); errors.Is(err, os.ErrNotExist) {
			fresh = true
			if _, err := node.Init(home, c); err != nil {
				return nil, err
			}
		}
	}
	if fresh {
		if err := s.found(homes); err != nil {
			return nil, err
		}
	}
	for i, home := range homes {
		for j, other := range homes {
			if i == j {
				continue
			}
			id, err := node.LoadIdentity(other)
			if err != nil {
				return nil, err
			}
			addr := configs[j].P2P.Listen
			if s.Edge != nil {
				addr = s.Edge(i, j, addr)
			}
			configs[i].P2P.Peers = append(configs[i].P2P.Peers, id.PeerID+"@"+addr)
		}
		if err := os.WriteFile(filepath.Join(home, node.ConfigFile), configs[i].Encode(), 0o600); err != nil {
			return nil, err
		}
	}
	return homes, nil
}

// found writes one genesis file for all.
func (s Spec) found(homes []string) error {
	p := s.Params
	if p.Chain == "" {
		p = namesvc.DevParams(NewChainID())
	}
	var founders []chain.Founder
	for i, home := range homes {
		id, err := node.LoadIdentity(home)
		if err != nil {
			return err
		}
		f := chain.Founder{GenesisValidator: cmttypes.GenesisValidator{
			PubKey: secp256k1eth.PubKey(id.Key[:]), Power: 10, Name: filepath.Base(home),
		}}
		if len(s.Operators) > 0 {
			f.Operator = s.Operators[i]
		}
		founders = append(founders, f)
	}
	doc, err := chain.Found(p, founders, time.Now())
	if err != nil {
		return err
	}
	for _, home := range homes {
		if err := node.SetGenesis(home, doc); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns addresses on loopback that nobody listened on a moment ago.
func freePorts(n int) ([]string, error) {
	var out []string
	var held []io.Closer
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// Stop ends all validators.
func (n *Network) Stop() error {
	errs := make(chan error, len(n.Nodes))
	for _, v := range n.Nodes {
		go func() { errs <- v.Stop() }()
	}
	var all []error
	for range n.Nodes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// Sources returns a source for each validator.
func (n *Network) Sources() []lightclient.Source {
	var out []lightclient.Source
	for _, url := range n.URLs() {
		s, err := source.NewHTTP(url, nil)
		if err != nil {
			panic("testnet: " + err.Error()) // our own address
		}
		out = append(out, s)
	}
	return out
}

// URLs returns the base URLs of the validators' APIs.
func (n *Network) URLs() []string {
	var out []string
	for _, v := range n.Nodes {
		out = append(out, "http://"+v.QueryAddr())
	}
	return out
}

// Pin returns the first header as a pin, taken from the first validator, which
// is ours.
func (n *Network) Pin() (verify.Pin, error) {
	head, _, err := n.Nodes[0].Query.Heads.Head(1)
	if err != nil {
		return verify.Pin{}, err
	}
	return verify.Pin{ChainID: n.Chain, Height: 1, Hash: head.Header.Hash()}, nil
}

// Client returns a light client that asks all validators.
func (n *Network) Client() (*lightclient.Client, error) {
	pin, err := n.Pin()
	if err != nil {
		return nil, err
	}
	return lightclient.New(lightclient.Config{Pin: pin, Sources: n.Sources()})
}

// WaitHeight waits until the newest provable head of every validator that is not
// stopped is of at least this height.
func (n *Network) WaitHeight(ctx context.Context, height uint64) error {
	for i, v := range n.Nodes {
		if n.down[i] {
			continue
		}
		for v.Query.Heads.Newest() < height {
			_, news := v.App.Last()
			select {
			case <-news:
			case <-time.After(50 * time.Millisecond): // a head is provable a little after its block
			case <-v.Failed():
				return fmt.Errorf("validator %d stopped by itself", i)
			case <-ctx.Done():
				return fmt.Errorf("validator %d is at height %d, not yet at %d: %w", i, v.Query.Heads.Newest(), height, ctx.Err())
			}
		}
	}
	return nil
}

// NewChainID returns a chain id that no other network has: what is signed for
// one network on this machine must be worth nothing on the next.
func NewChainID() string {
	return "confab-dev-" + strings.ToLower(rand.Text()[:6])
}
