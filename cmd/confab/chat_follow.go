package main

import (
	"io"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/message"
)

func chatFollow(e *env) command.Verb {
	return command.Verb{
		Name:  "follow",
		Args:  "[WHO]",
		Short: "show messages as they come",
		Long: `Shows unread messages and then each one as it comes, of one conversation or
of all, until Ctrl-C. What is shown is marked as read, unless --unread-still.

With --json each line is something that happened, as docs/SPEC-localapi.md
says.`,
		Examples: []string{"confab chat follow", "confab chat follow --json @bob"},
		Flags:    agentFlags(command.Bool("unread-still", "do not mark them as read")),
		Run:      e.asking(followChats),
	}
}

// following is one run of chat follow.
type following struct {
	*call
	agent *localapi.Client
	only  namesvc.AccountID   // zero: all
	shown map[message.ID]bool // at the beginning; the stream may bring them once more
}

func followChats(c *call, agent *localapi.Client) error {
	f := &following{call: c, agent: agent, shown: map[message.ID]bool{}}
	notices, err := agent.Follow(c.Ctx()) // before the state is read, so that nothing falls between
	if err != nil {
		return err
	}
	if err := f.unread(); err != nil {
		return f.orStopped(err)
	}
	for n, err := range notices {
		if err == nil {
			err = f.hear(n)
		}
		if err != nil {
			return f.orStopped(err)
		}
	}
	return nil
}

// orStopped is the error, unless the person ended this: that is how it ends.
func (f *following) orStopped(err error) error {
	if f.Ctx().Err() != nil {
		return nil
	}
	return err
}

// unread shows what was not read yet.
func (f *following) unread() error {
	contacts, err := f.agent.Contacts(f.Ctx())
	if err != nil {
		return err
	}
	who := f.Args().First()
	if who != "" {
		p, err := f.agent.Messages(f.Ctx(), localapi.ReadPage{Who: who, Limit: 1})
		if err != nil {
			return err
		}
		f.only = p.With.Account
	}
	for _, x := range contacts {
		if x.Unread == 0 || who != "" && x.Account != f.only {
			continue
		}
		p, err := f.agent.Messages(f.Ctx(), localapi.ReadPage{Who: x.Account.String(), Limit: min(x.Unread, maxLookBack)})
		if err != nil {
			return err
		}
		for _, m := range p.Messages {
			if m.Unread {
				f.shown[m.ID] = true
				if err := f.tell(chat.Notice{Type: "message", Contact: x.Account, Message: &m}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// hear shows something that happens, if it is of the conversation and new.
func (f *following) hear(n chat.Notice) error {
	if f.only != (namesvc.AccountID{}) && n.Contact != f.only {
		return nil
	}
	if n.Type == "message" && n.Message != nil && f.shown[n.Message.ID] {
		return nil
	}
	return f.tell(n)
}

// tell shows something that happened, and marks a message as read.
func (f *following) tell(n chat.Notice) error {
	say := f.say
	if f.JSON() {
		say = func(n chat.Notice) error { return f.Print(n, nil) }
	}
	if err := say(n); err != nil {
		return err
	}
	if n.Type != "message" || n.Message == nil || n.Message.Own || f.Bool("unread-still") {
		return nil
	}
	return f.agent.MarkRead(f.Ctx(), n.Contact.String(), n.Message.At)
}

// say shows something that happened to a person.
func (f *following) say(n chat.Notice) error {
	switch {
	case n.Type == "message" && n.Message != nil:
		m := *n.Message
		m.Unread = false // all are new here
		return f.Print(nil, func(w io.Writer) { f.writeMessage(w, m) })
	case n.Type == "changed" && n.Message != nil:
		return f.Print(nil, func(w io.Writer) { f.writeMessage(w, *n.Message) })
	case n.Type == "office" && n.Office != nil:
		f.Say("concierge %s", officeText(*n.Office))
	case n.Text != "":
		f.Say("%s", shownText(n.Text, "  "))
	}
	return nil
}
