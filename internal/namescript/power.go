package namescript

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Founder is an actor whose validator is in a script's first set: a service with
// the keys that an actor line gives if it says nothing of them, and the
// validator key v0.
type Founder struct {
	Name  string
	Power uint64
}

// Validators returns the first set of a chain that these found.
func Validators(founders []Founder) ([]namesvc.Validator, error) {
	var out []namesvc.Validator
	for _, f := range founders {
		a, err := newActor(f.Name, namesvc.Service, "r0,r1", "n1")
		if err != nil {
			return nil, err
		}
		out = append(out, namesvc.Validator{Key: consensusKey(f.Name, "v0"), Power: f.Power, Operator: a.id})
	}
	return out, nil
}

// Faulter is a Machine that can prove misbehaviour of validators.
type Faulter interface {
	// Fault puts a misbehaviour into the next block.
	Fault(namesvc.Fault)
}

// addFounders reads a line such as founders anna=10 bert=10.
func (s *Script) addFounders(l Line) error {
	for _, o := range l.Options {
		n, err := number(o.Value)
		if err != nil {
			return err
		}
		s.Founders = append(s.Founders, Founder{o.Name, n})
	}
	return nil
}

// consensusSecret grows a validator's key from names.
func consensusSecret(names ...string) *secp256k1.PrivateKey {
	s := seed(append(names, "consensus")...)
	return secp256k1.PrivKeyFromBytes(s[:])
}

func consensusKey(names ...string) key.Consensus {
	return key.Consensus(consensusSecret(names...).PubKey().SerializeCompressed())
}

// signConsensus signs as a consensus key does, for tag ‖ msg.
func signConsensus(k *secp256k1.PrivateKey, tag wire.Tag, msg []byte) (sig key.ConsensusSignature) {
	h := sha3.NewLegacyKeccak256()
	h.Write(tag.Message(msg))
	compact := ecdsa.SignCompact(k, h.Sum(nil), false)
	copy(sig[:], compact[1:])
	sig[64] = compact[0] - 27
	return sig
}

// validatorKey reads KEY or ACTOR.KEY, and returns the names that it grows from.
func validatorKey(a *actor, spec string) []string {
	if other, k, ok := strings.Cut(spec, "."); ok {
		return []string{other, k}
	}
	return []string{a.name, spec}
}

// offer makes the body of an operate line.
func (r *Runner) offer(a *actor, l Line) (namesvc.Offer, error) {
	if l.Args[1] == "none" {
		return namesvc.Offer{}, nil
	}
	names := validatorKey(a, l.Args[1])
	k := consensusKey(names...)
	sign := consensusSecret(names...)
	account := a.id
	switch by := l.get("possession", ""); by {
	case "":
	case "none":
		return namesvc.Offer{Key: k[:]}, nil
	case "only":
		return namesvc.Offer{Possession: make([]byte, 65)}, nil
	default:
		other, err := r.who(by) // made for another account
		if err != nil {
			return namesvc.Offer{}, err
		}
		account = other.id
	}
	sig := signConsensus(sign, wire.TagPossession, namesvc.Possession(l.get("on", r.params.Chain), account, k))
	return namesvc.Offer{Key: k[:], Possession: sig[:]}, nil
}

// ballot makes the body of a vote line: vote ACTOR [SUBJECT]
// power=N|rules=N|sponsor=N.
func (r *Runner) ballot(l Line) (namesvc.Vote, error) {
	v := namesvc.Vote{Kind: namesvc.VoteRules, Until: r.now() + 30*86400}
	text := l.get("rules", "")
	if len(l.Args) > 1 {
		subject, err := r.who(l.Args[1])
		if err != nil {
			return v, err
		}
		v.Account, text = subject.id, l.get("power", l.get("sponsor", text))
		switch {
		case l.get("sponsor", "") != "":
			v.Kind = namesvc.VoteSponsor
		case l.get("rules", "") == "":
			v.Kind = namesvc.VotePower
		}
	}
	if k := l.get("kind", ""); k != "" {
		n, err := number(k)
		if err != nil {
			return v, err
		}
		v.Kind = namesvc.VoteKind(n)
	}
	var err error
	if v.Number, err = strconv.ParseUint(text, 10, 64); err != nil {
		return v, fmt.Errorf("a vote says power=N or sponsor=N of somebody, or rules=N")
	}
	switch until := l.get("until", ""); until {
	case "":
	case "never":
		v.Until = 0
	default:
		n, err := number(strings.TrimPrefix(until, "+"))
		if err != nil {
			return v, err
		}
		v.Until = r.now() + n
	}
	return v, nil
}

// fault runs a fault line: fault ACTOR KEY [ago=N].
func (r *Runner) fault(l Line) error {
	m, ok := r.m.(Faulter)
	if !ok {
		return fmt.Errorf("this machine proves no misbehaviour")
	}
	back, err := number(l.get("ago", "0"))
	if err != nil || back > r.height() {
		return fmt.Errorf("ago=%s: there are %d blocks", l.get("ago", "0"), r.height())
	}
	m.Fault(namesvc.Fault{Key: consensusKey(l.Args[0], l.Args[1]), Height: r.height() - back})
	return nil
}

// validatorFacts tells the set: NAME=POWER for each, by name; a ! marks one that
// misbehaved, a < one that leaves.
func (r *Runner) validatorFacts() (string, error) {
	b, err := r.m.Get(namesvc.ValidatorsKey())
	if err != nil {
		return "", err
	}
	set, err := namesvc.DecodeValidatorSet(b)
	if err != nil {
		return "", err
	}
	var out []string
	for _, v := range set.List {
		text := fmt.Sprintf("%s=%d", r.nameOf(v.Operator), v.Power)
		o, err := r.operatorOf(v.Operator)
		if err != nil {
			return "", err
		}
		if v.Fault != 0 {
			text += "!"
		}
		if o != nil && len(o.Key) == 0 {
			text += "<"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, " "), nil
}

func (r *Runner) operatorOf(id namesvc.AccountID) (*namesvc.Operator, error) {
	b, err := r.m.Get(namesvc.OperatorKey(id))
	if err != nil || b == nil {
		return nil, err
	}
	o, err := namesvc.DecodeOperator(b)
	return &o, err
}

// operatorFacts tells an account's operator leaf.
func (r *Runner) operatorFacts(l Line) (string, error) {
	a, err := r.who(l.Args[0])
	if err != nil {
		return "", err
	}
	o, err := r.operatorOf(a.id)
	if err != nil || o == nil {
		return "absent", err
	}
	k := "none"
	for _, name := range []string{"v0", "v1", "v2"} {
		if want := consensusKey(a.name, name); bytes.Equal(o.Key, want[:]) {
			k = name
		}
	}
	return facts(l, map[string]string{"key": k, "votes": fmt.Sprint(len(o.Votes))})
}

// tallyFacts tells the open questions, those with the most power first.
func (r *Runner) tallyFacts() (string, error) {
	list, err := namesvc.Tallies(r.m, r.now())
	if err != nil {
		return "", err
	}
	var out []string
	for _, t := range list {
		what := fmt.Sprintf("rules=%d", t.Vote.Number)
		switch t.Vote.Kind {
		case namesvc.VotePower:
			what = fmt.Sprintf("%s=%d", r.nameOf(t.Vote.Account), t.Vote.Number)
		case namesvc.VoteSponsor:
			what = fmt.Sprintf("sponsor(%s)=%d", r.nameOf(t.Vote.Account), t.Vote.Number)
		}
		out = append(out, fmt.Sprintf("%s:%d/%d", what, t.Power, t.Total))
	}
	return none(strings.Join(out, " ")), nil
}

// rulesFacts tells the rule set in force.
func (r *Runner) rulesFacts(l Line) (string, error) {
	b, err := r.m.Get(namesvc.RulesKey())
	if err != nil {
		return "", err
	}
	f, err := namesvc.DecodeInForce(b)
	if err != nil {
		return "", err
	}
	in := "never"
	if f.From > 0 {
		in = fmt.Sprint(f.From - r.height())
	}
	return facts(l, map[string]string{"now": fmt.Sprint(f.Rules), "next": fmt.Sprint(f.Next), "in": in})
}
