package chat

import (
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/agent/card"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestCard_FindsItsOwnerAndSaysThatTheyMet(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	c, err := bob.Card(w.Context())
	w.must(err)
	if back, err := card.Parse(c.String()); err != nil || back.Account != bob.o.Account || back.Handle != "bob" || len(back.Sources) == 0 {
		t.Fatalf("%+v, %v", back, err)
	}
	got, err := alice.AddCard(w.Context(), c.Code(), true, "we met", nil)
	w.must(err)
	if got.Handle != "@bob" || got.State != "invited" || got.Verified.IsZero() {
		t.Errorf("%+v", got)
	}
	w.until("bob is asked", func() bool { return bob.state(alice) == "requested" })
	if _, err := bob.AcceptContact(w.Context(), "@alice"); err != nil {
		t.Fatal(err)
	}
	alice.say(bob, "hello")
	bob.reads(alice, "@alice: hello")
	// A card that is shown again is no mistake.
	if again, err := alice.AddCard(w.Context(), c.String(), true, "", nil); err != nil || again.State != "accepted" {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestCard_RefusesAnotherNetworkAnotherOwnerAndOneself(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	c, err := bob.Card(w.Context())
	w.must(err)
	elsewhere, taken, self := c, c, c
	elsewhere.Pin.ChainID = "another-chain"
	taken.Generation++
	self.Account = alice.o.Account
	for text, want := range map[string]wire.Code{elsewhere.String(): wire.Invalid, taken.String(): wire.Conflict, self.String(): wire.Invalid, "confab:1:AAAA": wire.Invalid} {
		if _, err := alice.AddCard(w.Context(), text, true, "", nil); wire.CodeOf(err) != want {
			t.Errorf("%.30s: %v", text, err)
		}
	}
	if list, err := alice.Contacts(w.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestSendAll_IsOneMessageForEachContactAndForNobodyElse(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol, dave := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device(), w.person("carol", w.harbor).device(), w.person("dave", w.lagoon).device()
	w.friends(alice, bob)
	w.friends(alice, carol)
	_, err := alice.AddContact(w.Context(), "@dave", "", nil) // who has not answered
	w.must(err)
	sent, failed, err := alice.SendAll(w.Context(), "a new number")
	if err != nil || len(sent) != 2 || len(failed) != 0 {
		t.Fatalf("%d, %+v, %v", len(sent), failed, err)
	}
	for _, a := range []*device{bob, carol} {
		w.until("it came", func() bool { return slices.Contains(a.sees(alice), "@alice: a new number") })
	}
	if strings.Contains(strings.Join(dave.sees(alice), " "), "number") {
		t.Error("who is no contact yet got it")
	}
	for _, text := range []string{"", strings.Repeat("x", 1<<20)} {
		if sent, failed, err := alice.SendAll(w.Context(), text); wire.CodeOf(err) != wire.Invalid || len(sent)+len(failed) != 0 {
			t.Errorf("%d, %+v, %v", len(sent), failed, err)
		}
	}
}
