package testnet_test

import (
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	"github.com/cometbft/cometbft/privval"
	cmtcons "github.com/cometbft/cometbft/proto/tendermint/consensus"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/namesvc"
)

// twoFaced signs what its validator is asked to sign, and for each precommit
// another one for no block, of the same height and round, which goes elsewhere.
type twoFaced struct {
	cmttypes.PrivValidator
	key    crypto.PrivKey
	active atomic.Bool
	second chan *cmtproto.Vote
}

func (s *twoFaced) SignVote(chainID string, v *cmtproto.Vote) error {
	if err := s.PrivValidator.SignVote(chainID, v); err != nil {
		return err
	}
	if !s.active.Load() || v.Type != cmtproto.PrecommitType || len(v.BlockID.Hash) == 0 {
		return nil
	}
	other := *v
	other.BlockID, other.Extension, other.ExtensionSignature = cmtproto.BlockID{}, nil, nil
	sig, err := s.key.Sign(cmttypes.VoteSignBytes(chainID, &other))
	if err != nil {
		return err
	}
	other.Signature = sig
	select {
	case s.second <- &other:
	default: // nobody wants it just now
	}
	return nil
}

// rawPeer is a peer that says whatever a test tells it to, and listens to
// nothing.
type rawPeer struct {
	p2p.BaseReactor
	mu    sync.Mutex
	peers []p2p.Peer
	ready chan struct{}
}

func (r *rawPeer) GetChannels() []*conn.ChannelDescriptor {
	return []*conn.ChannelDescriptor{{ID: consensus.VoteChannel, Priority: 7, SendQueueCapacity: 100, RecvMessageCapacity: 1 << 20, MessageType: &cmtcons.Message{}}}
}

func (r *rawPeer) InitPeer(p p2p.Peer) p2p.Peer { return p }
func (r *rawPeer) RemovePeer(p2p.Peer, any)     {}
func (r *rawPeer) Receive(p2p.Envelope)         {}
func (r *rawPeer) AddPeer(p p2p.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peers = append(r.peers, p)
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// say sends a vote to all peers.
func (r *rawPeer) say(v *cmtproto.Vote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		p.Send(p2p.Envelope{ChannelID: consensus.VoteChannel, Message: &cmtcons.Vote{Vote: v}})
	}
}

// connect makes a raw peer of these validators.
func connect(t *testing.T, chain string, addresses ...string) *rawPeer {
	t.Helper()
	nk := p2p.NodeKey{PrivKey: ed25519.GenPrivKey()}
	c := config.TestP2PConfig()
	l, err := net.Listen("tcp", "127.0.0.1:0") // its address is told to peers and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	info := p2p.DefaultNodeInfo{
		ProtocolVersion: p2p.NewProtocolVersion(version.P2PProtocol, version.BlockProtocol, namesvc.Rules),
		DefaultNodeID:   nk.ID(), ListenAddr: l.Addr().String(), Network: chain, Version: version.TMCoreSemVer,
		Channels: []byte{consensus.VoteChannel}, Moniker: "raw", Other: p2p.DefaultNodeInfoOther{TxIndex: "off"},
	}
	transport := p2p.NewMultiplexTransport(info, nk, p2p.MConnConfig(c))
	r := &rawPeer{ready: make(chan struct{}, len(addresses))}
	r.BaseReactor = *p2p.NewBaseReactor("raw", r)
	sw := p2p.NewSwitch(c, transport)
	sw.SetNodeInfo(info)
	sw.SetNodeKey(&nk)
	sw.AddReactor("raw", r)
	if err := sw.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sw.Stop() })
	for _, a := range addresses {
		addr, err := p2p.NewNetAddressString(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := sw.DialPeerWithAddress(addr); err != nil {
			t.Fatal(err)
		}
		select {
		case <-r.ready:
		case <-time.After(30 * time.Second):
			t.Fatal("no connection")
		}
	}
	return r
}

// TestEvidence_OfTwoVotesCostsTheSeat: a validator signs two precommits for one
// height and round, and a peer of its own gossips the second. The others prove
// it in a block; it has no voice from then on and no power after the next
// checkpoint, the evidence is kept with both votes, and only fresh votes of the
// others bring it back.
func TestEvidence_OfTwoVotesCostsTheSeat(t *testing.T) {
	liar := &twoFaced{second: make(chan *cmtproto.Vote, 1)}
	g := govern(t, 6, 0, func(i int) node.Parts {
		if i != 3 {
			return node.Parts{}
		}
		return node.Parts{Signer: func(own cmttypes.PrivValidator) cmttypes.PrivValidator {
			liar.PrivValidator = own
			return liar
		}}
	})
	liar.key = privval.LoadFilePV(g.Home(3)+"/keys/validator.json", g.Home(3)+"/data/sign-state.json").Key.PrivKey
	id, err := node.LoadIdentity(g.Home(3))
	if err != nil {
		t.Fatal(err)
	}
	// Votes from before the fault must not bring it back.
	g.vote(namesvc.Vote{Kind: namesvc.VotePower, Account: g.operators[3].ID, Number: 11}, 0, 1)
	var addresses []string
	for _, v := range g.Nodes[:3] {
		addresses = append(addresses, v.PeerAddr())
	}
	raw := connect(t, g.Chain, addresses...)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case v := <-liar.second:
				raw.say(v)
			case <-stop:
				return
			}
		}
	})
	liar.active.Store(true)
	g.await(0, "no block has evidence", func() bool {
		v, ok := g.set(0).Find(id.Key)
		return !ok || v.Fault != 0
	})
	liar.active.Store(false)
	close(stop)
	done.Wait()
	g.await(0, "it still has power", func() bool {
		_, ok := g.set(0).Find(id.Key)
		return !ok
	})
	list, err := g.Nodes[0].App.Evidence(0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Validator.Key != id.Key || list[0].Kind != "DUPLICATE_VOTE" || list[0].Power != 10 || list[0].Total != 40 {
		t.Fatalf("evidence kept: %+v", list)
	}
	proves(t, list[0].Proof, id.Address)

	g.await(0, "consensus has not followed", func() bool {
		_, set, err := g.Nodes[0].Query.Heads.Head(g.Nodes[0].Query.Heads.Newest())
		return err == nil && set.Len() == 3
	})
	g.newcomer()
	// The three go on, and bring it back.
	g.vote(namesvc.Vote{Kind: namesvc.VotePower, Account: g.operators[3].ID, Number: 10}, 0, 1)
	if _, ok := g.set(0).Find(id.Key); ok {
		t.Fatal("it came back by old votes")
	}
	g.vote(namesvc.Vote{Kind: namesvc.VotePower, Account: g.operators[3].ID, Number: 10}, 2)
	g.await(0, "it is not back", func() bool {
		_, ok := g.set(0).Find(id.Key)
		return ok
	})
	g.awaitVote(0, id.Key)
	g.seals(0)
	compareRoots(t, g.Network, g.params)
}

// proves checks that bytes are CometBFT's evidence of two votes of a validator.
func proves(t *testing.T, proof []byte, address [20]byte) {
	t.Helper()
	var pb cmtproto.Evidence
	if err := pb.Unmarshal(proof); err != nil {
		t.Fatal(err)
	}
	e, err := cmttypes.EvidenceFromProto(&pb)
	if err != nil {
		t.Fatal(err)
	}
	two, ok := e.(*cmttypes.DuplicateVoteEvidence)
	if !ok || two.VoteA.BlockID.Equals(two.VoteB.BlockID) || two.VoteA.Height != two.VoteB.Height || two.VoteA.Round != two.VoteB.Round {
		t.Fatalf("the proof is %v", e)
	}
	if !strings.EqualFold(hex.EncodeToString(address[:]), two.VoteA.ValidatorAddress.String()) {
		t.Errorf("it convicts %v", two.VoteA.ValidatorAddress)
	}
}
