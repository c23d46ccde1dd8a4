package chat

import (
	"fmt"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/store"
)

// What never came was deleted meanwhile: nobody can send it again.
func TestMissing_WhatWasDeletedIsNotAskedForAgainAndAgain(t *testing.T) {
	for name, c := range map[string]struct{ lost, edits, asks int }{"one": {1, 0, 0}, "three": {3, 0, 1}, "one with an edit": {1, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
			w.friends(alice, bob)
			alice.say(bob, "first")
			bob.reads(alice, "@alice: first")
			w.lagoon.stop()
			var list []Message
			for i := range c.lost {
				m := alice.say(bob, fmt.Sprint("oops ", i))
				list = append(list, m)
				for range c.edits {
					w.must(alice.Edit(w.Context(), m.ID, "oops"))
				}
			}
			// It gets lost on its way.
			w.must(alice.store.Update(func(tx *store.Tx) error {
				items, err := tx.Ready(1<<60, 100, store.MaxPage)
				for _, it := range items {
					if err := tx.Drop(it.ID); err != nil {
						return err
					}
				}
				return err
			}))
			for _, m := range list {
				w.must(alice.Delete(w.Context(), m.ID))
			}
			w.lagoon.start()
			alice.Wake()
			alice.say(bob, "last")
			bob.reads(alice, "@alice: first", "@alice: last")
			id := bob.with(alice)
			most := 0
			w.until("bob waits for nothing", func() bool {
				bob.mu.Lock()
				most = max(most, bob.times[id].asks)
				bob.mu.Unlock()
				bob.sets(time.Duration(bob.skew.Load()) + time.Second/2) // it takes minutes
				bob.tendNow(id)
				page, err := bob.Messages(w.Context(), "@alice", "", 10)
				w.must(err)
				return page.Missing == 0
			})
			if most > c.asks {
				t.Errorf("it was asked for %d times, want at most %d", most, c.asks)
			}
			page, err := bob.Messages(w.Context(), "@alice", "", 10)
			w.must(err)
			if c.edits == 0 && page.Lost > 0 {
				t.Errorf("%d deleted messages are shown as lost", page.Lost)
			}
		})
	}
}
