package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

func chatNoun(e *env) command.Noun {
	return command.Noun{Name: "chat", Short: "conversations: write, read, search", Verbs: []command.Verb{
		chatSend(e), chatBroadcast(e), chatRead(e), chatFollow(e), chatList(e), chatReact(e), chatEdit(e), chatDelete(e), chatSave(e), chatSearch(e), chatExport(e),
	}}
}

func chatSend(e *env) command.Verb {
	return command.Verb{
		Name:  "send",
		Args:  "WHO [TEXT]",
		Short: "send a message",
		Long: `Sends a text, from the line or, without TEXT, from stdin. It is on disk when
this ends, and leaves as soon as it can, however long that takes: confab chat
read says how far it has come.

WHO is a handle, an account's id, or the name that you gave them. A message
is named by the first digits of its id, which confab chat read shows.`,
		Examples: []string{`confab chat send @bob "See you at eight"`, "confab chat send --file photo.jpg @bob", `confab chat send --reply 5f3a9c @bob "Yes"`},
		Flags: agentFlags(
			&cli.StringFlag{Name: "reply", Usage: "answer the message whose id begins with `ID`"},
			&cli.StringFlag{Name: "file", Usage: "send the `FILE`, with the text if there is one"},
			waitFlag("until it is at the other's concierge"),
		),
		Run: e.asking(sendMessage),
	}
}

func sendMessage(c *call, agent *localapi.Client) error {
	q := localapi.Send{Who: c.Args().First()}
	var err error
	if q.Text, err = c.messageText(); err != nil {
		return err
	}
	if reply := c.String("reply"); reply != "" {
		m, err := c.message(agent, q.Who, reply)
		if err != nil {
			return err
		}
		q.ReplyTo = m.ID
	}
	if file := c.String("file"); file != "" {
		if q.File, err = filepath.Abs(file); err != nil {
			return err
		}
	}
	m, err := agent.Send(c.Ctx(), q)
	if err != nil {
		return err
	}
	if c.IsSet("wait") {
		if m, err = c.untilSent(agent, m); err != nil {
			return err
		}
	}
	return c.Print(m, func(w io.Writer) { c.writeMessage(w, m) })
}

// untilSent waits until a message is at the other's concierge.
func (c *call) untilSent(agent *localapi.Client, m chat.Message) (chat.Message, error) {
	err := c.waitFor(agent, "the message has not left yet; it is safe here", func() (bool, error) {
		now, err := agent.Message(c.Ctx(), m.ID)
		if err != nil {
			return true, err
		}
		m = now
		if m.Delivery == chat.Refused {
			return true, wire.Errorf(wire.Invalid, "the message will not be taken: %s", shownLine(m.Trouble))
		}
		return m.Delivery != chat.Waiting, nil
	})
	return m, err
}

// messageText returns the text to send: that of the line, else that of stdin
// unless a file goes alone.
func (c *call) messageText() (string, error) {
	if c.NArg() > 1 {
		return message.Clean(c.Args().Get(1)), nil
	}
	if c.IsSet("file") {
		return "", nil
	}
	if c.person != nil {
		c.Say("type the message; Ctrl-D on an empty line ends it")
	}
	b, err := io.ReadAll(io.LimitReader(c.Stdin, message.MaxText+1))
	if err != nil {
		return "", fmt.Errorf("read the message from stdin: %w", err)
	}
	if len(b) > message.MaxText {
		return "", wire.Errorf(wire.Invalid, "the message is longer than %d bytes; send it as a file", message.MaxText)
	}
	text := strings.TrimRight(message.Clean(string(b)), "\n")
	if text == "" {
		return "", c.Usagef("there is nothing to send: give TEXT, or something on stdin")
	}
	return text, nil
}

// maxLookBack is how far back a message is looked for by the first digits of its
// id: further back, several begin alike.
const maxLookBack = 1000

// message returns the message of a conversation whose id begins with a prefix.
func (c *call) message(agent *localapi.Client, who, prefix string) (chat.Message, error) {
	prefix = strings.ToLower(strings.TrimPrefix(prefix, "#"))
	var found []chat.Message
	q := localapi.ReadPage{Who: who, Limit: 200}
	for seen := 0; seen < maxLookBack; {
		p, err := agent.Messages(c.Ctx(), q)
		if err != nil {
			return chat.Message{}, err
		}
		for _, m := range p.Messages {
			if strings.HasPrefix(m.ID.String(), prefix) {
				found = append(found, m)
			}
		}
		if seen += len(p.Messages); len(p.Messages) < q.Limit {
			break
		}
		q.Before = p.Messages[0].At
	}
	switch len(found) {
	case 0:
		return chat.Message{}, wire.Errorf(wire.NotFound, "no message with %s has an id that begins with %q; see confab chat read", shownLine(who), prefix)
	case 1:
		return found[0], nil
	}
	return chat.Message{}, wire.Errorf(wire.Invalid, "%d messages with %s have ids that begin with %q; give more of it", len(found), shownLine(who), prefix)
}

// oneMessage is a verb that does something with a message of a conversation.
func oneMessage(e *env, v command.Verb, do func(c *call, agent *localapi.Client, m chat.Message) error) command.Verb {
	v.Flags = agentFlags(v.Flags...)
	v.Run = e.asking(func(c *call, agent *localapi.Client) error {
		m, err := c.message(agent, c.Args().First(), c.Args().Get(1))
		if err != nil {
			return err
		}
		if err := do(c, agent, m); err != nil {
			return err
		}
		now, err := c.message(agent, c.Args().First(), m.ID.String())
		if err != nil {
			return err
		}
		return c.Print(now, func(w io.Writer) { c.writeMessage(w, now) })
	})
	return v
}

func chatReact(e *env) command.Verb {
	return oneMessage(e, command.Verb{
		Name: "react", Args: "WHO ID EMOJI", Short: "put a sign on a message",
		Long:     "ID is the first digits of the message's id, which confab chat read shows.",
		Examples: []string{"confab chat react @bob 5f3a9c 👍", "confab chat react --off @bob 5f3a9c 👍"},
		Flags:    []cli.Flag{command.Bool("off", "take it away")},
	}, func(c *call, agent *localapi.Client, m chat.Message) error {
		return agent.React(c.Ctx(), m.ID, c.Args().Get(2), !c.Bool("off"))
	})
}

func chatEdit(e *env) command.Verb {
	return oneMessage(e, command.Verb{
		Name: "edit", Args: "WHO ID TEXT", Short: "change what you wrote",
		Long:     "The message is marked as edited on all devices.",
		Examples: []string{`confab chat edit @bob 5f3a9c "See you at nine"`},
	}, func(c *call, agent *localapi.Client, m chat.Message) error {
		return agent.Edit(c.Ctx(), m.ID, message.Clean(c.Args().Get(2)))
	})
}

func chatDelete(e *env) command.Verb {
	return oneMessage(e, command.Verb{
		Name: "delete", Args: "WHO ID", Short: "ask all devices to delete what you wrote",
		Long:     "Devices of yours and of the other side delete it. Nobody can make somebody\nforget what they have read.",
		Examples: []string{"confab chat delete @bob 5f3a9c"},
	}, func(c *call, agent *localapi.Client, m chat.Message) error {
		return agent.Delete(c.Ctx(), m.ID)
	})
}

func chatSave(e *env) command.Verb {
	return command.Verb{
		Name: "save", Args: "WHO ID FILE", Short: "save the file that a message brings",
		Examples: []string{"confab chat save @bob 5f3a9c photo.jpg"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			m, err := c.message(agent, c.Args().First(), c.Args().Get(1))
			if err != nil {
				return err
			}
			to, err := filepath.Abs(c.Args().Get(2))
			if err != nil {
				return err
			}
			if err := free(to); err != nil {
				return err
			}
			path, err := agent.FetchFile(c.Ctx(), m.ID, to)
			if err != nil {
				return err
			}
			return c.Print(localapi.Fetched{Path: path}, func(w io.Writer) { command.Row(w, "file", path) })
		}),
	}
}

func chatSearch(e *env) command.Verb {
	return command.Verb{
		Name: "search", Args: "WORDS", Short: "look for words in all conversations",
		Examples: []string{"confab chat search dinner", `confab chat search --with @bob "the harbour"`},
		Flags: agentFlags(
			&cli.StringFlag{Name: "with", Usage: "only in the conversation with `WHO`"},
			&cli.IntFlag{Name: "limit", Value: 50, Usage: "show at most `N`"},
		),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			if n := c.Int("limit"); n < 1 {
				return c.Usagef("--limit is %d: it must be above 0", n)
			}
			list, err := agent.Search(c.Ctx(), localapi.Search{Query: c.Args().First(), Who: c.String("with"), Limit: c.Int("limit")})
			if err != nil {
				return err
			}
			if len(list) == 0 {
				c.Say("nothing was found")
			}
			return c.Print(localapi.Messages{Messages: list}, func(w io.Writer) {
				for _, m := range list {
					c.writeMessage(w, m)
				}
			})
		}),
	}
}

func chatExport(e *env) command.Verb {
	return command.Verb{
		Name: "export", Args: "FILE", Short: "write all that this device keeps of conversations",
		Long:     "Writes a line of JSON for each contact, message and receipt. The file is not\nencrypted.",
		Examples: []string{"confab chat export conversations.jsonl"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			path := c.Args().First()
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, os.ErrExist) {
				return wire.Errorf(wire.Exists, "%s is there already; choose another name", path)
			}
			if err != nil {
				return wire.Errorf(wire.Invalid, "%w", err)
			}
			n := &counted{w: f}
			if err := errors.Join(agent.Export(c.Ctx(), n), f.Close()); err != nil {
				os.Remove(path)
				return err
			}
			return c.Print(struct {
				File  string `json:"file"`
				Lines int    `json:"lines"`
			}{path, n.lines}, func(w io.Writer) {
				command.Row(w, "file", path)
				command.Row(w, "lines", fmt.Sprint(n.lines))
			})
		}),
	}
}

// counted counts the lines that are written.
type counted struct {
	w     io.Writer
	lines int
}

func (n *counted) Write(b []byte) (int, error) {
	n.lines += strings.Count(string(b), "\n")
	return n.w.Write(b)
}
