package query

import (
	"errors"
	"fmt"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Heads gives out the chain's heads.
type Heads interface {
	// Newest returns the height of the newest head whose state can be proven.
	Newest() uint64
	// Head returns a head with the validators that signed it. An error of kind
	// NotFound means that this node does not have it.
	Head(height uint64) (verify.Head, verify.Validators, error)
}

// Ask is what a bundle is to prove, and to whom.
type Ask struct {
	Handle  namesvc.Handle     // a handle, with the entry behind it
	Account *namesvc.AccountID // or an account
	Commit  *[32]byte          // or a commit by its hash
	Chain   bool               // or the chain's parameters, counters and newest checkpoint
	Devices bool               // the account's devices too
	Serving bool               // the entries of the account's concierges too
	At      uint64             // or only the head of this height, to compare sources

	// What the reader has: a head it knows, or only a pin. With neither it gets
	// the head alone, to look at.
	Known uint64
	Pin   uint64
}

// Bundle makes a proof of what is asked, under the newest head.
func (s *Server) Bundle(ask Ask) (bundle.Bundle, error) {
	height := s.Heads.Newest()
	if height < 2 {
		return bundle.Bundle{}, wire.Errorf(wire.Unavailable, "the chain has just begun; try again in a moment")
	}
	if ask.At > height {
		return bundle.Bundle{}, wire.Errorf(wire.Unavailable, "height %d is not here yet; the newest is %d", ask.At, height)
	}
	if ask.At > 0 {
		height = ask.At
	}
	b := bundle.Bundle{Version: bundle.Version}
	if err := s.lead(&b, ask, height); err != nil {
		return bundle.Bundle{}, err
	}
	if ask.At > 0 {
		b.About = "head"
		return b, nil
	}
	// The head of height h carries the root of the state after block h-1.
	r, err := s.Store.At(height - 1)
	if err != nil {
		return bundle.Bundle{}, unavailable(err)
	}
	defer r.Close()
	p := prover{r: r}
	switch {
	case ask.Handle != "":
		b.About = ask.Handle.String()
		p.handle(ask)
	case ask.Account != nil:
		b.About = ask.Account.String()
		p.account(*ask.Account, ask)
	case ask.Commit != nil:
		b.About = "commit"
		p.leaf(namesvc.LeafCommit, ask.Commit[:])
	case ask.Chain:
		b.About = "chain"
		p.chain()
	default:
		return bundle.Bundle{}, wire.Errorf(wire.Invalid, "ask for a handle, an account, a commit, a height or the chain")
	}
	if p.err != nil {
		return bundle.Bundle{}, unavailable(p.err)
	}
	b.Leaves = p.leaves
	return b, nil
}

// lead fills in the path from what the reader has to the head.
func (s *Server) lead(b *bundle.Bundle, ask Ask, to uint64) error {
	from := ask.Known
	if from == 0 || from > to {
		from = ask.Pin
	}
	if from == 0 {
		head, set, err := s.Heads.Head(to)
		if err != nil {
			return err
		}
		b.Steps = []bundle.Step{{Head: head.Trim(set), Validators: &set}}
		return nil
	}
	if from == ask.Pin {
		head, set, err := s.Heads.Head(from)
		if err != nil {
			return fmt.Errorf("your pin: %w", err)
		}
		b.Origin = &bundle.Origin{Header: head.Header, Validators: set}
	}
	steps, err := s.path(from, to)
	b.Steps = steps
	return err
}

// unavailable gives an error of the store its kind: a height that has just been
// pruned is gone, the newest one is not.
func unavailable(err error) error {
	if errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrNotYet) {
		return wire.Errorf(wire.Unavailable, "the state has just moved on; ask again: %w", err)
	}
	return err
}

// prover collects leaves with their proofs; the first error ends it.
type prover struct {
	r      *store.Reader
	leaves []bundle.Leaf
	err    error
}

// leaf adds the leaf of this kind and id and returns its value.
func (p *prover) leaf(kind byte, id []byte) []byte {
	if p.err != nil {
		return nil
	}
	k := statetree.Key(namesvc.LeafKey(kind, id))
	value, err := p.r.Get(k)
	if err != nil {
		p.err = err
		return nil
	}
	proof, err := p.r.Prove(k)
	if err != nil {
		p.err = err
		return nil
	}
	b, err := proof.MarshalBinary()
	if err != nil {
		p.err = err
		return nil
	}
	p.leaves = append(p.leaves, bundle.Leaf{Kind: kind, ID: id, Value: value, Proof: b})
	return value
}

func (p *prover) handle(ask Ask) {
	v := p.leaf(namesvc.LeafHandle, []byte(ask.Handle.Skeleton()))
	if v == nil {
		return
	}
	l, err := namesvc.DecodeHandleLeaf(v)
	if err != nil {
		p.err = err
		return
	}
	p.account(l.Account, ask)
}

func (p *prover) account(id namesvc.AccountID, ask Ask) {
	v := p.leaf(namesvc.LeafAccount, id[:])
	if v == nil {
		return
	}
	if ask.Devices {
		p.leaf(namesvc.LeafDevices, id[:])
	}
	if !ask.Serving {
		return
	}
	e, err := namesvc.DecodeEntry(v)
	if err != nil {
		p.err = err
		return
	}
	for _, c := range e.Records.Concierges {
		if c.Account != id { // its own leaf is there already
			p.leaf(namesvc.LeafAccount, c.Account[:])
		}
	}
}

// chain adds what a client needs to know before it registers.
func (p *prover) chain() {
	p.leaf(namesvc.LeafParams, nil)
	v := p.leaf(namesvc.LeafMeter, nil)
	if p.err != nil || v == nil {
		return
	}
	m, err := namesvc.DecodeMeter(v)
	if err != nil {
		p.err = err
		return
	}
	p.leaf(namesvc.LeafCheckpoint, namesvc.CheckpointID(m.Checkpoint))
}

// path returns the heads that lead a reader who trusts height from to height
// to: as few as the changes of the validator set allow.
func (s *Server) path(from, to uint64) ([]bundle.Step, error) {
	_, trusted, err := s.Heads.Head(from)
	if err != nil {
		return nil, fmt.Errorf("height %d, which you know: %w", from, err)
	}
	var steps []bundle.Step
	at := from
	for {
		height := to
		head, set, err := s.Heads.Head(height)
		if err != nil {
			return nil, err
		}
		// Halve the distance until a third of the trusted validators signed.
		for height > at+1 && !vouched(head, set, trusted) {
			height = at + (height-at)/2
			if head, set, err = s.Heads.Head(height); err != nil {
				return nil, err
			}
		}
		step := bundle.Step{Head: head.Trim(set)}
		if !vouched(step.Head, set, trusted) {
			step.Head = head // the cut took the signatures that were needed
		}
		if set.Hash() != trusted.Hash() {
			step.Validators = &set
		}
		steps = append(steps, step)
		if height == to {
			return steps, nil
		}
		if len(steps) == bundle.MaxSteps {
			return nil, wire.Errorf(wire.Stale, "height %d is too many changes of the validators ago; start from a newer pin", from)
		}
		at, trusted = height, set
	}
}

// vouched reports whether more than a third of the trusted validators' power
// signed the head. It checks no signature: the reader does.
func vouched(head verify.Head, set, trusted verify.Validators) bool {
	if set.Hash() == trusted.Hash() {
		return true
	}
	power := make(map[[33]byte]uint64, trusted.Len())
	for i := range trusted.Len() {
		v := trusted.At(i)
		power[v.Key] = v.Power
	}
	var signed uint64
	for i, v := range head.Commit.Votes {
		if v.Kind == verify.VoteBlock && i < set.Len() {
			signed += power[set.At(i).Key]
		}
	}
	return signed > trusted.TotalPower()/3
}
