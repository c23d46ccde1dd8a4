package fakechain

import (
	"iter"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Origin opens the pin of a height.
func (c *Chain) Origin(height uint64) *bundle.Origin {
	h, set := c.Head(height)
	return &bundle.Origin{Header: h.Header, Validators: set.Validators}
}

// Steps returns the heads that lead from a height to a later one, each as far
// ahead as the validators' changes allow.
func (c *Chain) Steps(from, to uint64) []bundle.Step {
	at := *c.Trust(from)
	rules := verify.Rules{TrustingPeriod: 1 << 62, MaxClockDrift: time.Second}
	var steps []bundle.Step
	for done := false; !done; done = at.Height == to {
		for height := to; ; height = at.Height + (height-at.Height)/2 {
			head, set := c.Head(height)
			step := bundle.Step{Head: head.Trim(set.Validators)}
			next, err := verify.Advance(at, step.Head, set.Validators, head.Header.Time.Std(), rules)
			if err != nil {
				step.Head = head
				next, err = verify.Advance(at, step.Head, set.Validators, head.Header.Time.Std(), rules)
			}
			if err != nil && height == at.Height+1 {
				panic("fakechain: " + err.Error())
			}
			if err != nil {
				continue
			}
			if set.Hash() != at.Validators.Hash() {
				step.Validators = &set.Validators
			}
			steps, at = append(steps, step), next
			break
		}
	}
	return steps
}

// Leaf returns the leaf of this kind and id with its proof under the head of a
// height.
func (c *Chain) Leaf(height uint64, kind byte, id []byte) bundle.Leaf {
	c.mu.Lock()
	defer c.mu.Unlock()
	tree := c.blocks[height-1].tree
	k := statetree.Key(namesvc.LeafKey(kind, id))
	proof := must(must(tree.Prove(k)).MarshalBinary())
	return bundle.Leaf{Kind: kind, ID: id, Value: must(tree.Get(k)), Proof: proof}
}

// Leaves returns all leaves of the state that the head of a height carries, in
// ascending order of key: with them a test fills a store of its own.
func (c *Chain) Leaves(height uint64) iter.Seq2[statetree.Key, []byte] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[height-1].tree.All()
}

// Bundle answers a request truthfully, under the newest head.
func (c *Chain) Bundle(r lightclient.Request) (bundle.Bundle, error) {
	return c.BundleAt(c.Height(), r)
}

// BundleAt answers a request truthfully as it was answered when the head of
// this height was the newest.
func (c *Chain) BundleAt(height uint64, r lightclient.Request) (bundle.Bundle, error) {
	if r.At > height {
		return bundle.Bundle{}, wire.Errorf(wire.Unavailable, "height %d is not here yet", r.At)
	}
	b := bundle.Bundle{Version: bundle.Version, About: "head"}
	to := height
	if r.At > 0 {
		to = r.At
	}
	from := r.Known
	if from == 0 || from > to {
		from = r.Pin
		b.Origin = c.Origin(from)
	}
	b.Steps = c.Steps(from, to)
	if r.At > 0 {
		return b, nil
	}
	p := prover{c: c, height: height}
	switch {
	case r.Handle != "":
		b.About = r.Handle.String()
		p.handle(r)
	case r.Account != nil:
		b.About = r.Account.String()
		p.account(*r.Account, r)
	case r.Commit != nil:
		b.About = "commit"
		p.leaf(namesvc.LeafCommit, r.Commit[:])
	case r.Chain:
		b.About = "chain"
		p.leaf(namesvc.LeafParams, nil)
		m := must(namesvc.DecodeMeter(p.leaf(namesvc.LeafMeter, nil)))
		p.leaf(namesvc.LeafCheckpoint, namesvc.CheckpointID(m.Checkpoint))
	}
	b.Leaves = p.leaves
	return b, nil
}

type prover struct {
	c      *Chain
	height uint64
	leaves []bundle.Leaf
}

func (p *prover) leaf(kind byte, id []byte) []byte {
	l := p.c.Leaf(p.height, kind, id)
	p.leaves = append(p.leaves, l)
	return l.Value
}

func (p *prover) handle(r lightclient.Request) {
	if v := p.leaf(namesvc.LeafHandle, []byte(r.Handle.Skeleton())); v != nil {
		p.account(must(namesvc.DecodeHandleLeaf(v)).Account, r)
	}
}

func (p *prover) account(id namesvc.AccountID, r lightclient.Request) {
	v := p.leaf(namesvc.LeafAccount, id[:])
	if v == nil {
		return
	}
	if r.Devices {
		p.leaf(namesvc.LeafDevices, id[:])
	}
	if r.Sponsor {
		p.leaf(namesvc.LeafSponsor, id[:])
	}
	if !r.Serving {
		return
	}
	for _, s := range must(namesvc.DecodeEntry(v)).Records.Concierges {
		if s.Account != id {
			p.leaf(namesvc.LeafAccount, s.Account[:])
		}
	}
}

// maxWait is how long an honest source waits for a head that is asked for.
const maxWait = 5 * time.Second
