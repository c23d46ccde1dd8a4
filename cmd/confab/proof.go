package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func proofNoun(e *env) command.Noun {
	return command.Noun{Name: "proof", Short: "proofs as files: save, verify offline, look into", Verbs: []command.Verb{proofSave(e), proofVerify(e), proofShow(e), proofEvidence(e)}}
}

func proofSave(e *env) command.Verb {
	return command.Verb{
		Name:  "save",
		Args:  "HANDLE",
		Short: "save the proof of what a handle means",
		Long: `Writes a file that proves what a handle means now. Whoever has it and the
network's pin can verify it offline: nothing else is needed, and nobody is
asked.`,
		Examples: []string{"confab proof save --out alice.bundle alice"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "write to `FILE` (HANDLE.bundle otherwise)"},
			command.Bool("devices", "prove the account's devices too"),
			networkFlag(),
		},
		Run: e.with(func(c *call) error {
			h, err := parseHandle(c.Args().First())
			if err != nil {
				return err
			}
			_, client, err := c.network("")
			if err != nil {
				return err
			}
			path := c.String("out")
			if path == "" {
				path = string(h) + ".bundle"
			}
			if err := free(path); err != nil {
				return err
			}
			var p lightclient.Proof
			found, err := client.Portable(c.Ctx(), h, c.Bool("devices"))
			if err == nil {
				p = found.Proof
			}
			r := reading{proof: path}
			if err := r.keep(c, p, err); err != nil {
				return err
			}
			v := viewHandle(found.Meaning)
			v.proven(p)
			v.File = path
			c.Say("to verify it elsewhere: confab proof verify --pin %s %s", p.Pin, path)
			return c.Print(v, v.write)
		}),
	}
}

func proofVerify(e *env) command.Verb {
	return command.Verb{
		Name:  "verify",
		Args:  "FILE",
		Short: "verify a proof, offline",
		Long: `Verifies a proof from a pin and says what it means. Nothing but the file and
the pin is used: no network, no account. The pin is text, a file, or that of
a network this machine knows (--network). A proof of another handle is as
true as that of the one you asked for: --handle says which it must be.

A proof says what was true at its time. By default it may be a day old.`,
		Examples: []string{
			"confab proof verify --pin dev.pin alice.bundle",
			"confab proof verify --network dev --handle alice --max-age 1h --json alice.bundle",
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pin", Usage: "the `PIN` to stand on: text or a file"},
			&cli.StringFlag{Name: "handle", Usage: "refuse the proof unless it is about `HANDLE`"},
			&cli.DurationFlag{Name: "max-age", Value: 24 * time.Hour, DefaultText: "24h", Usage: "the proof may be this `AGE`, such as 90s or 2h, but no older"},
			networkFlag(),
		},
		Run: e.with(func(c *call) error {
			t := bundle.Trust{Rules: verify.DefaultRules()}
			var err error
			if t.MaxAge, err = c.maxAge(); err != nil {
				return err
			}
			if t.Pin, err = c.pin(); err != nil {
				return err
			}
			b, err := readFile(c.Args().First(), bundle.MaxSize)
			if err != nil {
				return err
			}
			verified, err := bundle.Verify(b, t, c.now())
			if err != nil {
				return err
			}
			about, err := c.about(b)
			if err != nil {
				return err
			}
			return c.printVerified(about, verified)
		}),
	}
}

// about returns what a proof says that it is about, which must be the handle
// that is expected, if one is.
func (c *call) about(b []byte) (string, error) {
	raw, err := bundle.Decode(b)
	if err != nil || c.String("handle") == "" {
		return raw.About, err
	}
	want, err := parseHandle(c.String("handle"))
	if err != nil {
		return "", err
	}
	if got, err := namesvc.ParseHandle(raw.About); err != nil || got != want {
		return "", wire.Errorf(wire.Invalid, "the proof holds, but it is about %.80q and not about %v", raw.About, want)
	}
	return raw.About, nil
}

// pin returns the pin to stand on.
func (c *call) pin() (verify.Pin, error) {
	text := c.String("pin")
	if strings.Contains(text, "://") {
		return verify.Pin{}, c.Usagef("this works offline: give the pin as text or as a file")
	}
	if text != "" {
		return readPin(c.Ctx(), text)
	}
	dir, err := c.networks()
	if err != nil {
		return verify.Pin{}, err
	}
	n, err := c.chosen(dir, "")
	if err != nil {
		return verify.Pin{}, fmt.Errorf("which pin? Give it with --pin: %w", err)
	}
	return n.Pin, nil
}

// printVerified says what a verified bundle means: about is what it says that it
// is about, a handle or an account, or the chain itself.
func (c *call) printVerified(about string, v *bundle.Verified) error {
	if out, ok, err := viewChain(about, v); ok || err != nil {
		if err == nil {
			c.Say("the proof holds: this was so at %s, if you believe the pin below", v.Time.UTC().Format(time.RFC3339))
			err = c.Print(out, out.write)
		}
		return err
	}
	m, err := verifiedMeaning(about, v)
	var missing *namesvc.NotFoundError
	var alike *namesvc.ConfusableError
	if errors.As(err, &missing) || errors.As(err, &alike) {
		c.Say("the proof holds at height %d of %s, and what it proves is this:", v.Trust.Height, v.Pin.ChainID)
	}
	if err != nil {
		return err
	}
	out := viewHandle(m)
	out.proofView = viewVerified(v)
	out.nameConcierges(func(c namesvc.Concierge) (namesvc.Entry, error) { return v.Account(c.Account) })
	c.Say("the proof holds: this was so at %s, if you believe the pin below", v.Time.UTC().Format(time.RFC3339))
	d, err := v.Devices(m.Entry.Account)
	if errors.Is(err, bundle.ErrNotCovered) || err == nil && len(d.List) == 0 {
		return c.Print(out, out.write)
	}
	if err != nil {
		return err
	}
	keys := viewDevices(m.Entry, d)
	return c.Print(struct {
		handleView
		Devices []deviceView `json:"devices"`
		Roots   []rootView   `json:"roots"`
	}{out, keys.Devices, keys.Roots}, func(w io.Writer) {
		out.write(w)
		keys.writeKeys(w)
	})
}

func verifiedMeaning(about string, v *bundle.Verified) (namesvc.Meaning, error) {
	if id, err := namesvc.ParseAccountID(about); err == nil {
		e, err := v.Account(id)
		return own(e, v.Time), err
	}
	h, err := namesvc.ParseHandle(about)
	if err != nil {
		return namesvc.Meaning{}, wire.Errorf(wire.Invalid, "the proof holds, but it is about %.40q which this program does not know; confab proof show says what is in it", about)
	}
	return v.Handle(h)
}

func proofShow(e *env) command.Verb {
	return command.Verb{
		Name:  "show",
		Args:  "FILE",
		Short: "look into a proof without believing it",
		Long: `Prints everything in a proof, decoded, as JSON. Nothing of it is verified:
for that see confab proof verify.`,
		Examples: []string{"confab proof show alice.bundle"},
		Run: e.with(func(c *call) error {
			b, err := readFile(c.Args().First(), bundle.MaxSize)
			if err != nil {
				return err
			}
			raw, err := bundle.Decode(b)
			if err != nil {
				return err
			}
			text, err := wire.JSON(raw)
			if err != nil {
				return err
			}
			c.Say("not verified; %d bytes", len(b))
			return c.Print(json.RawMessage(text), func(w io.Writer) { w.Write(text) })
		}),
	}
}
