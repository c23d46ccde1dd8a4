package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	cmtnode "github.com/cometbft/cometbft/node"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Trusted is what a node that joins a running network stands on: heads that a
// light client has verified from a pin, and what others say beside them.
type Trusted interface {
	// Head returns the verified head of a height with the validators that signed
	// it. It waits for one that is not there yet until the context ends.
	Head(ctx context.Context, height uint64) (verify.Head, verify.Validators, error)
	// Newest returns the height of the newest head that others have.
	Newest(ctx context.Context) (uint64, error)
	// Turns returns the priorities by which the validators of a height take turns
	// to propose, in their order. They are in no header; what of them shows in
	// headers is checked here.
	Turns(ctx context.Context, height uint64) ([]int64, error)
	// Seals returns the seals of a checkpoint, which are checked here. An error of
	// kind NotFound means that others have none.
	Seals(ctx context.Context, number uint64) (verify.Seals, error)
}

// provider hands CometBFT's state sync, and the app's, what a Trusted says.
type provider struct {
	trusted Trusted
	logger  *slog.Logger

	mu     sync.Mutex
	states map[uint64]sm.State // made already, by height
}

var _ statesync.StateProvider = (*provider)(nil)

// AppHash implements CometBFT's StateProvider: the root after a block is in the
// next header. The one after that must be there too, since it is needed in the
// end.
func (p *provider) AppHash(ctx context.Context, height uint64) ([]byte, error) {
	head, _, err := p.trusted.Head(ctx, height+1)
	if err != nil {
		return nil, err
	}
	if _, _, err := p.trusted.Head(ctx, height+2); err != nil {
		return nil, err
	}
	return head.Header.AppHash[:], nil
}

// Commit implements CometBFT's StateProvider.
func (p *provider) Commit(ctx context.Context, height uint64) (*cmttypes.Commit, error) {
	head, set, err := p.trusted.Head(ctx, height)
	if err != nil {
		return nil, err
	}
	return chain.CommitOf(head, set)
}

// Header implements chain.Headers.
func (p *provider) Header(ctx context.Context, height uint64) (verify.Header, error) {
	head, _, err := p.trusted.Head(ctx, height)
	return head.Header, err
}

// State implements CometBFT's StateProvider.
func (p *provider) State(ctx context.Context, height uint64) (sm.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.states[height]; ok {
		return s, nil
	}
	s, err := p.state(ctx, height)
	if err != nil {
		p.logger.Warn("cannot begin at this height", "height", height, "err", err)
		return sm.State{}, err
	}
	p.states = map[uint64]sm.State{height: s}
	return s, nil
}

func (p *provider) state(ctx context.Context, height uint64) (sm.State, error) {
	var s chain.Start
	var err error
	for _, at := range []struct {
		height uint64
		head   *verify.Head
		set    *verify.Validators
		turns  *[]int64
	}{{height, &s.Last, &s.LastSet, nil}, {height + 1, &s.Current, &s.CurrentSet, &s.CurrentTurns}, {height + 2, &s.Next, &s.NextSet, &s.NextTurns}} {
		if *at.head, *at.set, err = p.trusted.Head(ctx, at.height); err != nil {
			return sm.State{}, err
		}
		if at.turns == nil {
			continue
		}
		if *at.turns, err = p.trusted.Turns(ctx, at.height); err != nil {
			return sm.State{}, err
		}
	}
	state, err := s.State()
	if err != nil {
		return sm.State{}, err
	}
	return state, p.checkTurns(ctx, state)
}

// turnsChecked bounds the headers by which turns are checked: enough for each of
// four validators to have its turn several times, and few enough to be quick.
const turnsChecked = 16

// checkTurns compares whose turn it is said to be with who did propose, from the
// state's next block on. What does not show there could only keep this node from
// taking part, until it is noticed; it cannot make it believe a wrong block.
func (p *provider) checkTurns(ctx context.Context, state sm.State) error {
	newest, err := p.trusted.Newest(ctx)
	if err != nil {
		return err
	}
	set, first := state.Validators, uint64(state.LastBlockHeight)+1
	for h := first; h <= min(newest, first+turnsChecked); h++ {
		if h == first+1 {
			set = state.NextValidators
		} else if h > first {
			set = set.CopyIncrementProposerPriority(1)
		}
		head, _, err := p.trusted.Head(ctx, h)
		if err != nil {
			return err
		}
		if !bytes.Equal(set.Hash(), head.Header.ValidatorsHash[:]) {
			return nil // from here on turns are others'
		}
		turn := set
		if r := int32(head.Commit.Round); r > 0 {
			turn = set.CopyIncrementProposerPriority(r)
		}
		if got := turn.GetProposer().Address; !bytes.Equal(got, head.Header.Proposer[:]) {
			return wire.Errorf(wire.Invalid, "height %d was proposed by %X, but it was said to be the turn of %X", h, head.Header.Proposer, []byte(got))
		}
	}
	return nil
}

// Join is how far a node that joins has come.
type Join struct {
	Peers  int    // it is connected to
	Taking uint64 // height of the snapshot that is being taken, or 0
	Chunks int    // of it that have come
	Of     int    // chunks that it has
	Height uint64 // of the newest block, 0 before a snapshot is there
	From   uint64 // the first block whose record is here
}

// Join returns how far this node has come in joining its network.
func (n *Node) Join() Join {
	j := Join{Peers: n.comet.Switch().Peers().Size(), From: n.App.From()}
	j.Taking, j.Chunks, j.Of = n.App.Taking()
	last, _ := n.App.Last()
	j.Height = last.Height
	return j
}

// sealPatience is how often others are asked for seals that were made before
// this node joined.
const sealPatience = 10 * time.Second

// fetchSeals gets the seals of the newest checkpoint that came with a snapshot:
// the votes they are in were cast before this node was there.
func (n *Node) fetchSeals(ctx context.Context, t Trusted) {
	tick := time.NewTicker(sealPatience)
	defer tick.Stop()
	for {
		_, news := n.App.Last()
		if p, ok := n.App.Params(); ok && n.App.From() > 1 {
			number := (n.App.From() - 1) / p.Checkpoint
			err := n.sealsOf(ctx, t, number)
			if err == nil || wire.CodeOf(err) == wire.Invalid {
				return
			}
			n.logger.Debug("seals not fetched", "checkpoint", number, "err", err)
			news = nil // not again at each block
		}
		select {
		case <-news:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) sealsOf(ctx context.Context, t Trusted, number uint64) error {
	if _, ok, err := n.App.Seals(number); ok || err != nil {
		return err
	}
	c, ok, err := n.App.Checkpoint(number)
	if !ok || err != nil {
		return cmp.Or(err, error(wire.Errorf(wire.Invalid, "checkpoint %d is not here", number)))
	}
	seals, err := t.Seals(ctx, number)
	if err != nil {
		return err
	}
	// Who seals a checkpoint is who decides the block after it.
	_, signers, err := t.Head(ctx, c.Height+1)
	if err != nil {
		return err
	}
	if _, err := verify.CheckSeals(n.Query.Chain, c, seals, signers); err != nil {
		n.logger.Warn("seals that others gave do not hold", "checkpoint", number, "err", err)
		return wire.Errorf(wire.Invalid, "%w", err)
	}
	n.App.KeepSeals(number, seals)
	return nil
}

// halfJoined clears what a snapshot left whose node ended before CometBFT knew
// of it, and lets CometBFT go on where it does know and no block has come yet.
func (n *Node) halfJoined() error {
	height, blocks := n.data.height()
	app := n.store.State().Height
	switch {
	case height == 0 && blocks == 0 && app > 0 && n.App.From() > 1:
		n.logger.Info("a snapshot was taken only half; it is taken again", "height", app)
		return n.App.Discard()
	case height > 0 && blocks == 0 && app == height && n.App.From() > 1 && n.data.blocks.LoadSeenCommit(int64(height)) == nil:
		// CometBFT writes its state before the votes that it cannot go on without.
		n.logger.Info("a snapshot was taken but for its votes; it is taken again", "height", app)
		if err := n.data.forget(); err != nil {
			return err
		}
		return n.App.Discard()
	case height > 0 && blocks == 0 && app == height:
		return n.data.states.SetOfflineStateSyncHeight(int64(height))
	}
	return nil
}

// discovery is how long CometBFT looks for snapshots before it takes the best,
// and between one look and the next: its own least.
const discovery = 5 * time.Second

// join prepares a node without a block to begin with a snapshot, if t is not nil.
func (n *Node) join(t Trusted, doc *cmttypes.GenesisDoc, config *cmtcfg.Config) ([]cmtnode.Option, error) {
	height, blocks := n.data.height()
	if t == nil || height > 0 || blocks > 0 || n.store.State().Height > 0 {
		return nil, nil
	}
	state, err := chain.DecodeAppState(doc.AppState)
	if err != nil {
		return nil, err
	}
	p := &provider{trusted: t, logger: n.logger}
	n.App.Join(p, chain.Seed(state.Params, doc.GenesisTime))
	config.StateSync.Enable = true
	config.StateSync.DiscoveryTime = discovery
	config.StateSync.MaxSnapshotChunks = chain.MaxSnapshotChunks
	n.trusted = t
	return []cmtnode.Option{cmtnode.StateProvider(p)}, nil
}

// errNoSnapshot is what state sync ends with if it cannot go on.
var errNoSnapshot = errors.New("joining by snapshot has failed; the log says why. Start again, or join with --replay")

// syncFailure reports whether CometBFT says with this line that its state sync
// has ended for good, which it tells nobody else.
func syncFailure(msg string) bool {
	switch msg {
	case "State sync failed", "Failed to bootstrap node with new state", "Failed to store last seen commit", "Failed to switch to block sync":
		return true
	}
	return false
}

// height returns the height of CometBFT's state and of its newest block.
func (d *databases) height() (state, blocks uint64) {
	if s, err := d.states.Load(); err == nil {
		state = uint64(s.LastBlockHeight)
	}
	return state, uint64(d.blocks.Height())
}
