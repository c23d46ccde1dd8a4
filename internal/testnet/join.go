package testnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/lightclient/verify"
)

// Join adds a node of the same chain that is no validator yet: with new keys, and
// all validators as its peers. It fetches all blocks. It does not wait: see
// WaitHeight.
func (n *Network) Join() (i int, err error) {
	i = len(n.homes)
	home := filepath.Join(filepath.Dir(n.homes[0]), fmt.Sprintf("validator%d", i))
	c, err := n.newcomer(home)
	if err != nil {
		return 0, err
	}
	n.homes = append(n.homes, home)
	for try := 1; ; try++ {
		v, err := n.openAt(i, c)
		switch {
		case err == nil:
			n.Nodes = append(n.Nodes, v)
			return i, nil
		case !errors.Is(err, syscall.EADDRINUSE) || try == portTries:
			n.homes = n.homes[:i]
			return 0, err
		}
	}
}

// Newcomer makes the folder of a node that is to join by a snapshot, as
// JoinBySnapshot does, for somebody who runs it in a process of its own, each time
// on ports that are free then. The network does not know of it.
func (n *Network) Newcomer(home string, pin verify.Pin, urls []string) error {
	c, err := n.newcomer(home)
	if err != nil {
		return err
	}
	c.P2P.Listen, c.Query.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Join.Pin, c.Join.Sources = pin.String(), urls
	return os.WriteFile(filepath.Join(home, node.ConfigFile), c.Encode(), 0o600)
}

// newcomer makes the folder of a node that is no validator yet.
func (n *Network) newcomer(home string) (node.Config, error) {
	c, err := node.LoadConfig(n.homes[0])
	if err != nil {
		return c, err
	}
	c.Name, c.P2P.Peers = filepath.Base(home), nil
	for j, v := range n.Nodes {
		if !n.down[j] {
			c.P2P.Peers = append(c.P2P.Peers, v.PeerAddr())
		}
	}
	if _, err := node.Init(home, c); err != nil {
		return c, err
	}
	return c, node.SetGenesis(home, n.Genesis())
}

// openAt starts node i with this configuration, on ports that are free.
func (n *Network) openAt(i int, c node.Config) (*node.Node, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	c.P2P.Listen, c.Query.Listen = ports[0], ports[1]
	if err := os.WriteFile(filepath.Join(n.homes[i], node.ConfigFile), c.Encode(), 0o600); err != nil {
		return nil, err
	}
	v, err := n.open(i)
	if err != nil {
		return nil, err
	}
	if err := v.Start(); err != nil {
		v.Stop()
		return nil, err
	}
	return v, nil
}
