package message

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/confab-chat/confab/namesvc"
)

// Conversation is what a reader sees of a conversation. It is a function of the
// set of events that it was given: neither their order nor repetitions matter.
// It keeps all of them in memory, which suits tests, exports and short
// conversations; a store keeps events on disk and calls [View] for each.
//
// A Conversation is not for use by several goroutines at once.
type Conversation struct {
	id     ConversationID
	events map[ID]Event
	about  map[ID][]Event // events that change how another looks
	places map[place][]ID // more than one id: its author's device sent two histories
	clock  uint64
}

// place is where an event says it stands.
type place struct {
	author Author
	seq    uint64
}

// NewConversation returns an empty conversation.
func NewConversation(id ConversationID) *Conversation {
	return &Conversation{id: id, events: map[ID]Event{}, about: map[ID][]Event{}, places: map[place][]ID{}}
}

// Add takes an event into account and reports whether it is new. Events of
// another conversation are refused; those that are not chained change nothing.
func (c *Conversation) Add(e Event) (bool, error) {
	if e.Conversation != c.id {
		return false, fmt.Errorf("event %v belongs to another conversation", e.ID())
	}
	if _, ok := c.events[e.ID()]; ok || !e.Kind().Chained() {
		return false, nil
	}
	c.events[e.ID()] = e
	p := place{e.Author, e.Seq}
	c.places[p] = append(c.places[p], e.ID())
	c.clock = max(c.clock, e.Clock)
	if to, ok := About(e.Body); ok {
		c.about[to] = append(c.about[to], e)
	}
	return true, nil
}

// Clock returns the highest clock of all events: what [Chain.Next] asks for.
func (c *Conversation) Clock() uint64 { return c.clock }

// Shown returns what stands in the conversation, in its order.
func (c *Conversation) Shown() []Shown {
	var out []Shown
	for _, e := range c.events {
		if !e.Kind().Shown() {
			continue
		}
		s := View(e, c.about[e.ID()])
		s.Disputed = len(c.places[place{e.Author, e.Seq}]) > 1
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Shown) int { return a.Event.Compare(b.Event) })
	return out
}

// Reached returns how far an account has got in each author's chain, rising by
// author: the most that any receipt of its devices says.
func (c *Conversation) Reached(account namesvc.AccountID) []Reached {
	best := make(map[Author]Reached)
	for _, e := range c.events {
		r, ok := e.Body.(Receipt)
		if !ok || e.Author.Account != account {
			continue
		}
		for _, p := range r.Reached {
			best[p.Author] = p.Further(best[p.Author])
		}
	}
	return slices.SortedFunc(maps.Values(best), func(a, b Reached) int { return a.Author.Compare(b.Author) })
}

// Further returns the further of two reaches in the same author's chain.
func (r Reached) Further(s Reached) Reached {
	return Reached{Author: r.Author, Delivered: max(r.Delivered, s.Delivered), Read: max(r.Read, s.Read)}
}

// Profile returns the last profile that an account sent, and whether there is one.
func (c *Conversation) Profile(account namesvc.AccountID) (Profile, bool) {
	e, ok := c.last(account, KindProfile, Event.Compare)
	if !ok {
		return Profile{}, false
	}
	return e.Body.(Profile), true
}

// Moved returns where an account says its mail is, and whether it said so: the
// notice about its newest entry.
func (c *Conversation) Moved(account namesvc.AccountID) (Moved, bool) {
	e, ok := c.last(account, KindMoved, CompareMoved)
	if !ok {
		return Moved{}, false
	}
	return e.Body.(Moved), true
}

// CompareMoved orders two events of kind [KindMoved] by the entries they tell of,
// then like other events: an old notice that comes late is no news.
func CompareMoved(a, b Event) int {
	x, y := a.Body.(Moved), b.Body.(Moved)
	return cmp.Or(cmp.Compare(x.EntrySeq, y.EntrySeq), a.Compare(b))
}

// last returns the greatest event of an account and kind.
func (c *Conversation) last(account namesvc.AccountID, k Kind, compare func(a, b Event) int) (best Event, ok bool) {
	for _, e := range c.events {
		if e.Author.Account == account && e.Kind() == k && (!ok || compare(e, best) > 0) {
			best, ok = e, true
		}
	}
	return best, ok
}
