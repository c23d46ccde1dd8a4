package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/card"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func netNoun(e *env) command.Noun {
	return command.Noun{Name: "net", Short: "the networks this machine knows", Verbs: []command.Verb{netAdd(e), netList(e), netShow(e), netUse(e)}}
}

// networkFlag is that of commands that ask a network.
func networkFlag() cli.Flag {
	return &cli.StringFlag{Name: "network", Usage: "ask the network `NAME` (CONFAB_NETWORK; the chosen or only one otherwise)"}
}

// networks returns the folder of networks.
func (c *call) networks() (networks.Dir, error) {
	home, err := c.home()
	return networks.Dir{Path: filepath.Join(home, "networks")}, err
}

// chosen returns the network to ask: the one named, else the one of --network or
// CONFAB_NETWORK, else the default.
func (c *call) chosen(dir networks.Dir, named string) (networks.Network, error) {
	if named == "" {
		named = c.Setting("network")
	}
	if named != "" {
		return dir.Load(named)
	}
	n, err := dir.Default()
	if wire.CodeOf(err) == wire.NotFound {
		err = wire.Errorf(wire.Invalid, "%w (for one to try, run confab-dev: it prints the whole line)", err)
	}
	return n, err
}

// network returns the network to ask and a light client of it.
func (c *call) network(named string) (networks.Network, *lightclient.Client, error) {
	dir, err := c.networks()
	if err != nil {
		return networks.Network{}, nil, err
	}
	n, err := c.chosen(dir, named)
	if err != nil {
		return n, nil, err
	}
	client, err := dir.Client(n)
	return n, client, err
}

// newcomer returns a light client that knows nothing but the network's pin, as
// somebody who is handed a proof does.
func (c *call) newcomer() (*lightclient.Client, error) {
	dir, err := c.networks()
	if err != nil {
		return nil, err
	}
	n, err := c.chosen(dir, "")
	if err != nil {
		return nil, err
	}
	return networks.Probe(n)
}

// netView is a network as --json shows it.
type netView struct {
	Name    string   `json:"name"`
	Chain   string   `json:"chain"`
	Pin     string   `json:"pin"`
	Sources []string `json:"sources"`
	Default bool     `json:"default"`

	Height     uint64     `json:"height,omitempty"`
	Time       *time.Time `json:"time,omitempty"`
	AgeSeconds int64      `json:"age_seconds,omitempty"`
	Assurance  string     `json:"assurance,omitempty"`
	Agree      []string   `json:"agree,omitempty"`
	Notes      []string   `json:"notes,omitempty"`
	MinHandle  uint8      `json:"min_handle,omitempty"`
	MinTicket  uint8      `json:"min_sponsored,omitempty"` // with a sponsor's ticket
	WorkBits   uint8      `json:"work_bits,omitempty"`
}

func viewNet(d networks.Dir, n networks.Network) netView {
	def, err := d.Default()
	return netView{Name: n.Name, Chain: n.Pin.ChainID, Pin: n.Pin.String(), Sources: n.Sources, Default: err == nil && def.Name == n.Name}
}

func (v *netView) ask(ctx context.Context, client *lightclient.Client) error {
	info, err := client.Chain(ctx)
	if err != nil {
		return err
	}
	p := info.Proof
	v.Height, v.Time, v.AgeSeconds = p.Height, &p.Time, int64(p.Age/time.Second)
	v.Assurance, v.Agree, v.Notes = p.Assurance.String(), p.Agree, p.Notes
	v.MinHandle, v.MinTicket, v.WorkBits = info.Params.MinHandle, info.Params.MinSponsored, info.Params.WorkBits
	return nil
}

func (v *netView) write(w io.Writer) {
	command.Row(w, "network", v.Name)
	command.Row(w, "chain", v.Chain)
	for _, s := range v.Sources {
		command.Row(w, "source", s)
	}
	if v.Default {
		command.Row(w, "default", "yes")
	} else {
		command.Row(w, "default", "no; choose it with confab net use "+v.Name)
	}
	if v.Time == nil {
		command.Row(w, "pin", v.Pin)
		return
	}
	handles := fmt.Sprintf("of %d characters and more; one costs about %d tries of work", v.MinHandle, uint64(1)<<v.WorkBits)
	if v.MinTicket < v.MinHandle {
		handles += fmt.Sprintf(", or from %d characters on a sponsor's ticket", v.MinTicket)
	}
	command.Row(w, "handles", handles)
	proofView{
		Height: v.Height, AgeSeconds: v.AgeSeconds, Assurance: v.Assurance, Source: v.Sources[0],
		Agree: v.Agree, Notes: v.Notes, Pin: v.Pin,
	}.write(w)
}

func netAdd(e *env) command.Verb {
	return command.Verb{
		Name:  "add",
		Args:  "NAME",
		Short: "get to know a network",
		Long: `Adds a network under a name of your choice, once its pin and a source are
found to belong together. A pin is where your trust begins: get it from
somebody you believe. It is given as text, as a file, or as a URL with the
SHA-256 of what is there: https://host/pin#sha256=HEX. Or somebody's card has
both: you believe them about the network, and find them in it.

Sources are not trusted. With two or more, each answer is confirmed by
another.`,
		Examples: []string{
			"confab net add --source http://127.0.0.1:7780 --pin dev.pin dev",
			"confab net add --source https://a.example --source https://b.example --pin my-chain:1:5f3a… main",
			"confab net add --card confab:1:qvmc… main",
		},
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "source", Usage: "base `URL` of a source; repeat for more"},
			&cli.StringFlag{Name: "pin", Usage: "the `PIN`: text, a file, or URL#sha256=HEX"},
			&cli.StringFlag{Name: "card", Usage: "pin and sources from somebody's `CARD`"},
			command.Bool("offline", "do not ask the sources now"),
		},
		Run: e.with(func(c *call) error {
			n, err := c.described()
			if err != nil {
				return err
			}
			dir, err := c.networks()
			if err != nil {
				return err
			}
			var v netView
			if !c.Bool("offline") {
				// A client that keeps nothing: if the network does not hold, it
				// leaves no trace.
				client, err := networks.Probe(n)
				if err != nil {
					return err
				}
				if err := v.ask(c.Ctx(), client); err != nil {
					return fmt.Errorf("network %s was not added: %w", n.Name, err)
				}
			}
			if err := dir.Add(n); err != nil {
				return err
			}
			asked := v
			v = viewNet(dir, n)
			v.Height, v.Time, v.AgeSeconds, v.Assurance = asked.Height, asked.Time, asked.AgeSeconds, asked.Assurance
			v.Agree, v.Notes, v.MinHandle, v.MinTicket, v.WorkBits = asked.Agree, asked.Notes, asked.MinHandle, asked.MinTicket, asked.WorkBits
			return c.Print(v, v.write)
		}),
	}
}

// described returns the network that the flags of net add describe.
func (c *call) described() (networks.Network, error) {
	n := networks.Network{Name: c.Args().First(), Sources: c.StringSlice("source")}
	if c.IsSet("card") {
		if c.IsSet("pin") {
			return n, c.Usagef("the card has a pin: give --pin or --card, not both")
		}
		k, err := card.Parse(c.String("card"))
		n.Pin, n.Sources = k.Pin, append(n.Sources, k.Sources...)
		return n, err
	}
	if !c.IsSet("pin") {
		return n, c.Usagef("which pin? Give it with --pin; a pin from the source itself would prove nothing")
	}
	if len(n.Sources) == 0 {
		return n, c.Usagef("whom to ask? Give at least one --source URL")
	}
	pin, err := readPin(c.Ctx(), c.String("pin"))
	n.Pin = pin
	return n, err
}

func netList(e *env) command.Verb {
	return command.Verb{
		Name:     "list",
		Short:    "list the networks this machine knows",
		Examples: []string{"confab net list", "confab net list --json"},
		Run: e.with(func(c *call) error {
			dir, err := c.networks()
			if err != nil {
				return err
			}
			list, err := dir.List()
			if err != nil {
				return err
			}
			views := []netView{}
			for _, n := range list {
				views = append(views, viewNet(dir, n))
			}
			if len(list) == 0 {
				c.Say("no network is known here; add one with confab net add --source URL --pin PIN NAME")
			}
			return c.Print(struct {
				Networks []netView `json:"networks"`
			}{views}, func(w io.Writer) {
				for _, v := range views {
					mark := ""
					if v.Default {
						mark = "  default"
					}
					fmt.Fprintf(w, "%-16s  %s  %s%s\n", v.Name, v.Chain, strings.Join(v.Sources, " "), mark)
				}
			})
		}),
	}
}

func netShow(e *env) command.Verb {
	return command.Verb{
		Name:     "show",
		Args:     "[NAME]",
		Short:    "show a network and where its chain stands",
		Examples: []string{"confab net show", "confab net show --json dev"},
		Flags:    []cli.Flag{networkFlag(), command.Bool("offline", "show only what this machine knows")},
		Run: e.with(func(c *call) error {
			n, client, err := c.network(c.Args().First())
			if err != nil {
				return err
			}
			dir, err := c.networks()
			if err != nil {
				return err
			}
			v := viewNet(dir, n)
			if c.Bool("offline") {
				return c.Print(v, v.write)
			}
			if err := v.ask(c.Ctx(), client); err != nil {
				return err
			}
			return c.Print(v, v.write)
		}),
	}
}

func netUse(e *env) command.Verb {
	return command.Verb{
		Name:     "use",
		Args:     "NAME",
		Short:    "choose the network that commands ask when none is named",
		Examples: []string{"confab net use dev"},
		Run: e.with(func(c *call) error {
			dir, err := c.networks()
			if err != nil {
				return err
			}
			name := c.Args().First()
			if err := dir.Use(name); err != nil {
				return err
			}
			n, err := dir.Load(name)
			if err != nil {
				return err
			}
			v := viewNet(dir, n)
			return c.Print(v, v.write)
		}),
	}
}

// maxPinText bounds what a pin is read from.
const maxPinText = 1 << 10

// readPin reads a pin given as text, as a file, or as a URL with a hash.
func readPin(ctx context.Context, text string) (verify.Pin, error) {
	if strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://") {
		b, err := fetchPin(ctx, text)
		if err != nil {
			return verify.Pin{}, err
		}
		pin, err := verify.ParsePin(string(b))
		if err != nil {
			return pin, fmt.Errorf("fetch pin: it has the hash you gave, but it is %w", err)
		}
		return pin, nil
	}
	if pin, err := verify.ParsePin(text); err == nil {
		return pin, nil
	}
	if _, err := os.Stat(text); err != nil {
		if strings.Count(text, ":") == 2 {
			_, err := verify.ParsePin(text)
			return verify.Pin{}, err
		}
		return verify.Pin{}, wire.Errorf(wire.Invalid, "%.100q is neither a pin nor a file with one; a pin looks like my-chain:1:5f3a… with 64 digits at the end", text)
	}
	b, err := readFile(text, maxPinText)
	if err != nil {
		return verify.Pin{}, err
	}
	pin, err := verify.ParsePin(string(b))
	if err != nil {
		return pin, fmt.Errorf("%s: %w", text, err)
	}
	return pin, nil
}

// fetchPin gets what a URL names, if it has the hash that the URL says. Without
// the hash, whoever serves it would choose what is trusted.
func fetchPin(ctx context.Context, text string) ([]byte, error) {
	url, want, ok := strings.Cut(text, "#sha256=")
	sum, err := hex.DecodeString(want)
	if !ok || err != nil || len(sum) != sha256.Size {
		return nil, wire.Errorf(wire.Invalid, "a pin's URL must end in #sha256= and the 64 digits of the hash of what is there")
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "fetch pin: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "fetch pin: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxPinText+1))
	switch {
	case res.StatusCode != http.StatusOK: // its text is a stranger's, and not for a terminal
		return nil, wire.Errorf(wire.Unavailable, "fetch pin: %s answered with status %d", url, res.StatusCode)
	case err != nil:
		return nil, wire.Errorf(wire.Unavailable, "fetch pin: read what %s answers: %w", url, err)
	case len(b) > maxPinText:
		return nil, wire.Errorf(wire.Invalid, "fetch pin: what %s serves is too large for a pin", url)
	case sha256.Sum256(b) != [sha256.Size]byte(sum):
		return nil, wire.Errorf(wire.Invalid, "fetch pin: what %s serves does not have the hash you gave; do not use it", url)
	}
	return b, nil
}
