package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// TestAddEvent_ShowsWhatTheLawSays gives random events to the store, in random
// order, and compares what it shows with message.Conversation.
func TestAddEvent_ShowsWhatTheLawSays(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 4))
		w := newWriter(t)
		var all []message.Event
		var targets []message.ID
		for range 60 {
			who := []message.Author{mine(1), mine(2), bobs(1)}[rng.IntN(3)]
			body := message.Body(message.Text{Text: fmt.Sprint("text ", rng.IntN(1000))})
			if len(targets) > 0 {
				to := targets[rng.IntN(len(targets))]
				body = []message.Body{
					body, body, message.Edit{To: to, Text: fmt.Sprint("edit ", rng.IntN(1000))},
					message.Reaction{To: to, Emoji: string(rune('a' + rng.IntN(3))), On: rng.IntN(3) > 0}, message.Delete{To: to},
					message.Receipt{Reached: []message.Reached{{Author: bobs(1), Delivered: uint64(rng.IntN(20) + 5), Read: uint64(rng.IntN(5))}}},
					message.Profile{Name: fmt.Sprint("name ", rng.IntN(9))}, message.Moved{Concierge: message.Party{Account: fill(0xcc), Generation: 1}, EntrySeq: uint64(rng.IntN(9) + 1)},
					message.Extension{Number: 99, Shown: "shown"}, message.File{Ref: message.Ref{Root: fill(byte(rng.IntN(3))), Type: "a/b"}, Name: "f"},
				}[rng.IntN(10)]
			}
			e := w.event(who, body)
			all = append(all, e)
			if rng.IntN(2) == 0 {
				targets = append(targets, e.ID())
			}
		}
		twin, err := message.New(withBob().ID, all[5].Author, all[5].Place, at(77), message.Text{Text: "twin"})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, twin)
		want := message.NewConversation(withBob().ID)
		for _, e := range all {
			if _, err := want.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			s := fresh(t)
			add(t, s, append(slices.Clone(all), all[:10]...)...)
			compareShown(t, s, want)
			s.Close()
		}
	}
}

// compareShown compares everything that the store shows with what it should.
func compareShown(t *testing.T, s *Store, want *message.Conversation) {
	t.Helper()
	if err := s.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	view(t, s, func(tx *Tx) error {
		list, err := tx.Messages(withBob().ID, "", MaxPage)
		if err != nil {
			return err
		}
		shown := want.Shown()
		if len(list) != len(shown) {
			t.Fatalf("%d messages, want %d", len(list), len(shown))
		}
		for i, m := range list {
			if got, want := line1(m.Shown), line1(shown[i]); got != want {
				t.Fatalf("message %d is %s, want %s", i, got, want)
			}
		}
		for _, a := range []namesvc.AccountID{alice(), bob()} {
			p, _ := tx.Profile(withBob().ID, a)
			wantP, _ := want.Profile(a)
			m, _ := tx.Moved(withBob().ID, a)
			wantM, _ := want.Moved(a)
			if p.Name != wantP.Name || m.EntrySeq != wantM.EntrySeq {
				t.Fatalf("profile %q, want %q; entry %d, want %d", p.Name, wantP.Name, m.EntrySeq, wantM.EntrySeq)
			}
		}
		reached, err := tx.Reached(withBob().ID, bob())
		if !slices.Equal(reached, want.Reached(bob())) {
			t.Fatalf("reached %v, want %v", reached, want.Reached(bob()))
		}
		c, err2 := tx.Conversation(withBob().ID)
		if c.Clock != want.Clock() {
			t.Fatalf("clock %d, want %d", c.Clock, want.Clock())
		}
		return errors.Join(err, err2)
	})
}

func line1(s message.Shown) string {
	return fmt.Sprintf("%v %v %q edited=%t deleted=%t disputed=%t unknown=%t %v kind=%v bytes=%d", s.ID, s.Event.Author, s.Text, s.Edited, s.Deleted, s.Disputed, s.Unknown, s.Reactions, s.Event.Kind(), len(s.Event.Bytes()))
}

func TestAddEvent_RefusesWhatHasNoPlaceHere(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	e := w.text(bobs(1), "a")
	typing, err := message.New(withBob().ID, bobs(1), message.Place{}, at(1), message.Typing{Seconds: 1})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := message.New(message.ConversationID{1}, bobs(1), message.Place{Seq: 1, Clock: 1}, at(1), message.Text{Text: "a"})
	if err != nil {
		t.Fatal(err)
	}
	bent, err := message.New(withBob().ID, bobs(1), message.Place{Seq: 2, Prev: e.ID(), Clock: 1 << 30}, at(1), message.Text{Text: "a"})
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, e)
	update(t, s, func(tx *Tx) error {
		_, err := tx.AddEvent(typing)
		wantCode(t, err, wire.Invalid)
		_, err = tx.AddEvent(foreign)
		wantCode(t, err, wire.NotFound)
		_, err = tx.AddEvent(bent)
		wantCode(t, err, wire.Invalid)
		a, err := tx.AddEvent(e)
		if a.New || a.Fork != nil {
			t.Errorf("a repetition is %+v", a)
		}
		return err
	})
}

// TestAddConversation_IsNeverOverwritten: an invitation, wanted or not, cannot take
// a conversation's place.
func TestAddConversation_IsNeverOverwritten(t *testing.T) {
	s := fresh(t)
	mallory := withBob()
	mallory.With = message.Party{Account: fill(0xee), Generation: 1}
	wantCode(t, s.Update(func(tx *Tx) error { return tx.AddConversation(mallory) }), wire.Exists)
	view(t, s, func(tx *Tx) error {
		c, err := tx.Conversation(withBob().ID)
		if c.With != withBob().With {
			t.Error("it was overwritten")
		}
		return err
	})
}

func TestGaps_ShowAndClose(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	var es []message.Event
	for i := range 8 {
		es = append(es, w.text(bobs(1), fmt.Sprint(i)))
	}
	gaps := func() (gaps, lost []message.Range) {
		t.Helper()
		view(t, s, func(tx *Tx) (err error) { gaps, lost, err = tx.Gaps(withBob().ID); return err })
		return gaps, lost
	}
	add(t, s, es[0], es[4], es[7])
	if got, _ := gaps(); !slices.Equal(got, []message.Range{{Author: bobs(1), From: 2, To: 4}, {Author: bobs(1), From: 6, To: 7}}) {
		t.Errorf("gaps are %v", got)
	}
	add(t, s, es[1], es[2], es[3])
	update(t, s, func(tx *Tx) error { return tx.GiveUp(withBob().ID, bobs(1)) })
	g, lost := gaps()
	if g != nil || !slices.Equal(lost, []message.Range{{Author: bobs(1), From: 6, To: 7}}) {
		t.Errorf("gaps %v, lost %v", g, lost)
	}
	// From the middle of a lost gap, then what links it.
	add(t, s, es[5])
	add(t, s, es[6])
	if g, lost = gaps(); g != nil || lost != nil {
		t.Errorf("gaps %v, lost %v", g, lost)
	}
	view(t, s, func(tx *Tx) error {
		list, err := tx.Events(withBob().ID, message.Range{Author: bobs(1), From: 2, To: 6})
		if len(list) != 5 || list[0].ID() != es[1].ID() || list[4].ID() != es[5].ID() {
			t.Errorf("%d events to send again", len(list))
		}
		standing, err2 := tx.Standing(withBob().ID)
		if !slices.Equal(standing, []message.Reached{{Author: bobs(1), Delivered: 8}}) {
			t.Errorf("standing is %v", standing)
		}
		return errors.Join(err, err2)
	})
}

// TestAddEvent_WhatCameTooEarlyIsTakenUpLater: more events than a chain lets wait.
func TestAddEvent_WhatCameTooEarlyIsTakenUpLater(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	var es []message.Event
	for range message.MaxWaiting + 20 {
		es = append(es, w.text(bobs(1), "x"))
	}
	add(t, s, es[1:]...)
	add(t, s, es[0])
	view(t, s, func(tx *Tx) error {
		standing, err := tx.Standing(withBob().ID)
		if len(standing) != 1 || standing[0].Delivered != uint64(len(es)) {
			t.Errorf("standing is %v, want all %d", standing, len(es))
		}
		return err
	})
}

func TestAddEvent_TellsForks(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	a, b := w.text(bobs(1), "one"), w.text(bobs(1), "two")
	twin, err := message.New(withBob().ID, bobs(1), b.Place, at(5), message.Text{Text: "the other two"})
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, a, b)
	for range 70 { // beyond what the chain itself remembers
		add(t, s, w.text(bobs(1), "more"))
	}
	update(t, s, func(tx *Tx) error {
		got, err := tx.AddEvent(twin)
		if !got.New || got.Fork == nil || got.Fork.Seq != 2 || got.Fork.Have != b.ID() || got.Fork.Got != twin.ID() {
			t.Errorf("got %+v", got)
		}
		for _, e := range []message.Event{b, twin} {
			m, err := tx.Message(e.ID())
			if err != nil || !m.Disputed {
				t.Errorf("%q is not disputed (%v)", m.Text, err)
			}
		}
		return err
	})
}

func TestNext_GoesOnFromWhatWasSeen(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	add(t, s, w.text(bobs(1), "one"), w.text(bobs(1), "two"))
	for i := range 3 {
		update(t, s, func(tx *Tx) error {
			p, err := tx.Next(withBob().ID, mine(1))
			if err != nil || p.Seq != uint64(i+1) || p.Clock != uint64(i+3) {
				t.Errorf("%+v, %v", p, err)
			}
			e, err := message.New(withBob().ID, mine(1), p, at(9), message.Text{Text: "mine"})
			if err != nil {
				return err
			}
			_, err = tx.AddEvent(e)
			return err
		})
	}
}

// What somebody could not see when he read on is new when it comes, once.
func TestMarkRead_AMessageThatFillsAGapIsNew(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	one, lost, three := w.text(bobs(1), "one"), w.text(bobs(1), "two, on the way"), w.text(bobs(1), "three")
	also, five := w.text(bobs(1), "four, on the way"), w.text(bobs(1), "five")
	fresh := func(e message.Event) (is bool) {
		view(t, s, func(tx *Tx) error { m, err := tx.Message(e.ID()); is = m.Unread; return err })
		return is
	}
	read := func(e message.Event) {
		update(t, s, func(tx *Tx) error {
			m, err := tx.Message(e.ID())
			return errors.Join(err, tx.MarkRead(withBob().ID, m.At))
		})
	}
	add(t, s, one, three, five)
	read(five)
	if fresh(one) || fresh(three) || fresh(five) {
		t.Fatal("what was read is new")
	}
	for _, late := range []message.Event{lost, also} {
		add(t, s, late)
		if !fresh(late) || fresh(five) {
			t.Errorf("new: the late one %v, the last one %v", fresh(late), fresh(five))
		}
		read(late)
		if fresh(late) {
			t.Error("it stays new")
		}
	}
	view(t, s, func(tx *Tx) error {
		names, err := tx.Names("unseen/", "")
		if len(names) != 0 {
			t.Errorf("%q is kept", names)
		}
		return err
	})
}

func TestMarkRead_CountsDown(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	unread := func() (n int) {
		view(t, s, func(tx *Tx) error { c, err := tx.Conversation(withBob().ID); n = c.Unread; return err })
		return n
	}
	var es []message.Event
	for i := range 6 {
		es = append(es, w.text(bobs(byte(1+i%2)), fmt.Sprint(i)), w.text(mine(1), "answer"))
	}
	add(t, s, es...)
	if n := unread(); n != 6 {
		t.Errorf("%d unread, want 6", n)
	}
	update(t, s, func(tx *Tx) error {
		m, err := tx.Message(es[4].ID())
		return errors.Join(err, tx.MarkRead(withBob().ID, m.At))
	})
	if n := unread(); n != 3 {
		t.Errorf("%d unread, want 3", n)
	}
	view(t, s, func(tx *Tx) error {
		got, err := tx.Standing(withBob().ID)
		want := []message.Reached{{Author: bobs(1), Delivered: 3, Read: 2}, {Author: bobs(2), Delivered: 3, Read: 1}}
		if !slices.Equal(got, want) {
			t.Errorf("standing %v, want %v", got, want)
		}
		return err
	})
	// Read on another device of hers; and what arrives late is read already.
	add(t, s, w.event(mine(2), message.Receipt{Reached: []message.Reached{{Author: bobs(1), Delivered: 4, Read: 4}}}))
	if n := unread(); n != 2 {
		t.Errorf("%d unread, want 2", n)
	}
	add(t, s, w.text(bobs(1), "late"))
	if n := unread(); n != 2 {
		t.Errorf("%d unread, want 2", n)
	}
	// Bob's receipts read nothing for her, and a deleted message is not unread.
	add(t, s, w.event(bobs(1), message.Receipt{Reached: []message.Reached{{Author: bobs(2), Delivered: 9, Read: 9}}}))
	add(t, s, w.event(bobs(2), message.Delete{To: es[10].ID()}))
	if n := unread(); n != 1 {
		t.Errorf("%d unread, want 1", n)
	}
}

// TestDelete_LeavesNoContent looks for the words with the database's own eyes and,
// since pages are encrypted, in every cell that they could be in.
func TestDelete_LeavesNoContent(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	f := w.event(bobs(1), message.File{Ref: message.Ref{Root: fill(3), Type: "a/b"}, Name: "name.txt", Text: "unmistakable one"})
	edit := w.event(bobs(1), message.Edit{To: f.ID(), Text: "unmistakable two"})
	del := w.event(bobs(1), message.Delete{To: f.ID()})
	late := w.event(bobs(1), message.Edit{To: f.ID(), Text: "unmistakable three"})
	for _, order := range [][]message.Event{{f, edit, del, late}, {del, late, edit, f}} {
		s := fresh(t)
		add(t, s, order...)
		view(t, s, func(tx *Tx) error {
			for _, q := range []string{"SELECT count(*) FROM events WHERE instr(bytes, CAST('unmistakable' AS BLOB))", "SELECT count(*) FROM messages WHERE text <> ''", "SELECT count(*) FROM search_data WHERE instr(block, CAST('unmis' AS BLOB))", "SELECT count(*) FROM files_of"} {
				if n, err := tx.count(q); err != nil || n != 0 {
					t.Errorf("%s: %d (%v)", q, n, err)
				}
			}
			m, err := tx.Message(f.ID())
			if !m.Deleted || m.Event.Author != bobs(1) || m.Event.Body != nil || m.Event.Seq != 1 {
				t.Errorf("got %+v", m)
			}
			_, err2 := tx.Event(f.ID())
			wantCode(t, err2, wire.NotFound)
			gaps, lost, err3 := tx.Gaps(withBob().ID)
			if gaps != nil || lost != nil {
				t.Errorf("deletion made gaps %v, %v", gaps, lost)
			}
			return errors.Join(err, err3)
		})
		if list, err := s.Search(context.Background(), "unmistakable", nil, 10); err != nil || len(list) != 0 {
			t.Errorf("search finds %d (%v)", len(list), err)
		}
	}
	add(t, s, f)
	update(t, s, func(tx *Tx) error { return tx.DeleteConversation(withBob().ID) })
	view(t, s, func(tx *Tx) error {
		for _, table := range []string{"events", "messages", "chains", "files_of", "latest", "reached", "search_docsize"} {
			if n, err := tx.count("SELECT count(*) FROM " + table); err != nil || n != 0 {
				t.Errorf("%s has %d rows (%v)", table, n, err)
			}
		}
		return nil
	})
	if err := s.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

// A conversation that is deleted and begun again is the same to the others: what
// this device says follows what it said, and nothing of before is asked for.
func TestDeleteConversation_GoesOnWhenItIsBegunAgain(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	add(t, s, w.text(mine(1), "one"), w.text(bobs(1), "two"), w.text(mine(1), "three"), w.text(bobs(1), "four"))
	var before message.Place
	view(t, s, func(tx *Tx) (err error) { before, err = tx.Next(withBob().ID, mine(1)); return err })
	update(t, s, func(tx *Tx) error { return tx.DeleteConversation(withBob().ID) })
	update(t, s, func(tx *Tx) error { return tx.AddConversation(withBob()) })
	update(t, s, func(tx *Tx) error { // as nobody said anything
		return errors.Join(tx.DeleteConversation(withBob().ID), tx.AddConversation(withBob()))
	})
	view(t, s, func(tx *Tx) error {
		after, err := tx.Next(withBob().ID, mine(1))
		if after != before {
			t.Errorf("the next place is %+v, want %+v", after, before)
		}
		if c, err := tx.Conversation(withBob().ID); err != nil || c.Unread != 0 {
			t.Errorf("%d unread (%v)", c.Unread, err)
		}
		if names, err := tx.Names("left/", ""); len(names) != 0 {
			t.Errorf("%q stays (%v)", names, err)
		}
		return err
	})
	next := w.text(bobs(1), "five")
	add(t, s, next)
	view(t, s, func(tx *Tx) error {
		gaps, lost, err := tx.Gaps(withBob().ID)
		if gaps != nil || lost != nil {
			t.Errorf("it misses %v, %v", gaps, lost)
		}
		if m, err := tx.Message(next.ID()); err != nil || !m.Unread || m.Disputed {
			t.Errorf("%+v, %v", m, err)
		}
		return err
	})
}

func TestMessages_ComeInPages(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	var want []message.ID
	for i := range 25 {
		e := w.text(bobs(byte(i%3)), fmt.Sprint(i))
		add(t, s, e)
		want = append(want, e.ID())
	}
	var back, forth []message.ID
	view(t, s, func(tx *Tx) error {
		for at := Position(""); ; {
			page, err := tx.Messages(withBob().ID, at, 7)
			if err != nil || len(page) == 0 {
				break
			}
			var ids []message.ID
			for _, m := range page {
				ids = append(ids, m.ID)
			}
			back, at = append(ids, back...), page[0].At
		}
		for at := Position(""); ; {
			page, err := tx.After(withBob().ID, at, 7)
			if err != nil || len(page) == 0 {
				return err
			}
			for _, m := range page {
				forth = append(forth, m.ID)
			}
			at = page[len(page)-1].At
		}
	})
	if !slices.Equal(back, want) || !slices.Equal(forth, want) {
		t.Error("pages do not make the whole")
	}
}

func TestSearch_FindsWords(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	first := w.text(bobs(1), "Der Zürich-Ausflug war schön, don't you think?")
	second := w.text(mine(1), "zurich again: C++ AND \"quotes\" NEAR(x)")
	add(t, s, first, second, w.text(bobs(1), "что-то совсем другое"))
	for query, want := range map[string][]message.ID{
		"zurich":            {second.ID(), first.ID()},
		"ZÜRICH schön":      {first.ID()},
		"ausf":              {first.ID()},
		"usflug":            nil,
		"сов":               nil,
		"совсем":            nil,
		`"quotes"`:          {second.ID()},
		"zurich AND quotes": {second.ID()},
		"NEAR(x":            {second.ID()},
		"zurich*":           {second.ID(), first.ID()},
		"text:zurich":       nil,
		"don't":             {first.ID()},
	} {
		list, err := s.Search(context.Background(), query, nil, 10)
		var got []message.ID
		for _, m := range list {
			got = append(got, m.ID)
		}
		if strings.HasPrefix(query, "сов") {
			if err != nil || len(got) != 1 {
				t.Errorf("%q: %d found (%v)", query, len(got), err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: found %d, want %d (%v)", query, len(got), len(want), err)
		}
	}
	in := message.ConversationID{9}
	if list, err := s.Search(context.Background(), "zurich", &in, 10); err != nil || len(list) != 0 {
		t.Errorf("another conversation has %d (%v)", len(list), err)
	}
	in = withBob().ID
	if list, err := s.Search(context.Background(), "zurich", &in, 1); err != nil || len(list) != 1 || list[0].ID != second.ID() {
		t.Errorf("the newest is not first (%v)", err)
	}
	for _, bad := range []string{"", "  ", `"*()`, strings.Repeat("x", MaxQuery+1), strings.Repeat("x ", maxWords+1)} {
		_, err := s.Search(context.Background(), bad, nil, 1)
		wantCode(t, err, wire.Invalid)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Search(ended, "zurich", nil, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	add(t, s, w.event(bobs(1), message.Edit{To: first.ID(), Text: "Basel"}))
	if list, _ := s.Search(context.Background(), "schön", nil, 10); len(list) != 0 {
		t.Error("old words are found")
	}
	if list, _ := s.Search(context.Background(), "basel", nil, 10); len(list) != 1 {
		t.Error("new words are not found")
	}
}

// FuzzSearch: nothing that a person types is taken for syntax.
func FuzzSearch(f *testing.F) {
	s := fresh(f)
	add(f, s, newWriter(f).text(bobs(1), "some words"))
	for _, q := range []string{"some", `"`, "a* OR b", "NEAR(", "-x", "{a}:b", "\x00", "ﬁ ½ ²", "ा"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		if _, err := s.Search(context.Background(), q, nil, 1); err != nil && wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", q, err)
		}
	})
}

func TestExport_ReadsBackElsewhere(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	e := w.text(bobs(1), "kept <&>")
	gone := w.text(bobs(1), "gone")
	add(t, s, e, gone, w.event(bobs(1), message.Delete{To: gone.ID()}), w.event(bobs(1), message.Reaction{To: e.ID(), Emoji: "x", On: true}), w.text(bobs(2), "unread"))
	update(t, s, func(tx *Tx) error {
		m, err := tx.Message(e.ID())
		return errors.Join(err, tx.MarkRead(withBob().ID, m.At))
	})
	var first, second bytes.Buffer
	if err := s.Export(context.Background(), &first); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(first.String(), "gone") || !strings.Contains(first.String(), `"text":"kept <&>"`) {
		t.Errorf("the export is\n%s", first.String())
	}
	other := openAt(t, filepath.Join(t.TempDir(), "db"))
	n, err := other.Import(context.Background(), bytes.NewReader(first.Bytes()))
	if err != nil || n != 4 {
		t.Fatalf("%d events: %v", n, err)
	}
	if n, err = other.Import(context.Background(), bytes.NewReader(first.Bytes())); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
	if err := other.Export(context.Background(), &second); err != nil || first.String() != second.String() {
		t.Errorf("read back it exports\n%s\nwant\n%s (%v)", second.String(), first.String(), err)
	}
	view(t, other, func(tx *Tx) error {
		c, err := tx.Conversation(withBob().ID)
		if c.Unread != 1 {
			t.Errorf("%d unread, want 1", c.Unread)
		}
		return err
	})
}

func TestImport_TakesAllOrNothing(t *testing.T) {
	s := fresh(t)
	add(t, s, newWriter(t).text(bobs(1), "one"))
	var b bytes.Buffer
	if err := s.Export(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	lines := strings.SplitAfter(good, "\n")
	for name, c := range map[string]struct {
		text string
		code wire.Code
	}{
		"empty":                {"", wire.Invalid},
		"no head":              {strings.Join(lines[1:], ""), wire.Invalid},
		"two heads":            {lines[0] + good, wire.Invalid},
		"later version":        {strings.Replace(good, `"version":1`, `"version":2`, 1), wire.Invalid},
		"another account":      {strings.Replace(good, fmt.Sprintf(`"account":"%v"`, alice()), fmt.Sprintf(`"account":"%v"`, bob()), 1), wire.Conflict},
		"another generation":   {strings.Replace(good, `"generation":2`, `"generation":3`, 1), wire.Conflict},
		"unknown field":        {good + `{"event":{"more":1}}`, wire.Invalid},
		"empty line":           {good + "{}\n", wire.Invalid},
		"two on a line":        {good + "{}{}\n", wire.Invalid},
		"cut off":              {good[:len(good)-20], wire.Invalid},
		"no JSON":              {good + "x\n", wire.Invalid},
		"long line":            {good + strings.Repeat(" ", maxLine+1), wire.Invalid},
		"changed event":        {strings.Replace(good, `"bytes":"8901`, `"bytes":"8902`, 1), wire.Invalid},
		"event of nowhere":     {lines[0] + lines[len(lines)-2], wire.NotFound},
		"event of another id":  {strings.Replace(good, `"event":{"id":"`, `"event":{"id":"`+strings.Repeat("0", 64)+`","from":"`+alice().String()+`","time":1,"kind":"text","bytes":"00"}}`+"\n"+`{"event":{"id":"`, 1), wire.Invalid},
		"reached more than is": {good + fmt.Sprintf(`{"reached":{"conversation":"%v","account":"%v","device":"%v","delivered":1,"read":2}}`, withBob().ID, bob(), bobs(1).Device), wire.Invalid},
	} {
		if c.text == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		other := openAt(t, filepath.Join(t.TempDir(), "db"))
		if name == "another generation" {
			update(t, other, func(tx *Tx) error { return tx.AddContact(bobContact()) })
		}
		_, err := other.Import(context.Background(), strings.NewReader(c.text))
		if wire.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		view(t, other, func(tx *Tx) error {
			n, err := tx.count("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM conversations)")
			if n != 0 {
				t.Errorf("%s: %d rows stay", name, n)
			}
			return err
		})
		other.Close()
	}
}

func FuzzImport(f *testing.F) {
	s := fresh(f)
	add(f, s, newWriter(f).text(bobs(1), "one"))
	var b bytes.Buffer
	if err := s.Export(context.Background(), &b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	into := openAt(f, filepath.Join(f.TempDir(), "db"))
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := into.Import(context.Background(), strings.NewReader(text)); err == nil {
			if err := into.Check(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFiles_AreCountedByTheirMessages(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	root := fill(3)
	file := func() message.Event {
		return w.event(bobs(1), message.File{Ref: message.Ref{Root: root, Type: "a/b"}, Name: "f"})
	}
	a, b := file(), file()
	add(t, s, a, b)
	check := func(uses int, state FileState) {
		t.Helper()
		view(t, s, func(tx *Tx) error {
			f, err := tx.File(root)
			if f.Uses != uses || f.State != state {
				t.Errorf("got %+v, want %d uses, %v", f, uses, state)
			}
			return err
		})
	}
	check(2, Remote)
	update(t, s, func(tx *Tx) error {
		wantCode(t, tx.SetFile(root, Here, ""), wire.Invalid)
		wantCode(t, tx.SetFile(root, Remote, "/x"), wire.Invalid)
		return tx.SetFile(root, Here, "/x")
	})
	check(2, Here)
	view(t, s, func(tx *Tx) error {
		list, err := tx.FilesIn(withBob().ID, 10)
		if len(list) != 2 || list[0].ID != b.ID() {
			t.Errorf("the gallery has %d", len(list))
		}
		return err
	})
	add(t, s, w.event(bobs(1), message.Delete{To: a.ID()}))
	check(1, Here)
	add(t, s, w.event(bobs(1), message.Delete{To: b.ID()}))
	view(t, s, func(tx *Tx) error {
		list, err := tx.Unused()
		if len(list) != 1 || list[0].Root != root || list[0].Path != "/x" {
			t.Errorf("unused are %v", list)
		}
		return err
	})
	update(t, s, func(tx *Tx) error { return tx.ForgetFile(root) })
	check(0, Remote)
}

// BenchmarkReceive is one message received, stored, indexed and committed, with
// and without others in its transaction.
func BenchmarkReceive(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprint("batch-", batch), func(b *testing.B) {
			s := fresh(b)
			w := newWriter(b)
			n := uint64(0)
			for b.Loop() {
				err := s.Update(func(tx *Tx) error {
					for range batch {
						n++
						e := w.text(bobs(1), "a message of some words, as people write them to each other every day")
						if _, err := tx.Receive("inbox", n, mid(n), n); err != nil {
							return err
						}
						if _, err := tx.AddEvent(e); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/message")
			if info, err := os.Stat(s.path); err == nil {
				b.ReportMetric(float64(info.Size())/float64(n), "B/message")
			}
		})
	}
}
