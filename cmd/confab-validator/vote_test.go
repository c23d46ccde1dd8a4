package main

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/command/story"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
)

func TestStories_OfVotes(t *testing.T) {
	story.Run(t, testscript.Params{
		Files: []string{"../../docs/stories/change-validators.txtar", "testdata/votes_refused.txtar"},
		Setup: func(e *testscript.Env) error {
			e.Setenv("CONFAB_HOME", filepath.Join(e.WorkDir, "confab"))
			pass := filepath.Join(e.WorkDir, "passphrase")
			e.Setenv("CONFAB_PASSPHRASE_FILE", pass)
			if err := os.WriteFile(pass, []byte("correct horse\n"), 0o600); err != nil {
				return err
			}
			if err := setup(e); err != nil {
				return err
			}
			port, query := e.Getenv("PORT"), e.Getenv("QUERY")
			if err := setup(e); err != nil {
				return err
			}
			e.Setenv("PORT1", e.Getenv("PORT"))
			e.Setenv("QUERY1", e.Getenv("QUERY"))
			e.Setenv("PORT", port)
			e.Setenv("QUERY", query)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await, "take": take, "operator": makeOperator, "hurry": hurry, "until": until,
		},
	})
}

// makeOperator makes an account of kind service, as confab account new does, or
// of a person if a word follows the name.
func makeOperator(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(func() error {
		ring, err := keyring.Open(filepath.Join(ts.Getenv("CONFAB_HOME"), "accounts"))
		if err != nil {
			return err
		}
		defer ring.Close()
		phrase, err := key.NewPhrase(rand.Reader)
		if err != nil {
			return err
		}
		kind := namesvc.Service
		if len(args) > 1 {
			kind = namesvc.Person
		}
		cost := keyring.DefaultCost()
		cost.MemoryKiB, cost.Passes = 64, 1
		a, err := keyring.New(rand.Reader, phrase, kind, keyring.Options{Name: args[0], Created: time.Now()}, keyring.Protect([]byte("correct horse"), cost))
		if err != nil {
			return err
		}
		return ring.Add(a)
	}())
}

// hurry makes a validator pause as little between blocks as a story has time for.
func hurry(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(filepath.Join(args[0], "validator.toml"))
	b, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, []byte(strings.Replace(string(b), `pause = "1s"`, `pause = "100ms"`, 1)), 0o600))
}

// until runs a program until its output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		var exit *exec.ExitError
		switch {
		case err != nil && !errors.As(err, &exit):
			ts.Fatalf("%v", err)
		case want.MatchString(ts.ReadFile("stdout")):
			return
		case time.Now().After(deadline):
			ts.Fatalf("%s: nothing matches %s", strings.Join(args[1:], " "), args[0])
		}
	}
}

// TestVoteList_TellsWhatIsVotedFor, of each kind.
func TestVoteList_TellsWhatIsVotedFor(t *testing.T) {
	harbor, anna := namesvc.AccountID{1}, namesvc.AccountID{2}
	tally := func(kind namesvc.VoteKind, id namesvc.AccountID, n uint64) namesvc.Tally {
		return namesvc.Tally{Vote: namesvc.Vote{Kind: kind, Account: id, Number: n, Until: 1}, Voters: []namesvc.AccountID{anna}, Power: 7, Total: 10}
	}
	v := list(query.Votes{
		Validators: []namesvc.Validator{{Operator: anna, Power: 10}}, Rules: namesvc.InForce{Rules: 1}, Known: 1,
		Tallies: []namesvc.Tally{
			tally(namesvc.VoteSponsor, harbor, 50), tally(namesvc.VotePower, anna, 3), tally(namesvc.VotePower, harbor, 0), tally(namesvc.VoteRules, namesvc.AccountID{}, 2),
		},
		Names: []query.Named{{Account: harbor, Handle: "harbor"}},
	})
	var text strings.Builder
	v.write(&text)
	for _, want := range []string{
		"50 commits a day sponsored by @harbor: 7 of 10, carried", "power 3 for " + anna.String(), "remove @harbor", "rule set 2",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, text.String())
		}
	}
	if o := v.Open[0]; o.Kind != "sponsor" || o.Number != 50 || o.Account != harbor.String() || o.Handle != "@harbor" {
		t.Errorf("%+v", o)
	}
}
