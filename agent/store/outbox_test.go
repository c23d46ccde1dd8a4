package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

func at(ms int64) time.Time { return time.UnixMilli(ms) }

// bodies returns "destination:body …" of what is ready.
func ready(t *testing.T, s *Store, now uint64, destinations, each int) (out []string) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		list, err := tx.Ready(now, destinations, each)
		for _, it := range list {
			out = append(out, it.Destination+":"+string(it.Body))
		}
		return err
	})
	return out
}

func enqueue(t *testing.T, s *Store, n uint64, destination string) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		return tx.Enqueue(Item{ID: mid(n), Destination: destination, Body: fmt.Append(nil, n), About: message.ID{byte(n)}, Added: n})
	})
}

func TestOutbox_KeepsOrderAndLetsNoneBlockOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openAt(t, path)
	for n, d := range []string{"a", "b", "a", "c", "a", "b"} {
		enqueue(t, s, uint64(n+1), d)
	}
	want := func(now uint64, want ...string) {
		t.Helper()
		if got := ready(t, s, now, 10, 2); !slices.Equal(got, want) {
			t.Errorf("ready are %v, want %v", got, want)
		}
	}
	want(0, "a:1", "a:3", "b:2", "b:6", "c:4")
	update(t, s, func(tx *Tx) error { return errors.Join(tx.PutOff("a", 100), tx.PutOff("a", 200)) })
	want(0, "b:2", "b:6", "c:4")
	// It survives a restart.
	s.Close()
	s = openAt(t, path)
	want(199, "b:2", "b:6", "c:4")
	want(200, "b:2", "b:6", "c:4", "a:1", "a:3")
	view(t, s, func(tx *Tx) error {
		list, err := tx.Undelivered(message.ID{3})
		if len(list) != 1 || list[0].ID != mid(3) || list[0].Attempts != 2 {
			t.Errorf("undelivered %+v", list)
		}
		at, waits, err2 := tx.NextReady()
		if at != 0 || !waits {
			t.Errorf("next at %d, %t", at, waits)
		}
		return errors.Join(err, err2)
	})
	update(t, s, func(tx *Tx) error { return tx.Sent(mid(1)) })
	want(0, "a:3", "a:5", "b:2", "b:6", "c:4")
	// One that will never be taken holds up none behind it, and is not lost.
	update(t, s, func(tx *Tx) error { return tx.Refuse(mid(3), "too large") })
	want(0, "a:5", "b:2", "b:6", "c:4")
	view(t, s, func(tx *Tx) error {
		list, err := tx.Refusals()
		if len(list) != 1 || list[0].Refused != "too large" {
			t.Errorf("refused %+v", list)
		}
		return err
	})
	// Moved: behind what waits there, in order.
	update(t, s, func(tx *Tx) error { return tx.Redirect("b", "c") })
	enqueue(t, s, 9, "c")
	if got := ready(t, s, 0, 10, 9); !slices.Equal(got, []string{"a:5", "c:4", "c:2", "c:6", "c:9"}) {
		t.Errorf("after moving %v", got)
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.Sent(mid(9)), tx.Sent(mid(9)), tx.Drop(mid(2)), tx.Sent(mid(4)), tx.Sent(mid(6)), tx.Sent(mid(5)), tx.Drop(mid(3)))
	})
	view(t, s, func(tx *Tx) error {
		n, err := tx.count("SELECT (SELECT count(*) FROM destinations) + (SELECT count(*) FROM outbox)")
		_, waits, err2 := tx.NextReady()
		if n != 0 || waits {
			t.Errorf("%d rows stay", n)
		}
		return errors.Join(err, err2)
	})
}

func TestOutbox_WhatIsAbandonedWaitsNoMore(t *testing.T) {
	s := fresh(t)
	enqueue(t, s, 1, "a")
	enqueue(t, s, 2, "b")
	enqueue(t, s, 3, "a")
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Abandon("a"), tx.Abandon("c")) })
	if got := ready(t, s, 0, 10, 9); !slices.Equal(got, []string{"b:2"}) {
		t.Errorf("after it %v", got)
	}
	view(t, s, func(tx *Tx) error {
		n, err := tx.count("SELECT (SELECT count(*) FROM destinations) + (SELECT count(*) FROM outbox)")
		if n != 2 {
			t.Errorf("%d rows stay", n)
		}
		return err
	})
}

func TestOutbox_RetryMakesAllDue(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "db"))
	enqueue(t, s, 1, "a")
	// A clock that was hours ahead.
	update(t, s, func(tx *Tx) error { return tx.PutOff("a", 1<<50) })
	if got := ready(t, s, 1<<40, 9, 9); got != nil {
		t.Errorf("ready are %v", got)
	}
	update(t, s, func(tx *Tx) error { return tx.Retry() })
	if got := ready(t, s, 0, 9, 9); len(got) != 1 {
		t.Errorf("ready are %v", got)
	}
}

func TestEnqueue_Refuses(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "db"))
	good := Item{ID: mid(1), Destination: "a", Body: []byte{1}}
	update(t, s, func(tx *Tx) error { return tx.Enqueue(good) })
	update(t, s, func(tx *Tx) error {
		wantCode(t, tx.Enqueue(good), wire.Exists)
		for _, change := range []func(*Item){
			func(i *Item) { i.Destination = "" }, func(i *Item) { i.Destination = strings.Repeat("x", MaxDestination+1) },
			func(i *Item) { i.Body = nil }, func(i *Item) { i.Body = make([]byte, MaxItem+1) },
		} {
			bad := good
			bad.ID = mid(2)
			change(&bad)
			wantCode(t, tx.Enqueue(bad), wire.Invalid)
		}
		wantCode(t, tx.Refuse(mid(7), "x"), wire.NotFound)
		wantCode(t, tx.Refuse(mid(1), ""), wire.Invalid)
		wantCode(t, tx.Redirect("a", ""), wire.Invalid)
		for n := range uint64(MaxOutboxEach) {
			if err := tx.exec("INSERT INTO outbox (name, destination, body, about, added) SELECT randomblob(16), id, x'00', x'00', ? FROM destinations", n); err != nil {
				return err
			}
		}
		for destination, want := range map[string]int{good.Destination: 0, "b": MaxOutboxEach} {
			if n, err := tx.Free(destination); err != nil || n != want {
				t.Errorf("for %s %d more fit (%v), want %d", destination, n, err, want)
			}
		}
		bad := good
		bad.ID = mid(2)
		wantCode(t, tx.Enqueue(bad), wire.Exhausted)
		bad.Destination = "b" // which is not held up by it
		return tx.Enqueue(bad)
	})
}

func TestReceive_TakesEachEntryOnce(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "db"))
	receive := func(source string, seq, id uint64, want bool) {
		t.Helper()
		update(t, s, func(tx *Tx) error {
			fresh, err := tx.Receive(source, seq, mid(id), 10*seq)
			if fresh != want {
				t.Errorf("%s %d %d: fresh is %t", source, seq, id, fresh)
			}
			return err
		})
	}
	receive("old", 1, 1, true)
	receive("old", 1, 1, false)
	receive("old", 3, 3, true)  // 2 expired there
	receive("old", 2, 2, false) // a server that goes back
	receive("new", 1, 3, false) // handed over
	receive("new", 2, 4, true)
	receive("old", 4, 4, false) // and by the old one as well
	update(t, s, func(tx *Tx) error {
		got, err := tx.Inboxes()
		if len(got) != 2 || got["old"] != 4 || got["new"] != 2 {
			t.Errorf("inboxes are %v", got)
		}
		for _, bad := range []struct {
			source string
			seq    uint64
		}{{"", 1}, {strings.Repeat("x", MaxSource+1), 1}, {"a", 0}, {"a", 1 << 63}} {
			_, err := tx.Receive(bad.source, bad.seq, mid(9), 1)
			wantCode(t, err, wire.Invalid)
		}
		return errors.Join(err, tx.DropInbox("old"), tx.ForgetSeen(20))
	})
	receive("third", 1, 1, true) // forgotten by its age
	receive("third", 2, 3, false)
}

func TestReceive_IsUndoneWithItsMessage(t *testing.T) {
	s := fresh(t)
	e := newWriter(t).text(bobs(1), "x")
	refusal := errors.New("processing failed")
	err := s.Update(func(tx *Tx) error {
		fresh, err := tx.Receive("inbox", 1, mid(1), 1)
		if err != nil || !fresh {
			t.Errorf("%t, %v", fresh, err)
		}
		_, err = tx.AddEvent(e)
		return errors.Join(err, refusal)
	})
	if !errors.Is(err, refusal) {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error {
		_, err := tx.Message(e.ID())
		wantCode(t, err, wire.NotFound)
		fresh, err := tx.Receive("inbox", 1, mid(1), 1)
		if !fresh {
			t.Error("it counts as processed")
		}
		return err
	})
}

func TestContacts_PinTheirGeneration(t *testing.T) {
	s := fresh(t)
	c := bobContact()
	update(t, s, func(tx *Tx) error {
		again := c
		again.State = Requested
		wantCode(t, tx.AddContact(again), wire.Exists) // a request changes nothing
		next := c
		next.Party.Generation = 3
		next.Verified = 9
		wantCode(t, tx.SetContact(next), wire.Conflict)
		c.Verified, c.Name, c.State = 9, "Bobby", Blocked
		if err := tx.SetContact(c); err != nil {
			return err
		}
		got, err := tx.Contact(bob())
		if fmt.Sprint(got) != fmt.Sprint(c) {
			t.Errorf("got %+v, want %+v", got, c)
		}
		wantCode(t, tx.Repin(message.Party{Account: bob(), Generation: 1}), wire.Stale)
		if err := errors.Join(err, tx.Repin(next.Party)); err != nil {
			return err
		}
		got, err = tx.Contact(bob())
		if got.Party.Generation != 3 || got.Verified != 0 || got.State != Blocked {
			t.Errorf("got %+v", got)
		}
		for _, change := range []func(*Contact){
			func(c *Contact) { c.Party.Generation = 0 }, func(c *Contact) { c.Party.Account = [32]byte{} }, func(c *Contact) { c.State = 0 },
			func(c *Contact) { c.State = 5 }, func(c *Contact) { c.Name = strings.Repeat("x", MaxName+1) }, func(c *Contact) { c.Data = make([]byte, MaxNote+1) },
		} {
			bad := bobContact()
			bad.Party.Account[0]++
			if bad.Party.Account[0] == 0 {
				t.Fatal("bad test")
			}
			change(&bad)
			wantCode(t, tx.AddContact(bad), wire.Invalid)
		}
		other := bobContact()
		other.Party.Account, other.State, other.Added = fill(1), Requested, 1
		if err := errors.Join(err, tx.AddContact(other)); err != nil {
			return err
		}
		all, err := tx.Contacts()
		blocked, err2 := tx.Contacts(Blocked)
		if len(all) != 2 || all[0].Party.Account != fill(1) || len(blocked) != 1 {
			t.Errorf("%d contacts, %d blocked", len(all), len(blocked))
		}
		err3 := tx.RemoveContact(bob())
		_, gone := tx.Contact(bob())
		wantCode(t, gone, wire.NotFound)
		wantCode(t, tx.SetContact(c), wire.NotFound)
		return errors.Join(err, err2, err3)
	})
}

func TestConversations_AreListedAndRenamed(t *testing.T) {
	s := fresh(t)
	update(t, s, func(tx *Tx) error {
		room := Conversation{ID: message.ConversationID{1}, Title: "Room", Added: 1}
		if err := errors.Join(tx.AddConversation(room), tx.SetConversation(withBob().ID, "Robert", true)); err != nil {
			return err
		}
		list, err := tx.Conversations()
		if len(list) != 2 || list[0] != room || list[1].Title != "Robert" || !list[1].Muted || list[1].With != withBob().With {
			t.Errorf("got %+v", list)
		}
		wantCode(t, tx.SetConversation(message.ConversationID{2}, "", false), wire.NotFound)
		wantCode(t, tx.SetConversation(room.ID, strings.Repeat("x", MaxName+1), false), wire.Invalid)
		wantCode(t, tx.DeleteConversation(message.ConversationID{2}), wire.NotFound)
		return err
	})
}

func TestNotes_AreKept(t *testing.T) {
	s := fresh(t)
	update(t, s, func(tx *Tx) error {
		wantCode(t, tx.Put("", []byte{1}), wire.Invalid)
		wantCode(t, tx.Put("a", make([]byte, MaxNote+1)), wire.Invalid)
		err := errors.Join(tx.Put("a", []byte{1}), tx.Put("a", []byte{}), tx.Put("b", []byte{2}), tx.Put("b", nil))
		a, err2 := tx.Get("a")
		if a == nil || len(a) != 0 {
			t.Errorf("read %v", a)
		}
		_, gone := tx.Get("b")
		wantCode(t, gone, wire.NotFound)
		return errors.Join(err, err2)
	})
}
