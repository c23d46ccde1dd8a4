package chat

import (
	"context"
	"slices"
	"time"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// A device that comes into a conversation has no key for what was said before.
// The account's other devices tell it: it says how far it has every author's
// chain, and the eldest of the others sends what follows, a part at a time, in
// the account's conversation with itself; if it is off, the next one. So a person's devices have the same
// history, and a part that gets lost is asked for again.
//
// The events of others come here by the word of an own device, which could show
// its owner whatever it likes anyway.

// historyAsk says how far a device has a conversation.
type historyAsk struct {
	_     struct{} `cbor:",toarray"`
	By    key.Public
	With  message.Party
	Heads []message.Reached
}

// historyEvents are events that were asked for.
type historyEvents struct {
	_      struct{} `cbor:",toarray"`
	To     key.Public
	With   message.Party
	Events [][]byte
	More   bool // there are more: ask again
}

const (
	// maxPart is how many bytes of events go in one record: with what seals it, it
	// fits an entry of a queue.
	maxPart = 40 << 10
	// partsAtOnce is how many parts answer one question; then the asker says how
	// far it has come. They stay below what a queue takes at once.
	partsAtOnce = 20
	// historyTurn is how long each device leaves the answer to the one that is listed
	// before it.
	historyTurn = 30 * time.Second
	// behindAfter gathers what may still be on its way.
	behindAfter = 2000
)

// behind takes note that this device misses something that others of this account
// may have.
func (b *batch) behind(id message.ConversationID) {
	now := b.now
	b.say(func() {
		b.a.timing(id, func(t *timing) {
			if t.behind == 0 {
				t.behind = now + behindAfter
			}
		})
		wake(b.a.tend)
	})
}

// askHistory asks the own other devices for what this one does not have.
func (a *Agent) askHistory(ctx context.Context, id message.ConversationID) error {
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil || a.own(r) || len(a.otherDevices()) == 0 {
			return err
		}
		ask := historyAsk{By: a.o.Keys.Device.Public(), With: r.With}
		err = a.store.View(func(tx *store.Tx) (err error) {
			ask.Heads, err = tx.Heads(id)
			return err
		})
		if err != nil {
			return err
		}
		done, err := b.share(recordAsk, ask)
		if !done && err == nil {
			b.behind(id) // the own conversation is not ready yet
		}
		return err
	})
}

// maxHistoryAsks bounds the questions that wait: of each other device a few.
const maxHistoryAsks = 64

// askedHistory is a question with when it is this device's turn to answer it.
type askedHistory struct {
	historyAsk
	turn uint64 // ms
}

// noteAsk takes note of a question; a.mu is held. Of one device about one
// conversation the last one counts.
func (a *Agent) noteAsk(ask historyAsk) {
	a.dropAsks(ask.By, ask.With)
	l, _ := a.roster.cached(a.o.Account)
	others := slices.DeleteFunc(l.members(), func(m e2ee.Member) bool { return m.Device == ask.By })
	place := slices.IndexFunc(others, func(m e2ee.Member) bool { return m.Device == a.o.Keys.Device.Public() })
	if place < 0 || len(a.asked) >= maxHistoryAsks {
		return
	}
	id, now := a.selfID(), a.now()
	q := askedHistory{ask, now + uint64(place)*ms(historyTurn)}
	a.asked = append(a.asked, q)
	t := a.times[id]
	t.next = min(t.next, q.turn)
	a.times[id] = t
	wake(a.tend)
}

// dropAsks forgets questions that a device asked about a conversation: they were
// answered, or it asks anew; a.mu is held.
func (a *Agent) dropAsks(by key.Public, with message.Party) {
	a.asked = slices.DeleteFunc(a.asked, func(q askedHistory) bool { return q.By == by && q.With == with })
}

// answerHistory answers what was asked, where it is this device's turn.
func (a *Agent) answerHistory(ctx context.Context) {
	a.mu.Lock()
	now := a.now()
	var due []historyAsk
	a.asked = slices.DeleteFunc(a.asked, func(q askedHistory) bool {
		if q.turn > now {
			return false
		}
		due = append(due, q.historyAsk)
		return true
	})
	a.mu.Unlock()
	for _, ask := range due {
		a.tellHistory(ctx, ask)
	}
}

// tellHistory answers another device.
func (a *Agent) tellHistory(ctx context.Context, ask historyAsk) {
	id := message.Direct(a.party(), ask.With)
	parts, err := a.history(id, ask)
	if err == nil {
		err = a.change(ctx, func(b *batch) error {
			for _, p := range parts {
				if _, err := b.share(recordEvents, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		a.log.Info("could not tell another device of this account what it misses", "error", err)
	}
}

// history returns the parts that answer a question.
func (a *Agent) history(id message.ConversationID, ask historyAsk) (parts []historyEvents, err error) {
	known := map[message.Author]uint64{}
	for _, h := range ask.Heads {
		known[h.Author] = h.Delivered
	}
	var part historyEvents
	size := 0
	next := func() {
		part.To, part.With = ask.By, ask.With
		parts = append(parts, part)
		part, size = historyEvents{}, 0
	}
	err = a.store.View(func(tx *store.Tx) error {
		heads, err := tx.Heads(id)
		if err != nil {
			return err
		}
		for _, h := range heads {
			for from := known[h.Author] + 1; from <= h.Delivered; {
				list, err := tx.Events(id, message.Range{Author: h.Author, From: from, To: h.Delivered})
				if err != nil {
					return err
				}
				for _, e := range list {
					if size+len(e.Bytes()) > maxPart {
						next()
						if len(parts) == partsAtOnce {
							parts[len(parts)-1].More = true
							return nil
						}
					}
					part.Events = append(part.Events, e.Bytes())
					size += len(e.Bytes())
					from = e.Seq + 1
				}
				if len(list) < store.MaxPage {
					break
				}
			}
		}
		return nil
	})
	if wire.CodeOf(err) == wire.NotFound {
		return nil, nil
	}
	if size > 0 {
		next()
	}
	return parts, err
}

// syncEvents takes events that another device of this account tells.
func (b *batch) syncEvents(h historyEvents) error {
	if h.To != b.a.o.Keys.Device.Public() {
		b.then = append(b.then, func() { b.a.dropAsks(h.To, h.With) }) // another was quicker
		return nil
	}
	id := message.Direct(b.a.party(), h.With)
	r, err := b.room(id)
	if err != nil {
		return nil
	}
	for _, raw := range h.Events {
		e, err := message.Decode(raw)
		if err != nil || e.Conversation != id || !e.Kind().Chained() {
			continue
		}
		if e.Author.Account != b.a.o.Account && e.Author.Account != r.With.Account || e.Author == b.a.author() {
			continue
		}
		b.do(func(tx *store.Tx) error {
			_, err := tx.AddEvent(e)
			if wire.CodeOf(err) == wire.Invalid {
				return nil
			}
			return err
		})
	}
	b.say(func() { b.a.feed.tell(Notice{Type: "changed", Contact: r.With.Account}) })
	if h.More {
		b.behind(id)
	}
	return nil
}
