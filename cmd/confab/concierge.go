package main

import (
	"fmt"
	"io"
	"time"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
)

func conciergeNoun(e *env) command.Noun {
	return command.Noun{Name: "concierge", Short: "who keeps your mail while you are away", Verbs: []command.Verb{
		conciergeStatus(e), conciergeSwitch(e),
	}}
}

func conciergeStatus(e *env) command.Verb {
	return command.Verb{
		Name: "status", Short: "show your concierges and how they are reached",
		Long:     "Shows the present one, and those that were left and still have mail for you.",
		Examples: []string{"confab concierge status", "confab concierge status --json"},
		Flags:    agentFlags(),
		Run:      e.asking(showConcierges),
	}
}

func showConcierges(c *call, agent *localapi.Client) error {
	list, err := agent.Concierges(c.Ctx())
	if err != nil {
		return err
	}
	return c.Print(localapi.Offices{Concierges: list}, func(w io.Writer) {
		for _, o := range list {
			c.writeOffice(w, o)
		}
	})
}

func (c *call) writeOffice(w io.Writer, o chat.Office) {
	command.Row(w, "concierge", officeText(o))
	if o.URL != "" {
		command.Row(w, "url", shownLine(o.URL))
	}
	if !o.Since.IsZero() {
		command.Row(w, "since", fmt.Sprintf("%s (%s)", c.when(o.Since), c.now().Sub(o.Since).Round(time.Second)))
	}
}

func conciergeSwitch(e *env) command.Verb {
	return command.Verb{
		Name: "switch", Args: "HANDLE", Short: "leave your concierge for another one",
		Long: `Changes your entry on the chain, opens your mailboxes at the new concierge,
tells your contacts, and fetches what the old one still has; it is told to
forward for a while. It is not asked, and if it does not help, only what it
withholds is late. Contacts notice a line.`,
		Examples: []string{"confab concierge switch @lantern"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			h, err := parseHandle(c.Args().First())
			if err != nil {
				return err
			}
			p := c.Progress()
			err = agent.SwitchConcierge(c.Ctx(), h.String(), func(text string) { p.Keep("%s", shownLine(text)) })
			p.Close()
			if err != nil {
				return err
			}
			return showConcierges(c, agent)
		}),
	}
}
