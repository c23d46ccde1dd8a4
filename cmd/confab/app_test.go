package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/namesvc/wire"
)

var update = flag.Bool("update", false, "write testdata anew")

// commands returns all commands of the tree by their whole name.
func commands(app *cli.App) (all map[string]*cli.Command, order []string) {
	all = map[string]*cli.Command{}
	var walk func(path string, list []*cli.Command)
	walk = func(path string, list []*cli.Command) {
		for _, c := range list {
			name := path + " " + c.Name
			all[name], order = c, append(order, name)
			walk(name, c.Subcommands)
		}
	}
	walk("confab", app.Commands)
	return all, order
}

// tree returns the commands that do something and those that only hold others.
func tree(t *testing.T) (leaves, nouns []string) {
	t.Helper()
	var b bytes.Buffer
	all, order := commands(newApp(newWorld(t).env(&b, &b)))
	for _, name := range order {
		if len(all[name].Subcommands) > 0 {
			nouns = append(nouns, name)
		} else {
			leaves = append(leaves, name)
		}
	}
	if len(leaves) < 8 || len(nouns) < 1 {
		t.Fatalf("only %d commands were found", len(leaves))
	}
	return leaves, nouns
}

func args(path string) string { return strings.TrimPrefix(path, "confab ") }

// TestHelp_ShowsAnExampleOfEachCommand also holds the texts themselves. After a
// change: go test ./cmd/confab -run TestHelp -update
func TestHelp_ShowsAnExampleOfEachCommand(t *testing.T) {
	leaves, nouns := tree(t)
	var all strings.Builder
	for _, path := range slices.Concat([]string{"confab"}, nouns, leaves) {
		line := strings.TrimSpace(args(path+" ") + "--help")
		if path == "confab" {
			line = "--help"
		}
		s := newWorld(t).run(line).ok()
		_, examples, ok := strings.Cut(s.stdout, "Examples:\n")
		if !ok || !strings.HasPrefix(strings.TrimSpace(examples), path) {
			t.Errorf("%s has no example of itself:\n%s", line, s.stdout)
		}
		if s.stderr != "" {
			t.Errorf("%s says %q", line, s.stderr)
		}
		for n, text := range strings.Split(s.stdout, "\n") {
			if len(text) > 140 {
				t.Errorf("%s: line %d has %d characters", line, n+1, len(text))
			}
		}
		fmt.Fprintf(&all, "$ confab %s\n%s\n", line, s.stdout)
	}
	const golden = "testdata/help.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("the help is not that of %s; look at the difference and run with -update", golden)
	}
}

// TestHelp_GivesExamplesThatParse runs every example with its action taken out.
func TestHelp_GivesExamplesThatParse(t *testing.T) {
	w := newWorld(t)
	var b bytes.Buffer
	_, order := commands(newApp(w.env(&b, &b)))
	tried := 0
	for _, path := range order {
		all, _ := commands(newApp(w.env(&b, &b)))
		_, examples, _ := strings.Cut(all[path].Description, "Examples:\n")
		for line := range strings.Lines(examples) {
			line = strings.TrimSpace(line)
			app := newApp(w.env(&b, &b))
			all, _ := commands(app)
			ran := ""
			for name, c := range all {
				if len(c.Subcommands) == 0 {
					c.Action = func(*cli.Context) error { ran = name; return nil }
				}
			}
			if err := app.RunContext(context.Background(), shellWords(line)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if len(all[path].Subcommands) == 0 && ran != path {
				t.Errorf("%s runs %q, not %s", line, ran, path)
			}
			tried++
		}
	}
	if tried < len(order) {
		t.Errorf("only %d examples for %d commands", tried, len(order))
	}
}

// shellWords splits a line as a shell does, as far as examples need it: at
// blanks that are not between double quotes.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func TestEveryCommand_RefusesFlagsAfterArguments(t *testing.T) {
	leaves, _ := tree(t)
	for _, path := range leaves {
		for _, late := range []string{"--json", "-json", "--home=x", "--unknown", "-", "--"} {
			s := newWorld(t).run(args(path) + " argument " + late)
			s.fails(exitUsage, "put flags before the arguments")
			if !wantsJSON([]string{late}) && !strings.Contains(s.stderr, path+" "+late+" argument") {
				t.Errorf("%s: it does not show how: %s", s.line, s.stderr)
			}
		}
		newWorld(t).run(args(path)+" -- --json").fails(exitUsage, "arguments do not begin with -")
	}
}

func TestEveryCommand_RefusesAWrongNumberOfArguments(t *testing.T) {
	leaves, _ := tree(t)
	var b bytes.Buffer
	all, _ := commands(newApp(newWorld(t).env(&b, &b)))
	for _, path := range leaves {
		want := strings.Fields(all[path].ArgsUsage)
		newWorld(t).run(args(path)+strings.Repeat(" argument", len(want)+1)).fails(exitUsage, path+":", "--help")
		if len(want) > 0 && !strings.HasPrefix(want[0], "[") {
			newWorld(t).run(args(path)).fails(exitUsage, path+": it needs "+want[0])
		}
	}
}

func TestEveryCommand_HasTheCommonFlags(t *testing.T) {
	leaves, _ := tree(t)
	var b bytes.Buffer
	all, _ := commands(newApp(newWorld(t).env(&b, &b)))
	for _, path := range leaves {
		var names []string
		for _, f := range all[path].Flags {
			names = append(names, f.Names()...)
		}
		for _, want := range []string{"json", "home"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s has no --%s", path, want)
			}
		}
		for _, n := range names {
			if n == "passphrase" || n == "phrase" || strings.Contains(n, "secret") {
				t.Errorf("%s takes a secret from the command line, as --%s", path, n)
			}
		}
	}
}

func TestCommand_SuggestsWhatWasMeant(t *testing.T) {
	for line, want := range map[string]string{
		"acount new":               `there is no command "acount"; did you mean confab account?`,
		"account lsit":             `there is no command "lsit"; did you mean confab account list?`,
		"account frobnicate":       `there is no command "frobnicate"; there are new, list,`,
		"frobnicate":               `there is no command "frobnicate"; there are `,
		"account":                  `what to do? one of new, list,`,
		"account new --nmae x":     `there is no flag --nmae; did you mean --name?`,
		"account new --frobnicate": `there is no flag --frobnicate; see confab account new --help`,
		"--frobnicate":             `there is no flag --frobnicate; see confab --help`,
		"account --json list":      `there is no flag --json; see confab account --help`,
		"account new --name":       `flag needs an argument: -name`,
		"account list --json=7":    `invalid boolean value "7"`,
		"help":                     `there is no command "help"`,
		"account h":                `there is no command "h"`,
	} {
		newWorld(t).run(line).fails(exitUsage, want)
	}
}

func TestArgument_HelpIsAnArgumentLikeAnyOther(t *testing.T) {
	for _, name := range []string{"help", "h", "json", "home"} {
		newWorld(t).run("account show "+name).fails(wire.NotFound.ExitStatus(), fmt.Sprintf("account %q is not on this machine", name))
	}
}

func TestJSON_IsOneLineForResultsAndErrors(t *testing.T) {
	for line, want := range map[string]struct {
		status int
		code   string
	}{
		"account show --json nobody":               {12, "not-found"},
		"--json account show nobody":               {12, "not-found"},
		"account show --json":                      {12, "not-found"},
		"account show --json UPPER":                {10, "invalid"},
		"account show --json a b":                  {2, "usage"},
		"account show a --json":                    {2, "usage"},
		"account new --json":                       {2, "usage"},
		"account new --json --frobnicate":          {2, "usage"},
		"acount --json":                            {2, "usage"},
		"account show --help --json nobody":        {2, "usage"},
		"account use --json nobody":                {12, "not-found"},
		"account import --json FILE/none":          {12, "not-found"},
		"account restore --json --from FILE/none":  {12, "not-found"},
		"account new --json --kind x --unattended": {2, "usage"},
	} {
		s := newWorld(t).run(line).fails(want.status)
		var body struct{ Error struct{ Code, Text string } }
		dec := json.NewDecoder(strings.NewReader(s.stderr))
		if err := dec.Decode(&body); err != nil || strings.Count(s.stderr, "\n") != 1 {
			t.Errorf("%s: stderr is no line of JSON: %q (%v)", line, s.stderr, err)
			continue
		}
		if body.Error.Code != want.code || body.Error.Text == "" {
			t.Errorf("%s: error %+v, want the code %s", line, body.Error, want.code)
		}
	}
	w := newWorld(t)
	w.account("me")
	for _, line := range []string{"account list --json", "--json account list"} {
		var list struct{ Accounts []accountView }
		s := w.run(line).ok()
		s.decode(&list)
		if len(list.Accounts) != 1 || list.Accounts[0].Name != "me" || s.stderr != "" {
			t.Errorf("%s: %s%s", line, s.stdout, s.stderr)
		}
	}
}

func TestReport_GivesEachKindItsStatus(t *testing.T) {
	for c := wire.Invalid; c <= wire.Internal; c++ {
		var b bytes.Buffer
		e := newWorld(t).env(&b, &b)
		err := fmt.Errorf("show handle: %w", wire.Errorf(c, "text"))
		if got := e.report(err, false); got != c.ExitStatus() || b.String() != "confab: show handle: text\n" {
			t.Errorf("%v: status %d, said %q", c, got, b.String())
		}
	}
	var b bytes.Buffer
	e := newWorld(t).env(&b, &b)
	for err, want := range map[error]int{
		nil: 0, errors.New("x"): 18, errStopped: 130, context.Canceled: 130, usagef("confab: x"): 2,
	} {
		if got := e.report(err, true); got != want {
			t.Errorf("%v: status %d, want %d", err, got, want)
		}
	}
	for text, want := range map[string]string{
		"confab account new: x": "confab account new: x\n",
		"--role: x":             "confab: --role: x\n",
	} {
		b.Reset()
		if e.report(usagef("%s", text), false); b.String() != want {
			t.Errorf("%q is reported as %q", text, b.String())
		}
	}
}

func TestHome_IsTheFlagsThenTheVariablesThenTheSystems(t *testing.T) {
	w := newWorld(t)
	w.write("pass", "correct horse\n")
	w.vars["CONFAB_PASSPHRASE_FILE"] = w.path("pass")
	for line, home := range map[string]string{
		"account new --unattended --home FILE/a": "a",
		"--home FILE/b account new --unattended": "b",
		"account new --unattended":               "home",
	} {
		w.run(line).ok()
		if _, err := os.Stat(w.path(home) + "/accounts/lock"); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	w.vars["CONFAB_HOME"] = ""
	var b bytes.Buffer
	e := w.env(&b, &b)
	if status := run(context.Background(), e, []string{"confab", "account", "new", "--unattended"}); status != 0 {
		t.Fatal(b.String())
	}
	if _, err := os.Stat(w.path("config/confab/accounts/lock")); err != nil {
		t.Error(err)
	}
	b.Reset()
	e.configDir = func() (string, error) { return "", errors.New("HOME is not set") }
	if status := run(context.Background(), e, []string{"confab", "account", "list"}); status != 10 || !strings.Contains(b.String(), "--home or CONFAB_HOME") {
		t.Errorf("without any home: status %d, %s", status, b.String())
	}
}

func TestColour_IsForTerminalsAndThoseWhoWantIt(t *testing.T) {
	for name, c := range map[string]struct {
		person *fakePerson
		vars   map[string]string
		want   bool
	}{
		"terminal":      {&fakePerson{}, nil, true},
		"no terminal":   {nil, nil, false},
		"NO_COLOR":      {&fakePerson{}, map[string]string{"NO_COLOR": "1"}, false},
		"NO_COLOR none": {&fakePerson{}, map[string]string{"NO_COLOR": ""}, true},
		"dumb":          {&fakePerson{}, map[string]string{"TERM": "dumb"}, false},
	} {
		w := newWorld(t)
		w.person = c.person
		for k, v := range c.vars {
			w.vars[k] = v
		}
		if s := w.run("account show nobody"); strings.Contains(s.stderr, "\x1b[") != c.want {
			t.Errorf("%s: %q", name, s.stderr)
		}
	}
}

func TestNearest_IsNotFarFetched(t *testing.T) {
	words := []string{"new", "list", "show", "passphrase", "h"}
	for typed, want := range map[string]string{
		"nwe": "new", "ne": "new", "lst": "list", "sohw": "show", "pasphrase": "passphrase", "passfrase": "passphrase",
		"xyz": "", "": "", "n": "", "display": "", "g": "", strings.Repeat("new", 1000): "",
	} {
		if got := nearest(typed, words); got != want {
			t.Errorf("nearest to %.20q is %q, want %q", typed, got, want)
		}
	}
}
