package chat

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
)

// moves points a person's entry at another concierge.
func (p *person) moves(to *house) {
	w := p.w
	w.Helper()
	w.must(w.block(w.Sign(p.actor, namesvc.OpRecords, *fakechain.ServedBy(to.actor))))
}

func TestSwitch_PeersWriteOnAndNothingIsLostDoubledOrReordered(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice", w.harbor).device()
	const peers, each = 4, 12
	var list []*device
	for i := range peers {
		p := w.person(fmt.Sprint("peer", i), w.lagoon).device()
		w.friends(alice, p)
		list = append(list, p)
	}
	var wg sync.WaitGroup
	half := make(chan struct{}, peers)
	for _, p := range list {
		wg.Go(func() {
			for n := range each {
				if n == each/3 {
					half <- struct{}{}
				}
				if _, err := p.Send(w.Context(), "@alice", Draft{Text: fmt.Sprint(n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range peers {
		<-half
	}
	alice.p.moves(w.lagoon)
	alice.Wake()
	wg.Wait()
	var want []string
	for _, p := range list {
		want = want[:0]
		for n := range each {
			want = append(want, fmt.Sprintf("@%s: %d", p.p.name, n))
		}
		alice.reads(p, want...)
	}
	w.until("the new concierge is in use", func() bool {
		o, err := alice.Concierges(w.Context())
		return err == nil && len(o) == 2 && o[0].Handle == "@lagoon" && o[1].Handle == "@harbor" && o[1].Former
	})
	w.harbor.stop()
	for _, p := range list {
		p.say(alice, "after")
		w.until("what is said after comes", func() bool { return slices.Contains(alice.sees(p), "@"+p.p.name+": after") })
	}
	for _, p := range list {
		w.until("the peer was told", func() bool {
			page, err := p.Messages(w.Context(), "@alice", "", 100)
			return err == nil && slices.ContainsFunc(page.Messages, func(m Message) bool { return m.Kind == "moved" })
		})
	}
}

// The concierge that is left is gone, with what it had: the peers send it again.
func TestSwitch_AwayFromADeadConcierge(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.stop()
	bob.say(alice, "withheld for ever")
	w.until("harbor has it", func() bool {
		s, err := bob.Self(w.Context())
		return err == nil && s.Waiting == 0
	})
	w.harbor.stop()
	alice.p.moves(w.lagoon)
	alice = alice.p.start(alice.key, alice.home)
	bob.say(alice, "and this")
	alice.reads(bob, "@bob: withheld for ever", "@bob: and this")
}

func TestSwitch_ByOneCommand(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	bob.say(alice, "one")
	alice.reads(bob, "@bob: one")
	var said []string
	w.must(alice.Switch(w.Context(), "@lagoon", func(s string) { said = append(said, s) }))
	if len(said) < 3 {
		t.Errorf("progress is only %q", said)
	}
	bob.say(alice, "two")
	alice.reads(bob, "@bob: one", "@bob: two")
	w.until("the old concierge passes on", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return len(alice.offices.former) == 1 && alice.offices.former[0].told
	})
}

func TestSwitch_ToWhoIsNotThereChangesNothing(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice", w.harbor).device()
	w.lagoon.stop()
	before, _ := w.Entry(alice.p.actor.ID)
	if err := alice.Switch(w.Context(), "@lagoon", nil); err == nil {
		t.Fatal("it switched to a concierge that does not answer")
	}
	after, _ := w.Entry(alice.p.actor.ID)
	if after.Seq != before.Seq {
		t.Error("the entry was changed")
	}
	if err := alice.Switch(w.Context(), "@alice", nil); err == nil {
		t.Error("a person is no concierge")
	}
}
