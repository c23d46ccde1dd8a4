package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// Draft is what a person wants to say.
type Draft struct {
	Text    string     `json:"text,omitempty"`
	ReplyTo message.ID `json:"reply_to,omitzero"`
	File    string     `json:"file,omitempty"` // a path on this machine; Text goes with it
}

// Send says something to a contact. When it returns, the message is on disk and
// will be sent, however long that takes; to a contact who has not accepted yet,
// once they have.
func (a *Agent) Send(ctx context.Context, who string, d Draft) (Message, error) {
	body, err := a.draft(ctx, d)
	if err != nil {
		return Message{}, fmt.Errorf("send to %s: %w", who, err)
	}
	id, err := a.say(ctx, who, body)
	if err != nil {
		return Message{}, fmt.Errorf("send to %s: %w", who, err)
	}
	return a.Message(ctx, id)
}

func (a *Agent) draft(ctx context.Context, d Draft) (message.Body, error) {
	text := message.Clean(d.Text)
	switch {
	case d.File != "":
		return a.fileBody(ctx, d.File, text)
	case !d.ReplyTo.IsZero():
		return message.Reply{To: d.ReplyTo, Text: text}, nil
	}
	return message.Text{Text: text}, nil
}

// React sets or takes back a sign at a message.
func (a *Agent) React(ctx context.Context, id message.ID, emoji string, on bool) error {
	return a.about(ctx, "react", id, false, message.Reaction{To: id, Emoji: emoji, On: on})
}

// Edit gives an own message other words.
func (a *Agent) Edit(ctx context.Context, id message.ID, text string) error {
	return a.about(ctx, "edit", id, true, message.Edit{To: id, Text: message.Clean(text)})
}

// Delete asks everybody to forget an own message. Copies may remain.
func (a *Agent) Delete(ctx context.Context, id message.ID) error {
	return a.about(ctx, "delete", id, true, message.Delete{To: id})
}

// about says something about a message.
func (a *Agent) about(ctx context.Context, op string, id message.ID, own bool, body message.Body) error {
	var m store.Message
	err := a.store.View(func(tx *store.Tx) (err error) {
		m, err = tx.Message(id)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if own && m.Event.Author.Account != a.o.Account {
		return wire.Errorf(wire.Unauthorized, "%s: the message is not yours", op)
	}
	if _, err := a.sayIn(ctx, m.Event.Conversation, body); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// say makes an event in the conversation with a contact.
func (a *Agent) say(ctx context.Context, who string, body message.Body) (message.ID, error) {
	c, err := a.find(who)
	if err != nil {
		return message.ID{}, err
	}
	if c.State == store.Blocked || c.State == store.Requested {
		return message.ID{}, wire.Errorf(wire.Conflict, "%s is %v: %s", who, c.State, map[store.ContactState]string{
			store.Blocked: "unblock them first", store.Requested: "accept them first",
		}[c.State])
	}
	return a.sayIn(ctx, message.Direct(a.party(), c.Party), body)
}

func (a *Agent) sayIn(ctx context.Context, id message.ConversationID, body message.Body) (message.ID, error) {
	var e message.Event
	err := a.change(ctx, func(b *batch) (err error) {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		e, err = b.make(id, r, body)
		return err
	})
	if err != nil && body.Kind().Chained() && a.has(e.ID()) {
		err = nil // whether it was written was not known
	}
	return e.ID(), err
}

// has reports whether an event is on disk.
func (a *Agent) has(id message.ID) bool {
	return !id.IsZero() && a.store.View(func(tx *store.Tx) error {
		_, err := tx.Event(id)
		return err
	}) == nil
}

// make makes an event of this device and puts it on its way.
func (b *batch) make(id message.ConversationID, r *room, body message.Body) (message.Event, error) {
	var place message.Place
	if body.Kind().Chained() {
		// Nothing else makes events while a batch is made, so the place holds. (It
		// may take note of the author, which is why it is no View.)
		err := b.a.store.Update(func(tx *store.Tx) (err error) {
			place, err = tx.Next(id, b.a.author())
			return err
		})
		if err != nil {
			return message.Event{}, err
		}
	}
	e, err := message.New(id, b.a.author(), place, b.a.o.Now(), body)
	if err != nil {
		return message.Event{}, wire.Errorf(wire.Invalid, "%w", err)
	}
	if body.Kind().Chained() {
		b.do(func(tx *store.Tx) error {
			_, err := tx.AddEvent(e)
			return err
		})
		b.say(func() { b.a.feed.tell(b.a.changedNotice(r.With.Account, e)) })
	}
	return e, b.dispatch(id, r, e)
}

// dispatch seals an event and queues it, or keeps it until that is possible.
func (b *batch) dispatch(id message.ConversationID, r *room, e message.Event) error {
	ready, err := b.ready(r)
	if err != nil {
		return err
	}
	if !e.Kind().Chained() {
		// It is worth nothing once late, and has no place among what waits.
		if late, err := b.late(r, e); !ready || late || err != nil {
			return err
		}
		return b.seal(r, e2ee.Payload{Event: &e}, e.ID())
	}
	if !ready || len(r.Unsealed) > 0 {
		if slices.Contains(r.Unsealed, e.ID()) {
			return nil
		}
		if len(r.Unsealed) >= maxUnsealed {
			return wire.Errorf(wire.Exhausted, "%d messages wait for the contact, and no more fit: wait until they can be sent", len(r.Unsealed))
		}
		r.Unsealed = append(r.Unsealed, e.ID())
		b.hurry(id)
		return nil
	}
	return b.seal(r, e2ee.Payload{Event: &e}, e.ID())
}

// late reports whether an event would be worth nothing where it has to wait
// behind others.
func (b *batch) late(r *room, e message.Event) (waits bool, err error) {
	to, ok := b.a.reach(r, r.With)
	if e.Kind() != message.KindTyping || !ok {
		return false, nil
	}
	err = b.a.store.View(func(tx *store.Tx) (err error) {
		waits, err = tx.Waits(destination{r.With, to.Address}.String())
		return err
	})
	return waits, err
}

// ready reports whether the session in use can seal: it is there, whole, nobody
// in it had to go as far as the chain was heard, it is known where the other side
// reads, and the outbox takes more.
func (b *batch) ready(r *room) (bool, error) {
	if len(r.Group) == 0 || r.Broken != 0 {
		return false, nil
	}
	if _, ok := b.a.reach(r, r.With); !ok {
		return false, nil
	}
	if id := b.a.id(r); !b.a.current(id) {
		t := b.a.times[id]
		t.next = min(t.next, b.now+ms(lookAgain))
		b.a.times[id] = t
		return false, nil
	}
	s, err := b.session(r, r.Group)
	if wire.CodeOf(err) == wire.NotFound {
		return false, b.broken(b.a.id(r), r, r.Group, err)
	}
	if err != nil {
		return false, err
	}
	for _, p := range b.a.parties(r) {
		l, ok := b.a.roster.cached(p.Account)
		if !ok {
			b.hurry(b.a.id(r)) // which asks the chain
			return false, nil
		}
		if l.party() != p {
			return false, nil
		}
	}
	if remove, _ := s.Due(b.a.listedIn(r)); len(remove) > 0 {
		return false, nil
	}
	return b.spacious(r)
}

// spacious reports whether the outbox takes an event for all parties of a room
// and leaves enough for what keeps the session going.
func (b *batch) spacious(r *room) (bool, error) {
	for _, p := range b.a.parties(r) {
		reach, ok := b.a.reach(r, p)
		if !ok {
			continue
		}
		if ok, err := b.fits(destination{p, reach.Address}, outboxReserve); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// listedIn returns the devices of a room's parties as far as they are known.
func (a *Agent) listedIn(r *room) (all []e2ee.Member) {
	for _, p := range a.parties(r) {
		if l, ok := a.roster.cached(p.Account); ok && l.party() == p {
			all = append(all, l.members()...)
		}
	}
	return all
}

// seal seals a payload and queues it for the other party, and for the own other
// devices if there are any.
func (b *batch) seal(r *room, p e2ee.Payload, about message.ID) error {
	r.Spoke = b.now
	s, err := b.session(r, r.Group)
	if err != nil {
		return err
	}
	m, err := s.Seal(b.a.o.Rand, p)
	if err != nil {
		return err
	}
	for _, to := range b.a.parties(r) {
		if to.Account == b.a.o.Account && !b.others(s) {
			continue
		}
		about := about
		if to.Account == b.a.o.Account {
			about = message.ID{} // that it is with one's own devices says nothing
		}
		if err := b.wrap(r, to, about, m); err != nil {
			return err
		}
	}
	return nil
}

// others reports whether the account has other devices in a session.
func (b *batch) others(s *e2ee.Session) bool {
	return slices.ContainsFunc(s.Members(), func(m e2ee.Member) bool {
		return m.Account == b.a.o.Account && m.Device != b.a.o.Keys.Device.Public()
	})
}

// wrap queues an MLS message for a party.
func (b *batch) wrap(r *room, to message.Party, about message.ID, m []byte) error {
	reach, ok := b.a.reach(r, to)
	if !ok {
		return wire.Errorf(wire.NotFound, "it is not known where the other side reads")
	}
	list, err := e2ee.EnvelopeKey(reach.Key).Wrap(b.a.o.Rand, m)
	if err != nil {
		return err
	}
	_, err = b.queue(to, reach.Address, about, list)
	return err
}

// flush seals what waited for a session.
func (b *batch) flush(id message.ConversationID, r *room) error {
	if len(r.Unsealed) == 0 {
		return nil
	}
	ready, err := b.ready(r)
	if err != nil || !ready {
		return err
	}
	list := r.Unsealed
	r.Unsealed = nil
	for i, eid := range list {
		if ok, err := b.spacious(r); err != nil || !ok {
			r.Unsealed = list[i:]
			return err
		}
		var e message.Event
		err := b.a.store.View(func(tx *store.Tx) (err error) {
			e, err = tx.Event(eid)
			return err
		})
		if wire.CodeOf(err) == wire.NotFound {
			continue // deleted meanwhile
		}
		if err == nil {
			err = b.seal(r, e2ee.Payload{Event: &e}, eid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// askedAgain takes note of what the other side misses; a.mu is held. It is sent
// when the conversation is looked after, and not more often than resendEvery
// however often it is asked for.
func (a *Agent) askedAgain(id message.ConversationID, ranges []message.Range) {
	t := a.times[id]
	for _, g := range ranges {
		if len(t.wanted) < message.MaxRanges && !slices.Contains(t.wanted, g) {
			t.wanted = append(slices.Clone(t.wanted), g)
		}
	}
	a.times[id] = t
	wake(a.tend)
}

// resend seals events again that the other side misses.
func (a *Agent) resend(ctx context.Context, id message.ConversationID, ranges []message.Range) {
	err := a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		left, bytes := maxResent, maxResentBytes
		for _, g := range ranges {
			if !a.answersFor(g.Author) {
				continue
			}
			var list []message.Event
			err := a.store.View(func(tx *store.Tx) (err error) {
				list, err = tx.Events(id, g)
				return err
			})
			if err != nil {
				return err
			}
			for _, e := range list {
				if left == 0 || bytes <= 0 {
					return nil
				}
				if err := b.dispatch(id, r, e); err != nil {
					return err
				}
				left, bytes = left-1, bytes-len(e.Bytes())
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		a.log.Info("could not send again what a contact misses", "conversation", id, "error", err)
	}
}

// Typing tells a contact that something is being written.
func (a *Agent) Typing(ctx context.Context, who string, seconds int) error {
	if seconds < 0 || seconds > message.MaxTyping {
		return wire.Errorf(wire.Invalid, "typing: 0 to %d seconds are allowed", message.MaxTyping)
	}
	if _, err := a.say(ctx, who, message.Typing{Seconds: uint8(seconds)}); err != nil {
		return fmt.Errorf("typing: %w", err)
	}
	return nil
}

func typingText(t message.Typing) string {
	if t.Seconds == 0 {
		return ""
	}
	return "typing"
}
