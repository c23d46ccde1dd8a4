package chat

import (
	"fmt"
	"slices"
	"testing"

	"github.com/confab-chat/confab/agent/store"
)

// read returns how far a device has read a conversation's queue.
func (d *device) read(other *device) (at uint64) {
	d.mu.Lock()
	from := source(d.offices.now.office.Service.Account, d.rooms[d.with(other)].Address.Queue())
	d.mu.Unlock()
	d.p.w.must(d.store.View(func(tx *store.Tx) (err error) {
		at, err = tx.Cursor(from)
		return err
	}))
	return at
}

func TestBlock_WhatComesIsNotOpened(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "before")
	bob.reads(alice, "@alice: before")
	_, err := bob.BlockContact(w.Context(), "@alice")
	w.must(err)
	w.until("bob owes nothing any more", func() bool {
		bob.mu.Lock()
		defer bob.mu.Unlock()
		return len(bob.tending) == 0 && !bob.selfBusy
	})
	at, secrets := bob.read(alice), bob.secrets.Generation()
	for i := range 20 {
		alice.say(bob, fmt.Sprint("unheard ", i))
	}
	w.until("bob has fetched it", func() bool { return bob.read(alice) >= at+20 })
	if after := bob.secrets.Generation(); after != secrets {
		t.Errorf("the secrets were written %d times for mail of a blocked contact", after-secrets)
	}
	r := bob.look(bob.with(alice))
	if r.EarlyFrom != r.EarlyTo || len(r.Partial) > 0 {
		t.Error("mail of a blocked contact is kept")
	}
}

// While a contact is blocked its devices change, and with them the session.
func TestBlock_TheConversationWorksAgainAfterIt(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	_, err := bob.BlockContact(w.Context(), "@alice")
	w.must(err)
	at := bob.read(alice)
	tablet := alice.second()
	id := alice.with(bob)
	w.until("the session has three devices", func() bool { return alice.members(id) == 3 && tablet.members(id) == 3 })
	alice.say(bob, "unheard")
	w.until("bob has fetched all of it", func() bool { return bob.read(alice) > at+1 })
	_, err = bob.UnblockContact(w.Context(), "@alice")
	w.must(err)
	w.until("they are in one session", func() bool {
		a, b := alice.look(id), bob.look(id)
		return string(a.Group) == string(b.Group) && bob.members(id) == 3
	})
	tablet.say(bob, "heard")
	w.until("bob hears the new device", func() bool { return slices.Contains(bob.sees(alice), "@alice: heard") })
	bob.say(alice, "and back")
	for _, d := range []*device{alice, tablet} {
		w.until("she hears bob", func() bool { return slices.Contains(d.sees(bob), "@bob: and back") })
	}
}
