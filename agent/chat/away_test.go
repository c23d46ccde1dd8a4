package chat

import (
	"slices"
	"testing"
)

// A device is off for longer than its concierge keeps mail; another of the
// account has all of it.
func TestAway_ADeviceCatchesUpByTheOthers(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	carol := w.person("carol", w.lagoon).device()
	w.friends(alice, bob)
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	bob.say(alice, "before")
	w.until("the tablet reads it", func() bool { return slices.Contains(tablet.sees(bob), "@bob: before") })
	tablet.stop()
	w.friends(alice, carol)
	_, err := alice.NameContact(w.Context(), "@bob", "bobby")
	w.must(err)
	bob.say(alice, "meanwhile")
	alice.say(bob, "indeed")
	w.until("both have read", func() bool {
		return slices.Contains(bob.sees(alice), "@alice: indeed") && slices.Contains(alice.sees(bob), "bobby: meanwhile")
	})
	w.until("all of it is sent", func() bool { s, err := alice.Self(w.Context()); return err == nil && s.Waiting == 0 })
	w.harbor.expires(alice)
	tablet = tablet.p.start(tablet.key, tablet.home)
	w.until("the tablet knows what was said", func() bool {
		s := tablet.sees(bob)
		return slices.Contains(s, "bobby: meanwhile") && slices.Contains(s, "you: indeed")
	})
	w.until("it knows carol", func() bool { return tablet.state(carol) == "accepted" })
	bob.say(alice, "after")
	w.until("it reads on", func() bool { return slices.Contains(tablet.sees(bob), "bobby: after") })
}

// There is no other device: the contact sends again, and what he has not any more
// is said to be missing.
func TestAway_AContactSendsAgainWhatExpired(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	bob.say(alice, "before")
	alice.reads(bob, "@bob: before")
	alice.stop()
	bob.say(alice, "meanwhile")
	bob.say(alice, "and more")
	w.until("all of it is sent", func() bool { s, err := bob.Self(w.Context()); return err == nil && s.Waiting == 0 })
	w.harbor.expires(alice)
	alice = alice.p.start(alice.key, alice.home)
	w.until("it is sent again", func() bool {
		s := alice.sees(bob)
		return slices.Contains(s, "@bob: meanwhile") && slices.Contains(s, "@bob: and more")
	})
	page, err := alice.Messages(w.Context(), "@bob", "", 10)
	w.must(err)
	if page.Missing+page.Lost > 0 {
		t.Errorf("%d are missing, %d are lost", page.Missing, page.Lost)
	}
}
