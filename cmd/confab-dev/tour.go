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
	Chain      string    `json:"chain"`
	Validators int       `json:"validators"`
	Query      []string  `json:"query"` // one for each validator, the first at --query
	Pin        string    `json:"pin"`
	PinFile    string    `json:"pin_file"`
	Services   []service `json:"services"`
	Home       string    `json:"home"`
	Kept       bool      `json:"kept"`

	pause  time.Duration
	took   time.Duration
	confab string // how to run confab here
}

// service is one to choose as concierge.
type service struct {
	Handle string `json:"handle"`
	URL    string `json:"url"`
}

func (d *devnet) tour(spec testnet.Spec, desks []*desk, took time.Duration) tour {
	t := tour{
		Chain: d.running.Chain, Validators: len(d.running.Nodes), Query: d.running.URLs(),
		Pin: d.pin.String(), PinFile: filepath.Join(d.dir, pinFile), Home: d.dir, Kept: d.kept,
		pause: spec.Pause, took: took, confab: "confab",
	}
	for _, s := range desks {
		t.Services = append(t.Services, service{s.handle.String(), s.url()})
	}
	if _, err := os.Stat(filepath.Join("cmd", "confab", "main.go")); err == nil {
		t.confab = "go run ./cmd/confab"
	}
	return t
}

// next is what new users type, in Go's text. Lines that are indented are
// commands, and the line before them says whose; a test types them.
const next = `
Alice, in a second terminal, in the same folder:

  export CONFAB_HOME=FOLDER/alice
  CONFAB net add --source QUERY \
      --pin PIN dev
  CONFAB account new
  CONFAB handle register --concierge @harbor alice
  CONFAB agent run --background

Bob, in a third one:

  export CONFAB_HOME=FOLDER/bob
  CONFAB net add --source QUERY \
      --pin PIN dev
  CONFAB account new
  CONFAB handle register --concierge @lantern bob
  CONFAB agent run --background

Alice asks Bob, and need not wait for his answer:

  CONFAB contact add --greeting "Alice, from next door" @bob
  CONFAB chat send @bob "Hello Bob"

Bob answers:

  CONFAB contact accept --wait 1m @alice
  CONFAB chat read --wait 1m @alice
  CONFAB chat send @alice "Hello Alice"

Alice reads it; chat follow would show each message as it comes:

  CONFAB chat read --wait 1m @bob

Bob leaves his concierge, and Alice writes on:

  CONFAB concierge switch @harbor

Alice:

  CONFAB chat send @bob "Still there?"
  CONFAB handle show @bob
  CONFAB proof save --out $CONFAB_HOME/bob.bundle @bob

Bob; at the end, anybody who has that file and the pin can verify it, offline:

  CONFAB chat read --wait 1m @alice
  CONFAB proof verify --pin PIN \
      FOLDER/alice/bob.bundle

Ctrl-C here stops the network, and Alice's and Bob's agents.
`

func (t tour) write(w io.Writer) {
	fmt.Fprintf(w, "a network of confab's on this machine, ready after %v\n\n", t.took.Round(100*time.Millisecond))
	command.Row(w, "chain", fmt.Sprintf("%s: %d validators, a block every %v or so", t.Chain, t.Validators, t.pause))
	command.Row(w, "query", t.Query[0])
	command.Row(w, "pin", t.PinFile)
	for _, s := range t.Services {
		command.Row(w, "concierge", fmt.Sprintf("%s at %s", s.Handle, s.URL))
	}
	command.Row(w, "data", t.Home)
	if !t.Kept {
		command.Row(w, "", "deleted at the end; --home FOLDER keeps it")
	}
	io.WriteString(w, strings.NewReplacer("CONFAB ", t.confab+" ", "QUERY", t.Query[0], "PIN", quote(t.PinFile), "FOLDER/", quote(t.Home)+"/").Replace(next))
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
