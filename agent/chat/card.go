package chat

import (
	"context"
	"fmt"
	"strings"

	"github.com/confab-chat/confab/agent/card"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Card returns what to hand to somebody who wants to write to this person.
func (a *Agent) Card(ctx context.Context) (card.Card, error) {
	l, err := a.roster.ask(ctx, a.o.Account, judgeAge)
	if err != nil {
		return card.Card{}, fmt.Errorf("make a card: %w", err)
	}
	p := l.party()
	c := card.Card{Account: p.Account, Generation: p.Generation, Handle: l.entry.Primary(), Pin: a.o.Client.Newest()}
	for _, s := range a.o.Client.Sources() {
		with := c
		with.Sources = append(with.Sources, s)
		if with.Check() == nil {
			c = with // whatever is not a short URL stays out
		}
	}
	if err := c.Check(); err != nil {
		return card.Card{}, fmt.Errorf("make a card: %w", err)
	}
	return c, nil
}

// AddCard asks the owner of a card to be a contact, as [Agent.AddContact] does. met
// says that it was taken from their own hands: then the contact counts as verified.
// The error is of kind Invalid if the card is of another network, and Conflict if
// the account came under other control since the card was made.
func (a *Agent) AddCard(ctx context.Context, text string, met bool, greeting string, progress func(string)) (Contact, error) {
	c, err := card.Parse(text)
	if err != nil {
		return Contact{}, fmt.Errorf("add contact: %w", err)
	}
	if ours := a.o.Client.Pin().ChainID; c.Pin.ChainID != ours {
		return Contact{}, wire.Errorf(wire.Invalid, "add contact: the card is of the network %s, and this agent is on %s", c.Pin.ChainID, ours)
	}
	them, err := a.roster.ask(ctx, c.Account, 0)
	if err != nil {
		return Contact{}, fmt.Errorf("add contact: the account of the card: %w", err)
	}
	if p := them.party(); p.Generation != c.Generation {
		return Contact{}, wire.Errorf(wire.Conflict, "add contact: the account of the card is of generation %d, and the card of %d: it came under other control, so ask them for a new one", p.Generation, c.Generation)
	}
	handle := ""
	if h := them.entry.Primary(); h != "" {
		handle = "@" + string(h) // what the card says may have been given to somebody else
	}
	err = a.request(ctx, them, handle, greeting, progress)
	if wire.CodeOf(err) == wire.Exists && met {
		err = nil // met after all
	}
	if err != nil {
		return Contact{}, fmt.Errorf("add contact: %w", err)
	}
	if met {
		return a.MarkVerified(ctx, c.Account.String(), true)
	}
	return a.Contact(ctx, c.Account.String())
}

// SendAll sends the same text to each contact, as a message of each conversation:
// nobody sees who else got it. It returns what was sent, and to whom it could not
// be sent and why.
func (a *Agent) SendAll(ctx context.Context, text string) (sent []Message, failed []Unsent, err error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil, wire.Errorf(wire.Invalid, "send to all: the text is empty")
	}
	if err := message.CheckText(text, message.MaxText); err != nil {
		return nil, nil, wire.Errorf(wire.Invalid, "send to all: %w", err) // nobody would get it
	}
	var list []store.Contact
	err = a.store.View(func(tx *store.Tx) (err error) {
		list, err = tx.Contacts()
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("send to all: %w", err)
	}
	for _, c := range list {
		if c.State != store.Accepted {
			continue
		}
		m, err := a.Send(ctx, c.Party.Account.String(), Draft{Text: text})
		switch {
		case err != nil && ctx.Err() != nil:
			return sent, failed, fmt.Errorf("send to all: %w", err)
		case err != nil:
			failed = append(failed, Unsent{Contact: c.Party.Account, Handle: c.Handle, Error: err.Error()})
		default:
			sent = append(sent, m)
		}
	}
	if len(sent)+len(failed) == 0 {
		return nil, nil, wire.Errorf(wire.NotFound, "send to all: you have no contacts yet")
	}
	return sent, failed, nil
}
