package node

import (
	"fmt"
	"sync"

	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// heads reads CometBFT's stores as light clients want them.
type heads struct {
	chain  string
	blocks *store.BlockStore
	states sm.Store

	mu    sync.Mutex
	cache map[uint64]signedHead
	order []uint64 // of the cache, oldest first
}

type signedHead struct {
	head verify.Head
	set  verify.Validators
	last bool // the commit is the one this node saw, not the one in the next block
}

// cachedHeads is how many heads are kept decoded: the newest one serves nearly
// all lookups, the others the paths of those who were away.
const cachedHeads = 256

func newHeads(chain string, blocks *store.BlockStore, states sm.Store) *heads {
	return &heads{chain: chain, blocks: blocks, states: states, cache: map[uint64]signedHead{}}
}

// Newest implements query.Heads.
func (h *heads) Newest() uint64 { return uint64(h.blocks.Height()) }

// Head implements query.Heads.
func (h *heads) Head(height uint64) (verify.Head, verify.Validators, error) {
	newest := h.Newest()
	if height == 0 || height > newest {
		return verify.Head{}, verify.Validators{}, wire.Errorf(wire.NotFound, "height %d of %s is not here; the newest is %d", height, h.chain, newest)
	}
	h.mu.Lock()
	s, ok := h.cache[height]
	h.mu.Unlock()
	if ok && (!s.last || height == newest) {
		return s.head, s.set, nil
	}
	s, err := h.load(height, newest)
	if err != nil {
		return verify.Head{}, verify.Validators{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.cache[height]; !known {
		h.order = append(h.order, height)
	}
	h.cache[height] = s
	if len(h.order) > cachedHeads {
		delete(h.cache, h.order[0])
		h.order = h.order[1:]
	}
	return s.head, s.set, nil
}

func (h *heads) load(height, newest uint64) (signedHead, error) {
	meta := h.blocks.LoadBlockMeta(int64(height))
	commit := h.blocks.LoadBlockCommit(int64(height))
	last := commit == nil
	if last {
		commit = h.blocks.LoadSeenCommit(int64(height))
	}
	if meta == nil || commit == nil {
		return signedHead{}, wire.Errorf(wire.NotFound, "height %d of %s is no longer here; ask an archive", height, h.chain)
	}
	vals, err := h.states.LoadValidators(int64(height))
	if err != nil {
		return signedHead{}, fmt.Errorf("validators of height %d: %w", height, err)
	}
	set, err := chain.ValidatorsOf(vals)
	if err != nil {
		return signedHead{}, err
	}
	head, err := chain.HeadOf(&meta.Header, commit)
	return signedHead{head: head, set: set, last: last}, err
}
