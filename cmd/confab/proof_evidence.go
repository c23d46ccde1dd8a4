package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// evidenceView is evidence that holds as --json shows it.
type evidenceView struct {
	Chain   string    `json:"chain"`
	Height  uint64    `json:"height"`
	Headers [2]string `json:"headers"`
	Sources [2]string `json:"sources"`
	Found   time.Time `json:"found"`
	Pin     string    `json:"pin"`
}

func (v evidenceView) write(w io.Writer) {
	command.Row(w, "chain", v.Chain)
	command.Row(w, "height", fmt.Sprint(v.Height))
	for i, h := range v.Headers {
		command.Row(w, "header", fmt.Sprintf("%s, from %s", h, v.Sources[i]))
	}
	command.Row(w, "found", v.Found.Format(time.RFC3339)+", by its finder's clock")
	command.Row(w, "pin", v.Pin)
}

func proofEvidence(e *env) command.Verb {
	return command.Verb{
		Name:  "evidence",
		Args:  "FILE",
		Short: "check evidence that validators signed two blocks",
		Long: `Checks, offline and from a pin, what confab kept when it found two blocks of
one height, both signed by the validators. The exit status is 0 if that is
proven to whoever believes the pin. Evidence that rests on what its finder
says to have verified before proves nothing to others, and is refused.`,
		Examples: []string{"confab proof evidence --pin dev.pin 5f3a-height-9.evidence"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pin", Usage: "the `PIN` to stand on: text or a file"},
			networkFlag(),
		},
		Run: e.with(checkEvidence),
	}
}

func checkEvidence(c *call) error {
	pin, err := c.pin()
	if err != nil {
		return err
	}
	b, err := readFile(c.Args().First(), lightclient.MaxEvidence)
	if err != nil {
		return err
	}
	e, err := lightclient.DecodeEvidence(b)
	if err != nil {
		return err
	}
	if e.Pin != pin {
		return wire.Errorf(wire.Invalid, "the evidence is for whoever believes the pin %s, and not for yours", lightclient.Printable(e.Pin.String()))
	}
	headers, err := e.Headers(verify.DefaultRules())
	if err != nil {
		return err
	}
	if !e.Standalone() {
		return wire.Errorf(wire.Invalid, "the evidence rests on what its finder says to have verified before, which anyone could make up; ask the sources that it names yourself")
	}
	v := evidenceView{Chain: pin.ChainID, Height: e.Height, Found: unix(e.Found), Pin: pin.String()}
	for i, h := range headers {
		v.Headers[i], v.Sources[i] = hex.EncodeToString(h[:]), lightclient.Printable(e.Sides[i].Source)
	}
	c.Say("the evidence holds: validators signed two blocks at height %d, if you believe the pin below", e.Height)
	return c.Print(v, v.write)
}
