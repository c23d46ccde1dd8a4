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
	Commit  *[32]byte          // or a commit by its id
	Chain   bool               // or the chain's parameters, counters and newest checkpoint
	Devices bool               // the account's devices too
	Serving bool               // the entries of the account's concierges too
	Sponsor bool               // what the account says and may do as a sponsor too
	At      uint64             // or only the head of this height, to compare sources

	Checkpoint uint64 // or what the state keeps of a checkpoint, by its number

	// What the reader has: a head it knows, or only a pin. With neither it gets
	// the head alone, to look at.
	Known uint64
	Pin   uint64
}

// check reports an ask that is for nothing, or for more than one thing.
func (a Ask) check() error {
	n := 0
	for _, asked := range []bool{a.Handle != "", a.Account != nil, a.Commit != nil, a.Chain, a.At > 0, a.Checkpoint > 0} {
		if asked {
			n++
		}
	}
	if n != 1 {
		return wire.Errorf(wire.Invalid, "ask for one of: a handle, an account, a commit, a checkpoint, a height, the chain")
	}
	return nil
}

// Bundle makes a proof of what is asked, under the newest head.
func (s *Server) Bundle(ask Ask) (bundle.Bundle, error) {
	height, err := s.height(ask)
	if err != nil {
		return bundle.Bundle{}, err
	}
	b := bundle.Bundle{Version: bundle.Version}
	from, origin, err := s.origin(ask, height)
	if err != nil {
		return bundle.Bundle{}, err
	}
	b.Origin = origin
	if b.Steps, err = s.steps(from, height); err != nil {
		return bundle.Bundle{}, err
	}
	b.About, b.Leaves, err = s.leaves(ask, height)
	return b, err
}

// Encoded returns Bundle(ask).Encode(). It encodes the newest head once for all
// who need nothing but that head on their path, which is nearly everyone.
func (s *Server) Encoded(ask Ask) (encoded, error) {
	height, err := s.height(ask)
	if err != nil {
		return nil, err
	}
	w := bundleWire{Version: bundle.Version}
	from, origin, err := s.origin(ask, height)
	if err != nil {
		return nil, err
	}
	w.Origin = origin
	if w.Steps, err = s.encodedSteps(from, height); err != nil {
		return nil, err
	}
	if w.About, w.Leaves, err = s.leaves(ask, height); err != nil {
		return nil, err
	}
	return wire.Encode(w), nil
}

// bundleWire is a bundle.Bundle whose path is encoded already.
type bundleWire struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	About   string
	Origin  *bundle.Origin
	Steps   wire.Raw
	Leaves  []bundle.Leaf
	Anchor  []byte
}

// height returns the height of the head that answers.
func (s *Server) height(ask Ask) (uint64, error) {
	newest := s.Heads.Newest()
	if err := ask.check(); err != nil {
		return 0, err
	}
	switch {
	case newest < 2:
		return 0, wire.Errorf(wire.Unavailable, "the chain has just begun; try again in a moment")
	case ask.At > newest:
		return 0, wire.Errorf(wire.Unavailable, "height %d is not here yet; the newest is %d", ask.At, newest)
	case ask.At > 0:
		return ask.At, nil
	}
	return newest, nil
}

// leaves proves what is asked under the head of a height.
func (s *Server) leaves(ask Ask, height uint64) (about string, _ []bundle.Leaf, err error) {
	if ask.At > 0 {
		return "head", nil, nil
	}
	// The head of height h carries the root of the state after block h-1.
	r, err := s.Store.At(height - 1)
	if err != nil {
		return "", nil, unavailable(err)
	}
	defer r.Close()
	p := prover{r: r}
	switch {
	case ask.Handle != "":
		about = ask.Handle.String()
		p.handle(ask)
	case ask.Account != nil:
		about = ask.Account.String()
		p.account(*ask.Account, ask)
	case ask.Commit != nil:
		about = "commit"
		p.leaf(namesvc.LeafCommit, ask.Commit[:])
	case ask.Checkpoint > 0:
		about = fmt.Sprintf("checkpoint %d", ask.Checkpoint)
		p.leaf(namesvc.LeafCheckpoint, namesvc.CheckpointID(ask.Checkpoint))
	default:
		about = "chain"
		p.chain()
	}
	if p.err != nil {
		return "", nil, unavailable(p.err)
	}
	return about, p.leaves, nil
}

// origin returns the height that the path to a height begins at, 0 for a reader
// who has nothing, and what opens the pin of one who has only that.
func (s *Server) origin(ask Ask, to uint64) (from uint64, _ *bundle.Origin, err error) {
	if ask.Known > 0 && ask.Known <= to {
		return ask.Known, nil, nil
	}
	if ask.Pin == 0 {
		return 0, nil, nil
	}
	head, set, err := s.Heads.Head(ask.Pin)
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("your pin: %w", err)
	case ask.Pin > to:
		return 0, nil, wire.Errorf(wire.Invalid, "height %d lies before your pin, %d", to, ask.Pin)
	}
	return ask.Pin, &bundle.Origin{Header: head.Header, Validators: set}, nil
}

// steps returns the path from a height, or the head alone from height 0.
func (s *Server) steps(from, to uint64) ([]bundle.Step, error) {
	if from > 0 {
		return s.path(from, to)
	}
	head, set, err := s.Heads.Head(to)
	if err != nil {
		return nil, err
	}
	return []bundle.Step{{Head: head.Trim(set), Validators: &set}}, nil
}

// onlyStep is the encoded path to a height for all who know a head with the same
// validators.
type onlyStep struct {
	height  uint64
	set     [32]byte // hash of the validators
	encoded wire.Raw
}

// encodedSteps returns the encoding of steps.
func (s *Server) encodedSteps(from, to uint64) (wire.Raw, error) {
	only := s.newest.Load()
	if from > 0 && only != nil && only.height == to {
		_, known, err := s.Heads.Head(from)
		if err != nil {
			return nil, fmt.Errorf("height %d, which you know: %w", from, err)
		}
		if known.Hash() == only.set {
			return only.encoded, nil
		}
	}
	steps, err := s.steps(from, to)
	if err != nil {
		return nil, err
	}
	b := wire.Raw(wire.Encode(steps))
	if len(steps) == 1 && steps[0].Validators == nil {
		s.newest.Store(&onlyStep{height: to, set: steps[0].Head.Header.ValidatorsHash, encoded: b})
	}
	return b, nil
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
	if ask.Sponsor {
		p.leaf(namesvc.LeafSponsor, id[:])
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
