package post

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/redisstore"
	"github.com/confab-chat/confab/stream/streamtest"
)

// Somebody who writes learns of a switch by himself, when the former concierge
// has no such queue any more.
func TestDeliver_FollowsAPartyThatMovedAndDeletedItsQueue(t *testing.T) {
	w := newWorld(t)
	names := &slowNames{Names: w.client(), let: make(chan struct{})} // alice's own: others ask too
	close(names.let)
	alice := New(Options{Names: names, Self: concierge.Identity{Account: w.alice.ID, Device: w.alice.Device}, Now: w.Now})
	defer alice.Close()
	bob := w.post(w.bob)
	var seed concierge.Seed
	rand.Read(seed[:])
	w.grow(bob, seed)
	address := concierge.OwnerOf(w.bob.ID, 1).Address(seed)
	var old, boxes Boxes
	old.Add(address.Queue(), 0)
	b := w.inbox()
	former := w.home(bob)
	stop := w.followAt(bob, former, &old, b)
	w.deliver(alice, w.bob, address, 1, 20)
	b.has(address.Queue(), 20)

	w.moves(w.bob, w.harbor)
	w.must(bob.look(t.Context()))
	if o := w.home(bob); o.Service.Account != w.harbor.actor.ID {
		t.Fatalf("home is %v", o)
	}
	w.grow(bob, seed)
	stop()
	w.must(bob.Ask(t.Context(), former, func(ctx context.Context, c *concierge.Client) error {
		return c.DeleteQueue(ctx, address.Queue())
	}))
	asked := names.asked.Load()
	w.deliver(alice, w.bob, address, 21, 40)
	if n := names.asked.Load() - asked; n != 1 {
		t.Errorf("the chain was asked %d times", n)
	}
	boxes.Add(address.Queue(), 0)
	w.follow(bob, &boxes, b)
	b.has(address.Queue(), 40)
}

// look has a Post ask the chain about its own account anew.
func (p *Post) look(ctx context.Context) error {
	_, err := p.lookUp(ctx, p.self.Account, time.Minute)
	return err
}

// A former concierge that is gone for good costs the writer one attempt; what it
// had taken is there when it comes back.
func TestDeliver_FollowsAPartyWhileItsFormerConciergeFalls(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	var seed concierge.Seed
	rand.Read(seed[:])
	w.grow(bob, seed)
	address := concierge.OwnerOf(w.bob.ID, 1).Address(seed)
	former := w.home(bob)
	const n = 200
	done := make(chan struct{})
	half := make(chan struct{})
	go func() {
		defer close(done)
		ms := texts(1, n)
		for sent := 0; sent < n && t.Context().Err() == nil; {
			taken, _ := alice.Deliver(t.Context(), party(w.bob), address, ms[sent:min(sent+5, n)])
			if sent += taken; sent == n/2 {
				close(half)
			}
		}
	}()
	<-half
	w.moves(w.bob, w.harbor)
	w.must(bob.look(t.Context()))
	w.grow(bob, seed)
	w.lagoon.stop()
	<-done
	w.lagoon.start()
	b := w.inbox()
	var old, boxes Boxes
	old.Add(address.Queue(), 0)
	boxes.Add(address.Queue(), 0)
	w.followAt(bob, former, &old, b)
	w.follow(bob, &boxes, b)
	b.until("all of them, from both", func() bool {
		seen := map[string]bool{}
		for _, text := range b.got[address.Queue()] {
			seen[text] = true
		}
		return len(seen) == n
	})
}

// A concierge that changed its key and its address is found again by who follows
// and by who writes.
func TestFollow_FindsAConciergeWithAnotherKeyAndAddress(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	w.deliver(alice, w.bob, address, 1, 3)
	b.has(address.Queue(), 3)
	w.lagoon.stop()
	b.until("noticed", func() bool { return !b.last().Connected })

	w.lagoon.actor.Server = key.ServerFromSeed([32]byte{7})
	w.lagoon.addr = freeAddress(w)
	w.must(w.Next(w.Sign(w.lagoon.actor, namesvc.OpRecords, *w.lagoon.actor.Concierge(w.lagoon.url()))))
	w.Skip(1)
	w.lagoon.start()
	w.deliver(alice, w.bob, address, 4, 6)
	b.has(address.Queue(), 6)
}

func TestPost_TwoReplicasOfOneConciergeServeBoth(t *testing.T) {
	redis := streamtest.StartRedis(t)
	w := newWorld(t)
	var urls []string
	for range 2 {
		store, err := redisstore.Open(t.Context(), redis.URL, redisstore.Options{})
		w.must(err)
		t.Cleanup(func() { store.Close() })
		urls = append(urls, w.replica(store))
	}
	// The first URL is dead; the other two share what they keep.
	records := *w.lagoon.actor.Concierge("https://" + freeAddress(w))
	records.Service.URLs = append(records.Service.URLs, urls...)
	w.must(w.Next(w.Sign(w.lagoon.actor, namesvc.OpRecords, records)))
	w.Skip(1)
	w.lagoon.stop()
	alice, bob := w.post(w.alice), w.post(w.bob)
	home := w.home(bob)
	if home.URL != records.Service.URLs[0] || len(home.Others) != 2 {
		t.Fatalf("home: %v", home)
	}
	address := w.queue(bob)
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	// Alice knows them in the other order, so she is at the other one.
	there := home
	there.URL, there.Others = urls[1], urls[:1]
	err := alice.try(t.Context(), there, false, func(context.Context, *line) error { return nil })
	w.must(err)
	w.deliver(alice, w.bob, address, 1, 100)
	b.has(address.Queue(), 100)
}

// replica starts another server of lagoon on a store.
func (w *world) replica(store stream.Store) string {
	w.Helper()
	e, _ := w.Entry(w.lagoon.actor.ID)
	service, err := concierge.ServiceOf(w.ID(), e)
	w.must(err)
	s, err := concierge.New(concierge.Options{
		Service: service, Key: w.lagoon.actor.Server, Chain: w.client(), Store: store, Limits: w.lagoon.limits, Now: w.Now,
		Logger: slog.New(slog.DiscardHandler),
	})
	w.must(err)
	ts := httptest.NewUnstartedServer(s.Handler())
	ts.EnableHTTP2 = false
	ts.StartTLS()
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
		ts.Close()
	})
	return ts.URL
}

// With several concierges the one that the account prefers is taken, and one that
// is no more what was chosen is passed over.
func TestFind_TakesThePreferredConciergeThatStillIsOne(t *testing.T) {
	w := newWorld(t)
	p := w.post(w.alice)
	records := fakechain.ServedBy(w.harbor.actor, w.lagoon.actor)
	records.Concierges[0].Priority = 9
	w.must(w.Next(w.Sign(w.bob, namesvc.OpRecords, *records)))
	w.Skip(1)
	if o, err := p.Find(t.Context(), party(w.bob), 0); err != nil || o.Service.Account != w.lagoon.actor.ID || o.Handle != "lagoon" {
		t.Errorf("found %v: %v", o, err)
	}
	// lagoon is no concierge any more
	relay := *w.lagoon.actor.Concierge(w.lagoon.url())
	relay.Service.Roles = namesvc.RoleRelay
	w.must(w.Next(w.Sign(w.lagoon.actor, namesvc.OpRecords, relay)))
	w.Skip(1)
	o, err := p.lookUp(t.Context(), w.bob.ID, time.Minute)
	if err != nil || o.office.Service.Account != w.harbor.actor.ID {
		t.Errorf("found %v: %v", o, err)
	}
}

// While the chain does not answer, writers go on with what they know.
func TestDeliver_GoesOnWhileTheChainIsSilent(t *testing.T) {
	w := newWorld(t)
	clock := w.Now()
	alice, bob := w.post(w.alice), w.post(w.bob)
	alice.now = func() time.Time { return clock }
	address := w.queue(bob)
	w.deliver(alice, w.bob, address, 1, 1)
	w.blind.Store(true)
	clock = clock.Add(5 * time.Minute)
	w.deliver(alice, w.bob, address, 2, 2)
	clock = clock.Add(10 * time.Minute)
	if n, err := alice.Deliver(t.Context(), party(w.bob), address, texts(3, 3)); n != 0 || err == nil {
		t.Errorf("%d were taken a quarter of an hour after the chain was heard: %v", n, err)
	}
}
