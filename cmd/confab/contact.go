package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/card"
	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

func contactNoun(e *env) command.Noun {
	return command.Noun{Name: "contact", Short: "the people you write with", Verbs: []command.Verb{
		contactAdd(e), contactCard(e), contactAccept(e), contactList(e), contactVerify(e), contactAvatar(e), contactName(e), contactBlock(e), contactUnblock(e), contactRemove(e),
	}}
}

func contactAdd(e *env) command.Verb {
	return command.Verb{
		Name:  "add",
		Args:  "HANDLE|CARD",
		Short: "ask somebody to become a contact",
		Long: `Looks the handle up, verified, and leaves a request with its concierge, which
can read neither who asks nor the greeting. That costs no money: this machine
does about a second of work for each device that the other one has.

A card (confab contact card) names an account, so it finds its owner whatever
has become of the handle. If you took it from their own hands, say --met: the
contact is then verified.`,
		Examples: []string{"confab contact add @bob", `confab contact add --greeting "Alice, from the choir" @bob`, "confab contact add --met confab:1:qvmc…"},
		Flags: agentFlags(
			&cli.StringFlag{Name: "greeting", Usage: "`TEXT` that they see before they accept"},
			command.Bool("met", "the card was taken from its owner's own hands"),
		),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			who := c.Args().First()
			q := localapi.AddContact{Greeting: c.String("greeting"), Met: c.Bool("met")}
			if card.Is(who) {
				q.Card = who
			} else {
				if q.Met {
					return c.Usagef("--met goes with a card; for a handle, compare the number that confab contact verify shows")
				}
				h, err := parseHandle(who)
				if err != nil {
					return err
				}
				q.Handle = h.String()
			}
			p := c.Progress()
			contact, err := agent.AddContact(c.Ctx(), q, func(text string) {
				p.Step("%s", shownLine(text))
			})
			p.Close()
			if err != nil {
				return err
			}
			return c.printContact(contact)
		}),
	}
}

// oneContact is a verb that does something with one contact and shows it.
func oneContact(e *env, v command.Verb, do func(c *call, agent *localapi.Client, who string) (chat.Contact, error)) command.Verb {
	if v.Args == "" {
		v.Args = "WHO"
	}
	v.Flags = agentFlags(v.Flags...)
	v.Run = e.asking(func(c *call, agent *localapi.Client) error {
		contact, err := do(c, agent, c.Args().First())
		if err != nil {
			return err
		}
		return c.printContact(contact)
	})
	return v
}

func contactAccept(e *env) command.Verb {
	return oneContact(e, command.Verb{
		Name: "accept", Short: "accept somebody's request",
		Long:     "From then on each of you can write to the other. WHO is a handle, an\naccount's id, or the name that you gave them.",
		Examples: []string{"confab contact accept @alice", "confab contact accept --wait 1h @alice"},
		Flags:    []cli.Flag{waitFlag("for the request")},
	}, func(c *call, agent *localapi.Client, who string) (out chat.Contact, err error) {
		err = c.waitFor(agent, "no request of "+shownLine(who)+" came", func() (_ bool, err error) {
			out, err = agent.AcceptContact(c.Ctx(), who)
			return wire.CodeOf(err) != wire.NotFound, err
		})
		return out, err
	})
}

func contactBlock(e *env) command.Verb {
	return oneContact(e, command.Verb{
		Name: "block", Short: "take nothing more from somebody",
		Long:     "They are not told. What they wrote before stays until you remove them.",
		Examples: []string{"confab contact block @mallory"},
	}, func(c *call, agent *localapi.Client, who string) (chat.Contact, error) {
		return agent.BlockContact(c.Ctx(), who)
	})
}

func contactUnblock(e *env) command.Verb {
	return oneContact(e, command.Verb{
		Name: "unblock", Short: "let somebody write again",
		Examples: []string{"confab contact unblock @mallory"},
	}, func(c *call, agent *localapi.Client, who string) (chat.Contact, error) {
		return agent.UnblockContact(c.Ctx(), who)
	})
}

func contactName(e *env) command.Verb {
	return oneContact(e, command.Verb{
		Name: "name", Args: "WHO [NAME]", Short: "call somebody by a name of your own",
		Long:     "Only your own devices see it. Without NAME it is taken away.",
		Examples: []string{"confab contact name @bob Bobby", "confab contact name Bobby"},
	}, func(c *call, agent *localapi.Client, who string) (chat.Contact, error) {
		return agent.NameContact(c.Ctx(), who, c.Args().Get(1))
	})
}

func contactRemove(e *env) command.Verb {
	return command.Verb{
		Name: "remove", Args: "WHO", Short: "forget a contact and the conversation with it",
		Long:     "Deletes it from your devices; what the other side keeps is theirs.",
		Examples: []string{"confab contact remove --yes @bob"},
		Flags:    agentFlags(command.Bool("yes", "yes, delete the conversation")),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			if !c.Bool("yes") {
				return c.Usagef("the conversation is deleted too, and nobody can bring it back; say --yes if you mean it")
			}
			if err := agent.RemoveContact(c.Ctx(), c.Args().First()); err != nil {
				return err
			}
			c.Say("%s is forgotten", shownLine(c.Args().First()))
			return c.Print(struct{}{}, func(io.Writer) {})
		}),
	}
}

func contactVerify(e *env) command.Verb {
	return command.Verb{
		Name: "verify", Args: "WHO", Short: "show the number that tells if somebody is in between",
		Long: `Shows a number that the other one must see too (confab contact verify on
their side). Compare it in person or by voice, and note the outcome with
--same or --not-same.

A contact is an account under one continuous control. If that ended, whoever
has the handle now may be somebody else, and nothing is sent to them until
you say, with --new, that you asked them; the number is another one then.`,
		Examples: []string{"confab contact verify @bob", "confab contact verify --same @bob", "confab contact verify --new @bob"},
		Flags: agentFlags(
			command.Bool("same", "the numbers were compared and are the same"),
			command.Bool("not-same", "take that back"),
			command.Bool("new", "go on with whoever controls the account now"),
		),
		Run: e.asking(verifyContact),
	}
}

func verifyContact(c *call, agent *localapi.Client) error {
	who, err := c.Args().First(), error(nil)
	switch same, not, fresh := c.Bool("same"), c.Bool("not-same"), c.Bool("new"); {
	case same && not || fresh && (same || not):
		return c.Usagef("one thing at a time: --same, --not-same or --new")
	case same || not:
		_, err = agent.VerifyContact(c.Ctx(), who, same)
	case fresh:
		_, err = agent.Repin(c.Ctx(), who)
	}
	if err != nil {
		return err
	}
	s, err := agent.Safety(c.Ctx(), who)
	if err != nil {
		return err
	}
	return c.Print(s, func(w io.Writer) {
		command.Row(w, "contact", called(s.Contact))
		for i, row := range rows(strings.Fields(s.Number), 6) {
			name := ""
			if i == 0 {
				name = "number"
			}
			command.Row(w, name, strings.Join(row, " "))
		}
		if s.Contact.Verified.IsZero() {
			command.Row(w, "verified", "no")
		} else {
			command.Row(w, "verified", c.when(s.Contact.Verified))
		}
	})
}

// rows splits a list into pieces of at most n.
func rows(list []string, n int) [][]string {
	var out [][]string
	for len(list) > n {
		out, list = append(out, list[:n]), list[n:]
	}
	return append(out, list)
}

func contactList(e *env) command.Verb {
	return command.Verb{
		Name: "list", Short: "list contacts and requests",
		Examples: []string{"confab contact list", "confab contact list --json"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			list, err := agent.Contacts(c.Ctx())
			if err != nil {
				return err
			}
			if len(list) == 0 {
				c.Say("you have no contacts yet; ask somebody with confab contact add HANDLE")
			}
			return c.Print(localapi.Contacts{Contacts: list}, func(w io.Writer) {
				for _, x := range list {
					writeContact(w, x)
				}
			})
		}),
	}
}

// called is what a contact is called on this machine: by the person's own name
// for it, and its handle, or its account if it has none.
func called(x chat.Contact) string {
	handle := x.Handle
	if handle == "" {
		handle = fmt.Sprintf("%.16s…", x.Account)
	}
	if x.Name != "" {
		return shownLine(x.Name) + " (" + shownLine(handle) + ")"
	}
	return shownLine(handle)
}

// contactStates says for each state what it means.
var contactStates = [...]struct{ state, text string }{
	{"invited", "asked, no answer yet"}, {"requested", "asks to become a contact"}, {"accepted", "contact"}, {"blocked", "blocked"},
}

func stateText(state string) string {
	for _, s := range contactStates {
		if s.state == state {
			return s.text
		}
	}
	return shownLine(state)
}

func writeContact(w io.Writer, x chat.Contact) {
	line := fmt.Sprintf("%-16s  %s", called(x), stateText(x.State))
	if !x.Verified.IsZero() {
		line += ", verified"
	}
	if x.Unread > 0 {
		line += fmt.Sprintf(", %d unread", x.Unread)
	}
	if x.Greeting != "" && x.State == "requested" {
		line += ": " + shownText(x.Greeting, "  ")
	}
	fmt.Fprintln(w, line)
	if x.Shown != "" {
		fmt.Fprintln(w, "  says to be "+claimed(x.Shown))
	}
	if x.Warning != "" {
		fmt.Fprintln(w, "  warning: "+shownText(x.Warning, "  "))
	}
}

// maxClaimed is how many characters are shown of what somebody says to be: so many
// do not fill a line of a terminal and begin another that looks like ours.
const maxClaimed = 40

// claimed is a name that somebody gives themselves. It stands on a line of its own,
// so that it cannot say what only this program says, such as ", verified".
func claimed(name string) string {
	r := []rune(shownLine(name))
	if len(r) > maxClaimed {
		return string(r[:maxClaimed]) + "…"
	}
	return string(r)
}

func (c *call) printContact(x chat.Contact) error {
	return c.Print(x, func(w io.Writer) { writeContact(w, x) })
}
