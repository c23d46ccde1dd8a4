package chat

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/confab-chat/confab/agent/ratchet"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// tendMembers commits what the chain's device lists call for.
func (a *Agent) tendMembers(ctx context.Context, id message.ConversationID, old *room) error {
	var remove, add []e2ee.Member
	var renew bool
	err := a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		s, err := b.session(r, r.Group)
		if wire.CodeOf(err) == wire.NotFound {
			return b.broken(id, r, r.Group, err)
		}
		if err != nil {
			return err
		}
		remove, add = s.Due(a.listedIn(r))
		renew = r.Renewed != 0 && r.Spoke > r.Renewed && past(r.Renewed, renewAfter, b.now)
		if err := b.answer(id, r); err != nil {
			return err
		}
		return b.flush(id, r)
	})
	if err != nil {
		return err
	}
	if old.Commit != nil {
		if len(remove) > 0 && past(old.Commit.Since, healAfter, a.now()) {
			// Who has to go must not stay because the slot cannot be reached.
			return a.makeInstance(ctx, id, old)
		}
		return nil
	}
	if len(remove) == 0 && len(add) == 0 && !renew {
		return nil
	}
	if old.Taken != 0 {
		// Another's commit is in force and has not come. Mostly it does; if whoever
		// made it is away, nobody can change this session any more.
		if len(remove)+len(add) > 0 && past(old.Taken, healAfter, a.now()) {
			return a.heal(ctx, id, old)
		}
		return nil
	}
	var offers []e2ee.Offer
	if len(add) > 0 {
		if offers, err = a.offersFor(ctx, old, add); err != nil && len(remove) == 0 && !renew {
			return err
		}
	}
	return a.change(ctx, func(b *batch) error { return b.commit(id, old, offers) })
}

// commit puts a commit on its way to its slot.
func (b *batch) commit(id message.ConversationID, old *room, offers []e2ee.Offer) error {
	a := b.a
	r, err := b.room(id)
	if err != nil {
		return err
	}
	if r.Commit != nil || r.Taken != 0 || string(r.Group) != string(old.Group) || r.Broken != 0 {
		return nil
	}
	s, err := b.session(r, r.Group)
	if err != nil {
		return err
	}
	c, err := s.Commit(a.o.Rand, a.o.Now(), a.listedIn(r), offers)
	if errors.Is(err, e2ee.ErrBroken) {
		return b.broken(id, r, r.Group, err)
	}
	if err != nil {
		return err
	}
	raw, err := c.MarshalBinary()
	if err != nil {
		return err
	}
	to := a.orders(r)
	reach, ok := a.reach(r, to)
	if !ok {
		return nil
	}
	list, err := e2ee.EnvelopeKey(reach.Key).WrapCommit(a.o.Rand, c.Message, c.Slot, c.Epoch)
	if err != nil {
		return err
	}
	ids, err := b.queue(to, reach.Address, message.ID{}, list)
	if err != nil || len(ids) == 0 {
		return err
	}
	b.keys = append(b.keys, commitKey(r.Group, raw))
	r.Commit = &pending{Epoch: c.Epoch, Hash: sha256.Sum256(c.Message), IDs: ids, Since: b.now}
	return nil
}

// shelfOfCommit names the shelf of a session's own commit that is under way.
func shelfOfCommit(group []byte) []byte { return append([]byte("x"), group...) }

func commitKey(group, value []byte) ratchet.Change {
	return ratchet.Change{Shelf: shelfOfCommit(group), Key: []byte("c"), Value: value}
}

// announce tells everybody else of a commit of ours that has its slot.
func (b *batch) announce(r *room, s *e2ee.Session, c *e2ee.Change) error {
	for _, p := range b.a.parties(r) {
		if p == b.a.orders(r) || p.Account == b.a.o.Account && !b.others(s) {
			continue
		}
		if err := b.wrap(r, p, message.ID{}, c.Message); err != nil {
			return err
		}
	}
	if err := b.welcomeTo(r, c.Added, c.Welcome); err != nil {
		return err
	}
	if b.a.own(r) && len(c.Added) > 0 {
		return b.snapshot(r)
	}
	return nil
}
