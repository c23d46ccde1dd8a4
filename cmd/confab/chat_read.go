package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
)

func chatRead(e *env) command.Verb {
	return command.Verb{
		Name:  "read",
		Args:  "WHO",
		Short: "show a conversation",
		Long: `Shows the newest messages, oldest first: time, the first digits of the id,
who wrote, what, and in parentheses how far your own have come: waiting, sent
(at the other's concierge), delivered (on one of their devices), read. What
is shown is marked as read, unless --unread-still.`,
		Examples: []string{"confab chat read @bob", "confab chat read --limit 500 --json @bob", "confab chat read --before 5f3a9c @bob"},
		Flags: agentFlags(
			&cli.IntFlag{Name: "limit", Value: 50, Usage: "show at most `N`"},
			&cli.StringFlag{Name: "before", Usage: "show those before the message whose id begins with `ID`"},
			command.Bool("unread-still", "do not mark them as read"),
			waitFlag("for one that is not read yet"),
		),
		Run: e.asking(readChat),
	}
}

func readChat(c *call, agent *localapi.Client) error {
	q := localapi.ReadPage{Who: c.Args().First(), Limit: c.Int("limit")}
	if q.Limit < 1 {
		return c.Usagef("--limit is %d: it must be above 0", q.Limit)
	}
	if before := c.String("before"); before != "" {
		m, err := c.message(agent, q.Who, before)
		if err != nil {
			return err
		}
		q.Before = m.At
	}
	p, err := c.page(agent, q)
	if err != nil {
		return err
	}
	if err := c.Print(p, func(w io.Writer) { c.writePage(w, p) }); err != nil {
		return err
	}
	c.pageWords(p)
	if c.Bool("unread-still") {
		return nil
	}
	return markRead(c, agent, q.Who, p.Messages)
}

// page reads a page, and with --wait waits until it has something new.
func (c *call) page(agent *localapi.Client, q localapi.ReadPage) (p chat.Page, err error) {
	err = c.waitFor(agent, "nothing new came from "+shownLine(q.Who), func() (bool, error) {
		var err error
		p, err = agent.Messages(c.Ctx(), q)
		fresh := slices.ContainsFunc(p.Messages, func(m chat.Message) bool { return m.Unread })
		return fresh || !c.IsSet("wait"), err
	})
	return p, err
}

func (c *call) writePage(w io.Writer, p chat.Page) {
	for _, m := range p.Messages {
		c.writeMessage(w, m)
	}
}

// pageWords says what a page does not show.
func (c *call) pageWords(p chat.Page) {
	if len(p.Messages) == 0 {
		c.Say("there is nothing here yet")
	}
	if p.Missing > 0 {
		c.Say("%s on the way: the other side was asked to send again", areOf(p.Missing))
	}
	if p.Lost > 0 {
		c.Say("%s lost: nobody could send again", areOf(p.Lost))
	}
	if p.With.Warning != "" {
		c.Say("warning: %s", shownText(p.With.Warning, "  "))
	}
}

func areOf(n int) string {
	if n == 1 {
		return "1 message is"
	}
	return fmt.Sprintf("%d messages are", n)
}

// markRead marks what was shown as read.
func markRead(c *call, agent *localapi.Client, who string, shown []chat.Message) error {
	for i := len(shown) - 1; i >= 0; i-- {
		if shown[i].Unread {
			return agent.MarkRead(c.Ctx(), who, shown[i].At)
		}
	}
	return nil
}

func chatList(e *env) command.Verb {
	return command.Verb{
		Name: "list", Short: "list conversations with their last message",
		Examples: []string{"confab chat list", "confab chat list --json"},
		Flags:    agentFlags(),
		Run:      e.asking(listChats),
	}
}

// chatLine is a conversation as --json shows it.
type chatLine struct {
	With chat.Contact  `json:"with"`
	Last *chat.Message `json:"last,omitempty"`
}

func listChats(c *call, agent *localapi.Client) error {
	contacts, err := agent.Contacts(c.Ctx())
	if err != nil {
		return err
	}
	lines := []chatLine{}
	for _, x := range contacts {
		p, err := agent.Messages(c.Ctx(), localapi.ReadPage{Who: x.Account.String(), Limit: 1})
		if err != nil {
			return err
		}
		l := chatLine{With: x}
		if len(p.Messages) > 0 {
			l.Last = &p.Messages[0]
		}
		if l.Last != nil || x.State == "accepted" {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		c.Say("there are no conversations yet; ask somebody with confab contact add HANDLE")
	}
	return c.Print(struct {
		Chats []chatLine `json:"chats"`
	}{lines}, func(w io.Writer) {
		for _, l := range lines {
			unread := ""
			if l.With.Unread > 0 {
				unread = fmt.Sprintf("  (%d unread)", l.With.Unread)
			}
			fmt.Fprintf(w, "%s%s\n", called(l.With), unread)
			if l.Last != nil {
				io.WriteString(w, "  ")
				c.writeMessage(w, *l.Last)
			}
		}
	})
}
