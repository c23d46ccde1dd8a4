package post

import (
	"context"
	"strings"
	"testing"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// stocked waits until a Post has tokens.
func (w *world) stocked(p *Post) {
	w.Helper()
	w.until("tokens were got", func() bool {
		p.purse.mu.Lock()
		defer p.purse.mu.Unlock()
		return len(p.purse.tokens) == wantTokens
	})
}

func TestKnock_PaysWithATokenIfThereIsOne(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	w.queue(bob) // he has been there
	w.follow(alice, &Boxes{}, w.inbox())
	w.stocked(alice)
	var said []string
	w.must(alice.Knock(t.Context(), party(w.bob), []byte("1"), func(s string) { said = append(said, s) }))
	if all := strings.Join(said, "; "); !strings.Contains(all, "token") || strings.Contains(all, "work") {
		t.Errorf("it was paid with: %s", all)
	}
	// One that is refused does not keep the knock from being paid with work.
	alice.purse.mu.Lock()
	spent := alice.purse.tokens[0]
	for i := range alice.purse.tokens {
		alice.purse.tokens[i].Signature = make([]byte, len(spent.Signature))
	}
	alice.purse.mu.Unlock()
	said = nil
	w.must(alice.Knock(t.Context(), party(w.bob), []byte("2"), func(s string) { said = append(said, s) }))
	if all := strings.Join(said, "; "); !strings.Contains(all, "work") {
		t.Errorf("it was paid with: %s", all)
	}
	alice.purse.mu.Lock()
	if n := len(alice.purse.tokens); n != wantTokens-2 {
		t.Errorf("%d tokens are left", n)
	}
	alice.purse.mu.Unlock()
	knocks := concierge.OwnerOf(w.bob.ID, 1).Knocks()
	var boxes Boxes
	boxes.Add(knocks, 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.has(knocks, 2)
}

func TestPurse_GetsAndGivesOutWhatIsGood(t *testing.T) {
	w := newWorld(t)
	alice := w.post(w.alice)
	w.follow(alice, &Boxes{}, w.inbox())
	w.stocked(alice)
	p, now := &alice.purse, w.Now()
	p.put(p.tokens...)
	if len(p.tokens) != wantTokens {
		t.Errorf("it holds %d tokens", len(p.tokens))
	}
	if _, ok := p.take(now); !ok {
		t.Error("it gives none out")
	}
	if n := p.wants(now); n != 0 {
		t.Errorf("it wants %d at once for the one that was used", n)
	}
	if n := p.wants(now.Add(tokensEvery)); n != 1 {
		t.Errorf("it wants %d later, for the one that was used", n)
	}
	if _, ok := p.take(p.tokens[0].Until()); ok {
		t.Error("it gives out an old one")
	}
}

func TestHops_TwoReachesForeignConciergesThroughTheOwn(t *testing.T) {
	w := newWorld(t)
	bob := w.post(w.bob)
	address := w.queue(bob)
	alice := w.post(w.alice)
	alice.hops = Two
	w.deliver(alice, w.bob, address, 1, 20)
	if n := w.harbor.tunnels.Load(); n != 1 {
		t.Errorf("%d tunnels", n)
	}
	w.deliver(alice, w.alice, w.queue(alice), 1, 5)
	neighbour := fakechain.NewActor("carol", namesvc.Person)
	w.must(w.Register(neighbour, "carol", fakechain.ServedBy(w.lagoon.actor)))
	w.Skip(1)
	carol := w.post(neighbour) // who has the same concierge as the one she writes to
	carol.hops = Two
	w.deliver(carol, w.bob, address, 21, 21)
	if n := w.harbor.tunnels.Load() + w.lagoon.tunnels.Load(); n != 1 {
		t.Errorf("%d tunnels to where none is needed", n)
	}
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.has(address.Queue(), 21)

	// There is no way around the own concierge.
	alice.Wake() // closes what is idle
	w.harbor.stop()
	if n, err := alice.Deliver(t.Context(), party(w.bob), address, []stream.Message{{Body: []byte("x")}}); n != 0 || wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "own concierge") {
		t.Errorf("without the own concierge: %d, %v", n, err)
	}
}

// Fewer tunnels than contacts' concierges: they take turns.
func TestHops_TwoMakesDoWithTheTunnelsThereAre(t *testing.T) {
	w := newWorld(t)
	w.harbor.stop()
	w.harbor.limits.Tunnels = 1
	w.harbor.start()
	bob := w.post(w.bob)
	address := w.queue(bob)
	third := w.house("third")
	e, _ := w.Entry(third.actor.ID)
	service, err := concierge.ServiceOf(w.ID(), e)
	w.must(err)
	alice := w.post(w.alice)
	alice.hops = Two
	office := Office{Service: service, URL: third.url()}
	for i := range 3 {
		w.until("one has its turn", func() bool {
			n, err := alice.Deliver(t.Context(), party(w.bob), address, texts(i, i))
			return n == 1 && err == nil
		})
		w.until("the other has its turn", func() bool {
			return alice.try(t.Context(), office, false, func(context.Context, *line) error { return nil }) == nil
		})
	}
}
