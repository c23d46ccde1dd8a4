package namesvc

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Offer is the body of an operate op: the account offers to run the validator
// of this key, which agrees by its signature over [Possession]. Both empty, the
// offer is taken back, and a validator that the account runs leaves the set at
// the next checkpoint.
type Offer struct {
	_          struct{} `cbor:",toarray"`
	Key        []byte   // 33 bytes or none
	Possession []byte   // 65 bytes or none
}

// Possession returns what a consensus key signs (wire.TagPossession) to show that
// its holder agrees to be this account's validator on this chain.
func Possession(chain string, operator AccountID, k key.Consensus) []byte {
	return wire.Encode(struct {
		_       struct{} `cbor:",toarray"`
		Chain   string
		Account AccountID
		Key     key.Consensus
	}{Chain: chain, Account: operator, Key: k})
}

// operate changes what validator an account runs or offers to run.
func (l *law) operate(e *Entry, by authority, body Offer) error {
	switch {
	case !by.root:
		return reject(NotAllowed, "a root key speaks for a validator's operator")
	case e.Kind != Service:
		return reject(NotOperator, "the account is of kind %v; validators are run by accounts of kind %v", e.Kind, Service)
	}
	o, _, err := l.operator(e.Account)
	if err != nil {
		return err
	}
	if bytes.Equal(o.Key, body.Key) {
		return reject(BadOffer, "nothing changes")
	}
	var set ValidatorSet
	if err := l.load(ValidatorsKey(), &set); err != nil {
		return err
	}
	seat := set.of(e.Account)
	if len(body.Key) == 0 {
		err = l.withdraw(set, seat, body)
	} else {
		err = l.offer(e, set, seat, body)
	}
	if err != nil {
		return err
	}
	o.Key, o.Declared = body.Key, l.block.Time
	if len(o.Key) == 0 && seat < 0 {
		l.view.Set(OperatorKey(e.Account), nil)
		return nil
	}
	l.view.Set(OperatorKey(e.Account), o.Encode())
	return nil
}

// withdraw takes an offer back, or leaves.
func (l *law) withdraw(set ValidatorSet, seat int, body Offer) error {
	switch {
	case len(body.Possession) != 0:
		return reject(BadOffer, "a possession without a key")
	case seat >= 0 && len(set.List) <= MinValidators:
		return reject(TooFewValidators, "there are %d, and at least %d must stay", len(set.List), MinValidators)
	}
	return nil
}

// offer declares a key, or takes back that the validator leaves.
func (l *law) offer(e *Entry, set ValidatorSet, seat int, body Offer) error {
	if len(body.Key) != len(key.Consensus{}) || len(body.Possession) != len(key.ConsensusSignature{}) {
		return reject(BadOffer, "a key has %d bytes, its possession %d", len(key.Consensus{}), len(key.ConsensusSignature{}))
	}
	k := key.Consensus(body.Key)
	if seat >= 0 && set.List[seat].Key != k {
		return reject(BadOffer, "the account runs a validator with another key; it must leave first")
	}
	if other, taken := set.Find(k); taken && other.Operator != e.Account {
		return reject(ValidatorTaken, "")
	}
	msg := Possession(l.params.Chain, e.Account, k)
	if err := key.VerifyConsensus(k, wire.TagPossession, msg, key.ConsensusSignature(body.Possession)); err != nil {
		return reject(BadPossession, "%v", err)
	}
	return nil
}

// VoteKind is what a vote is about. The numbers are frozen.
type VoteKind uint8

// The kinds of votes.
const (
	// VotePower: that the account's validator have a power of Number; 0 removes
	// it, and any other admits it if it is not in the set.
	VotePower VoteKind = 1
	// VoteRules: that rule set Number follow the one in force. Account is zero.
	VoteRules VoteKind = 2
	// VoteSponsor: that the account pay for Number commits a day; 0 ends it.
	VoteSponsor VoteKind = 3
)

// String returns the kind's name.
func (k VoteKind) String() string {
	switch k {
	case VotePower:
		return "power"
	case VoteRules:
		return "rules"
	case VoteSponsor:
		return "sponsor"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Vote is the body of a vote op, and how it then stands in the operator's leaf.
// It replaces the operator's standing vote of the same kind on the same account.
type Vote struct {
	_       struct{} `cbor:",toarray"`
	Kind    VoteKind
	Account AccountID // the operator of the validator that it is about, or the sponsor
	Number  uint64
	Until   uint64 // seconds since 1970: it counts before; 0 withdraws it
}

// about reports whether two votes have one subject.
func (v Vote) about(o Vote) bool { return v.Kind == o.Kind && v.Account == o.Account }

// vote casts or withdraws a vote. It writes the voter's own leaf and nothing
// else; what all votes together decide is settled at the next checkpoint.
func (l *law) vote(e *Entry, by authority, v Vote) error {
	switch {
	case !by.root:
		return reject(NotAllowed, "a root key speaks for a validator's operator")
	case e.Kind != Service:
		return reject(NotOperator, "the account is of kind %v; validators are run by accounts of kind %v", e.Kind, Service)
	}
	var set ValidatorSet
	if err := l.load(ValidatorsKey(), &set); err != nil {
		return err
	}
	switch seat := set.of(e.Account); {
	case seat < 0:
		return reject(NotOperator, "")
	case set.List[seat].Fault != 0:
		return reject(NotOperator, "its validator misbehaved at height %d", set.List[seat].Fault)
	}
	o, _, err := l.operator(e.Account)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(o.Votes), func(old Vote) bool { return old.about(v) || old.Until <= l.block.Time })
	if v.Until == 0 {
		if !slices.ContainsFunc(o.Votes, func(old Vote) bool { return old.about(v) }) || v.Number != 0 {
			return reject(BadVote, "there is no such vote to withdraw")
		}
	} else {
		if err := l.checkVote(set, o, v); err != nil {
			return err
		}
		if rest = append(rest, v); len(rest) > MaxVotes {
			return reject(TooManyVotes, "%d", MaxVotes)
		}
	}
	o.Votes = rest
	l.view.Set(OperatorKey(e.Account), o.Encode())
	return nil
}

// checkVote checks that a vote is for something that could be.
func (l *law) checkVote(set ValidatorSet, o Operator, v Vote) error {
	switch {
	case v.Until <= l.block.Time || v.Until > l.block.Time+MaxVoteTime:
		return reject(BadVote, "it must end in the future, at most %d seconds ahead", uint64(MaxVoteTime))
	case slices.Contains(o.Votes, v):
		return reject(BadVote, "it stands already")
	}
	switch v.Kind {
	case VotePower:
		return l.checkPower(set, v)
	case VoteRules:
		var r InForce
		if err := l.load(RulesKey(), &r); err != nil {
			return err
		}
		if v.Account != (AccountID{}) || r.Next != 0 || v.Number != uint64(r.Rules)+1 {
			return reject(BadVote, "rule set %d is in force, %d was voted for; only the next one can be, and only when none waits", r.Rules, r.Next)
		}
		return nil
	case VoteSponsor:
		return l.checkQuota(v)
	}
	return reject(BadVote, "kind %d is unknown", v.Kind)
}

func (l *law) checkPower(set ValidatorSet, v Vote) error {
	if v.Number > MaxPower {
		return reject(BadVote, "a power of %d, at most %d is allowed", v.Number, uint64(MaxPower))
	}
	seat := set.of(v.Account)
	if seat >= 0 {
		switch s := set.List[seat]; {
		case s.Fault != 0:
			return reject(BadVote, "the validator misbehaved and is removed at the next checkpoint; vote after it")
		case s.Power == v.Number:
			return reject(BadVote, "its power is %d already", s.Power)
		}
		return nil
	}
	candidate, known, err := l.operator(v.Account)
	switch {
	case err != nil:
		return err
	case !known || len(candidate.Key) == 0:
		return reject(UnknownCandidate, "")
	case v.Number == 0:
		return reject(BadVote, "the account's validator is not in the set")
	}
	return nil
}
