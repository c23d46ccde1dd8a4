package namesvc

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// NextValidators returns the set that the checkpoint of this height and time leads
// to, given the state after that height: the one that decides after the block in
// which the checkpoint is recorded. Until then it stands in the checkpoint as who
// seals the next.
func NextValidators(g Getter, height, time uint64) (ValidatorSet, error) {
	el, err := newElection(g, time)
	if err != nil {
		return ValidatorSet{}, err
	}
	if err := el.run(height); err != nil {
		return ValidatorSet{}, err
	}
	return el.set, nil
}

// Tally is how a question stands: which operators want the same, and with how
// much power.
type Tally struct {
	_      struct{}    `cbor:",toarray"`
	Vote   Vote        // with the Until of whichever ends first
	Voters []AccountID // in order
	Power  uint64      // of the voters
	Total  uint64      // of the whole set
}

// Carried reports whether more than two thirds of the power want it.
func (t Tally) Carried() bool { return carried(t.Power, t.Total) }

func carried(power, total uint64) bool { return 3*power > 2*total }

// Tallies returns all questions that operators have open at this time, those
// with the most power first.
func Tallies(g Getter, time uint64) ([]Tally, error) {
	el, err := newElection(g, time)
	if err != nil {
		return nil, err
	}
	out := slices.Collect(maps.Values(el.tallies()))
	slices.SortFunc(out, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Power, a.Power), cmp.Compare(a.Vote.Kind, b.Vote.Kind),
			bytes.Compare(a.Vote.Account[:], b.Vote.Account[:]), cmp.Compare(a.Vote.Number, b.Vote.Number))
	})
	return out, nil
}

// election settles at a checkpoint what operators want. It is a function of the
// state that the checkpoint sums up and of the checkpoint's time.
type election struct {
	g         Getter
	time      uint64
	set       ValidatorSet            // as it becomes
	total     uint64                  // its power before
	operators map[AccountID]*Operator // of the set before
	moved     map[AccountID]bool      // whose validator changed in any way
	gone      map[AccountID]bool      // whose validator was removed
	up, down  uint64                  // power gained and lost so far
}

func newElection(g Getter, time uint64) (*election, error) {
	el := &election{g: g, time: time, operators: map[AccountID]*Operator{}, moved: map[AccountID]bool{}, gone: map[AccountID]bool{}}
	if err := load(g, ValidatorsKey(), &el.set); err != nil {
		return nil, err
	}
	el.total = el.set.Total()
	for _, v := range el.set.List {
		if v.Operator == (AccountID{}) {
			continue
		}
		var o Operator
		if err := load(g, OperatorKey(v.Operator), &o); err != nil {
			return nil, err
		}
		el.operators[v.Operator] = &o
	}
	return el, nil
}

// question is what votes have in common that want the same.
type question struct {
	kind    VoteKind
	account AccountID
	number  uint64
}

// tallies counts the votes. Who misbehaved has none.
func (el *election) tallies() map[question]Tally {
	out := map[question]Tally{}
	for _, v := range el.set.List {
		o := el.operators[v.Operator]
		if o == nil || v.Fault != 0 {
			continue
		}
		for _, vote := range o.Votes {
			if vote.Until <= el.time {
				continue
			}
			q := question{vote.Kind, vote.Account, vote.Number}
			t, open := out[q]
			if !open || vote.Until < t.Vote.Until {
				t.Vote = vote
			}
			t.Total = el.total
			t.Power += v.Power
			t.Voters = append(t.Voters, v.Operator)
			out[q] = t
		}
	}
	for q, t := range out {
		slices.SortFunc(t.Voters, func(a, b AccountID) int { return bytes.Compare(a[:], b[:]) })
		out[q] = t
	}
	return out
}

// fits reports whether the set may gain and lose this much more power, and
// counts it if so. What does not fit waits for the next checkpoint. Of a set of
// power T, gains A and losses R in one step are bounded twice:
//
// A ≤ T/3, so that the chain goes on even if none of those who gained shows up:
// the others then still hold three quarters.
//
// A + 2R ≤ T, so that a light client can go from the old set to the new one in a
// single step. Whoever has more than two thirds of the new set, T + A - R, has
// more than (2T - A - 2R)/3 in the old one's powers, and that must be no less
// than the third of T which a light client asks for.
func (el *election) fits(up, down uint64) bool {
	if up > 0 && el.up+up > el.total/3 || el.up+up+2*(el.down+down) > el.total {
		return false
	}
	el.up, el.down = el.up+up, el.down+down
	return true
}

// run changes the set: first who misbehaved goes, then who wants to leave, then
// what was voted for; each in the order of keys or account ids.
func (el *election) run(height uint64) error {
	votes := el.tallies()
	for _, v := range slices.Clone(el.set.List) {
		if v.Fault != 0 && len(el.set.List) > 1 && el.fits(0, v.Power) {
			el.remove(v)
		}
	}
	for _, v := range slices.Clone(el.set.List) {
		o := el.operators[v.Operator]
		if o != nil && len(o.Key) == 0 && v.Fault == 0 && len(el.set.List) > MinValidators && el.fits(0, v.Power) {
			el.remove(v)
		}
	}
	var wanted []Vote
	for _, t := range votes {
		if t.Vote.Kind == VotePower && t.Carried() && !el.moved[t.Vote.Account] {
			wanted = append(wanted, t.Vote)
		}
	}
	// Each operator has one vote on an account, so at most one number is wanted
	// for it by two thirds.
	slices.SortFunc(wanted, func(a, b Vote) int { return bytes.Compare(a.Account[:], b.Account[:]) })
	for _, v := range wanted {
		if err := el.carry(v, height); err != nil {
			return err
		}
	}
	return nil
}

// carry does what a vote about a validator wants, if it still can be done.
func (el *election) carry(v Vote, height uint64) error {
	seat := el.set.of(v.Account)
	if seat < 0 {
		return el.admit(v, height)
	}
	s := &el.set.List[seat]
	switch {
	case s.Fault != 0 || s.Power == v.Number:
	case v.Number == 0:
		if len(el.set.List) > 1 && el.fits(0, s.Power) {
			el.remove(*s)
		}
	case v.Number < s.Power:
		if el.fits(0, s.Power-v.Number) {
			s.Power = v.Number
			el.moved[v.Account] = true
		}
	default:
		if more := v.Number - s.Power; el.room(more) && el.fits(more, 0) {
			s.Power = v.Number
			el.moved[v.Account] = true
		}
	}
	return nil
}

// admit takes a candidate into the set.
func (el *election) admit(v Vote, height uint64) error {
	var o Operator
	err := load(el.g, OperatorKey(v.Account), &o)
	switch {
	case errors.Is(err, errAbsent):
		return nil // it took its offer back
	case err != nil:
		return err
	case len(o.Key) == 0:
		return nil
	}
	k := key.Consensus(o.Key)
	i, taken := el.set.place(k)
	if taken || len(el.set.List) >= MaxValidators || !el.room(v.Number) || !el.fits(v.Number, 0) {
		return nil
	}
	el.set.List = slices.Insert(el.set.List, i, Validator{Key: k, Power: v.Number, Operator: v.Account, Since: height})
	el.operators[v.Account] = &o
	el.moved[v.Account] = true
	return nil
}

// room reports whether consensus can count so much more power.
func (el *election) room(more uint64) bool { return more <= maxTotalPower-el.set.Total() }

func (el *election) remove(v Validator) {
	i, _ := el.set.place(v.Key)
	el.set.List = slices.Delete(el.set.List, i, i+1)
	if v.Operator != (AccountID{}) {
		el.moved[v.Operator], el.gone[v.Operator] = true, true
	}
}

// elect settles the votes of a checkpoint: it writes the set that they lead to,
// schedules the rule set and sets the quotas that they carried, and strikes out votes that have had
// their effect, or lost it with a validator that is gone. So nobody comes back
// by a vote from before.
func (l *law) elect(c *Checkpoint) error {
	el, err := newElection(l.view, c.Time)
	if err != nil {
		return err
	}
	before := wire.Encode(el.set)
	rules, err := l.schedule(el, c)
	if err != nil {
		return err
	}
	quotas, err := l.endow(el)
	if err != nil {
		return err
	}
	if err := el.run(c.Height); err != nil {
		return err
	}
	if after := wire.Encode(el.set); !bytes.Equal(before, after) {
		l.state.Set(ValidatorsKey(), after)
	}
	for id, o := range el.operators {
		left := slices.DeleteFunc(slices.Clone(o.Votes), func(v Vote) bool {
			return el.gone[id] || v.Kind == VotePower && el.moved[v.Account] || v.Kind == VoteRules && rules ||
				v.Kind == VoteSponsor && quotas[v.Account]
		})
		switch {
		case el.gone[id] && len(o.Key) == 0:
			l.state.Set(OperatorKey(id), nil)
		case len(left) != len(o.Votes):
			o.Votes = left
			l.state.Set(OperatorKey(id), o.Encode())
		}
	}
	return nil
}

// schedule sets the next rule set down if it was carried: it comes into force
// with the block that records the next checkpoint, which is how long operators
// have to install a program that knows it.
func (l *law) schedule(el *election, c *Checkpoint) (bool, error) {
	var r InForce
	if err := l.load(RulesKey(), &r); err != nil {
		return false, err
	}
	t := el.tallies()[question{kind: VoteRules, number: uint64(r.Rules) + 1}]
	if r.Next != 0 || !t.Carried() {
		return false, nil
	}
	r.Next, r.From = r.Rules+1, c.Height+l.params.Checkpoint+1
	l.state.Set(RulesKey(), wire.Encode(r))
	return true, nil
}
