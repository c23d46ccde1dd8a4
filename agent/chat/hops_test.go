package chat

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/confab-chat/confab/agent/post"
)

// Everything that alice does at bob's concierge, files included, comes from her
// own one.
func TestHops_TwoKeepsTheOwnAddressFromTheOtherConcierge(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", w.lagoon).device()
	w.hops = post.Two
	alice := w.person("alice", w.harbor).device()
	w.friends(alice, bob)
	alice.say(bob, "hello")
	bob.reads(alice, "@alice: hello")
	path := filepath.Join(t.TempDir(), "picture")
	w.must(os.WriteFile(path, bytes.Repeat([]byte("picture "), 10_000), 0o600))
	m, err := bob.Send(w.Context(), "@alice", Draft{File: path, Text: "look"})
	w.must(err)
	alice.reads(bob, "you: hello", "@bob: look")
	alice.stop()
	bob.stop() // whose own connections would be counted
	conns, tunnels := w.lagoon.conns.Load(), w.harbor.tunnels.Load()
	alice = alice.p.start(alice.key, alice.home)
	alice.say(bob, "again")
	w.until("bob's concierge has it", func() bool {
		s, err := alice.Self(w.Context())
		return err == nil && s.Waiting == 0 && slices.Contains(alice.sees(bob), "you: again")
	})
	_, err = alice.FetchFile(w.Context(), m.ID, t.TempDir())
	w.must(err)
	conns, tunnels = w.lagoon.conns.Load()-conns, w.harbor.tunnels.Load()-tunnels
	if conns == 0 || conns > tunnels {
		t.Errorf("bob's concierge was connected to %d times, of which %d through alice's", conns, tunnels)
	}
	s, err := alice.Self(w.Context())
	w.must(err)
	if s.Hops != "two" {
		t.Errorf("hops are %q", s.Hops)
	}
}
