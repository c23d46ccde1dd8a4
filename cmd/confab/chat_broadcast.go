package main

import (
	"fmt"
	"io"

	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

func chatBroadcast(e *env) command.Verb {
	return command.Verb{
		Name:  "broadcast",
		Args:  "TEXT",
		Short: "send the same text to each of your contacts",
		Long: `Sends a text to all contacts, each in your conversation with them: nobody
sees who else got it, and whoever answers answers you alone.`,
		Examples: []string{`confab chat broadcast "I have a new telephone number"`},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			out, err := agent.SendAll(c.Ctx(), message.Clean(c.Args().First()))
			if err != nil {
				return err
			}
			err = c.Print(out, func(w io.Writer) {
				fmt.Fprintln(w, "sent to "+count(len(out.Messages), "contact"))
			})
			for _, f := range out.Failed {
				who := f.Handle
				if who == "" {
					who = f.Contact.String()
				}
				c.Say("not to %s: %s", shownLine(who), shownLine(f.Error))
			}
			if err == nil && len(out.Failed) > 0 {
				err = wire.Errorf(wire.Unavailable, "%s did not get it", count(len(out.Failed), "contact"))
			}
			return err
		}),
	}
}
