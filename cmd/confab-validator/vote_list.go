package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
)

func voteList() command.Verb {
	return command.Verb{
		Name:  "list",
		Short: "show who decides, and how the votes stand",
		Long: `Shows the validators with their operators and powers, and what is voted for,
as the validator in --home sees it, or the first source of --network. That is
one validator's word: nothing of it is proven, and a lying one could show
anything. What a vote did is proven where it is cast.`,
		Examples: []string{"confab-validator vote list", "confab-validator vote list --json --network main"},
		Flags:    []cli.Flag{confabFlag(), networkFlag()},
		Run: func(c *command.Call) error {
			v, source, err := votes(c)
			if err != nil {
				return err
			}
			out := list(v)
			out.Source = source
			c.Say("this is the word of %s; nothing of it is proven", source)
			return c.Print(out, out.write)
		},
	}
}

// voteView is how things stand as --json shows it.
type voteView struct {
	Source     string       `json:"source"` // whose word it is
	Proven     bool         `json:"proven"` // always false
	Height     uint64       `json:"height"`
	Checkpoint uint64       `json:"next_checkpoint"`
	Total      uint64       `json:"total_power"`
	Validators []memberView `json:"validators"`
	Open       []openView   `json:"open"`
	Rules      uint32       `json:"rules"`
	Next       uint32       `json:"next_rules,omitempty"`
	From       uint64       `json:"next_rules_from,omitempty"`
	Known      uint32       `json:"known_rules"`
}

type memberView struct {
	Operator string `json:"operator,omitempty"`
	Handle   string `json:"handle,omitempty"`
	Key      string `json:"key"`
	Power    uint64 `json:"power"`
	Since    uint64 `json:"since"`
	Fault    uint64 `json:"fault,omitempty"` // the height of a proven misbehaviour
	Leaving  bool   `json:"leaving,omitempty"`
}

type openView struct {
	Kind    string    `json:"kind"`
	Account string    `json:"account,omitempty"`
	Handle  string    `json:"handle,omitempty"`
	Number  uint64    `json:"number"`
	Power   uint64    `json:"power"`
	Carried bool      `json:"carried"` // by two thirds; it waits for a checkpoint, or to fit
	Voters  []string  `json:"voters"`
	Until   time.Time `json:"until"` // when the first of these votes ends
}

func list(v query.Votes) voteView {
	out := voteView{
		Height: v.Height, Checkpoint: v.Checkpoint, Rules: v.Rules.Rules, Next: v.Rules.Next, From: v.Rules.From, Known: v.Known,
		Validators: []memberView{}, Open: []openView{},
	}
	for _, m := range v.Validators {
		view := memberView{Key: hex.EncodeToString(m.Key[:]), Power: m.Power, Since: m.Since, Fault: m.Fault, Leaving: slices.Contains(v.Leaving, m.Operator)}
		if m.Operator != (namesvc.AccountID{}) {
			view.Operator, view.Handle = m.Operator.String(), handle(v, m.Operator)
		}
		out.Total += m.Power
		out.Validators = append(out.Validators, view)
	}
	slices.SortStableFunc(out.Validators, func(a, b memberView) int {
		return strings.Compare(fmt.Sprintf("%020d", b.Power), fmt.Sprintf("%020d", a.Power))
	})
	for _, t := range v.Tallies {
		view := openView{Kind: t.Vote.Kind.String(), Number: t.Vote.Number, Power: t.Power, Carried: t.Carried(), Until: time.Unix(int64(t.Vote.Until), 0).UTC()}
		if t.Vote.Kind != namesvc.VoteRules {
			view.Account, view.Handle = t.Vote.Account.String(), handle(v, t.Vote.Account)
		}
		for _, id := range t.Voters {
			view.Voters = append(view.Voters, id.String())
		}
		out.Open = append(out.Open, view)
	}
	return out
}

// handle returns the handle of an account, or "".
func handle(v query.Votes, id namesvc.AccountID) string {
	if name := v.Name(id); strings.HasPrefix(name, "@") {
		return name
	}
	return ""
}

func (v voteView) write(w io.Writer) {
	command.Row(w, "height", fmt.Sprintf("%d; votes are counted at %d", v.Height, v.Checkpoint))
	rules := fmt.Sprintf("set %d", v.Rules)
	if v.Next != 0 {
		rules += fmt.Sprintf(", and set %d from height %d on", v.Next, v.From)
		if v.Next > v.Known {
			rules += "; this validator's program does not know it: install a newer one before"
		}
	}
	command.Row(w, "rules", rules)
	command.Row(w, "power", fmt.Sprintf("%d in all; more than %d carry a vote", v.Total, 2*v.Total/3))
	for _, m := range v.Validators {
		note := ""
		if m.Handle != "" {
			note = "  " + m.Handle
		}
		if m.Operator == "" {
			note = "  no operator"
		}
		if m.Leaving {
			note += "  leaves"
		}
		if m.Fault != 0 {
			note += fmt.Sprintf("  misbehaved at height %d", m.Fault)
		}
		command.Row(w, "validator", fmt.Sprintf("%-8d %s  key %s%s", m.Power, m.Operator, m.Key, note))
	}
	if len(v.Open) == 0 {
		command.Row(w, "open", "nothing is voted for")
	}
	for _, o := range v.Open {
		what, who := fmt.Sprintf("rule set %d", o.Number), o.Account
		if o.Handle != "" {
			who = o.Handle
		}
		switch {
		case o.Kind == namesvc.VotePower.String() && o.Number == 0:
			what = "remove " + who
		case o.Kind == namesvc.VotePower.String():
			what = fmt.Sprintf("power %d for %s", o.Number, who)
		case o.Kind == namesvc.VoteSponsor.String():
			what = fmt.Sprintf("%d commits a day sponsored by %s", o.Number, who)
		}
		carried := ""
		if o.Carried {
			carried = ", carried"
		}
		command.Row(w, "open", fmt.Sprintf("%s: %d of %d%s, until %s", what, o.Power, v.Total, carried, o.Until.Format(time.RFC3339)))
	}
}
