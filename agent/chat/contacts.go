package chat

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// AddContact asks the owner of a handle to be a contact. The request is on disk
// when it returns, and most often at their concierge too, which takes some seconds
// of work; if it cannot be left there now, as when they have not been online yet,
// progress says why, and it is left later. Asking who asked us is accepting.
func (a *Agent) AddContact(ctx context.Context, handle, greeting string, progress func(string)) (Contact, error) {
	h, err := namesvc.ParseHandle(handle)
	if err != nil {
		return Contact{}, wire.Errorf(wire.Invalid, "add contact %.40q: %w", handle, err)
	}
	res, err := a.o.Client.Resolve(ctx, h, 0)
	if err != nil {
		return Contact{}, fmt.Errorf("add contact %s: %w", h, err)
	}
	them, err := a.roster.ask(ctx, res.Entry.Account, 0)
	if err == nil {
		err = a.request(ctx, them, "@"+string(h), greeting, progress)
	}
	if err != nil {
		return Contact{}, fmt.Errorf("add contact %s: %w", h, err)
	}
	return a.Contact(ctx, them.entry.Account.String())
}

// request asks an account to be a contact, or accepts that it asks us.
func (a *Agent) request(ctx context.Context, them listed, handle, greeting string, progress func(string)) error {
	greeting = message.Clean(greeting)
	if err := message.CheckText(greeting, message.MaxAbout); greeting != "" && err != nil {
		return wire.Errorf(wire.Invalid, "the greeting: %w", err)
	}
	switch {
	case them.entry.Account == a.o.Account:
		return wire.Errorf(wire.Invalid, "that is you")
	case len(them.entry.Records.Concierges) == 0:
		return wire.Errorf(wire.NotFound, "they have chosen no concierge yet, so nothing can reach them")
	case len(them.members()) == 0:
		return wire.Errorf(wire.NotFound, "no device of theirs takes part in conversations")
	}
	var accept bool
	err := a.change(ctx, func(b *batch) (err error) {
		accept, err = b.invite(them.party(), handle, greeting)
		return err
	})
	if err != nil {
		return err
	}
	if accept {
		_, err := a.AcceptContact(ctx, them.entry.Account.String())
		return err
	}
	id := message.Direct(a.party(), them.party())
	if err := a.leaveKnock(ctx, id, progress); err != nil {
		// It is on disk, and tending leaves it as soon as that is possible.
		if progress != nil {
			progress(fmt.Sprintf("the request waits, and is left when that is possible: %v", err))
		}
		a.log.Info("a request for contact waits", "conversation", id, "error", err)
	}
	return nil
}

// invite makes the contact and its room. accept says that they had asked before.
func (b *batch) invite(them message.Party, handle, greeting string) (accept bool, err error) {
	c, err := b.contact(them.Account)
	isNew := wire.CodeOf(err) == wire.NotFound
	switch {
	case isNew:
	case err != nil:
		return false, err
	case c.Party != them:
		return false, wire.Errorf(wire.Conflict, "the account has another owner than when it became a contact: remove that contact first")
	case c.State == store.Accepted:
		return false, wire.Errorf(wire.Exists, "%s is a contact already", handle)
	case c.State == store.Blocked:
		return false, wire.Errorf(wire.Conflict, "%s is blocked: unblock them first", handle)
	case c.State == store.Requested:
		return true, nil
	}
	c = store.Contact{Party: them, State: store.Invited, Handle: handle, Added: b.now}
	id := message.Direct(b.a.party(), them)
	r, err := b.open(id, them)
	if err != nil {
		return false, err
	}
	e, err := message.New(id, b.a.author(), message.Place{}, b.a.o.Now(), message.ContactRequest{
		From: b.a.party(), Greeting: greeting, Reach: e2ee.Reach{Address: r.Address, Key: r.Key}.Encode(),
	})
	if err != nil {
		return false, err
	}
	r.Request, r.Asked, r.Changed = e.Bytes(), 0, b.later(r)
	b.setContact(c, isNew)
	b.tell(id)
	return false, nil
}

// open makes a room unless it is there.
func (b *batch) open(id message.ConversationID, with message.Party) (*room, error) {
	if r, err := b.room(id); wire.CodeOf(err) != wire.NotFound {
		return r, err
	}
	r := &room{Version: 1, With: with, Changed: b.now, Seed: make([]byte, 32)}
	if _, err := io.ReadFull(b.a.o.Rand, r.Seed); err != nil {
		return nil, err
	}
	k, err := e2ee.NewEnvelopeKey(b.a.o.Rand)
	if err != nil {
		return nil, err
	}
	r.Key = k
	self := b.a.party()
	r.Address = concierge.OwnerOf(self.Account, self.Generation).Address(concierge.Seed(r.Seed))
	b.rooms[id] = r
	b.then = append(b.then, func() { b.a.looked[id] = true })
	b.do(func(tx *store.Tx) error {
		err := tx.AddConversation(store.Conversation{ID: id, With: with, Added: b.now})
		if wire.CodeOf(err) == wire.Exists {
			return nil
		}
		return err
	})
	b.hurry(id)
	return r, nil
}

// AcceptContact accepts who asked to be a contact. What cannot be sent now is
// sent later.
func (a *Agent) AcceptContact(ctx context.Context, who string) (Contact, error) {
	return a.decide(ctx, "accept contact", who, func(b *batch, c *store.Contact, r *room, id message.ConversationID) error {
		switch c.State {
		case store.Accepted:
			return nil
		case store.Requested:
			c.State, r.Mine = store.Accepted, true
			b.hurry(id)
			return nil
		}
		return wire.Errorf(wire.Conflict, "they did not ask; their state is: %v", c.State)
	})
}

// BlockContact drops whatever a contact sends from now on, unopened. They are not
// told.
func (a *Agent) BlockContact(ctx context.Context, who string) (Contact, error) {
	return a.decide(ctx, "block contact", who, func(b *batch, c *store.Contact, r *room, id message.ConversationID) error {
		c.State = store.Blocked
		b.unkeep(id, r)
		return nil
	})
}

// UnblockContact takes that back: the contact is as one that was accepted, or
// asks again. If mail was dropped meanwhile the contact is asked for a new session.
func (a *Agent) UnblockContact(ctx context.Context, who string) (Contact, error) {
	return a.decide(ctx, "unblock contact", who, func(b *batch, c *store.Contact, r *room, id message.ConversationID) error {
		if c.State != store.Blocked {
			return wire.Errorf(wire.Conflict, "they are not blocked")
		}
		c.State = store.Requested
		if len(r.Group) > 0 {
			c.State = store.Accepted
			_, err := b.note(unheardNote(id))
			if err != nil && wire.CodeOf(err) != wire.NotFound {
				return err
			}
			r.Anew = err == nil
		}
		b.hurry(id)
		return nil
	})
}

// NameContact sets what this person calls a contact.
func (a *Agent) NameContact(ctx context.Context, who, name string) (Contact, error) {
	if err := message.CheckLine(name, message.MaxLine); name != "" && err != nil {
		return Contact{}, wire.Errorf(wire.Invalid, "name contact: %w", err)
	}
	return a.decide(ctx, "name contact", who, func(_ *batch, c *store.Contact, _ *room, _ message.ConversationID) error {
		c.Name = name
		return nil
	})
}

// MarkVerified says that the safety numbers were compared, or takes it back.
func (a *Agent) MarkVerified(ctx context.Context, who string, ok bool) (Contact, error) {
	return a.decide(ctx, "verify contact", who, func(b *batch, c *store.Contact, _ *room, _ message.ConversationID) error {
		c.Verified = 0
		if ok {
			c.Verified = b.now
		}
		return nil
	})
}

// Repin accepts that a contact's account is under other control now, because this
// person has made sure who that is. The conversation with whoever had it before
// stays as it was; a new one begins, which has to be asked for.
func (a *Agent) Repin(ctx context.Context, who string) (Contact, error) {
	c, err := a.find(who)
	if err != nil {
		return Contact{}, fmt.Errorf("accept a contact's new control: %w", err)
	}
	l, err := a.roster.ask(ctx, c.Party.Account, 0)
	if err != nil {
		return Contact{}, fmt.Errorf("accept a contact's new control: %w", err)
	}
	if l.party() == c.Party {
		return Contact{}, wire.Errorf(wire.Conflict, "accept a contact's new control: the account of %s is under the control that you know", who)
	}
	var id message.ConversationID
	err = a.change(ctx, func(b *batch) error {
		c.Party, c.State, c.Verified = l.party(), store.Invited, 0
		b.do(func(tx *store.Tx) error { return tx.Repin(c.Party) })
		b.setContact(c, false)
		id = message.Direct(a.party(), c.Party)
		r, err := b.open(id, c.Party)
		if err != nil {
			return err
		}
		e, err := message.New(id, a.author(), message.Place{}, a.o.Now(), message.ContactRequest{
			From: a.party(), Reach: e2ee.Reach{Address: r.Address, Key: r.Key}.Encode(),
		})
		r.Request, r.Asked, r.Changed = e.Bytes(), 0, b.later(r)
		b.tell(id)
		return err
	})
	if err != nil {
		return Contact{}, fmt.Errorf("accept a contact's new control: %w", err)
	}
	return a.Contact(ctx, c.Party.Account.String())
}

// RemoveContact forgets a contact, its conversation and its queue.
func (a *Agent) RemoveContact(ctx context.Context, who string) error {
	c, err := a.find(who)
	if err != nil {
		return fmt.Errorf("remove contact: %w", err)
	}
	id := message.Direct(a.party(), c.Party)
	var box concierge.Address
	err = a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		box = r.Address
		changed := b.later(r)
		b.remove(id, r, changed)
		return b.tellGone(c.Party, changed)
	})
	if err != nil {
		return fmt.Errorf("remove contact %s: %w", who, err)
	}
	a.deleteQueue(ctx, box.Queue())
	return nil
}

// later returns a time for what is decided now about a room: after everything that
// was decided before, also by a clock that was ahead of this one. What was decided
// last counts among a person's devices.
func (b *batch) later(r *room) uint64 { return max(b.now, r.Changed+1) }

// decide changes a contact on behalf of this person.
func (a *Agent) decide(ctx context.Context, op, who string, f func(*batch, *store.Contact, *room, message.ConversationID) error) (Contact, error) {
	found, err := a.find(who)
	if err != nil {
		return Contact{}, fmt.Errorf("%s: %w", op, err)
	}
	err = a.change(ctx, func(b *batch) error {
		c, err := b.contact(found.Party.Account)
		if err != nil {
			return err
		}
		id := message.Direct(a.party(), c.Party)
		r, err := b.room(id)
		if err != nil {
			return err
		}
		if err := f(b, &c, r, id); err != nil {
			return err
		}
		r.Changed = b.later(r)
		b.setContact(c, false)
		b.tell(id)
		return nil
	})
	if err != nil {
		return Contact{}, fmt.Errorf("%s %s: %w", op, who, err)
	}
	return a.Contact(ctx, found.Party.Account.String())
}

// find returns the contact that a person means: by handle, account id or the
// name that this person gave.
func (a *Agent) find(who string) (found store.Contact, err error) {
	var list []store.Contact
	err = a.store.View(func(tx *store.Tx) (err error) {
		list, err = tx.Contacts()
		return err
	})
	if err != nil {
		return found, err
	}
	name := strings.TrimPrefix(strings.ToLower(who), "@")
	var matches []store.Contact
	for _, c := range list {
		switch {
		case c.Party.Account.String() == who:
			return c, nil
		case name != "" && strings.TrimPrefix(c.Handle, "@") == name, who != "" && c.Name == who:
			matches = append(matches, c)
		}
	}
	switch len(matches) {
	case 0:
		return found, wire.Errorf(wire.NotFound, "%.80q is no contact; see: confab contact list", who)
	case 1:
		return matches[0], nil
	}
	return found, wire.Errorf(wire.Invalid, "%.80q may be several contacts: give the account id", who)
}

func (a *Agent) countContacts(s store.ContactState) (n int, err error) {
	err = a.store.View(func(tx *store.Tx) error {
		list, err := tx.Contacts(s)
		n = len(list)
		return err
	})
	return n, err
}

// Safety returns what this person and a contact compare.
func (a *Agent) Safety(ctx context.Context, who string) (Safety, error) {
	c, err := a.find(who)
	if err != nil {
		return Safety{}, fmt.Errorf("safety number: %w", err)
	}
	shown, err := a.Contact(ctx, c.Party.Account.String())
	return Safety{Contact: shown, Number: e2ee.SafetyNumber(a.party(), c.Party)}, err
}
