package chat

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Self returns who this agent acts for and how it stands.
func (a *Agent) Self(ctx context.Context) (Self, error) {
	p := a.party()
	s := Self{Account: p.Account, Generation: p.Generation, Device: a.o.Keys.Device.Public(), Chain: a.o.Client.Pin().ChainID, Hops: HopsName(a.o.Hops), Backup: a.backupNow()}
	if l, ok := a.roster.cached(p.Account); ok {
		if h := l.entry.Primary(); h != "" {
			s.Handle = "@" + string(h)
		}
	}
	if list, err := a.Concierges(ctx); err == nil && len(list) > 0 && !list[0].Former {
		s.Concierge = list[0]
	}
	err := a.store.View(func(tx *store.Tx) (err error) {
		s.Waiting, err = tx.CountOutbox()
		return err
	})
	return s, err
}

// Contact returns one contact.
func (a *Agent) Contact(_ context.Context, who string) (Contact, error) {
	c, err := a.find(who)
	if err != nil {
		return Contact{}, err
	}
	var out Contact
	err = a.store.View(func(tx *store.Tx) (err error) {
		out, err = a.showContact(tx, c)
		return err
	})
	return out, err
}

// Contacts returns all contacts, those who wait for an answer first.
func (a *Agent) Contacts(context.Context) (out []Contact, err error) {
	err = a.store.View(func(tx *store.Tx) error {
		list, err := tx.Contacts()
		if err != nil {
			return err
		}
		slices.SortStableFunc(list, func(x, y store.Contact) int {
			return rank(x.State) - rank(y.State)
		})
		for _, c := range list {
			shown, err := a.showContact(tx, c)
			if err != nil {
				return err
			}
			out = append(out, shown)
		}
		return nil
	})
	return out, err
}

func rank(s store.ContactState) int {
	return map[store.ContactState]int{store.Requested: 0, store.Accepted: 1, store.Invited: 2, store.Blocked: 3}[s]
}

func (a *Agent) showContact(tx *store.Tx, c store.Contact) (Contact, error) {
	out := Contact{
		Account: c.Party.Account, Generation: c.Party.Generation, Handle: c.Handle, Name: c.Name,
		State: c.State.String(), Added: at(c.Added), Verified: at(c.Verified),
	}
	id := message.Direct(a.party(), c.Party)
	if r, err := a.load(tx, id); err == nil && len(r.Request) > 0 {
		if e, err := message.Decode(r.Request); err == nil {
			if ask, ok := e.Body.(message.ContactRequest); ok {
				out.Greeting = message.Display(ask.Greeting)
			}
		}
	}
	s, err := recallShown(tx, c.Party.Account)
	if err != nil {
		return out, err
	}
	out.Shown, out.About, out.Avatar = message.Display(s.Name), message.Display(s.About), s.Picture > 0
	if conv, err := tx.Conversation(id); err == nil {
		out.Unread = conv.Unread
		if p, err := tx.Profile(id, c.Party.Account); err == nil {
			out.Shown = p.Name
		}
	} else if wire.CodeOf(err) != wire.NotFound {
		return out, err
	}
	if l, ok := a.roster.cached(c.Party.Account); ok && l.party() != c.Party {
		out.Warning = "this account is under other control now: compare safety numbers, then accept it with confab contact verify --new"
	}
	return out, nil
}

// nameFor returns what an author is called in words.
func (a *Agent) nameFor(tx *store.Tx, id namesvc.AccountID) string {
	if id == a.o.Account {
		return "you"
	}
	c, err := tx.Contact(id)
	switch {
	case err == nil && c.Name != "":
		return c.Name
	case err == nil && c.Handle != "":
		return c.Handle
	}
	return id.String()[:8]
}

// Message returns one message.
func (a *Agent) Message(_ context.Context, id message.ID) (out Message, err error) {
	err = a.store.View(func(tx *store.Tx) error {
		m, err := tx.Message(id)
		if err != nil {
			return err
		}
		out, err = a.show(tx, m)
		return err
	})
	return out, err
}

// Messages returns at most limit messages with a contact that stand before a
// position, the empty one for the last.
func (a *Agent) Messages(_ context.Context, who string, before Position, limit int) (Page, error) {
	c, err := a.find(who)
	if err != nil {
		return Page{}, err
	}
	p, err := before.stored()
	if err != nil {
		return Page{}, err
	}
	id := message.Direct(a.party(), c.Party)
	page := Page{Messages: []Message{}}
	err = a.store.View(func(tx *store.Tx) error {
		if page.With, err = a.showContact(tx, c); err != nil {
			return err
		}
		list, err := tx.Messages(id, p, limit)
		if wire.CodeOf(err) == wire.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range list {
			shown, err := a.show(tx, m)
			if err != nil {
				return err
			}
			page.Messages = append(page.Messages, shown)
		}
		gaps, lost, err := tx.Gaps(id)
		for _, g := range gaps {
			page.Missing += int(g.To - g.From + 1)
		}
		for _, g := range lost {
			page.Lost += int(g.To - g.From + 1)
		}
		return err
	})
	return page, err
}

// Search returns messages that contain all words of a query, the newest first;
// with who empty in all conversations.
func (a *Agent) Search(ctx context.Context, query, who string, limit int) ([]Message, error) {
	var in *message.ConversationID
	if who != "" {
		c, err := a.find(who)
		if err != nil {
			return nil, err
		}
		id := message.Direct(a.party(), c.Party)
		in = &id
	}
	list, err := a.store.Search(ctx, query, in, limit)
	if err != nil {
		return nil, err
	}
	out := []Message{}
	err = a.store.View(func(tx *store.Tx) error {
		for _, m := range list {
			shown, err := a.show(tx, m)
			if err != nil {
				return err
			}
			out = append(out, shown)
		}
		return nil
	})
	return out, err
}

// Export writes contacts, conversations and events in the clear, one JSON object
// a line.
func (a *Agent) Export(ctx context.Context, w io.Writer) error { return a.store.Export(ctx, w) }

// show returns a message as it is to be shown.
func (a *Agent) show(tx *store.Tx, m store.Message) (Message, error) {
	e := m.Event
	out := Message{
		ID: m.ID, Conversation: e.Conversation, At: positionOf(m.At), Author: e.Author.Account, Own: e.Author.Account == a.o.Account,
		From: a.nameFor(tx, e.Author.Account), Time: at(e.Time), Kind: e.Kind().String(), Text: message.Display(m.Text),
		Edited: m.Edited, Deleted: m.Deleted, Disputed: m.Disputed, Unread: m.Unread,
	}
	if m.Deleted {
		out.Kind = "deleted"
	}
	for _, r := range m.Reactions {
		out.Reactions = append(out.Reactions, Reaction{Emoji: r.Emoji, By: r.Accounts})
	}
	switch body := e.Body.(type) {
	case message.Reply:
		out.ReplyTo = body.To
	case message.File:
		f, err := tx.File(body.Ref.Root)
		if err != nil {
			return out, err
		}
		out.File = &File{Name: body.Name, Size: body.Ref.Size, Type: body.Ref.Type, State: f.State.String(), Path: f.Path}
	case message.Moved:
		out.Text = "their mail is kept elsewhere now"
		if out.Own {
			out.Text = "your mail is kept elsewhere now"
		}
	}
	if !out.Own {
		return out, nil
	}
	var err error
	out.Delivery, out.Trouble, err = a.deliveryOf(tx, m)
	return out, err
}

// deliveryOf returns how far an own message has come.
func (a *Agent) deliveryOf(tx *store.Tx, m store.Message) (Delivery, string, error) {
	e := m.Event
	items, err := tx.Undelivered(m.ID)
	if err != nil {
		return "", "", err
	}
	for _, it := range items {
		if it.Refused != "" {
			return Refused, it.Refused, nil
		}
	}
	r, err := a.load(tx, e.Conversation)
	if wire.CodeOf(err) == wire.NotFound {
		return Sent, "", nil
	}
	if err != nil {
		return "", "", err
	}
	if len(items) > 0 || slices.Contains(r.Unsealed, m.ID) {
		return Waiting, "", nil
	}
	list, err := tx.Reached(e.Conversation, r.With.Account)
	if err != nil {
		return "", "", fmt.Errorf("show a message: %w", err)
	}
	for _, reached := range list {
		if reached.Author != e.Author {
			continue
		}
		switch {
		case reached.Read >= e.Seq:
			return Read, "", nil
		case reached.Delivered >= e.Seq:
			return Delivered, "", nil
		}
	}
	return Sent, "", nil
}
