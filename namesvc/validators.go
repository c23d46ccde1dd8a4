package namesvc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Validator is one member of the validator set.
type Validator struct {
	_        struct{}      `cbor:",toarray"`
	Key      key.Consensus // its address is an Ethereum address
	Power    uint64
	Operator AccountID // who answers for it and has its vote; zero if nobody
	Since    uint64    // height of the checkpoint that admitted it; 0 for founders
	Fault    uint64    // height of a proven misbehaviour, or 0
}

// ValidatorSet is the value of the validators leaf: those who decide, in the
// order of their keys. It changes at checkpoints only, but for the mark of a
// fault. Consensus follows it two blocks later.
type ValidatorSet struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1
	List    []Validator
}

// Bounds of a validator set.
const (
	// MaxValidators: each costs every light client a signature check, and the
	// anchor contract's bitmap has 256 bits.
	MaxValidators = 256
	// MinValidators is how many an operator who leaves must leave behind: with
	// fewer than four, the chain stops with the first that fails.
	MinValidators = 4
	// MaxPower bounds the power that can be voted for. 256 times as much is far
	// below where consensus and the sums here would overflow.
	MaxPower = 1 << 40
	// maxTotalPower is consensus's own bound on the power of a whole set.
	maxTotalPower = 1<<60 - 1
	// maxValidatorSet bounds the encoding in bytes: 256 validators of under 96.
	maxValidatorSet = 32 << 10
)

// DecodeValidatorSet parses the validators leaf.
func DecodeValidatorSet(b []byte) (ValidatorSet, error) {
	var s ValidatorSet
	if err := wire.Decode(b, &s, maxValidatorSet); err != nil {
		return ValidatorSet{}, fmt.Errorf("validator set: %w", err)
	}
	if err := s.check(); err != nil {
		return ValidatorSet{}, fmt.Errorf("validator set: %w", err)
	}
	return s, nil
}

func (s ValidatorSet) check() error {
	if s.Version != 1 || len(s.List) == 0 || len(s.List) > MaxValidators {
		return fmt.Errorf("version %d with %d validators; it has 1 to %d", s.Version, len(s.List), MaxValidators)
	}
	total := uint64(0)
	operators := map[AccountID]bool{}
	for i, v := range s.List {
		switch {
		case v.Power == 0 || v.Power > maxTotalPower-total:
			return fmt.Errorf("validator %x has a power of %d: it must be at least 1, and all together at most %d", v.Key, v.Power, uint64(maxTotalPower))
		case i > 0 && bytes.Compare(s.List[i-1].Key[:], v.Key[:]) >= 0:
			return fmt.Errorf("validator %x is listed twice, or out of order", v.Key)
		case v.Operator != AccountID{} && operators[v.Operator]:
			return fmt.Errorf("account %v operates two validators", v.Operator)
		}
		total += v.Power
		operators[v.Operator] = true
	}
	return nil
}

// Total returns the power of the whole set.
func (s ValidatorSet) Total() (total uint64) {
	for _, v := range s.List {
		total += v.Power
	}
	return total
}

// of returns the index of the validator that an account operates, or -1.
func (s ValidatorSet) of(operator AccountID) int {
	if operator == (AccountID{}) {
		return -1
	}
	return slices.IndexFunc(s.List, func(v Validator) bool { return v.Operator == operator })
}

// Find returns the validator with this key.
func (s ValidatorSet) Find(k key.Consensus) (Validator, bool) {
	i, ok := s.place(k)
	if !ok {
		return Validator{}, false
	}
	return s.List[i], true
}

// place returns where a key is, or would be.
func (s ValidatorSet) place(k key.Consensus) (int, bool) {
	return slices.BinarySearchFunc(s.List, k, func(v Validator, k key.Consensus) int { return bytes.Compare(v.Key[:], k[:]) })
}

// Operator is the value of an account's operator leaf: the validator that it
// runs or offers to run, and what it stands for. An op on the account writes it;
// at checkpoints the law strikes out votes that have had their effect.
type Operator struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8    // 1
	Account  AccountID
	Key      []byte // of the validator, or empty: if it still runs one, that one leaves
	Declared uint64 // seconds since 1970 of the last change of Key; 0 for founders
	Votes    []Vote // one for each subject, in the order in which they were cast
}

// Bounds of an operator's leaf.
const (
	// MaxVotes: more open questions than that at once nobody oversees.
	MaxVotes = 16
	// MaxVoteTime is how many seconds a vote stands at most, so that a question
	// that found no majority goes away by itself.
	MaxVoteTime = 90 * day
	// maxOperator bounds the encoding in bytes: two ids, a time and 16 votes of
	// under 64 make 1,100.
	maxOperator = 2048
)

// Encode returns the leaf value.
func (o Operator) Encode() []byte { return wire.Encode(o) }

// DecodeOperator parses an operator's leaf.
func DecodeOperator(b []byte) (Operator, error) {
	var o Operator
	if err := wire.Decode(b, &o, maxOperator); err != nil {
		return Operator{}, fmt.Errorf("operator: %w", err)
	}
	if o.Version != 1 || len(o.Key) != 0 && len(o.Key) != len(key.Consensus{}) || len(o.Votes) > MaxVotes {
		return Operator{}, fmt.Errorf("operator: the leaf is malformed")
	}
	return o, nil
}

// InForce is the value of the rules leaf: the number of the rule set, and of the
// one that follows it from a height on.
type InForce struct {
	_     struct{} `cbor:",toarray"`
	Rules uint32
	Next  uint32 // voted for, or 0
	From  uint64 // first height of Next, or 0
}

// maxInForce bounds the encoding in bytes.
const maxInForce = 24

// DecodeInForce parses the rules leaf.
func DecodeInForce(b []byte) (InForce, error) {
	var r InForce
	if err := wire.Decode(b, &r, maxInForce); err != nil {
		return InForce{}, fmt.Errorf("rules: %w", err)
	}
	if r.Rules == 0 || (r.Next == 0) != (r.From == 0) {
		return InForce{}, fmt.Errorf("rules: the leaf is malformed")
	}
	return r, nil
}

// At returns the number of the rule set by which the block of a height is
// applied, as far as is known.
func (r InForce) At(height uint64) uint32 {
	if r.Next != 0 && height >= r.From {
		return r.Next
	}
	return r.Rules
}

// RulesAt returns the rule set by which the block of a height is applied to the
// state before it, for [ApplyBlock].
func RulesAt(g Getter, height uint64) (uint32, error) {
	var r InForce
	if err := load(g, RulesKey(), &r); err != nil {
		return 0, fmt.Errorf("rules: %w", err)
	}
	return r.At(height), nil
}

// Fault is a misbehaviour of a validator, of a kind that consensus can prove.
type Fault struct {
	_      struct{} `cbor:",toarray"`
	Key    key.Consensus
	Height uint64 // at which it happened
}

// beginValidators writes the founding validators, and for each operator what it
// says as such. Operators need not be on the chain yet.
func beginValidators(v View, founders []Validator) error {
	set := ValidatorSet{Version: 1, List: slices.Clone(founders)}
	slices.SortFunc(set.List, func(a, b Validator) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	for i := range set.List {
		set.List[i].Since, set.List[i].Fault = 0, 0
	}
	if err := set.check(); err != nil {
		return fmt.Errorf("begin chain: %w", err)
	}
	for _, val := range set.List {
		if (val.Operator == AccountID{}) != (set.List[0].Operator == AccountID{}) {
			// Nobody could vote on one that has none.
			return fmt.Errorf("begin chain: either all validators have operators or none has")
		}
	}
	for _, val := range set.List {
		if val.Operator != (AccountID{}) {
			v.Set(OperatorKey(val.Operator), Operator{Version: 1, Account: val.Operator, Key: val.Key[:]}.Encode())
		}
	}
	v.Set(ValidatorsKey(), wire.Encode(set))
	return nil
}

// enforce puts a rule set into force whose height has come.
func (l *law) enforce() error {
	var r InForce
	if err := l.load(RulesKey(), &r); err != nil {
		return err
	}
	if r.Next != 0 && l.block.Height >= r.From {
		l.state.Set(RulesKey(), wire.Encode(InForce{Rules: r.Next}))
	}
	return nil
}

// note marks validators whose misbehaviour the block proves. They lose their
// voice at once and their power at the next checkpoint. What a validator did
// before it was admitted has been paid for: it had to be voted in again.
func (l *law) note(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	var set ValidatorSet
	if err := l.load(ValidatorsKey(), &set); err != nil {
		return err
	}
	noted := false
	for _, f := range faults {
		i, ok := set.place(f.Key)
		if ok && set.List[i].Fault == 0 && f.Height > set.List[i].Since {
			set.List[i].Fault, noted = f.Height, true
		}
	}
	if noted {
		l.state.Set(ValidatorsKey(), wire.Encode(set))
	}
	return nil
}

// operator returns an account's operator leaf, and whether there is one.
func (l *law) operator(id AccountID) (Operator, bool, error) {
	o := Operator{Version: 1, Account: id}
	err := l.load(OperatorKey(id), &o)
	if errors.Is(err, errAbsent) {
		return o, false, nil
	}
	return o, true, err
}
