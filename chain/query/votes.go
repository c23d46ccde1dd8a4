package query

import (
	"net/http"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Votes is who decides, and what their operators stand for, as this node sees
// it. Nothing in it is proven.
type Votes struct {
	_          struct{} `cbor:",toarray"`
	Height     uint64
	Time       uint64
	Checkpoint uint64 // the height of the next one, which settles what is open
	Validators []namesvc.Validator
	Leaving    []namesvc.AccountID // operators who leave as soon as they may
	Tallies    []namesvc.Tally     // those with the most power first
	Rules      namesvc.InForce
	Known      uint32 // the newest rule set that this node's program knows
	Names      []Named
}

// Named is an account that an answer speaks of, with its handle.
type Named struct {
	_       struct{} `cbor:",toarray"`
	Account namesvc.AccountID
	Handle  namesvc.Handle
}

// Name returns the handle of an account that the answer speaks of, or its id.
func (v Votes) Name(id namesvc.AccountID) string {
	for _, n := range v.Names {
		if n.Account == id {
			return n.Handle.String()
		}
	}
	return id.String()
}

// MaxVotes bounds an answer in bytes: 256 validators of under 96, and 256 times
// 16 votes that are each about something else, of under 192.
const MaxVotes = 1 << 20

func (s *Server) votes(*http.Request) (any, error) {
	p, ok := s.App.Params()
	if !ok {
		return nil, wire.Errorf(wire.Unavailable, "the chain has just begun; try again in a moment")
	}
	mark, _ := s.App.Last()
	r, err := s.Store.At(mark.Height)
	if err != nil {
		return nil, unavailable(err)
	}
	defer r.Close()
	g := getter{r}
	v := Votes{Height: mark.Height, Time: mark.Time, Checkpoint: (mark.Height/p.Checkpoint + 1) * p.Checkpoint, Known: s.App.KnownRules()}
	if err := v.read(g); err != nil {
		return nil, err
	}
	return v, nil
}

// read fills in what the state says.
func (v *Votes) read(g namesvc.Getter) error {
	b, err := g.Get(namesvc.ValidatorsKey())
	if err != nil {
		return err
	}
	set, err := namesvc.DecodeValidatorSet(b)
	if err != nil {
		return err
	}
	v.Validators = set.List
	for _, val := range set.List {
		b, err := g.Get(namesvc.OperatorKey(val.Operator))
		if err != nil || b == nil {
			if err != nil {
				return err
			}
			continue
		}
		if o, err := namesvc.DecodeOperator(b); err == nil && len(o.Key) == 0 {
			v.Leaving = append(v.Leaving, val.Operator)
		}
	}
	if b, err = g.Get(namesvc.RulesKey()); err != nil {
		return err
	}
	if v.Rules, err = namesvc.DecodeInForce(b); err != nil {
		return err
	}
	if v.Tallies, err = namesvc.Tallies(g, v.Time); err != nil {
		return err
	}
	return v.name(g)
}

// name adds the handles of operators and of those who are voted for.
func (v *Votes) name(g namesvc.Getter) error {
	known := map[namesvc.AccountID]bool{{}: true}
	add := func(id namesvc.AccountID) error {
		if known[id] {
			return nil
		}
		known[id] = true
		b, err := g.Get(namesvc.AccountKey(id))
		if err != nil || b == nil {
			return err
		}
		e, err := namesvc.DecodeEntry(b)
		if err != nil {
			return err
		}
		if h := e.At(v.Time).Primary(); h != "" {
			v.Names = append(v.Names, Named{Account: id, Handle: h})
		}
		return nil
	}
	for _, val := range v.Validators {
		if err := add(val.Operator); err != nil {
			return err
		}
	}
	for _, t := range v.Tallies {
		if err := add(t.Vote.Account); err != nil {
			return err
		}
	}
	return nil
}

// getter reads the leaves of one height.
type getter struct {
	r interface {
		Get(statetree.Key) ([]byte, error)
	}
}

// Get implements namesvc.Getter.
func (g getter) Get(k namesvc.Key) ([]byte, error) { return g.r.Get(statetree.Key(k)) }
