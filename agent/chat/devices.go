package chat

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// tendDevices brings the own other devices into the account's own conversation.
func (a *Agent) tendDevices(ctx context.Context, l listed) {
	others := a.otherDevices()
	if len(others) == 0 {
		return
	}
	id := a.selfID()
	a.mu.Lock()
	_, ok := a.rooms[id]
	alone := a.alone
	if !ok && alone == 0 {
		a.alone = a.now()
	}
	a.mu.Unlock()
	members := l.members()
	eldest := len(members) > 0 && members[0].Device == a.o.Keys.Device.Public()
	// A device that has just come waits to be introduced by one that was there.
	if ok || !eldest && (alone == 0 || !past(alone, 2*healAfter, a.now())) {
		return
	}
	err := a.change(ctx, func(b *batch) error {
		_, err := b.open(id, a.party())
		return err
	})
	if err != nil {
		a.log.Error("begin the conversation of the own devices", "error", err)
	}
}

// introducedPrefix begins the names of notes that say to whom that was done.
const introducedPrefix = "introduced/"

func introducedNote(m e2ee.Member) string { return introducedPrefix + hex.EncodeToString(m.Device[:]) }

// introduceAll tells devices of this account where its own conversation is.
func (a *Agent) introduceAll(ctx context.Context, devices []e2ee.Member) {
	for _, m := range devices {
		var done bool
		err := a.store.View(func(tx *store.Tx) error {
			_, err := tx.Get(introducedNote(m))
			done = err == nil
			return nil
		})
		if err == nil && !done {
			err = a.introduce(ctx, m)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Info("a new device of this account is introduced later", "error", err)
		}
	}
}

// introduce leaves a knock for one device of this account.
func (a *Agent) introduce(ctx context.Context, m e2ee.Member) error {
	self := a.party()
	a.mu.Lock()
	r, ok := a.rooms[a.selfID()]
	a.mu.Unlock()
	if !ok {
		return wire.Errorf(wire.NotFound, "the account's own conversation is not there yet")
	}
	reach := e2ee.Reach{Address: r.Address, Key: r.Key}
	address := r.Address
	offers, err := a.fetchOffers(ctx, []e2ee.Member{m}, &address)
	if err != nil {
		return err
	}
	e, err := message.New(a.selfID(), a.author(), message.Place{}, a.o.Now(), message.ContactRequest{From: self, Reach: reach.Encode()})
	if err != nil {
		return err
	}
	sealed, err := e2ee.SealKnock(a.o.Rand, a.o.Keys.Device, self, e, offers)
	if err != nil {
		return err
	}
	if err := a.post.Knock(ctx, self, sealed, func(string) {}); err != nil {
		return err
	}
	return a.store.Update(func(tx *store.Tx) error { return tx.Put(introducedNote(m), []byte{1}) })
}

// introduced takes the word of another device of this account about where the
// account's own conversation is.
func (b *batch) introduced(e message.Event, ask message.ContactRequest) error {
	if e.Author.Device == b.a.o.Keys.Device.Public() {
		return nil
	}
	reach, err := e2ee.DecodeReach(ask.Reach)
	if err != nil {
		return nil
	}
	id := b.a.selfID()
	r, err := b.room(id)
	switch {
	case err == nil && bytes.Compare(r.Address[:], reach.Address[:]) <= 0:
		return nil // two were made at once, and this one counts
	case err == nil:
		b.leaveOwn(r)
	default:
		r = &room{Version: 1, With: b.a.party(), Changed: b.now}
		b.rooms[id] = r
		b.do(func(tx *store.Tx) error {
			err := tx.AddConversation(store.Conversation{ID: id, With: b.a.party(), Added: b.now})
			if wire.CodeOf(err) == wire.Exists {
				return nil
			}
			return err
		})
	}
	r.Address, r.Key, r.Seed, r.Made, r.Changed = reach.Address, reach.Key, nil, true, b.now
	b.hurry(id)
	return nil
}

// leaveOwn leaves an own conversation for another that counts. The others there
// are told all that this device knows, as if it had just come.
func (b *batch) leaveOwn(r *room) {
	b.a.log.Info("there were two conversations of this account's devices; one is left")
	for _, g := range r.groups() {
		b.forget(g)
	}
	b.lost(r)
	b.unkeep(b.a.selfID(), r)
	box := r.Address.Queue()
	b.then = append(b.then, func() {
		delete(b.a.byBox, box)
		for _, o := range append([]*reading{b.a.offices.now}, b.a.offices.former...) {
			if o != nil {
				o.boxes.Remove(box)
			}
		}
	})
	r.Group, r.Former, r.Broken, r.Taken, r.Mine, r.Unsealed = nil, nil, 0, 0, false, nil
	b.untell()
}

// Devices returns the devices that the chain lists for this account.
func (a *Agent) Devices(ctx context.Context) ([]Device, error) {
	l, err := a.roster.ask(ctx, a.o.Account, a.o.Every)
	if err != nil {
		return nil, err
	}
	var out []Device
	for _, d := range l.devices.List {
		out = append(out, Device{
			Key: d.Key, This: d.Key == a.o.Keys.Device.Public(), Expires: at(d.Expires * 1000), Scopes: d.Scopes.String(),
		})
	}
	slices.SortFunc(out, func(x, y Device) int {
		if x.This != y.This {
			if x.This {
				return -1
			}
			return 1
		}
		return 0
	})
	return out, nil
}

// answersFor reports whether this device sends events of an author of its account
// again: its own, and if it is the eldest those of devices that are gone.
func (a *Agent) answersFor(author message.Author) bool {
	if author.Account != a.o.Account {
		return false
	}
	if author == a.author() {
		return true
	}
	l, _ := a.roster.cached(a.o.Account)
	all := l.members()
	return len(all) > 0 && all[0].Device == a.o.Keys.Device.Public() && !l.lists(author.Device)
}
