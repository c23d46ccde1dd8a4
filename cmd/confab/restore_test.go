package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TestAccountRestore_TakesWhatALookupFound is restoring from a handle alone, with
// a chain that knows one.
func TestAccountRestore_TakesWhatALookupFound(t *testing.T) {
	w := newWorld(t)
	w.stdin = w.account("alice")
	alice := w.load("alice")
	p, err := key.ParsePhrase(w.stdin)
	if err != nil {
		t.Fatal(err)
	}
	var find finder = func(c *call, handle string) (keyring.Identity, error) {
		if handle != "alice" {
			return keyring.Identity{}, wire.Errorf(wire.NotFound, "@%s is not registered", handle)
		}
		// Root 0 was rotated twice since.
		return keyring.Identity{Account: alice.ID, Kind: alice.Kind, Root: p.Root(2).Public()}, nil
	}
	w.vars["CONFAB_HOME"] = w.path("new machine")
	restore := func(args ...string) (int, string) {
		var out bytes.Buffer
		e := w.env(&out, &out)
		app := newApp(e)
		app.Commands = []*cli.Command{accountCommand(e, find)}
		line := append([]string{"confab", "account", "restore", "--phrase-stdin", "--passphrase-file", w.path("pass")}, args...)
		status := e.report(app.RunContext(context.Background(), line), false)
		return status, out.String()
	}
	for _, c := range []struct {
		args   string
		status int
		word   string
	}{
		{"", 2, "--handle"},
		{"--handle alice --from x", 2, "--handle"},
		{"--handle bob", 12, "@bob is not registered"},
		{"--handle alice", 0, alice.ID.String()},
	} {
		if status, out := restore(strings.Fields(c.args)...); status != c.status || !strings.Contains(out, c.word) {
			t.Errorf("%s: status %d\n%s", c.args, status, out)
		}
	}
	a, err := keyring.Read(w.path("new machine/accounts")).Load("me")
	if err != nil || a.ID != alice.ID || len(a.Genesis) != 0 {
		t.Errorf("it is %+v (%v)", a, err)
	}
	if _, help := restore("--help"); !strings.Contains(help, "--handle HANDLE") || !strings.Contains(help, "looked up on the chain") {
		t.Errorf("the help does not tell:\n%s", help)
	}
	// A program that cannot look anything up does not offer it.
	find = nil
	if _, help := restore("--help"); strings.Contains(help, "--handle") {
		t.Errorf("the help promises too much:\n%s", help)
	}
	if status, out := restore("--handle", "alice"); status != 2 || !strings.Contains(out, "there is no flag --handle") {
		t.Errorf("status %d\n%s", status, out)
	}
	if status, out := restore(); status != 2 || strings.Contains(out, "--handle") {
		t.Errorf("status %d\n%s", status, out)
	}
}
