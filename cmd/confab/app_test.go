package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/namesvc/wire"
)

var update = commandtest.UpdateFlag()

// TestProgram_KeepsTheRules also holds the text of all help. After a change:
// go test ./cmd/confab -run TestProgram -update
func TestProgram_KeepsTheRules(t *testing.T) {
	commandtest.Check(t, func(w command.World) *command.Program { return newProgram(&env{world: w}) }, "testdata/help.txt", *update)
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
	if status := newProgram(e).Run(context.Background(), []string{"confab", "account", "new", "--unattended"}); status != 0 {
		t.Fatal(b.String())
	}
	if _, err := os.Stat(w.path("config/confab/accounts/lock")); err != nil {
		t.Error(err)
	}
	b.Reset()
	e.configDir = func() (string, error) { return "", errors.New("HOME is not set") }
	if status := newProgram(e).Run(context.Background(), []string{"confab", "account", "list"}); status != 10 || !strings.Contains(b.String(), "--home or CONFAB_HOME") {
		t.Errorf("without any home: status %d, %s", status, b.String())
	}
}
