package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/testnet"
)

// tour is what confab-dev prints when the network is ready.
type tour struct {
	Chain      string   `json:"chain"`
	Validators int      `json:"validators"`
	Query      []string `json:"query"` // one for each validator, the first at --query
	Pin        string   `json:"pin"`
	PinFile    string   `json:"pin_file"`
	Services   []string `json:"services"`
	Home       string   `json:"home"`
	Kept       bool     `json:"kept"`

	pause  time.Duration
	took   time.Duration
	confab string // how to run confab here
}

func (d *devnet) tour(spec testnet.Spec, took time.Duration) tour {
	t := tour{
		Chain: d.running.Chain, Validators: len(d.running.Nodes), Query: d.running.URLs(),
		Pin: d.pin.String(), PinFile: filepath.Join(d.dir, pinFile), Home: d.dir, Kept: d.kept,
		pause: spec.Pause, took: took, confab: "confab",
	}
	for _, h := range services {
		t.Services = append(t.Services, h.String())
	}
	if _, err := os.Stat(filepath.Join("cmd", "confab", "main.go")); err == nil {
		t.confab = "go run ./cmd/confab"
	}
	return t
}

// next is what a new user types, in Go's text. Lines that are indented are
// commands; a test types them.
const next = `
In a second terminal, in the same folder:

  export CONFAB_HOME=$(mktemp -d)
  CONFAB net add --source QUERY \
      --pin PIN dev
  CONFAB account new
  CONFAB handle register alice
  CONFAB handle set-concierge @harbor
  CONFAB handle show @alice
  CONFAB proof save --out $CONFAB_HOME/alice.bundle @alice

Then, as someone else who has nothing but that file and the pin, offline:

  CONFAB proof verify --pin PIN \
      $CONFAB_HOME/alice.bundle

And when @alice wants another concierge:

  CONFAB handle set-concierge @lantern
  CONFAB handle history

Ctrl-C here stops the network.
`

func (t tour) write(w io.Writer) {
	fmt.Fprintf(w, "a network of confab's on this machine, ready after %v\n\n", t.took.Round(100*time.Millisecond))
	command.Row(w, "chain", fmt.Sprintf("%s: %d validators, a block every %v or so", t.Chain, t.Validators, t.pause))
	command.Row(w, "query", t.Query[0])
	command.Row(w, "pin", t.PinFile)
	command.Row(w, "services", strings.Join(t.Services, " and ")+", to choose as concierge")
	command.Row(w, "data", t.Home)
	if !t.Kept {
		command.Row(w, "", "deleted at the end; --home FOLDER keeps it")
	}
	io.WriteString(w, strings.NewReplacer("CONFAB ", t.confab+" ", "QUERY", t.Query[0], "PIN", quote(t.PinFile)).Replace(next))
}

// quote returns a file's name as a shell takes it.
func quote(path string) string {
	for _, r := range path {
		plain := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+:,@", r)
		if !plain {
			return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
		}
	}
	return path
}
