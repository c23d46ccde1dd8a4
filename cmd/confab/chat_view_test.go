package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/message"
)

func (w *world) call() *call {
	var out bytes.Buffer
	e := w.env(&out, &out)
	e.local = time.UTC
	return &call{env: e}
}

func TestMessage_IsALineWithItsMarks(t *testing.T) {
	c := newWorld(t).call()
	at := time.Date(2026, 11, 21, 15, 4, 0, 0, time.UTC)
	alice := namesvc.AccountID{1}
	for _, x := range []struct {
		m    chat.Message
		want string
	}{
		{chat.Message{From: "@bob", Text: "hello", Unread: true}, "@bob: hello  (new)"},
		{chat.Message{Own: true, From: "you", Text: "one\ntwo", Delivery: chat.Sent}, "you: one\n" + indent + "two  (sent)"},
		{chat.Message{From: "@bob", Deleted: true, Edited: true, Text: "gone"}, "@bob  (deleted)"},
		{chat.Message{From: "@bob", Text: "x", ReplyTo: message.ID{0xab, 0xcd, 0xef}, Edited: true}, "@bob: x  (to abcdef, edited)"},
		{chat.Message{From: "@bob", Text: "x", Reactions: []chat.Reaction{{Emoji: "👍", By: []namesvc.AccountID{alice, {2}}}, {Emoji: "🎉", By: []namesvc.AccountID{alice}}}}, "@bob: x  (👍 2, 🎉)"},
		{chat.Message{Own: true, Text: "x", Delivery: chat.Refused, Trouble: "the mailbox is full"}, "you: x  (refused, the mailbox is full)"},
		{chat.Message{From: "@bob", File: &chat.File{Name: "a.jpg", Size: 2_500_000}}, "@bob: [file a.jpg, 2.5 MB]"},
		{chat.Message{From: "@bob", Text: "look", File: &chat.File{Name: "a.jpg", Size: 999, Path: "/tmp/a.jpg"}}, "@bob: look [file a.jpg, 999 bytes, in /tmp/a.jpg]"},
	} {
		x.m.ID, x.m.Time = message.ID{0x5f, 0x3a, 0x9c, 0x11}, at
		var b bytes.Buffer
		c.writeMessage(&b, x.m)
		if want := "2026-11-21 15:04  5f3a9c  " + x.want + "\n"; b.String() != want {
			t.Errorf("got  %qwant %q", b.String(), want)
		}
	}
}

// Whatever others write, a terminal obeys nothing of it and no line of ours is
// turned round.
func TestMessage_OfOthersObeysNothing(t *testing.T) {
	hostile := "a\x1b[2Jb\rc\u202ed\u2066e\x9b31m\u2028f"
	c := newWorld(t).call()
	m := chat.Message{
		From: hostile, Text: hostile, Trouble: hostile, Reactions: []chat.Reaction{{Emoji: hostile}}, File: &chat.File{Name: hostile},
	}
	var b bytes.Buffer
	c.writeMessage(&b, m)
	writeContact(&b, chat.Contact{Handle: "@x", Name: hostile, State: "requested", Greeting: hostile, Warning: hostile})
	writeDevice(&b, chat.Device{Name: hostile, Scopes: namesvc.AllScopes.String()})
	b.WriteString(officeText(chat.Office{Account: namesvc.AccountID{1}, Handle: hostile, Trouble: hostile}))
	for _, bad := range []string{"\x1b", "\r", "\u202e", "\x9b", "\u2028"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("%q is shown", bad)
		}
	}
	if opened, closed := strings.Count(b.String(), "\u2066"), strings.Count(b.String(), "\u2069"); opened == 0 || opened != closed {
		t.Errorf("%d isolates are opened and %d closed", opened, closed)
	}
}

// What somebody says to be stands alone: it cannot go on as a line of ours, nor fill
// one so that the next looks like it.
func TestContact_SaysNothingOfItselfThatWeSay(t *testing.T) {
	var b bytes.Buffer
	name := "Mallory, verified" + strings.Repeat("-", 80) + "@bank  contact, verified"
	writeContact(&b, chat.Contact{Handle: "@mallory", State: "accepted", Shown: name, Unread: 2})
	if want := "@mallory          contact, 2 unread\n  says to be Mallory, verified-----------------------…\n"; b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}

func TestSize_IsForPeople(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 1_550_000: "1.6 MB", 3_000_000_000_000_000: "3000.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestAgent_VerbsSayWhenNoneRuns(t *testing.T) {
	w := newWorld(t)
	w.write("dev.pin", "confab-vectors:1:"+strings.Repeat("0a", 32)+"\n")
	w.run("net add --offline --source http://127.0.0.1:1 --pin FILE/dev.pin dev").ok()
	w.account("me")
	for _, line := range []string{
		"agent status", "agent stop", "contact list", "contact add @bob", "contact accept --wait 1s @bob", "chat read @bob", "chat send @bob hi",
		"chat follow", "chat search hi", "device list", "device link", "concierge status", "concierge switch @lantern",
	} {
		w.run(line).fails(17, "no agent runs for this account; start it in another terminal: confab agent run")
	}
	w.run("chat send --json @bob hi").fails(17, `"code":"unavailable"`)
	w.run("chat read --limit 0 @bob").fails(2, "--limit is 0")
	w.run("chat search --limit -1 x").fails(2, "--limit is -1")
	w.run("contact accept --wait -1s @bob").fails(2, "--wait is -1s")
	w.run("contact remove @bob").fails(2, "say --yes")
	w.run("contact verify --same --new @bob").fails(2, "one thing at a time")
	w.run("device accept 5f3a").fails(2, "too little of the key")
	w.run("agent run --origin https://x.example").fails(2, "--origin goes with --http")
	w.run("agent run --log loud").fails(2, "--log is")
	w.run("agent run --hops three").fails(2, "direct or two")
	w.stdin = ""
	w.run("chat send @bob").fails(2, "there is nothing to send")
	w.stdin = strings.Repeat("x", message.MaxText+1)
	w.run("chat send @bob").fails(10, "send it as a file")
}
