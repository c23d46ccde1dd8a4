package node

import (
	"net"
	"slices"
	"strconv"
	"strings"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain/query"
)

// network is what the query server tells those who want to join.
func (n *Node) network(doc *cmttypes.GenesisDoc, c P2PConfig) (query.Network, error) {
	genesis, err := cmtjson.Marshal(doc)
	if err != nil {
		return query.Network{}, err
	}
	return query.Network{
		Genesis: genesis,
		Peers:   func() []string { return n.peers(c) },
		Turns:   n.turns,
	}, nil
}

// maxPeers bounds the peers that are told: who joins needs a few.
const maxPeers = 32

// peers returns this node's own address, and those of the peers that it reaches,
// as "id@host:port". A host that is unspecified is that of whoever asks.
func (n *Node) peers(c P2PConfig) []string {
	own := c.External
	if own == "" {
		own = c.Listen
	}
	out := []string{string(n.comet.NodeInfo().ID()) + "@" + own}
	n.comet.Switch().Peers().ForEach(func(p p2p.Peer) {
		if address, ok := dialled(p); ok && len(out) < maxPeers {
			out = append(out, address)
		}
	})
	slices.Sort(out[1:])
	return out
}

// dialled returns the address at which a peer can be reached: the one it names,
// with the host that it was seen at if it names none.
func dialled(p p2p.Peer) (string, bool) {
	info, ok := p.NodeInfo().(p2p.DefaultNodeInfo)
	if !ok {
		return "", false
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(info.ListenAddr, "tcp://"))
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 {
		return "", false
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = p.RemoteIP().String()
	}
	address := string(info.ID()) + "@" + net.JoinHostPort(host, port)
	// What a peer says of itself must not reach others unless it is an address.
	return address, checkPeer(address) == nil
}

// turns returns the priorities of a height's validators, in their order.
func (n *Node) turns(height uint64) ([]int64, error) {
	set, err := n.data.states.LoadValidators(int64(height))
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(set.Validators))
	for i, v := range set.Validators {
		out[i] = v.ProposerPriority
	}
	return out, nil
}
