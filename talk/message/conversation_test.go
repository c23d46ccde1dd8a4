package message_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/message"
)

// scene writes a conversation: several devices that hear one another.
type scene struct {
	t      *testing.T
	chains map[message.Author]*message.Chain
	clock  uint64
	all    []message.Event
}

func newScene(t *testing.T) *scene {
	return &scene{t: t, chains: map[message.Author]*message.Chain{}}
}

// say makes the author's next event; it has seen all before it.
func (s *scene) say(a message.Author, body message.Body) message.Event {
	s.t.Helper()
	c := s.chains[a]
	if c == nil {
		c = new(message.Chain)
		s.chains[a] = c
	}
	p, err := c.Next(s.clock)
	if err != nil {
		s.t.Fatal(err)
	}
	if !body.Kind().Chained() {
		p = message.Place{}
	}
	e, err := message.New(room(), a, p, at(), body)
	if err != nil {
		s.t.Fatal(err)
	}
	if body.Kind().Chained() {
		if v, _, err := c.Accept(e.Link()); err != nil || v != message.InOrder {
			s.t.Fatalf("%d, %v", v, err)
		}
		s.clock = max(s.clock, e.Clock)
	}
	s.all = append(s.all, e)
	return e
}

// digest writes everything that a reader of these events sees.
func digest(t *testing.T, events []message.Event) string {
	t.Helper()
	c := message.NewConversation(room())
	for _, e := range events {
		if _, err := c.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	for _, s := range c.Shown() {
		fmt.Fprintf(&b, "%v %q edited=%t deleted=%t disputed=%t unknown=%t %v\n", s.ID, s.Text, s.Edited, s.Deleted, s.Disputed, s.Unknown, s.Reactions)
	}
	for _, who := range []byte{0xa1, 0xb0} {
		p, ok := c.Profile(account(who))
		m, moved := c.Moved(account(who))
		fmt.Fprintf(&b, "%x: %v %q %t, %d %t, clock %d\n", who, c.Reached(account(who)), p.Name, ok, m.EntrySeq, moved, c.Clock())
	}
	return b.String()
}

func find(t *testing.T, shown []message.Shown, e message.Event) message.Shown {
	t.Helper()
	i := slices.IndexFunc(shown, func(s message.Shown) bool { return s.ID == e.ID() })
	if i < 0 {
		t.Fatalf("%v is not shown", e.ID())
	}
	return shown[i]
}

func TestConversation_LooksTheSameInAnyOrder(t *testing.T) {
	alice, alices, bob := author(0xa1, 1), author(0xa1, 2), author(0xb0, 1)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := newScene(t)
		var targets []message.ID
		for range 60 {
			who := []message.Author{alice, alices, bob}[rng.IntN(3)]
			body := message.Body(message.Text{Text: fmt.Sprint("text ", rng.IntN(1000))})
			if len(targets) > 0 {
				to := targets[rng.IntN(len(targets))]
				p := message.Party{Account: account(0xcc), Generation: 1}
				body = []message.Body{
					body, message.Reply{To: to, Text: "re"}, message.Edit{To: to, Text: fmt.Sprint("edit ", rng.IntN(1000))},
					message.Reaction{To: to, Emoji: string(rune('a' + rng.IntN(3))), On: rng.IntN(3) > 0},
					message.Delete{To: to}, message.Receipt{Reached: []message.Reached{{Author: bob, Delivered: uint64(rng.IntN(9) + 5), Read: uint64(rng.IntN(5))}}},
					message.Profile{Name: fmt.Sprint("name ", rng.IntN(9))}, message.Moved{Concierge: p, EntrySeq: uint64(rng.IntN(9) + 1)},
					message.Extension{Number: 99, Shown: "shown"}, message.Typing{Seconds: 3},
				}[rng.IntN(10)]
			}
			if e := s.say(who, body); rng.IntN(2) == 0 {
				targets = append(targets, e.ID())
			}
		}
		// A device that sent two histories.
		twin, err := message.New(room(), s.all[0].Author, s.all[0].Place, at(), message.Text{Text: "twin"})
		if err != nil {
			t.Fatal(err)
		}
		s.all = append(s.all, twin)
		want := digest(t, s.all)
		for range 10 {
			mixed := append(slices.Clone(s.all), s.all[:20]...)
			rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			if got := digest(t, mixed); got != want {
				t.Fatalf("seed %d: in another order it looks\n%s\nwant\n%s", seed, got, want)
			}
		}
	}
}

func TestConversation_NobodyChangesAnothersWords(t *testing.T) {
	alice, bob := author(0xa1, 1), author(0xb0, 1)
	s := newScene(t)
	e := s.say(alice, message.Text{Text: "mine"})
	s.say(bob, message.Edit{To: e.ID(), Text: "forged"})
	s.say(bob, message.Delete{To: e.ID()})
	reaction := s.say(bob, message.Reaction{To: e.ID(), Emoji: "x", On: true})
	s.say(alice, message.Delete{To: reaction.ID()}) // not hers, and not shown by itself
	s.say(bob, message.Edit{To: reaction.ID(), Text: "words"})
	got := find(t, shown(t, s.all), e)
	if got.Text != "mine" || got.Edited || got.Deleted || len(got.Reactions) != 1 {
		t.Errorf("got %+v", got)
	}
	// Another device of hers may.
	s.say(author(0xa1, 9), message.Edit{To: e.ID(), Text: "mine, better"})
	if got = find(t, shown(t, s.all), e); got.Text != "mine, better" || !got.Edited {
		t.Errorf("got %+v", got)
	}
}

func shown(t *testing.T, events []message.Event) []message.Shown {
	t.Helper()
	c := message.NewConversation(room())
	for _, e := range events {
		if _, err := c.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return c.Shown()
}

func TestConversation_DeletionIsFinalAndLeavesNothing(t *testing.T) {
	alice := author(0xa1, 1)
	s := newScene(t)
	e := s.say(alice, message.File{Ref: ref(), Name: "secret.txt", Text: "words"})
	s.say(author(0xb0, 1), message.Reaction{To: e.ID(), Emoji: "x", On: true})
	s.say(alice, message.Delete{To: e.ID()})
	s.say(alice, message.Edit{To: e.ID(), Text: "back"})
	got := find(t, shown(t, s.all), e)
	if !got.Deleted || got.Text != "" || got.Event.Body != nil || got.Event.Bytes() != nil || got.Reactions != nil || got.Event.Kind() != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestConversation_ANoticeOfMovingStays(t *testing.T) {
	alice := author(0xa1, 1)
	s := newScene(t)
	e := s.say(alice, message.Moved{Concierge: message.Party{Account: account(0xcc), Generation: 1}, EntrySeq: 4})
	s.say(alice, message.Delete{To: e.ID()})
	s.say(alice, message.Moved{Concierge: message.Party{Account: account(0xcd), Generation: 1}, EntrySeq: 3}) // old news
	c := message.NewConversation(room())
	for _, e := range s.all {
		c.Add(e)
	}
	if m, ok := c.Moved(account(0xa1)); !ok || m.EntrySeq != 4 || find(t, c.Shown(), e).Deleted {
		t.Errorf("got %+v, %t", m, ok)
	}
}

func TestConversation_ReactionsAreASet(t *testing.T) {
	alice, alices, bob := author(0xa1, 1), author(0xa1, 2), author(0xb0, 1)
	s := newScene(t)
	e := s.say(alice, message.Text{Text: "a"})
	react := func(a message.Author, emoji string, on bool) {
		s.say(a, message.Reaction{To: e.ID(), Emoji: emoji, On: on})
	}
	react(alice, "x", true)
	react(alice, "x", true)
	react(alices, "x", false) // her other device takes it back
	react(bob, "x", true)
	react(bob, "y", true)
	react(alice, "y", true)
	for i := range 2 * message.MaxReactions {
		react(bob, fmt.Sprint("z", i), true)
	}
	got := find(t, shown(t, s.all), e).Reactions
	count := 0
	for _, r := range got {
		if slices.Contains(r.Accounts, account(0xb0)) {
			count++
		}
	}
	a, b := account(0xa1), account(0xb0)
	if !slices.Equal(got[0].Accounts, []namesvc.AccountID{b}) || !slices.Equal(got[1].Accounts, []namesvc.AccountID{a, b}) || count != message.MaxReactions {
		t.Errorf("got %v", got)
	}
}

func TestConversation_KindsOfLaterProgramsAreKeptAndSaid(t *testing.T) {
	s := newScene(t)
	e := s.say(author(0xa1, 1), message.Extension{Number: 0x8123, Shown: "A poll: tea?", Data: []byte("what nobody here understands")})
	got := find(t, shown(t, s.all), e)
	x, ok := got.Event.Body.(message.Extension)
	if !got.Unknown || got.Text != "A poll: tea?" || !ok || string(x.Data) != "what nobody here understands" {
		t.Errorf("got %+v", got)
	}
}

func TestConversation_RefusesEventsOfAnother(t *testing.T) {
	e, err := message.New(message.ConversationID{1}, author(1, 1), message.Place{Seq: 1, Clock: 1}, at(), message.Text{Text: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := message.NewConversation(room()).Add(e); err == nil {
		t.Error("accepted")
	}
	// Nor may one change how an event of this one looks.
	s := newScene(t)
	mine := s.say(author(1, 1), message.Text{Text: "mine"})
	other, err := message.New(message.ConversationID{1}, author(1, 1), message.Place{Seq: 1, Clock: 1}, at(), message.Delete{To: mine.ID()})
	if err != nil {
		t.Fatal(err)
	}
	if message.View(mine, []message.Event{other}).Deleted {
		t.Error("an event of another conversation deletes")
	}
}

func TestConversation_AnswersStandBehindWhatTheyAnswer(t *testing.T) {
	s := newScene(t)
	var order []message.ID
	for i := range 30 {
		// Devices whose ids fall and rise, so that only the clock can give the order.
		order = append(order, s.say(author(byte(200-i*7%13), byte(i%3)), message.Text{Text: "x"}).ID())
	}
	for i, got := range shown(t, s.all) {
		if got.ID != order[i] {
			t.Fatalf("number %d is out of place", i)
		}
	}
}
