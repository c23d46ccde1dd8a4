package chat

import (
	"context"
	"slices"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// tendSession makes a session, mends it, and keeps it in step with the devices
// that the chain lists.
func (a *Agent) tendSession(ctx context.Context, id message.ConversationID, r *room) error {
	now := a.now()
	var t timing
	patience := 10 * healAfter
	if r.Behind {
		patience = healAfter
	}
	a.timing(id, func(p *timing) {
		if r.EarlyFrom == r.EarlyTo {
			p.stuck = 0
		} else if p.stuck == 0 {
			p.stuck = now
		}
		t = *p
	})
	switch _, reachable := a.reach(r, r.With); {
	case !reachable:
		return nil // the answer brings it
	case len(r.Group) == 0:
		if a.own(r) && len(a.otherDevices()) == 0 || !a.first(id, r, now) || !past(r.Asked, healAfter, now) {
			return nil // somebody else makes it
		}
		return a.makeInstance(ctx, id, r)
	case r.Broken != 0, t.stuck != 0 && past(t.stuck, patience, now):
		return a.heal(ctx, id, r)
	}
	return a.tendMembers(ctx, id, r)
}

// heal makes a new instance of a session that cannot go on. Each that does not
// last makes the next one wait longer, so that nobody can keep this device busy
// with making them.
func (a *Agent) heal(ctx context.Context, id message.ConversationID, r *room) error {
	now := a.now()
	wait := false
	a.timing(id, func(p *timing) {
		if past(p.healed, healedLong, now) {
			p.heals = 0
		}
		if wait = p.healed != 0 && !past(p.healed, healAfter<<min(p.heals, 6), now); !wait {
			p.healed, p.heals, p.stuck = now, p.heals+1, 0
		}
	})
	if wait {
		return nil
	}
	return a.makeInstance(ctx, id, r)
}

// healedLong is after what time a session has lasted.
const healedLong = 24 * time.Hour

// first reports whether this device is to make a room's first session: the one
// that decided about the contact, and any other if that takes too long.
func (a *Agent) first(id message.ConversationID, r *room, now uint64) bool {
	if r.Mine {
		return true
	}
	if a.own(r) {
		l, _ := a.roster.cached(a.o.Account)
		if all := l.members(); len(all) > 0 && all[0].Device == a.o.Keys.Device.Public() {
			return true
		}
	}
	return past(r.Changed, healAfter, now)
}

// makeInstance makes a new session of a room with all devices that can be had.
func (a *Agent) makeInstance(ctx context.Context, id message.ConversationID, old *room) error {
	offers, err := a.offersFor(ctx, old, append(a.otherDevices(), a.theirDevices(old)...))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(offers, func(o e2ee.Offer) bool { return o.Member.Account == old.With.Account }) {
		return wire.Errorf(wire.Unavailable, "no device of the other side has a key package now")
	}
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		if string(r.Group) != string(old.Group) || r.Broken != old.Broken && r.Broken == 0 {
			return nil // another came meanwhile
		}
		s, welcome, err := e2ee.Create(a.o.Rand, a.o.Now(), a.options(r), max(r.Instance, r.Least)+1, offers)
		if err != nil {
			return err
		}
		b.unkeepEarly(id, r) // it is asked for by number, if it counts
		b.enter(r, s)
		r.Renewed = b.now
		if err := b.welcomeTo(r, offersOf(offers), welcome); err != nil {
			return err
		}
		return b.settled(id, r)
	})
}

func offersOf(list []e2ee.Offer) (out []e2ee.Member) {
	for _, o := range list {
		out = append(out, o.Member)
	}
	return out
}

// theirDevices returns the other side's devices; in the own room there are none.
func (a *Agent) theirDevices(r *room) []e2ee.Member {
	if a.own(r) {
		return nil
	}
	l, ok := a.roster.cached(r.With.Account)
	if !ok || l.party() != r.With {
		return nil
	}
	return l.members()
}

// offersFor fetches KeyPackages of devices of both sides, with the addresses that
// are known, so that no work is due.
func (a *Agent) offersFor(ctx context.Context, r *room, devices []e2ee.Member) (list []e2ee.Offer, last error) {
	byAccount := map[namesvc.AccountID][]e2ee.Member{}
	for _, m := range devices {
		byAccount[m.Account] = append(byAccount[m.Account], m)
	}
	for account, members := range byAccount {
		var address *concierge.Address
		p := a.party()
		if account != a.o.Account {
			p = r.With
		}
		if reach, ok := a.reach(r, p); ok {
			to := concierge.Address(reach.Address)
			address = &to
		}
		offers, err := a.fetchOffers(ctx, members, address)
		if err != nil {
			last = err
		}
		list = append(list, offers...)
	}
	if len(list) == 0 && last != nil {
		return nil, last
	}
	return list, nil
}

// welcomeTo queues a Welcome for the parties of those who were added.
func (b *batch) welcomeTo(r *room, added []e2ee.Member, welcome []byte) error {
	if len(welcome) == 0 {
		return nil
	}
	for _, p := range b.a.parties(r) {
		if slices.ContainsFunc(added, func(m e2ee.Member) bool { return m.Account == p.Account }) {
			if err := b.wrap(r, p, message.ID{}, welcome); err != nil {
				return err
			}
		}
	}
	return nil
}

// settled does what follows when devices have come into the session in use.
func (b *batch) settled(id message.ConversationID, r *room) error {
	if b.a.own(r) {
		return b.snapshot(r)
	}
	if err := b.answer(id, r); err != nil {
		return err
	}
	if err := b.flush(id, r); err != nil {
		return err
	}
	return b.again(id, r)
}

// answer says that the contact's request is accepted, and where this side reads.
func (b *batch) answer(id message.ConversationID, r *room) error {
	if r.Answered || len(r.Request) == 0 {
		return nil
	}
	ready, err := b.ready(r)
	if err != nil || !ready {
		return err
	}
	ask, err := message.Decode(r.Request)
	if err != nil {
		return err
	}
	if ask.Author.Account == b.a.o.Account {
		return nil // it was ours
	}
	r.Answered = true
	reach, _ := b.a.reach(r, b.a.party())
	_, err = b.make(id, r, message.ContactAnswer{To: ask.ID(), Accepted: true, Reach: reach.Encode()})
	return err
}
