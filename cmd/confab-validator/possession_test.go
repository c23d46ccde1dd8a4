package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
)

// TestPossession_TakesAHandle: whoever offers a validator knows the operator by
// name. The folder that joined a network asks that network, verified from its pin,
// also while it does not run itself; the folder of a validator that runs asks that.
func TestPossession_TakesAHandle(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB = 0, 8
	n, err := testnet.Start(ctx, testnet.Spec{Dir: t.TempDir(), Validators: 1, Params: p, Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	client, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	anna, err := testnet.NewService(rand.Reader, n.Chain)
	if err != nil {
		t.Fatal(err)
	}
	if err := anna.Register(ctx, client, "anna"); err != nil {
		t.Fatal(err)
	}
	pin, err := n.Pin()
	if err != nil {
		t.Fatal(err)
	}
	joined, stranded := filepath.Join(t.TempDir(), "joined"), filepath.Join(t.TempDir(), "stranded")
	if err := n.Newcomer(joined, pin, n.URLs()); err != nil {
		t.Fatal(err)
	}
	wrong := pin
	wrong.Hash[0] ^= 1
	if err := n.Newcomer(stranded, wrong, n.URLs()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		home, account string
		status        int
		want          string
	}{
		"joined":         {joined, "@anna", 0, "account " + anna.ID.String()},
		"its own":        {n.Home(0), "@anna", 0, "account " + anna.ID.String()},
		"an id":          {stranded, anna.ID.String(), 0, "account " + anna.ID.String()},
		"nobody":         {joined, "@nobody", 12, "--account: "},
		"not a handle":   {joined, "@No Body", 10, "--account: "},
		"neither":        {joined, "anna", 10, "neither an account id of 64 digits nor a handle"},
		"another's pin":  {stranded, "@anna", 10, "--account: "},
		"not configured": {t.TempDir(), "@anna", 12, "validator.toml does not exist"},
	} {
		var out bytes.Buffer
		program := newProgram(command.World{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }})
		status := program.Run(ctx, []string{"confab-validator", "possession", "--home", tc.home, "--account", tc.account})
		said := strings.Join(strings.Fields(out.String()), " ")
		if status != tc.status || !strings.Contains(said, tc.want) {
			t.Errorf("%s: status %d, want %d: %s", name, status, tc.status, said)
		}
	}
}
