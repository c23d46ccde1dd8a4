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

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func netCommand(e *env) *cli.Command {
	return e.noun("net", "the networks this machine knows", netAdd(), netList(), netShow(), netUse())
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

// network returns the network to ask: the one named, else the one of --network or
// CONFAB_NETWORK, else the default; and a light client of it.
func (c *call) network(named string) (networks.Network, *lightclient.Client, error) {
	dir, err := c.networks()
	if err != nil {
		return networks.Network{}, nil, err
	}
	if named == "" {
		named = c.setting("network")
	}
	var n networks.Network
	if named != "" {
		n, err = dir.Load(named)
	} else {
		n, err = dir.Default()
	}
	if err != nil {
		return n, nil, err
	}
	client, err := dir.Client(n)
	return n, client, err
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
	v.MinHandle, v.WorkBits = info.Params.MinHandle, info.Params.WorkBits
	return nil
}

func (v *netView) write(w io.Writer) {
	row(w, "network", v.Name)
	row(w, "chain", v.Chain)
	row(w, "pin", v.Pin)
	for _, s := range v.Sources {
		row(w, "source", s)
	}
	if v.Default {
		row(w, "default", "yes")
	}
	if v.Time == nil {
		return
	}
	row(w, "height", fmt.Sprintf("%d, %d s old", v.Height, v.AgeSeconds))
	row(w, "handles", fmt.Sprintf("of %d characters and more", v.MinHandle))
	writeProof(w, v.Assurance, v.Agree, v.Notes)
}

// writeProof says how an answer is known.
func writeProof(w io.Writer, assurance string, agree, notes []string) {
	switch len(agree) {
	case 0:
		row(w, "sure", assurance+"; no second source confirmed it")
	default:
		row(w, "sure", assurance+"; confirmed by "+strings.Join(agree, ", "))
	}
	for _, n := range notes {
		row(w, "note", n)
	}
}

func netAdd() verb {
	return verb{
		name:  "add",
		args:  "NAME",
		short: "get to know a network",
		long: `Adds a network under a name of your choice, once its pin and a source are found
to belong together. A pin is where your trust begins: get it from somebody you
believe. It is given as text, as a file, or as a URL with the SHA-256 of what is
there: https://host/pin#sha256=HEX.

Sources are not trusted. With two or more, each answer is confirmed by another.`,
		examples: []string{
			"confab net add --source http://127.0.0.1:7780 --pin dev.pin dev",
			"confab net add --source https://a.example --source https://b.example --pin my-chain:1:5f3a… main",
		},
		flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "source", Usage: "base `URL` of a source; repeat for more"},
			&cli.StringFlag{Name: "pin", Usage: "the `PIN`: text, a file, or URL#sha256=HEX"},
			&cli.BoolFlag{Name: "offline", Usage: "do not ask the sources now"},
		},
		run: func(c *call) error {
			if !c.IsSet("pin") {
				return usagef("confab net add: which pin? Give it with --pin; a pin from the source itself would prove nothing")
			}
			pin, err := readPin(c.Context.Context, c.String("pin"))
			if err != nil {
				return err
			}
			dir, err := c.networks()
			if err != nil {
				return err
			}
			n := networks.Network{Name: c.Args().First(), Pin: pin, Sources: c.StringSlice("source")}
			if len(n.Sources) == 0 {
				return usagef("confab net add: whom to ask? Give at least one --source URL")
			}
			var v netView
			if !c.Bool("offline") {
				// A client that keeps nothing: if the network does not hold, it
				// leaves no trace.
				client, err := networks.Probe(n)
				if err != nil {
					return err
				}
				if err := v.ask(c.Context.Context, client); err != nil {
					return fmt.Errorf("network %s was not added: %w", n.Name, err)
				}
			}
			if err := dir.Add(n); err != nil {
				return err
			}
			asked := v
			v = viewNet(dir, n)
			v.Height, v.Time, v.AgeSeconds, v.Assurance = asked.Height, asked.Time, asked.AgeSeconds, asked.Assurance
			v.Agree, v.Notes, v.MinHandle, v.WorkBits = asked.Agree, asked.Notes, asked.MinHandle, asked.WorkBits
			return c.print(v, v.write)
		},
	}
}

func netList() verb {
	return verb{
		name:     "list",
		short:    "list the networks this machine knows",
		examples: []string{"confab net list", "confab net list --json"},
		run: func(c *call) error {
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
				c.say("no network is known here; add one with confab net add --source URL --pin PIN NAME")
			}
			return c.print(struct {
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
		},
	}
}

func netShow() verb {
	return verb{
		name:     "show",
		args:     "[NAME]",
		short:    "show a network and where its chain stands",
		examples: []string{"confab net show", "confab net show --json dev"},
		flags:    []cli.Flag{networkFlag()},
		run: func(c *call) error {
			n, client, err := c.network(c.Args().First())
			if err != nil {
				return err
			}
			dir, err := c.networks()
			if err != nil {
				return err
			}
			v := viewNet(dir, n)
			if err := v.ask(c.Context.Context, client); err != nil {
				return err
			}
			return c.print(v, v.write)
		},
	}
}

func netUse() verb {
	return verb{
		name:     "use",
		args:     "NAME",
		short:    "choose the network that commands ask when none is named",
		examples: []string{"confab net use dev"},
		run: func(c *call) error {
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
			return c.print(v, v.write)
		},
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
		return verify.ParsePin(string(b))
	}
	if pin, err := verify.ParsePin(text); err == nil {
		return pin, nil
	}
	if _, err := os.Stat(text); err != nil {
		if strings.Count(text, ":") == 2 {
			_, err := verify.ParsePin(text)
			return verify.Pin{}, err
		}
		return verify.Pin{}, wire.Errorf(wire.NotFound, "%.100q is neither a pin nor a file with one; a pin looks like my-chain:1:5f3a… with 64 digits at the end", text)
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
	case err != nil || res.StatusCode != http.StatusOK:
		return nil, wire.Errorf(wire.Unavailable, "fetch pin: %s answered %s", url, res.Status)
	case len(b) > maxPinText:
		return nil, wire.Errorf(wire.Invalid, "fetch pin: what %s serves is too large for a pin", url)
	case sha256.Sum256(b) != [sha256.Size]byte(sum):
		return nil, wire.Errorf(wire.Invalid, "fetch pin: what %s serves does not have the hash you gave; do not use it", url)
	}
	return b, nil
}
