package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// voteNoun is everything that an operator's account says about validators.
func voteNoun() command.Noun {
	return command.Noun{Name: "vote", Short: "who decides, and who sponsors", Verbs: []command.Verb{
		voteList(), voteEnrol(), votePropose(), voteAdmit(), voteReweight(), voteRemove(), voteLeave(), voteRules(), voteSponsor(), voteWithdraw(),
	}}
}

// maxVoteTime is how long a vote can count.
const maxVoteTime = time.Duration(namesvc.MaxVoteTime) * time.Second

func forFlag() cli.Flag {
	return &cli.DurationFlag{Name: "for", Value: 30 * 24 * time.Hour, DefaultText: "720h", Usage: "the vote counts for this `TIME`, at most 2160h"}
}

func voteEnrol() command.Verb {
	return command.Verb{
		Name:  "enrol",
		Short: "put your account on the chain",
		Long: `An operator votes with an account of kind service, made with confab account
new --kind service. It must be on the chain first. This puts it there without
a handle; confab handle register does the same and gives it one.`,
		Examples: []string{"confab-validator vote enrol", "confab-validator vote enrol --account anna --passphrase-file pass"},
		Flags:    operatorFlags(),
		Run:      enrol,
	}
}

// acted is what commands print that send an op.
type acted struct {
	Account string `json:"account"`
	Did     string `json:"did"`
	Height  uint64 `json:"height"` // at which it is proven

	Subject string     `json:"subject,omitempty"`
	Power   *uint64    `json:"power,omitempty"`
	Rules   uint64     `json:"rules,omitempty"`
	Daily   *uint64    `json:"daily,omitempty"` // commits a day
	Key     string     `json:"key,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
}

func (a acted) write(w io.Writer) {
	command.Row(w, "account", a.Account)
	command.Row(w, "did", a.Did)
	if a.Subject != "" {
		command.Row(w, "subject", a.Subject)
	}
	if a.Key != "" {
		command.Row(w, "key", a.Key)
	}
	if a.Power != nil {
		command.Row(w, "power", strconv.FormatUint(*a.Power, 10))
	}
	if a.Rules != 0 {
		command.Row(w, "rules", strconv.FormatUint(a.Rules, 10))
	}
	if a.Daily != nil {
		command.Row(w, "daily", strconv.FormatUint(*a.Daily, 10)+" commits")
	}
	if a.Until != nil {
		command.Row(w, "until", a.Until.UTC().Format(time.RFC3339))
	}
	command.Row(w, "proven", "at height "+strconv.FormatUint(a.Height, 10))
}

func enrol(c *command.Call) error {
	o, err := openOperator(c)
	if err != nil {
		return err
	}
	g, err := namesvc.DecodeGenesis(o.account.Genesis)
	if err != nil {
		return wire.Errorf(wire.Invalid, "account %q: its file has no genesis op, which the chain wants to see; use the machine that it was made on", o.account.Name)
	}
	p := c.Progress()
	proof, err := o.names.Register(c.Ctx(), agent.Plan{Account: o.account.ID, Genesis: g, Root: o.root}, nil, func(s agent.Progress) {
		switch s.Step {
		case agent.Working:
			p.Count(time.Now(), "working for it: %d tries of about %d", s.Tries, s.Expected)
		case agent.Waiting:
			p.Step("waiting for a block after %d", s.Height)
		}
	})
	p.Close()
	if err != nil {
		return err
	}
	out := acted{Account: o.account.ID.String(), Did: "enrol", Height: proof.Height}
	return c.Print(out, out.write)
}

func votePropose() command.Verb {
	return command.Verb{
		Name:  "propose",
		Short: "propose your own validator",
		Long: `Says on the chain that your account wants to run a validator with this key.
The key agrees by a signature: that of the validator in --home, or one made
on its machine with confab-validator possession. Operators who hold two
thirds of the power can then vote for it.`,
		Examples: []string{"confab-validator vote propose", "confab-validator vote propose --network main --possession possession:84…"},
		Flags: operatorFlags(&cli.StringFlag{
			Name: "possession", Usage: "the `LINE` that confab-validator possession printed, if the validator is elsewhere",
		}),
		Run: propose,
	}
}

func propose(c *command.Call) error {
	o, err := openOperator(c)
	if err != nil {
		return err
	}
	var p verify.Possession
	if text := c.String("possession"); text != "" {
		if p, err = verify.ParsePossession(text); err != nil {
			return wire.Errorf(wire.Invalid, "--possession: %w", err)
		}
		if namesvc.AccountID(p.Account) != o.account.ID {
			return wire.Errorf(wire.Invalid, "--possession: it was made for another account than %q", o.account.Name)
		}
	} else if p, err = node.Possession(c.Setting("home"), o.account.ID); err != nil {
		return err
	}
	proof, err := o.change(namesvc.OpOperate, func(chain string) (any, error) {
		if p.ChainID != chain {
			return nil, wire.Errorf(wire.Invalid, "the possession was made for chain %q, this one is %q", p.ChainID, chain)
		}
		return namesvc.Offer{Key: p.Key[:], Possession: p.Signature[:]}, nil
	})
	switch {
	case errors.Is(err, errNothingChanges):
		return wire.Errorf(wire.Exists, "account %q offers this validator already, or runs it; to see how the votes on it stand: %s", o.account.Name, typed(c, "vote list"))
	case err != nil:
		return err
	}
	c.Say("ask the operators to vote for it: confab-validator vote admit --power N %v", o.account.ID)
	out := acted{Account: o.account.ID.String(), Did: "propose", Key: hex.EncodeToString(p.Key[:]), Height: proof.Height}
	return c.Print(out, out.write)
}

func voteLeave() command.Verb {
	return command.Verb{
		Name:  "leave",
		Short: "leave the set, or take an offer back",
		Long: `Your validator leaves at the next checkpoint, without anybody's vote, as long
as at least four others stay. Let it run until vote list shows that it is
gone, and a few blocks longer: until then its absence is felt. vote propose
takes the leaving back.`,
		Examples: []string{"confab-validator vote leave"},
		Flags:    operatorFlags(),
		Run: func(c *command.Call) error {
			o, err := openOperator(c)
			if err != nil {
				return err
			}
			proof, err := o.change(namesvc.OpOperate, func(string) (any, error) { return namesvc.Offer{}, nil })
			switch {
			case errors.Is(err, errNothingChanges):
				return wire.Errorf(wire.Exists, "account %q offers no validator, or leaves already; until it has left it is in the list: %s", o.account.Name, typed(c, "vote list"))
			case err != nil:
				return err
			}
			out := acted{Account: o.account.ID.String(), Did: "leave", Height: proof.Height}
			return c.Print(out, out.write)
		},
	}
}

func voteAdmit() command.Verb {
	return command.Verb{
		Name:  "admit",
		Args:  "ACCOUNT",
		Short: "vote for a new validator",
		Long: `Votes that the validator which an account offers be admitted with this power.
ACCOUNT is the operator's: an id of 64 digits, or a handle such as @anna. It
happens at the first checkpoint at which operators who hold two thirds of the
power want the same, if it fits: a checkpoint adds at most a third of the
power that there is.`,
		Examples: []string{"confab-validator vote admit --power 10 @emil"},
		Flags:    operatorFlags(powerFlag(), forFlag()),
		Run:      votePower("admit"),
	}
}

func powerFlag() cli.Flag {
	return &cli.Uint64Flag{Name: "power", Usage: "the validator's `POWER`"}
}

func voteReweight() command.Verb {
	return command.Verb{
		Name:  "reweight",
		Args:  "ACCOUNT",
		Short: "vote for another power of a validator",
		Long: `Votes that the validator which an account operates have this power. It
happens as with vote admit.`,
		Examples: []string{"confab-validator vote reweight --power 20 @anna"},
		Flags:    operatorFlags(powerFlag(), forFlag()),
		Run:      votePower("reweight"),
	}
}

func voteRemove() command.Verb {
	return command.Verb{
		Name:  "remove",
		Args:  "ACCOUNT",
		Short: "vote a validator out",
		Long: `Votes that the validator which an account operates be removed. It happens at
the first checkpoint at which operators who hold two thirds of the power want
it, if it fits: a checkpoint takes away at most half of the power.`,
		Examples: []string{"confab-validator vote remove @emil"},
		Flags:    operatorFlags(forFlag()),
		Run:      votePower("remove"),
	}
}

// votePower returns what votes about one validator do.
func votePower(did string) func(*command.Call) error {
	return func(c *command.Call) error {
		v := namesvc.Vote{Kind: namesvc.VotePower}
		if did != "remove" {
			if v.Number = c.Uint64("power"); v.Number == 0 {
				return c.Usagef("--power is missing: a number above 0")
			}
		}
		o, err := openOperator(c)
		if err != nil {
			return err
		}
		if v.Account, err = o.subject(c.Args().First()); err != nil {
			return err
		}
		return o.cast(did, v)
	}
}

func voteRules() command.Verb {
	return command.Verb{
		Name:  "rules",
		Args:  "NUMBER",
		Short: "vote for the next rule set",
		Long: `Votes that the chain go on by the next rule set. It takes two checkpoints:
one finds that operators who hold two thirds of the power want it, and the
block that records the next one is the first by the new rules. Install a
program that knows them first: one that does not stops before that block.`,
		Examples: []string{"confab-validator vote rules 2"},
		Flags:    operatorFlags(forFlag()),
		Run: func(c *command.Call) error {
			n, err := strconv.ParseUint(c.Args().First(), 10, 31)
			if err != nil || n == 0 {
				return c.Usagef("%q is no number of a rule set", c.Args().First())
			}
			if n > namesvc.Rules {
				c.Say("this program knows rule sets up to %d; install one that knows %d on every validator before it begins", namesvc.Rules, n)
			}
			o, err := openOperator(c)
			if err != nil {
				return err
			}
			return o.cast("rules", namesvc.Vote{Kind: namesvc.VoteRules, Number: n})
		},
	}
}

func voteSponsor() command.Verb {
	return command.Verb{
		Name:  "sponsor",
		Args:  "ACCOUNT",
		Short: "vote for how much a service may sponsor",
		Long: `Votes that a service may pay for so many registrations a day with tickets;
0 ends it. The service must have declared the key of its tickets first
(confab-concierge sponsor declare). It happens at the first checkpoint at
which operators who hold two thirds of the power want the same number.

Tickets register shorter handles than work does, and cost nothing: vote for
somebody who knows whom he lets in.`,
		Examples: []string{"confab-validator vote sponsor --daily 50 @harbor", "confab-validator vote sponsor --daily 0 @harbor"},
		Flags: operatorFlags(&cli.Uint64Flag{
			Name: "daily", Usage: fmt.Sprintf("`NUMBER` of registrations a day, at most %d; 0 ends it", namesvc.MaxSponsorDaily),
		}, forFlag()),
		Run: func(c *command.Call) error {
			v := namesvc.Vote{Kind: namesvc.VoteSponsor, Number: c.Uint64("daily")}
			if !c.IsSet("daily") || v.Number > namesvc.MaxSponsorDaily {
				return c.Usagef("--daily is missing or too high: a number from 0 to %d", namesvc.MaxSponsorDaily)
			}
			o, err := openOperator(c)
			if err != nil {
				return err
			}
			if v.Account, err = o.subject(c.Args().First()); err != nil {
				return err
			}
			return o.cast("sponsor", v)
		},
	}
}

func voteWithdraw() command.Verb {
	return command.Verb{
		Name:     "withdraw",
		Args:     "[ACCOUNT]",
		Short:    "withdraw a vote",
		Examples: []string{"confab-validator vote withdraw @emil", "confab-validator vote withdraw --sponsor @harbor", "confab-validator vote withdraw --rules"},
		Flags:    operatorFlags(command.Bool("rules", "the vote on the rule set"), command.Bool("sponsor", "the vote on what the account may sponsor, not that on its validator")),
		Run: func(c *command.Call) error {
			if c.Bool("rules") == c.Args().Present() {
				return c.Usagef("which vote? Name the account that it is about, or give --rules")
			}
			if c.Bool("rules") && c.Bool("sponsor") {
				return c.Usagef("--rules and --sponsor are two votes: withdraw one after the other")
			}
			o, err := openOperator(c)
			if err != nil {
				return err
			}
			v := namesvc.Vote{Kind: namesvc.VoteRules}
			if !c.Bool("rules") {
				v.Kind = namesvc.VotePower
				if c.Bool("sponsor") {
					v.Kind = namesvc.VoteSponsor
				}
				if v.Account, err = o.subject(c.Args().First()); err != nil {
					return err
				}
			}
			return o.cast("withdraw", v)
		},
	}
}

// cast sends a vote; one to withdraw has no end.
func (o *operator) cast(did string, v namesvc.Vote) error {
	c := o.c
	out := acted{Account: o.account.ID.String(), Did: did, Rules: v.Number}
	switch v.Kind {
	case namesvc.VotePower:
		out.Rules, out.Subject, out.Power = 0, v.Account.String(), &v.Number
	case namesvc.VoteSponsor:
		out.Rules, out.Subject, out.Daily = 0, v.Account.String(), &v.Number
	}
	if did == "withdraw" {
		out.Power, out.Rules, out.Daily = nil, 0, nil
	} else {
		if d := c.Duration("for"); d <= 0 || d > maxVoteTime {
			return c.Usagef("--for is %v: it must be above 0 and at most 2160h", d)
		}
		// A minute for clocks that differ.
		until := time.Now().Add(min(c.Duration("for"), maxVoteTime-time.Minute)).Truncate(time.Second)
		v.Until, out.Until = uint64(until.Unix()), &until
	}
	var proof lightclient.Proof
	proof, err := o.change(namesvc.OpVote, func(string) (any, error) { return v, nil })
	if err != nil {
		return err
	}
	out.Height = proof.Height
	if did != "withdraw" {
		c.Say("votes are counted at checkpoints; to see how they stand: %s", typed(c, "vote list"))
	}
	return c.Print(out, out.write)
}
