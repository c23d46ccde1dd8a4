package namescript

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
)

// mint returns the key of an actor's tickets. It is made once a run, because
// that takes its time.
func (r *Runner) mint(a *actor, name string) *Mint {
	id := a.name + "." + name
	if r.mints[id] == nil {
		r.mints[id] = NewMint(a.name, name)
	}
	return r.mints[id]
}

// sponsorship makes the body of a sponsor line: sponsor ACTOR KEY|none, or a word
// for a key that is malformed.
func (r *Runner) sponsorship(a *actor, l Line) (namesvc.Sponsorship, error) {
	good := func() []byte { return r.mint(a, "s0").Key() }
	var k []byte
	switch name := l.Args[1]; name {
	case "none":
	case "short":
		k = good()[1:]
	case "long":
		k = append(good(), 1)
	case "even":
		k = good()
		k[len(k)-1] &^= 1
	case "small":
		k = good()
		k[0] &^= 0x80
	default:
		other := a
		if who, key, ok := strings.Cut(name, "."); ok {
			var err error
			if other, err = r.who(who); err != nil {
				return namesvc.Sponsorship{}, err
			}
			name = key
		}
		k = r.mint(other, name).Key()
	}
	return namesvc.Sponsorship{Key: k}, nil
}

// ticket returns what pays for a commit if its line names a sponsor: ACTOR, or
// ACTOR/KEY for another key than s0. ticket= says what is wrong with it.
func (r *Runner) ticket(c namesvc.Commit, spec, fault string) ([]byte, error) {
	who, name, _ := strings.Cut(spec, "/")
	a, err := r.who(who)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "s0"
	}
	cp, err := r.checkpointOf(c.Checkpoint)
	if err != nil {
		return nil, err
	}
	switch fault {
	case "other-chain":
		c.Chain += "-2"
	case "other-commit":
		c.Hash[0] ^= 1
	case "other-checkpoint":
		cp.Digest[0] ^= 1
	}
	sig, err := r.mint(a, name).Ticket(ticket.Challenge(c.Chain, c.Hash, cp.Digest))
	if err != nil {
		return nil, err
	}
	switch fault {
	case "", "other-chain", "other-commit", "other-checkpoint":
	case "flipped":
		sig[len(sig)-1] ^= 1
	case "short":
		sig = sig[1:]
	default:
		return nil, fmt.Errorf("ticket=%s: want other-chain, other-commit, other-checkpoint, flipped or short", fault)
	}
	return ticket.BlindProof(a.id, sig), nil
}

// quotaFacts tells an account's sponsor leaf.
func (r *Runner) quotaFacts(l Line) (string, error) {
	a, err := r.who(l.Args[0])
	if err != nil {
		return "", err
	}
	b, err := r.m.Get(namesvc.SponsorKey(a.id))
	if err != nil || b == nil {
		return "absent", err
	}
	if l.Want == "absent" {
		return "present", nil
	}
	s, err := namesvc.DecodeSponsor(b)
	if err != nil {
		return "", err
	}
	k := "none"
	for _, name := range []string{"s0", "s1"} {
		if m := r.mints[a.name+"."+name]; m != nil && bytes.Equal(m.Key(), s.Key) {
			k = name
		}
	}
	return facts(l, map[string]string{
		"key": k, "quota": fmt.Sprint(s.Quota), "used": fmt.Sprint(s.Used), "left": fmt.Sprint(s.Left(r.now())),
	})
}
