package chat

import (
	"os"
	"slices"
	"testing"
)

// copied returns a copy of a device's folder as it is now.
func (d *device) copied() string {
	d.p.w.Helper()
	to := d.p.w.TempDir()
	d.p.w.must(os.CopyFS(to, os.DirFS(d.home)))
	return to
}

// The whole folder is put back from an older copy: database and secrets fit, and
// what they know is old.
func TestCopy_AnOlderOneOfTheWholeFolderHeals(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.say(alice, "two")
	bob.reads(alice, "@alice: one", "you: two")
	alice.reads(bob, "you: one", "@bob: two")
	alice.stop()
	old := alice.copied()
	alice = alice.p.start(alice.key, alice.home)
	for range 5 {
		alice.say(bob, "will be forgotten")
		bob.say(alice, "this too")
	}
	w.until("all is said", func() bool { return len(bob.sees(alice)) == 12 && len(alice.sees(bob)) == 12 })
	alice.stop()
	alice = alice.p.start(alice.key, old)
	for _, text := range []string{"after 1", "after 2", "after 3"} {
		alice.say(bob, text)
		w.until("bob reads "+text, func() bool { return slices.Contains(bob.sees(alice), "@alice: "+text) })
	}
	bob.say(alice, "and back")
	w.until("alice reads it", func() bool { return slices.Contains(alice.sees(bob), "@bob: and back") })
}

// The folder is copied while the agent runs, and the copy is started.
func TestCopy_OfARunningAgentHeals(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.reads(alice, "@alice: one")
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				alice.say(bob, "busy")
			}
		}
	}()
	torn := alice.copied()
	close(stop)
	<-done
	last := alice.say(bob, "and quiet")
	w.until("bob's receipt is here", func() bool {
		m, err := alice.Message(w.Context(), last.ID)
		return err == nil && m.Delivery == Delivered
	})
	alice.stop()
	alice = alice.p.start(alice.key, torn)
	alice.say(bob, "after")
	w.until("bob reads it", func() bool { return slices.Contains(bob.sees(alice), "@alice: after") })
	bob.say(alice, "and back")
	w.until("alice reads it", func() bool { return slices.Contains(alice.sees(bob), "@bob: and back") })
}

// While the own concierge is not there nobody can tell; what is said goes out all
// the same, a little later, and nothing spins meanwhile.
func TestCopy_NobodyToAskHoldsUpLittle(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.reads(alice, "@alice: one")
	alice.stop()
	w.harbor.stop()
	alice = alice.p.start(alice.key, alice.home)
	m := alice.say(bob, "two")
	if m.Delivery != Waiting {
		t.Errorf("it is %s before anybody could look", m.Delivery)
	}
	bob.reads(alice, "@alice: one", "@alice: two")
	alice.mu.Lock()
	defer alice.mu.Unlock()
	if n := alice.times[alice.with(bob)].tends; n > 60 { // 15 s of waiting, and twice each second for good measure
		t.Errorf("the conversation was tended %d times", n)
	}
}
