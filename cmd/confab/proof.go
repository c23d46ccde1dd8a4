package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func proofCommand(e *env) *cli.Command {
	return e.noun("proof", "proofs as files: save, verify offline, look into", proofSave(), proofVerify(), proofShow())
}

func proofSave() verb {
	return verb{
		name:  "save",
		args:  "HANDLE",
		short: "save the proof of what a handle means",
		long: `Writes a file that proves what a handle means now. Whoever has it and the
network's pin can verify it offline: nothing else is needed, and nobody is asked.`,
		examples: []string{"confab proof save --out alice.bundle alice"},
		flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "write to `FILE` (HANDLE.bundle otherwise)"},
			&cli.BoolFlag{Name: "devices", Usage: "prove the account's devices too"},
			networkFlag(),
		},
		run: func(c *call) error {
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
			if _, err := os.Lstat(path); err == nil {
				return taken(path)
			}
			r, err := client.Portable(c.Context.Context, h, c.Bool("devices"))
			if err != nil {
				return err
			}
			if err := writeNew(path, r.Bundle); err != nil {
				return err
			}
			v := viewHandle(r.Meaning)
			v.proven(r.Proof)
			v.File = path
			c.say("to verify it elsewhere: confab proof verify --pin %s %s", r.Pin, path)
			return c.print(v, v.write)
		},
	}
}

func proofVerify() verb {
	return verb{
		name:  "verify",
		args:  "FILE",
		short: "verify a proof, offline",
		long: `Verifies a proof from a pin and says what it means. Nothing but the file and the
pin is used: no network, no account. The pin is text, a file, or that of a network
this machine knows (--network).

A proof says what was true at its time. By default it may be a day old.`,
		examples: []string{
			"confab proof verify --pin dev.pin alice.bundle",
			"confab proof verify --network dev --max-age 1h --json alice.bundle",
		},
		flags: []cli.Flag{
			&cli.StringFlag{Name: "pin", Usage: "the `PIN` to stand on: text or a file"},
			&cli.DurationFlag{Name: "max-age", Value: 24 * time.Hour, Usage: "how old the proof may be"},
			networkFlag(),
		},
		run: func(c *call) error {
			t := bundle.Trust{Rules: verify.DefaultRules(), MaxAge: c.Duration("max-age")}
			if t.MaxAge <= 0 {
				return usagef("--max-age must be above 0, such as 24h")
			}
			var err error
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
			raw, err := bundle.Decode(b)
			if err != nil {
				return err
			}
			return c.printVerified(raw.About, verified)
		},
	}
}

// pin returns the pin to stand on.
func (c *call) pin() (verify.Pin, error) {
	text := c.String("pin")
	if text == "" {
		dir, err := c.networks()
		if err != nil {
			return verify.Pin{}, err
		}
		name := c.setting("network")
		if name == "" {
			n, err := dir.Default()
			if err != nil {
				return verify.Pin{}, fmt.Errorf("which pin? Give it with --pin: %w", err)
			}
			return n.Pin, nil
		}
		n, err := dir.Load(name)
		return n.Pin, err
	}
	if strings.Contains(text, "://") {
		return verify.Pin{}, usagef("confab proof verify works offline: give the pin as text or as a file")
	}
	return readPin(c.Context.Context, text)
}

// printVerified says what a verified bundle means.
func (c *call) printVerified(about string, v *bundle.Verified) error {
	pv := proofView{
		Height: v.Trust.Height, Time: v.Time.UTC(), AgeSeconds: int64(v.Age / time.Second),
		Assurance: v.Assurance.String(), Pin: v.Pin.String(),
	}
	h, err := namesvc.ParseHandle(about)
	if err != nil {
		return wire.Errorf(wire.Invalid, "the proof holds, but it is about %.40q and not about a handle; confab proof show says what is in it", about)
	}
	m, err := v.Handle(h)
	var missing *namesvc.NotFoundError
	var alike *namesvc.ConfusableError
	if errors.As(err, &missing) || errors.As(err, &alike) {
		c.say("the proof holds: at height %d of %s", pv.Height, v.Pin.ChainID)
	}
	if err != nil {
		return err
	}
	out := viewHandle(m)
	out.proofView = pv
	out.nameConcierges(out.concierges, func(c namesvc.Concierge) (namesvc.Entry, error) { return v.Account(c.Account) })
	c.say("verified: this was true at %s and stands on the pin below", v.Time.UTC().Format(time.RFC3339))
	return c.print(out, func(w io.Writer) {
		out.write(w)
	})
}

func proofShow() verb {
	return verb{
		name:  "show",
		args:  "FILE",
		short: "look into a proof without believing it",
		long: `Prints everything in a proof, decoded, as JSON. Nothing of it is verified: for
that see confab proof verify.`,
		examples: []string{"confab proof show alice.bundle"},
		run: func(c *call) error {
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
			c.say("not verified; %d bytes", len(b))
			return c.print(json.RawMessage(text), func(w io.Writer) { w.Write(text) })
		},
	}
}
