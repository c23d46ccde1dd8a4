package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"
	"rsc.io/qr"

	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
)

func contactCard(e *env) command.Verb {
	return command.Verb{
		Name:  "card",
		Short: "show what to hand to somebody who wants to write to you",
		Long: `A card says which account is yours and how to find the network that it is in.
It is not secret: show it, send it, print it. Who has it runs
confab contact add CARD. Who knows no network yet runs
confab net add --card CARD NAME before that.`,
		Examples: []string{"confab contact card", "confab contact card --qr", "confab contact card --png card.png"},
		Flags: agentFlags(
			command.Bool("qr", "as a QR code for this terminal too"),
			&cli.StringFlag{Name: "png", Usage: "as a QR code, a picture in this `FILE`"},
		),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			v, err := agent.Card(c.Ctx())
			if err != nil {
				return err
			}
			code, err := qr.Encode(v.Code, qr.M)
			if err != nil {
				return err
			}
			if file := c.String("png"); file != "" {
				if err := writeNew(file, code.PNG()); err != nil {
					return err
				}
			}
			return c.Print(v, func(w io.Writer) {
				if c.Bool("qr") {
					io.WriteString(w, drawn(code))
				}
				io.WriteString(w, v.Card+"\n")
			})
		}),
	}
}

// quiet is the white margin that a QR code needs around it (ISO/IEC 18004).
const quiet = 4

// drawn returns a QR code as text, two rows in a line, black on white whatever
// the terminal's colours are.
func drawn(c *qr.Code) string {
	var b strings.Builder
	for y := -quiet; y < c.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < c.Size+quiet; x++ {
			switch upper, lower := c.Black(x, y), c.Black(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}
