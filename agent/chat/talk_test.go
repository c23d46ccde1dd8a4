package chat

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-chat/confab/talk/message"
)

func TestAgent_TwoPeopleMeetAndTalk(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "hi bob")
	bob.reads(alice, "@alice: hi bob")
	bob.say(alice, "hi alice")
	alice.reads(bob, "you: hi bob", "@bob: hi alice")
	bob.reads(alice, "@alice: hi bob", "you: hi alice")
}

func TestAgent_WhatIsSaidBeforeTheAnswerIsSentAfterIt(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	alice.AddContact(w.Context(), "bob", "", nil)
	m := alice.say(bob, "are you there?")
	if m.Delivery != Waiting {
		t.Errorf("a message before the answer is %s, want waiting", m.Delivery)
	}
	w.until("bob sees the request", func() bool { return bob.state(alice) == "requested" })
	_, err := bob.AcceptContact(w.Context(), "@alice")
	w.must(err)
	bob.reads(alice, "@alice: are you there?")
}

func TestAgent_BothAskAtOnce(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	alice.AddContact(w.Context(), "bob", "", nil)
	bob.AddContact(w.Context(), "alice", "", nil)
	w.until("they are contacts", func() bool { return alice.state(bob) == "accepted" && bob.state(alice) == "accepted" })
	for i := range 3 {
		alice.say(bob, fmt.Sprint("a", i))
		bob.say(alice, fmt.Sprint("b", i))
	}
	w.until("both have all six", func() bool { return len(alice.sees(bob)) == 6 && len(bob.sees(alice)) == 6 })
}

func TestAgent_GoesOnAfterARestart(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.reads(alice, "@alice: one")
	bob.stop()
	alice.say(bob, "two")
	alice.say(bob, "three")
	alice.stop()
	alice = alice.p.start(alice.key, alice.home)
	bob = bob.p.start(bob.key, bob.home)
	bob.reads(alice, "@alice: one", "@alice: two", "@alice: three")
	bob.say(alice, "four")
	alice.reads(bob, "you: one", "you: two", "you: three", "@bob: four")
}

func TestAgent_MailWaitsForAConciergeThatIsDown(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	carol := w.person("carol", w.harbor).device()
	w.friends(alice, bob)
	w.friends(alice, carol)
	w.lagoon.stop()
	m := alice.say(bob, "while it is down")
	alice.say(carol, "yours works") // one dead concierge stops nobody else
	carol.reads(alice, "@alice: yours works")
	shown, err := alice.Message(w.Context(), m.ID)
	w.must(err)
	if shown.Delivery != Waiting {
		t.Errorf("the message is %s, want waiting", shown.Delivery)
	}
	w.lagoon.start()
	alice.Wake()
	bob.Wake()
	bob.reads(alice, "@alice: while it is down")
	w.until("alice knows that it came", func() bool {
		shown, err := alice.Message(w.Context(), m.ID)
		return err == nil && shown.Delivery == Delivered
	})
}

func TestAgent_ShowsHowFarAMessageHasCome(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	m := alice.say(bob, "read me")
	delivery := func() Delivery {
		shown, err := alice.Message(w.Context(), m.ID)
		w.must(err)
		return shown.Delivery
	}
	w.until("it is delivered", func() bool { return delivery() == Delivered })
	page, err := bob.Messages(w.Context(), "@alice", "", 10)
	w.must(err)
	if page.With.Unread != 1 || !page.Messages[0].Unread {
		t.Errorf("bob has %d unread messages, want 1", page.With.Unread)
	}
	w.must(bob.MarkRead(w.Context(), "@alice", page.Messages[0].At))
	w.until("it is read", func() bool { return delivery() == Read })
}

func TestAgent_EditsReactionsAndDeletions(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	first, second := alice.say(bob, "frist"), alice.say(bob, "a mistake")
	w.must(alice.Edit(w.Context(), first.ID, "first"))
	w.must(alice.Delete(w.Context(), second.ID))
	bob.reads(alice, "@alice: first", "@alice: ")
	w.must(bob.React(w.Context(), first.ID, "👍", true))
	w.until("alice sees the sign", func() bool {
		m, err := alice.Message(w.Context(), first.ID)
		return err == nil && len(m.Reactions) == 1 && m.Reactions[0].By[0] == bob.p.actor.ID
	})
	if err := bob.Edit(w.Context(), first.ID, "not mine"); err == nil {
		t.Error("bob edits what alice said")
	}
	found, err := bob.Search(w.Context(), "first", "", 10)
	w.must(err)
	if len(found) != 1 || found[0].Text != "first" || !found[0].Edited {
		t.Errorf("search finds %+v", found)
	}
}

// An outage of the chain stops nothing that was begun.
func TestAgent_TalksWhileTheChainIsSilent(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "before")
	bob.reads(alice, "@alice: before")
	w.blind.Store(true)
	alice.say(bob, "during")
	bob.say(alice, "still there")
	bob.reads(alice, "@alice: before", "@alice: during", "you: still there")
	alice.reads(bob, "you: before", "you: during", "@bob: still there")
}

// The secrets are gone or an older copy: the conversation goes on in a new
// session, with what was said before still there.
func TestAgent_LostSecretsAreReplaced(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.reads(alice, "@alice: one")
	bob.stop()
	alice.say(bob, "two")
	w.must(os.RemoveAll(filepath.Join(bob.home, "secrets")))
	bob = bob.p.start(bob.key, bob.home)
	bob.say(alice, "three")
	w.until("alice reads three", func() bool { s := alice.sees(bob); return len(s) >= 3 })
	alice.say(bob, "four")
	bob.reads(alice, "@alice: one", "@alice: two", "you: three", "@alice: four")
}

func TestAgent_ABlockedContactIsNotHeard(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	_, err := bob.BlockContact(w.Context(), "@alice")
	w.must(err)
	alice.say(bob, "unheard")
	w.must(alice.Typing(w.Context(), "@bob", 5))
	if _, err := bob.Send(w.Context(), "@alice", Draft{Text: "no"}); err == nil {
		t.Error("bob writes to whom he has blocked")
	}
	_, err = bob.UnblockContact(w.Context(), "@alice")
	w.must(err)
	alice.say(bob, "heard")
	w.until("bob hears alice again", func() bool { s := bob.sees(alice); return len(s) > 0 && s[len(s)-1] == "@alice: heard" })
}

// An invitation from nobody, and for a conversation that is there, changes
// nothing: the group hijack of research 01 §4.1.
func TestAgent_RefusesARequestThatWouldReplaceAConversation(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	mallory := w.person("mallory", w.harbor).device()
	w.friends(alice, bob)
	alice.say(bob, "ours")
	bob.reads(alice, "@alice: ours")
	mallory.AddContact(w.Context(), "bob", "", nil)
	w.until("bob sees mallory's request", func() bool { return bob.state(mallory) == "requested" })
	bob.reads(alice, "@alice: ours")
	if _, err := bob.Send(w.Context(), "@mallory", Draft{Text: "x"}); err == nil {
		t.Error("bob writes to whom he has not accepted")
	}
	id := message.Direct(bob.party(), message.Party{Account: mallory.p.actor.ID, Generation: 1})
	if id == message.Direct(bob.party(), message.Party{Account: alice.p.actor.ID, Generation: 1}) {
		t.Fatal("two conversations have one id")
	}
}
