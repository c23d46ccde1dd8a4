package post

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// deliver has a Post write the numbers from one to another.
func (w *world) deliver(p *Post, to *fakechain.Actor, a concierge.Address, from, upto int) {
	w.Helper()
	n, err := p.Deliver(w.Context(), party(to), a, texts(from, upto))
	if err != nil || n != upto-from+1 {
		w.Fatalf("deliver %d to %d: %d were taken: %v", from, upto, n, err)
	}
}

func TestDeliver_BringsMessagesInOrderToWhoFollows(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	w.deliver(alice, w.bob, address, 1, 100) // before anybody reads
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.has(address.Queue(), 100)
	w.deliver(alice, w.bob, address, 101, 300)
	b.has(address.Queue(), 300)
	if at, ok := boxes.After(address.Queue()); !ok || at != 300 {
		t.Errorf("the cursor is %d (%v)", at, ok)
	}
	// What was taken the concierge has let go of.
	w.until("acknowledged", func() bool {
		s, err := w.lagoon.store.State(t.Context(), address.Queue())
		w.must(err)
		return s.Base == 300
	})
}

func TestDeliver_OfAUsedIDSaysExistsAndHowManyWereTaken(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	ms := texts(1, 5)
	taken := ms[3]
	taken.Body = []byte("somebody else's")
	if n, err := alice.Deliver(t.Context(), party(w.bob), address, []stream.Message{taken}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	n, err := alice.Deliver(t.Context(), party(w.bob), address, ms)
	if n != 3 || wire.CodeOf(err) != wire.Exists {
		t.Errorf("%d were taken: %v", n, err)
	}
	if n, err := alice.Deliver(t.Context(), party(w.bob), address, ms[:3]); n != 3 || err != nil {
		t.Errorf("again: %d were taken: %v", n, err)
	}
}

func TestDeliver_KindsOfErrors(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	if n, err := alice.Deliver(t.Context(), party(w.bob), concierge.Address{1}, texts(1, 1)); n != 0 || wire.CodeOf(err) != wire.NotFound {
		t.Errorf("no such queue: %d, %v", n, err)
	}
	other := message.Party{Account: w.bob.ID, Generation: 2}
	if n, err := alice.Deliver(t.Context(), other, address, texts(1, 1)); n != 0 || wire.CodeOf(err) != wire.Conflict {
		t.Errorf("another generation: %d, %v", n, err)
	}
	if _, err := alice.Find(t.Context(), other, 0); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("find another generation: %v", err)
	}
	nobody := message.Party{Account: namesvc.AccountID{9}, Generation: 1}
	if n, err := alice.Deliver(t.Context(), nobody, address, texts(1, 1)); n != 0 || wire.CodeOf(err) != wire.NotFound {
		t.Errorf("no such account: %d, %v", n, err)
	}
	large := []stream.Message{{Body: make([]byte, stream.MaxBody+1)}}
	if n, err := alice.Deliver(t.Context(), party(w.bob), address, large); n != 0 || wire.CodeOf(err) != wire.Invalid {
		t.Errorf("too large: %d, %v", n, err)
	}
	if n, err := alice.Deliver(t.Context(), party(w.bob), address, nil); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
}

func TestDeliver_OfLargeMessagesByManyAtOnce(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	const writers, each = 8, 6
	var all sync.WaitGroup
	var boxes Boxes
	b := w.inbox()
	var addresses []concierge.Address
	for range writers {
		addresses = append(addresses, w.queue(bob))
	}
	for _, a := range addresses {
		boxes.Add(a.Queue(), 0)
		all.Go(func() {
			ms := texts(1, each)
			for i := range ms {
				ms[i].Body = bytes.Repeat([]byte{byte('1' + i)}, stream.MaxBody)
			}
			if n, err := alice.Deliver(t.Context(), party(w.bob), a, ms); n != each || err != nil {
				t.Errorf("%d were taken: %v", n, err)
			}
		})
	}
	w.follow(bob, &boxes, b)
	all.Wait()
	for _, a := range addresses {
		b.until("large messages", func() bool { return len(b.got[a.Queue()]) == each })
	}
}

func TestAnnounce_IsHeardByWhoFollows(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	var boxes Boxes
	heard := make(chan string, 100)
	boxes.Hear(func(id stream.ID, body []byte) {
		if id == address.Queue() {
			heard <- string(body)
		}
	})
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	w.deliver(alice, w.bob, address, 1, 1)
	b.has(address.Queue(), 1)
	w.deliver(alice, w.bob, address, 2, 2) // pushed: it is subscribed by now
	b.has(address.Queue(), 2)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for { // best effort: until it was heard once
		if err := alice.Announce(ctx, party(w.bob), address, []byte("typing")); err != nil && wire.CodeOf(err) != wire.Exhausted {
			t.Fatal(err)
		}
		select {
		case s := <-heard:
			if s != "typing" {
				t.Errorf("heard %q", s)
			}
			return
		case <-ctx.Done():
			t.Fatal("not heard")
		default:
		}
	}
}

func TestPackage_WithAddressAndWithWork(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	device := w.bob.Device.Public()
	if _, err := alice.Package(t.Context(), party(w.bob), device, &address); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("before there is one: %v", err)
	}
	w.must(bob.Ask(t.Context(), w.home(bob), func(ctx context.Context, c *concierge.Client) error {
		_, err := c.UploadPackages(ctx, [][]byte{[]byte("first"), []byte("second")}, []byte("last"))
		return err
	}))
	for _, want := range []string{"first", "second", "last"} {
		a := &address
		if want == "second" {
			a = nil // with work
		}
		got, err := alice.Package(t.Context(), party(w.bob), device, a)
		if err != nil || string(got.Body) != want || got.Last != (want == "last") {
			t.Errorf("%q (%v): %v", got.Body, got.Last, err)
		}
	}
	if _, err := alice.Package(t.Context(), party(w.bob), device, &concierge.Address{1}); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("with the address of no queue: %v", err)
	}
}

func TestKnock_ReachesTheKnockQueue(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	w.queue(bob) // he has been there
	var said []string
	w.must(alice.Knock(t.Context(), party(w.bob), []byte("1"), func(s string) { said = append(said, s) }))
	if len(said) == 0 {
		t.Error("it does not say what it does")
	}
	knocks := concierge.OwnerOf(w.bob.ID, 1).Knocks()
	var boxes Boxes
	boxes.Add(knocks, 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.has(knocks, 1)
	w.must(alice.Knock(t.Context(), party(w.bob), []byte("2"), nil))
	b.has(knocks, 2)
	if err := alice.Knock(t.Context(), party(w.bob), make([]byte, concierge.MaxKnock+1), nil); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("too large: %v", err)
	}
}
