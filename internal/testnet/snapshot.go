package testnet

import (
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/remote"
	"github.com/confab-chat/confab/lightclient/verify"
)

// JoinBySnapshot is Join for a node that does not fetch all blocks: it takes a
// snapshot from its peers, verified from the pin by what the validators' query
// APIs at these URLs say.
func (n *Network) JoinBySnapshot(pin verify.Pin, urls []string) (i int, err error) {
	t, err := remote.New(pin, urls, nil)
	if err != nil {
		return 0, err
	}
	before, me := n.parts, len(n.homes)
	n.parts = func(i int) node.Parts {
		var p node.Parts
		if before != nil {
			p = before(i)
		}
		if i == me {
			p.Trusted = t
		}
		return p
	}
	return n.Join()
}
