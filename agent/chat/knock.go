package chat

import (
	"bytes"
	"context"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// leaveKnock leaves our request at their concierge. If that is being done already,
// it waits for it: it costs work.
func (a *Agent) leaveKnock(ctx context.Context, id message.ConversationID, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	end, err := a.beginKnock(ctx, id)
	if end == nil {
		return err
	}
	defer end()
	if err := a.readBoxes(ctx, id); err != nil {
		return err
	}
	a.mu.Lock()
	r, ok := a.rooms[id]
	a.mu.Unlock()
	if !ok || len(r.Request) == 0 {
		return wire.Errorf(wire.NotFound, "there is no request to be left")
	}
	e, err := message.Decode(r.Request)
	if err != nil {
		return err
	}
	them, err := a.roster.ask(ctx, r.With.Account, listedAge)
	if err != nil {
		return err
	}
	if them.party() != r.With {
		return wire.Errorf(wire.Conflict, "the account has another owner now")
	}
	a.log.Debug("a knock is made", "conversation", id)
	progress("fetching keys of their devices")
	offers, err := a.fetchOffers(ctx, them.members(), nil)
	if err != nil {
		return err
	}
	sealed, err := e2ee.SealKnock(a.o.Rand, a.o.Keys.Device, r.With, e, offers)
	if err != nil {
		return err
	}
	if err := a.post.Knock(ctx, r.With, sealed, progress); err != nil {
		return err
	}
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err == nil {
			r.Asked = b.now
		}
		return err
	})
}

// beginKnock has nobody else leave a room's request until end is called; end is
// nil if somebody else has left it meanwhile, or ctx is over.
func (a *Agent) beginKnock(ctx context.Context, id message.ConversationID) (end func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		other := a.knocking[id]
		if other == nil {
			break
		}
		var before, after uint64
		if r, ok := a.rooms[id]; ok {
			before = r.Asked
		}
		a.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
		a.mu.Lock()
		if r, ok := a.rooms[id]; ok {
			after = r.Asked
		}
		if ctx.Err() != nil || after != before {
			return nil, ctx.Err()
		}
	}
	mine := make(chan struct{})
	a.knocking[id] = mine
	return func() {
		a.mu.Lock()
		delete(a.knocking, id)
		a.mu.Unlock()
		close(mine)
	}, nil
}

// askAnew tells a contact, by a knock, that this account's devices are others now
// and have no session with them.
func (a *Agent) askAnew(ctx context.Context, id message.ConversationID) error {
	err := a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		reach, _ := a.reach(r, a.party())
		e, err := message.New(id, a.author(), message.Place{}, a.o.Now(), message.ContactRequest{From: a.party(), Reach: reach.Encode()})
		if err != nil {
			return err
		}
		r.Request = e.Bytes()
		return nil
	})
	if err == nil {
		err = a.leaveKnock(ctx, id, nil)
	}
	if err != nil {
		return err
	}
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err == nil {
			r.Anew = false
		}
		return err
	})
}

// fetchOffers fetches KeyPackages of devices of one account. Devices that have
// none now are left out; the error is that of the last if there is none at all.
func (a *Agent) fetchOffers(ctx context.Context, devices []e2ee.Member, address *concierge.Address) (list []e2ee.Offer, err error) {
	var last error
	for _, m := range devices {
		p, err := a.post.Package(ctx, m.Party(), m.Device, address)
		if err != nil {
			last = err
			continue
		}
		o, err := e2ee.ParseOffer(p.Body, a.o.Now())
		if err != nil || o.Member.Author() != m.Author() || o.Member.Generation != m.Generation {
			last = wire.Errorf(wire.Unauthorized, "their concierge gave a key package that is not of that device")
			continue
		}
		list = append(list, o)
	}
	if len(list) == 0 && last != nil {
		return nil, last
	}
	return list, nil
}

// knock takes what somebody left in the knock queue.
func (b *batch) knock(body []byte) error {
	self := b.a.party()
	e, ref, err := e2ee.OpenKnock(body, self, b.offerSecret)
	if b.unread != nil {
		return b.unread
	}
	if err != nil {
		b.a.log.Debug("dropped a knock that does not open", "error", err)
		return nil
	}
	ask, ok := e.Body.(message.ContactRequest)
	them := message.Party{Account: e.Author.Account, Generation: ask.From.Generation}
	if !ok || ask.From.Account != e.Author.Account || e.Conversation != message.Direct(self, them) {
		return nil
	}
	err = b.a.roster.judge(e2ee.Member{Account: them.Account, Generation: them.Generation, Device: e.Author.Device})
	if waits(err) {
		return err
	}
	if err != nil {
		b.a.log.Info("dropped a knock of somebody who is not whom he says", "account", them.Account, "error", err)
		return nil
	}
	b.spend(ref)
	if _, err := e2ee.DecodeReach(ask.Reach); err != nil {
		return nil
	}
	if them.Account == self.Account {
		return b.introduced(e, ask)
	}
	return b.requested(e, them, ask)
}

// requested takes a request that is genuine.
func (b *batch) requested(e message.Event, them message.Party, ask message.ContactRequest) error {
	b.a.log.Debug("somebody asks to be a contact", "account", them.Account)
	c, err := b.contact(them.Account)
	isNew := wire.CodeOf(err) == wire.NotFound
	if err != nil && !isNew {
		return err
	}
	if !isNew && c.State == store.Blocked {
		return nil
	}
	if !isNew && c.Party != them {
		b.say(func() {
			b.a.feed.tell(Notice{Type: "notice", Contact: them.Account,
				Text: "the account of a contact has another owner now, who asks to be a contact: compare safety numbers before you accept"})
		})
		return nil
	}
	if isNew {
		if n, err := b.a.countContacts(store.Requested); err != nil || n >= maxRequests {
			return err
		}
		c = store.Contact{Party: them, State: store.Requested, Added: b.now}
		if l, ok := b.a.roster.cached(them.Account); ok {
			if h := l.entry.Primary(); h != "" {
				c.Handle = "@" + string(h)
			}
		}
	}
	id := message.Direct(b.a.party(), them)
	r, err := b.open(id, them)
	if err != nil {
		return err
	}
	if c.State == store.Accepted && b.a.oldRequest(id, r, e) {
		return nil
	}
	if c.State == store.Accepted {
		b.abandon(r, ask.Reach)
	}
	r.Reach = ask.Reach
	switch {
	case c.State == store.Invited: // both asked: that is an answer
		c.State, r.Mine = store.Accepted, true
		r.Answered, r.Changed = false, b.later(r)
		r.Request = e.Bytes()
	case c.State == store.Accepted:
		// They lost their secrets, or were restored from the phrase.
		r.Broken, r.Answered = b.now, false
		r.Request = e.Bytes()
	default:
		r.Request = e.Bytes()
	}
	b.setContact(c, isNew)
	b.tell(id)
	b.hurry(id)
	return nil
}

// abandon drops what waits for a contact's queue, if they read another one now: it
// is of a session that they lost, and what no receipt covers is said again in the
// next.
func (b *batch) abandon(r *room, next []byte) {
	old, ok := b.a.reach(r, r.With)
	to, err := e2ee.DecodeReach(next)
	if !ok || err != nil || old.Address == to.Address {
		return
	}
	b.do(func(tx *store.Tx) error { return tx.Abandon(destination{r.With, old.Address}.String()) })
}

// oldRequest reports whether a contact's request is one of before: repeated by
// whoever keeps knocks, it would have sessions made without end, or send mail where
// nobody reads any more.
func (a *Agent) oldRequest(id message.ConversationID, r *room, e message.Event) bool {
	had, err := message.Decode(r.Request)
	if err != nil || had.Author.Account != e.Author.Account {
		return false
	}
	if had.ID() != e.ID() {
		return e.Time < had.Time
	}
	// Repeated by its author if no answer reached him: then he has said nothing.
	var heard []message.Reached
	err = a.store.View(func(tx *store.Tx) (err error) {
		heard, err = tx.Standing(id)
		return err
	})
	return err == nil && len(heard) > 0
}

// answered takes the answer to our request.
func (b *batch) answered(id message.ConversationID, r *room, own bool, body message.ContactAnswer) error {
	if own || !body.Accepted {
		return nil
	}
	if _, err := e2ee.DecodeReach(body.Reach); err != nil {
		return nil
	}
	c, err := b.contact(r.With.Account)
	if err != nil {
		return err
	}
	if c.Party != r.With {
		return nil // whoever had the account before was not asked
	}
	if c.State != store.Invited && c.State != store.Accepted {
		return nil // nobody gets in by answering what was not asked
	}
	same := bytes.Equal(r.Reach, body.Reach)
	r.Reach = body.Reach
	if c.State == store.Invited {
		c.State = store.Accepted
		b.setContact(c, false)
	}
	if !same {
		b.tell(id)
	}
	b.hurry(id)
	return b.flush(id, r)
}
