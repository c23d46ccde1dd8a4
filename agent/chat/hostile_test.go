package chat

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/ratchet"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// with returns the conversation of two devices' people.
func (d *device) with(other *device) message.ConversationID {
	return message.Direct(d.party(), other.party())
}

// look returns a room as it is now.
func (d *device) look(id message.ConversationID) room {
	d.mu.Lock()
	defer d.mu.Unlock()
	return *d.rooms[id]
}

// offers fetches key packages of everything that speaks for another.
func (d *device) offers(of *device) []e2ee.Offer {
	w := d.p.w
	w.Helper()
	them, err := d.roster.ask(w.Context(), of.p.actor.ID, 0)
	w.must(err)
	list, err := d.fetchOffers(w.Context(), them.members(), nil)
	w.must(err)
	return list
}

// waiting returns everything in the outbox.
func (d *device) waiting() (list []store.Item) {
	d.p.w.must(d.store.View(func(tx *store.Tx) (err error) {
		list, err = tx.Ready(1<<60, 100, store.MaxPage)
		return err
	}))
	return list
}

// Its author's account is none: nobody can say more about it, ever.
func TestKnock_OfAnAccountThatIsNowhereHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	bob, mallory := w.person("bob", w.lagoon).device(), w.person("mallory", w.harbor).device()
	w.until("bob's key packages are there", func() bool {
		_, err := mallory.post.Package(w.Context(), bob.party(), bob.key.Public(), nil)
		return err == nil
	})
	nobody := fakechain.NewActor("nobody", namesvc.Person)
	from := message.Party{Account: nobody.ID, Generation: 1}
	e, err := message.New(message.Direct(from, bob.party()), message.Author{Account: nobody.ID, Device: nobody.Device.Public()},
		message.Place{}, w.Now(), message.ContactRequest{From: from, Reach: e2ee.Reach{Address: [32]byte{1}, Key: [32]byte{2}}.Encode()})
	w.must(err)
	sealed, err := e2ee.SealKnock(rand.Reader, nobody.Device, bob.party(), e, mallory.offers(bob))
	w.must(err)
	w.must(mallory.post.Knock(w.Context(), bob.party(), sealed, nil))
	carol := w.person("carol", w.harbor).device()
	carol.AddContact(w.Context(), "bob", "", nil)
	w.until("bob sees carol's request", func() bool { return bob.state(carol) == "requested" })
}

// Who asked and is answered at once, while the first words already wait.
func TestAgent_TheAnswerGoesAheadOfWhatWasSaidBeforeIt(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	alice.AddContact(w.Context(), "bob", "", nil)
	w.until("bob sees the request", func() bool { return bob.state(alice) == "requested" })
	w.harbor.stop()
	_, err := bob.AcceptContact(w.Context(), "@alice")
	w.must(err)
	bob.say(alice, "at once")
	w.harbor.start()
	alice.Wake()
	bob.Wake()
	w.until("alice sees the answer", func() bool { return alice.state(bob) == "accepted" })
	alice.reads(bob, "@bob: at once")
}

// Who removes a contact and asks again goes on in the same conversation: the other
// side sees no second history, and does not bring back what was deleted.
func TestContact_RemovedAndAddedAgain(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.reads(alice, "@alice: one")
	bob.say(alice, "two")
	alice.reads(bob, "you: one", "@bob: two")
	w.until("her receipt is there", func() bool { // what none covers is sent again, also by whom she asks anew
		page, err := bob.Messages(w.Context(), "@alice", "", 1)
		return err == nil && page.Messages[0].Delivery == Delivered
	})
	w.must(alice.RemoveContact(w.Context(), "@bob"))
	lost := bob.say(alice, "where are you?")
	w.until("her queue is gone", func() bool {
		var list []store.Item
		err := bob.store.View(func(tx *store.Tx) (err error) { list, err = tx.Undelivered(lost.ID); return err })
		return err == nil && len(list) == 1 && list[0].Attempts > 0
	})
	_, err := alice.AddContact(w.Context(), "@bob", "", nil)
	w.must(err)
	w.until("bob's devices answer", func() bool { return alice.state(bob) == "accepted" })
	alice.reads(bob, "@bob: where are you?")
	alice.say(bob, "three")
	bob.reads(alice, "@alice: one", "you: two", "you: where are you?", "@alice: three")
	bob.say(alice, "four")
	alice.reads(bob, "@bob: where are you?", "you: three", "@bob: four")
	if self, err := bob.Self(w.Context()); err != nil || self.Waiting != 0 {
		t.Errorf("%d messages wait for a queue that is gone (%v)", self.Waiting, err)
	}
	page, err := bob.Messages(w.Context(), "@alice", "", 100)
	w.must(err)
	for _, m := range page.Messages {
		if m.Disputed {
			t.Errorf("%q is disputed", m.Text)
		}
	}
	if gaps, err := alice.missing(alice.with(bob), 0); err != nil || len(gaps) != 0 {
		t.Errorf("she asks for %v (%v)", gaps, err)
	}
}

func TestSync_RemovedAndAddedAgainInOnePage(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.reads(alice, "@alice: one")
	id := alice.with(bob)
	r := alice.look(id)
	var c store.Contact
	var list []message.Event
	w.must(alice.store.View(func(tx *store.Tx) (err error) {
		if c, err = tx.Contact(r.With.Account); err != nil {
			return err
		}
		list, err = tx.Events(id, message.Range{Author: alice.author(), From: 1, To: 1})
		return err
	}))
	again := shared(c, &r)
	again.Changed += 10
	events := historyEvents{To: alice.key.Public(), With: r.With, Events: [][]byte{list[0].Bytes()}}
	w.must(alice.change(w.Context(), func(b *batch) error {
		if err := b.syncGone(sharedGone{Party: r.With, Changed: r.Changed + 5}); err != nil {
			return err
		}
		if err := b.syncEvents(events); err != nil { // of what is gone
			return err
		}
		return b.syncContact(again)
	}))
	if s := alice.state(bob); s != "accepted" {
		t.Errorf("bob is %s", s)
	}
	w.must(alice.change(w.Context(), func(b *batch) error {
		return b.syncGone(sharedGone{Party: r.With, Changed: r.Changed + 20})
	}))
	if s := alice.state(bob); s == "accepted" {
		t.Errorf("bob is %s", s)
	}
	alice.mu.Lock()
	defer alice.mu.Unlock()
	if _, ok := alice.rooms[id]; ok {
		t.Error("the conversation is still there")
	}
	if _, ok := alice.times[id]; ok {
		t.Error("what is known of its times is still there")
	}
}

// A session whose Welcome comes a second time must not begin again: its keys
// would encrypt twice.
func TestWelcome_ThatIsReplayedChangesNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	id := bob.with(alice)
	// One that says it was made by alice, for bob's package of last resort.
	var last e2ee.Offer
	w.must(bob.change(w.Context(), func(b *batch) error {
		o, secret, err := e2ee.NewOffer(rand.Reader, w.Now(), bob.key, bob.member(), offerLife)
		if err != nil {
			return err
		}
		list, err := b.offers()
		if err != nil {
			return err
		}
		b.keys = append(b.keys, ratchet.Change{Shelf: offersShelf, Key: fmt.Appendf(nil, "%x", o.Ref()), Value: secret})
		b.setOffers(append(list, offer{Ref: o.Ref(), Last: true, Made: b.now, Expires: b.now + ms(offerLife), At: []byte{1}}))
		last = o
		return nil
	}))
	r := alice.look(id)
	_, welcome, err := e2ee.Create(rand.Reader, w.Now(), alice.options(&r), r.Instance+5, []e2ee.Offer{last})
	w.must(err)
	take := func() {
		w.must(bob.change(w.Context(), func(b *batch) error {
			r, err := b.room(id)
			if err != nil {
				return err
			}
			return b.welcome(id, r, welcome)
		}))
	}
	take()
	before := bob.look(id)
	if before.Instance != r.Instance+5 {
		t.Fatalf("bob is in instance %d", before.Instance)
	}
	w.must(bob.Typing(w.Context(), "@alice", 3))
	bob.mu.Lock()
	session, err := bob.sessions.get(&before, before.Group)
	bob.mu.Unlock()
	w.must(err)
	take()
	after := bob.look(id)
	if !slices.Equal(after.Group, before.Group) || len(after.Former) != len(before.Former) {
		t.Errorf("it has %d former sessions, before %d", len(after.Former), len(before.Former))
	}
	bob.mu.Lock()
	defer bob.mu.Unlock()
	if again, err := bob.sessions.get(&after, after.Group); err != nil || again != session {
		t.Errorf("the session began again (%v)", err)
	}
}

// Whoever had a contact's account before answers in the conversation that was
// theirs.
func TestRepin_WhoHadTheAccountBeforeDecidesNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	id := alice.with(bob)
	old := alice.look(id)
	next := message.Party{Account: old.With.Account, Generation: 2}
	var c store.Contact
	w.must(alice.change(w.Context(), func(b *batch) (err error) {
		if c, err = b.contact(old.With.Account); err != nil {
			return err
		}
		former := shared(c, &old)
		former.Changed = b.now + 1000
		c.Party, c.State = next, store.Invited
		b.do(func(tx *store.Tx) error { return tx.Repin(next) })
		b.setContact(c, false)
		if _, err = b.open(message.Direct(b.a.party(), next), next); err != nil {
			return err
		}
		r, err := b.room(id)
		if err != nil {
			return err
		}
		if err := b.answered(id, r, false, message.ContactAnswer{Accepted: true, Reach: old.Reach}); err != nil {
			return err
		}
		// And an own device that does not know of it yet.
		return b.syncContact(former)
	}))
	w.must(alice.store.View(func(tx *store.Tx) (err error) {
		c, err = tx.Contact(next.Account)
		return err
	}))
	if c.Party != next || c.State != store.Invited {
		t.Errorf("the contact is generation %d and %v, want 2 and invited", c.Party.Generation, c.State)
	}
	w.must(alice.change(w.Context(), func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		if _, known, err := b.sharedRoom(r); err != nil || known {
			t.Errorf("the conversation of before is told as the contact's (%v)", err)
		}
		return nil
	}))
}

func TestOffers_AConciergeThatForgetsThemDoesNotHaveThemMadeForEver(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", w.lagoon).device()
	var list []offer
	for _, arrives := range []bool{false, true} {
		for range 40 {
			var upload []offer
			var last *offer
			w.must(bob.change(w.Context(), func(b *batch) error {
				upload, last = nil, nil
				return b.restock([]byte("liar"), concierge.PackageCount{}, &upload, &last)
			}))
			if last == nil {
				t.Fatal("a concierge without a package of last resort gets none")
			}
			if arrives {
				w.must(bob.change(w.Context(), func(b *batch) error { return b.stocked([]byte("liar"), upload, last) }))
			}
		}
		w.must(bob.change(w.Context(), func(b *batch) (err error) {
			list, err = b.offers()
			return err
		}))
		n := 0
		for _, o := range list {
			if o.Last {
				n++
			}
		}
		if n > maxLast {
			t.Errorf("%d packages of last resort are kept, want at most %d", n, maxLast)
		}
	}
}

// The keys of an epoch that never came must not stay.
func TestSessions_ACommitOfASessionThatIsOverLeavesNoSecret(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	id := alice.with(bob)
	offers := alice.offers(bob)
	var old []byte
	w.must(alice.change(w.Context(), func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		old = r.Group
		r.Commit = &pending{IDs: []stream.MessageID{{1}}}
		b.keys = append(b.keys, commitKey(r.Group, []byte("the epoch to come")))
		return nil
	}))
	w.must(alice.change(w.Context(), func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		s, _, err := e2ee.Create(rand.Reader, w.Now(), alice.options(r), r.Instance+1, offers)
		if err != nil {
			return err
		}
		b.enter(r, s)
		return nil
	}))
	if _, err := alice.secrets.Get(shelfOfCommit(old), []byte("c")); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("the commit's secrets are still there: %v", err)
	}
}

func TestResend_AskedAgainAndAgainIsAnsweredOnce(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	m := bob.say(alice, "one")
	alice.reads(bob, "@bob: one")
	w.harbor.stop()
	id := bob.with(alice)
	ask := message.Resend{Ranges: []message.Range{{Author: bob.author(), From: 1, To: 1}}}
	e, err := message.New(id, alice.author(), message.Place{}, w.Now(), ask)
	w.must(err)
	for range 50 {
		w.must(bob.change(w.Context(), func(b *batch) error {
			r, err := b.room(id)
			if err != nil {
				return err
			}
			return b.event(id, r, alice.member(), e)
		}))
		bob.tendRoom(w.Context(), id)
	}
	about := func() (n int) {
		for _, it := range bob.waiting() {
			if it.About == m.ID {
				n++
			}
		}
		return n
	}
	w.until("it is sent again", func() bool { return about() > 0 })
	if n := about(); n > 1 {
		t.Errorf("it is sent %d times", n)
	}
}

func TestTyping_ToAConciergeThatIsDownIsNotKept(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	w.lagoon.stop()
	alice.say(bob, "one")
	before := len(alice.waiting())
	for range 20 {
		w.must(alice.Typing(w.Context(), "@bob", 5))
	}
	if n := len(alice.waiting()); n > before {
		t.Errorf("%d signs of typing wait", n-before)
	}
}

// What cannot be done in a conversation now must not be due for ever.
func TestTend_WhatCannotBeDoneIsNotDueForEver(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	_, err := alice.BlockContact(w.Context(), "@bob")
	w.must(err)
	id := alice.with(bob)
	alice.owe(id)
	w.until("the receipt is owed no more", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return alice.times[id].owes == 0
	})
}

// What tells a box that was rolled back and has grown since from the one that was
// read is kept with the cursor.
func TestOffice_TheHashOfWhatWasReadIsKept(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	bob.say(alice, "one")
	alice.reads(bob, "@bob: one")
	box := alice.look(alice.with(bob)).Address.Queue()
	head := func() (stream.Head, bool) {
		alice.mu.Lock()
		r := alice.offices.now
		alice.mu.Unlock()
		if r == nil {
			return stream.Head{}, false
		}
		return r.boxes.Head(box)
	}
	alice.stop()
	w.harbor.stop()
	before, known := head()
	if !known || before.Seq == 0 {
		t.Fatalf("it was %v (%v)", before, known)
	}
	alice = alice.p.start(alice.key, alice.home)
	w.until("the box is to be read", func() bool { _, known := head(); return known })
	if after, _ := head(); after != before {
		t.Errorf("it was %v and is %v", before, after)
	}
}

// A concierge that shows less mail again and again.
func TestOffice_ThatRollsBackForEverIsNotToldOfForEver(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	r := alice.look(alice.with(bob))
	for range 20 {
		alice.robbed(r.Address.Queue())
		w.must(alice.tendRoom(w.Context(), alice.with(bob)))
	}
	bob.say(alice, "then")
	alice.reads(bob, "@bob: then")
	page, err := alice.Messages(w.Context(), "@bob", "", 100)
	w.must(err)
	n := 0
	for _, m := range page.Messages {
		if m.Kind == "moved" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("bob is told %d times where the mail is", n)
	}
}

func TestFiles_NamesThatAreFoldersBecomeFiles(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/..", "/", `\`, "a\x00b/..", ".bashrc", "-rf"} {
		if got := fileName(name); got == "" || strings.HasPrefix(got, ".") || strings.HasPrefix(got, "-") || strings.ContainsAny(got, `/\`) {
			t.Errorf("%q becomes %q", name, got)
		}
	}
}

func TestAgent_TheLongestTextsCome(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	// The same, with characters of which each has three bytes, both ways.
	text, wide := strings.Repeat("x", message.MaxText), strings.Repeat("\u20ac", message.MaxText/3)
	m := alice.say(bob, text)
	bob.reads(alice, "@alice: "+text)
	for range 3 {
		bob.say(alice, wide)
	}
	alice.reads(bob, "you: "+text, "@bob: "+wide, "@bob: "+wide, "@bob: "+wide)
	w.must(alice.Edit(w.Context(), m.ID, wide))
	bob.reads(alice, "@alice: "+wide, "you: "+wide, "you: "+wide, "you: "+wide)
	if _, err := alice.Send(w.Context(), "@bob", Draft{Text: text + "x"}); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("a text that is too long gives %v", err)
	}
}

// A removal is due, and the epoch's slot is held by what nobody can read.
func TestCommit_WhoseSlotIsTakenByNothingMakesANewSession(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	bob.say(alice, "to both")
	w.until("the tablet reads", func() bool { return slices.Contains(tablet.sees(bob), "@bob: to both") })
	id := bob.with(alice)
	w.until("bob has three devices in the session", func() bool { return bob.members(id) == 3 })
	tablet.stop()
	r := bob.look(id)
	bob.mu.Lock()
	s, err := bob.sessions.get(&r, r.Group)
	w.must(err)
	c, err := s.Commit(rand.Reader, w.Now(), bob.listedIn(&r), nil)
	bob.mu.Unlock()
	w.must(err)
	to := bob.orders(&r)
	reach, _ := bob.reach(&r, to)
	list, err := e2ee.EnvelopeKey(reach.Key).WrapCommit(rand.Reader, c.Message, c.Slot, c.Epoch)
	w.must(err)
	body := slices.Clone(list[len(list)-1].Body)
	body[len(body)-1] ^= 1
	_, err = bob.post.Deliver(w.Context(), to, reach.Address, []stream.Message{{ID: list[len(list)-1].ID, Body: body}})
	w.must(err)
	alice.p.devices(alice.key)
	w.until("somebody's commit finds the slot taken", func() bool { return bob.look(id).Taken != 0 || alice.look(id).Taken != 0 })
	for _, d := range []*device{alice, bob} {
		d.sets(2 * healAfter)
		d.Wake()
	}
	w.until("there is a session without it", func() bool { return bob.members(id) == 2 && alice.members(id) == 2 })
	bob.say(alice, "to one")
	w.until("alice reads", func() bool { return slices.Contains(alice.sees(bob), "@bob: to one") })
}

// members returns how many devices a conversation's session has.
func (d *device) members(id message.ConversationID) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rooms[id]
	if r == nil || len(r.Group) == 0 {
		return 0
	}
	s, err := d.sessions.get(r, r.Group)
	if err != nil {
		return -1
	}
	return len(s.Members())
}

func TestSwitch_ReadsOnWhenWhoeverAskedIsGone(t *testing.T) {
	w := newWorld(t)
	w.every = time.Hour // so that nothing mends it by the way
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	ctx, cancel := context.WithCancel(w.Context())
	w.must(alice.Switch(ctx, "@lagoon", nil))
	w.until("the new concierge is read", func() bool {
		o, err := alice.Concierges(w.Context())
		return err == nil && o[0].Handle == "@lagoon" && o[0].Connected
	})
	cancel()
	bob.say(alice, "after")
	alice.reads(bob, "@bob: after")
}

func TestSwitch_ThereAndBackAgain(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	var want []string
	for i, to := range []string{"@lagoon", "@harbor", "@lagoon", "@harbor"} {
		w.must(alice.Switch(w.Context(), to, nil))
		text := fmt.Sprint("at ", i)
		bob.say(alice, text)
		want = append(want, "@bob: "+text)
		alice.reads(bob, want...)
	}
	o, err := alice.Concierges(w.Context())
	w.must(err)
	if len(o) != 2 {
		t.Errorf("%d concierges are read, want 2", len(o))
	}
}

// The entry was changed, and the machine died before anything else was done.
func TestSwitch_KilledAfterTheEntryChanged(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	bob.say(alice, "one")
	alice.reads(bob, "@bob: one")
	alice.stop()
	alice.p.moves(w.lagoon)
	bob.say(alice, "two")
	alice = alice.p.start(alice.key, alice.home)
	bob.Wake()
	bob.say(alice, "three")
	alice.reads(bob, "@bob: one", "@bob: two", "@bob: three")
}

func TestClock_SetBackHoursHoldsUpNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	bob.sets(3 * time.Hour)
	bob.Wake()
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	id := bob.with(alice)
	w.until("bob has three devices in the session", func() bool { return bob.members(id) == 3 })
	w.harbor.stop()
	bob.say(alice, "late")
	w.until("it is put off", func() bool {
		list := bob.waiting()
		return len(list) > 0 && list[0].Attempts > 0
	})
	bob.sets(0)
	w.harbor.start()
	w.until("alice reads it", func() bool { return slices.Contains(alice.sees(bob), "@bob: late") })
	tablet.stop()
	alice.p.devices(alice.key)
	w.until("the tablet is out", func() bool { return bob.members(id) == 2 })
}

// What is decided last counts, whatever the clock says.
func TestClock_SetBackAChangeOfMindCounts(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	alice.sets(3 * time.Hour)
	_, err := alice.NameContact(w.Context(), "@bob", "bobby")
	w.must(err)
	w.until("the tablet knows the name", func() bool {
		c, err := tablet.Contact(w.Context(), "@bob")
		return err == nil && c.Name == "bobby"
	})
	alice.sets(0)
	_, err = alice.BlockContact(w.Context(), "@bob")
	w.must(err)
	w.until("the tablet blocks too", func() bool { return tablet.state(bob) == "blocked" })
}
