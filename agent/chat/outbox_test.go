package chat

import (
	"crypto/rand"
	"io"
	"slices"
	"testing"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
)

// fill has the outbox take no more for a destination, and holds that back.
func (d *device) fill(to destination) (ids []store.Item) {
	d.p.w.Helper()
	d.p.w.must(d.store.Update(func(tx *store.Tx) error {
		for {
			it := store.Item{Destination: to.String(), Body: []byte{1}}
			if _, err := io.ReadFull(rand.Reader, it.ID[:]); err != nil {
				return err
			}
			err := tx.Enqueue(it)
			if wire.CodeOf(err) == wire.Exhausted {
				return tx.PutOff(to.String(), 1<<60)
			}
			if err != nil {
				return err
			}
			ids = append(ids, it)
		}
	}))
	return ids
}

// A contact's answer lets go of what waited for it, into an outbox that is full.
func TestOutbox_ThatIsFullStopsNothingThatComes(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	alice.AddContact(w.Context(), "bob", "", nil)
	m := alice.say(bob, "when you can")
	w.until("bob sees the request", func() bool { return bob.state(alice) == "requested" })
	to := destination{bob.party(), bob.look(bob.with(alice)).Address}
	full := alice.fill(to)
	_, err := bob.AcceptContact(w.Context(), "@alice")
	w.must(err)
	w.until("alice takes the answer", func() bool { return alice.state(bob) == "accepted" })
	bob.say(alice, "hello")
	w.until("alice reads what comes", func() bool { return slices.Contains(alice.sees(bob), "@bob: hello") })
	late := alice.say(bob, "and then")
	for _, id := range []Message{m, late} {
		if shown, err := alice.Message(w.Context(), id.ID); err != nil || shown.Delivery != Waiting {
			t.Errorf("what does not fit is %s (%v), want waiting", shown.Delivery, err)
		}
	}
	// Nothing is accepted that nobody could keep.
	w.must(alice.change(w.Context(), func(b *batch) error {
		r, err := b.room(alice.with(bob))
		for len(r.Unsealed) < maxUnsealed {
			r.Unsealed = append(r.Unsealed, [32]byte{byte(len(r.Unsealed)), byte(len(r.Unsealed) >> 8), 1})
		}
		return err
	}))
	if _, err := alice.Send(w.Context(), "@bob", Draft{Text: "too much"}); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("with no more room sending gives %v", err)
	}
	w.must(alice.store.Update(func(tx *store.Tx) error {
		for _, it := range full {
			if err := tx.Drop(it.ID); err != nil {
				return err
			}
		}
		return nil
	}))
	alice.Wake()
	bob.reads(alice, "@alice: when you can", "you: hello", "@alice: and then")
}

// What is accepted is kept, also before the chain was ever asked for a contact.
func TestOutbox_TakesMessagesWhileTheChainIsSilent(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	first := alice.say(bob, "before")
	bob.reads(alice, "@alice: before")
	alice.stop()
	w.blind.Store(true)
	alice = alice.p.start(alice.key, alice.home)
	if _, ok := alice.roster.cached(bob.p.actor.ID); ok {
		t.Fatal("bob is known already: the test shows nothing")
	}
	m := alice.say(bob, "during")
	if m.Delivery != Waiting {
		t.Errorf("the message is %s, want waiting", m.Delivery)
	}
	w.must(alice.Edit(w.Context(), first.ID, "before, edited"))
	w.must(alice.React(w.Context(), m.ID, "👍", true))
	w.must(alice.Typing(w.Context(), "@bob", 3))
	w.blind.Store(false)
	bob.reads(alice, "@alice: before, edited", "@alice: during")
	w.until("bob sees the sign", func() bool {
		shown, err := bob.Message(w.Context(), m.ID)
		return err == nil && len(shown.Reactions) == 1
	})
}

// Who is killed between reading and saying so says so the next time.
func TestReceipt_IsSaidAfterAnAgentWasKilled(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	m := alice.say(bob, "one")
	delivery := func() Delivery {
		m, err := alice.Message(w.Context(), m.ID)
		w.must(err)
		return m.Delivery
	}
	w.until("it is there", func() bool { return delivery() == Delivered })
	w.must(bob.store.Update(func(tx *store.Tx) error {
		m, err := tx.Message(m.ID)
		if err != nil {
			return err
		}
		return tx.MarkRead(bob.with(alice), m.At)
	}))
	bob.stop()
	bob = bob.p.start(bob.key, bob.home)
	w.until("he has read it", func() bool { return delivery() == Read })
}
