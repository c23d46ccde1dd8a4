package chat

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/talk/message"
)

// Tending brings everything in step with the chain: the concierge with the own
// entry, KeyPackages with what was given out, each session with the devices of
// its two accounts. It is done at intervals, and at once for what is in a hurry;
// all of it may be done any number of times.

// tendAll tends until ctx ends: rooms side by side, so that one whose other side
// does not answer holds up no other, and the own account beside them.
func (a *Agent) tendAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	before := a.now()
	for ctx.Err() == nil {
		now := a.now()
		if now+ms(clockSlack) < before {
			a.retryAll() // the clock was set back: what was put off is far away now
		}
		before = now
		if a.selfDue() {
			wg.Go(func() {
				a.tendSelf(ctx)
				a.selfDone()
			})
		}
		for _, id := range a.toTend() {
			wg.Go(func() {
				err := a.tendRoom(ctx, id)
				if err != nil && ctx.Err() == nil {
					a.log.Info("a conversation is looked after again later", "conversation", id, "error", err)
					a.postpone(id)
				}
				a.release(id)
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-a.tend:
		case <-time.After(a.nextTend()):
		}
	}
}

// toTend returns the rooms to be tended now, those in a hurry first, and takes
// them: each is to be released.
func (a *Agent) toTend() []message.ConversationID {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	var hurried, due []message.ConversationID
	for id := range a.hurry {
		if _, ok := a.rooms[id]; !ok {
			delete(a.hurry, id) // of a change that was not written
		}
	}
	for id := range a.rooms {
		if t := a.times[id]; t.due(a.hurry[id], now, ms(a.o.Every)) > now {
			continue
		}
		if a.hurry[id] {
			hurried = append(hurried, id)
		} else {
			due = append(due, id)
		}
	}
	var list []message.ConversationID
	for _, id := range append(hurried, due...) {
		if !a.room(id) {
			continue
		}
		t := a.times[id]
		t.next = now + ms(a.o.Every)
		t.tends++
		a.times[id], a.tending[id] = t, t.failures > 0
		delete(a.hurry, id)
		list = append(list, id)
	}
	return list
}

// room reports whether there is room for a conversation among those that are
// tended; a.mu is held. Nobody tends one twice at a time.
func (a *Agent) room(id message.ConversationID) bool {
	if _, busy := a.tending[id]; busy || len(a.tending) >= maxTending {
		return false
	}
	if a.times[id].failures == 0 {
		return true
	}
	n := 0
	for _, failed := range a.tending {
		if failed {
			n++
		}
	}
	return n < maxFailing
}

// release says that a room is not tended any more.
func (a *Agent) release(id message.ConversationID) {
	a.mu.Lock()
	delete(a.tending, id)
	a.mu.Unlock()
	wake(a.tend)
}

// tendNow has a room looked after at once.
func (a *Agent) tendNow(id message.ConversationID) {
	a.mu.Lock()
	a.hurry[id] = true
	a.mu.Unlock()
	wake(a.tend)
}

// retryAll has everything sent now that was put off.
func (a *Agent) retryAll() {
	if err := a.store.Update(func(tx *store.Tx) error { return tx.Retry() }); err != nil {
		a.log.Error("retry what waits", "error", err)
	}
	wake(a.send)
}

// postpone has a room that failed wait, longer each time.
func (a *Agent) postpone(id message.ConversationID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.times[id]
	t.failures++
	wait := min(retryLeast<<min(t.failures, 10), retryMost)
	t.notBefore = a.now() + ms(wait)
	a.times[id] = t
	a.hurry[id] = true
}

func (a *Agent) hurryAll() {
	a.mu.Lock()
	a.selfNext = 0
	for id := range a.rooms {
		a.hurry[id] = true
		t := a.times[id]
		t.notBefore, t.failures = 0, 0
		a.times[id] = t
	}
	a.mu.Unlock()
	wake(a.tend)
}

// tendRoom looks after one conversation.
func (a *Agent) tendRoom(ctx context.Context, id message.ConversationID) error {
	a.mu.Lock()
	r, ok := a.rooms[id]
	a.mu.Unlock()
	if !ok {
		return nil
	}
	if l, ok := a.roster.cached(a.o.Account); ok && !l.lists(a.o.Keys.Device.Public()) {
		a.idle(id)
		return nil // nothing that this device says counts
	}
	state := store.Accepted
	if !a.own(r) {
		var c store.Contact
		err := a.store.View(func(tx *store.Tx) (err error) {
			c, err = tx.Contact(r.With.Account)
			return err
		})
		if err != nil {
			return err
		}
		if state = c.State; c.Party != r.With {
			a.idle(id) // of who had the account before
			return nil
		}
	}
	if state == store.Blocked || state == store.Requested {
		a.idle(id)
		return nil
	}
	if err := a.readBoxes(ctx, id); err != nil {
		return err
	}
	if state == store.Invited {
		a.idle(id)
		if r.Asked == 0 || past(r.Asked, knockAgain, a.now()) {
			return a.leaveKnock(ctx, id, nil)
		}
		return nil
	}
	them, err := a.roster.ask(ctx, r.With.Account, listedAge)
	if err != nil {
		return a.tendSilent(ctx, id, r, err)
	}
	if them.party() != r.With {
		a.once("generation "+id.String(), Notice{Type: "notice", Contact: r.With.Account,
			Text: "this contact's account is under other control now: nothing is sent until you have compared safety numbers and accepted it"})
		a.idle(id)
		return nil
	}
	if r.Anew {
		return a.askAnew(ctx, id)
	}
	if a.own(r) {
		a.introduceAll(ctx, a.otherDevices())
		if err := a.change(ctx, func(b *batch) error { return b.shareUntold() }); err != nil {
			return err
		}
		a.answerHistory(ctx)
	}
	if err := a.tendSession(ctx, id, r); err != nil {
		return err
	}
	a.mu.Lock()
	r, ok = a.rooms[id] // as it is now
	a.mu.Unlock()
	if !ok {
		return nil
	}
	if err := a.tendEvents(ctx, id, r); err != nil {
		return err
	}
	a.timing(id, func(t *timing) { t.failures, t.notBefore = 0, 0 })
	return nil
}

// tendSilent looks after a conversation while the chain does not answer: what
// needs no other session goes on by what was known.
func (a *Agent) tendSilent(ctx context.Context, id message.ConversationID, r *room, why error) error {
	if l, ok := a.roster.cached(r.With.Account); !ok || l.party() != r.With || r.Anew {
		return why
	}
	a.log.Debug("the chain does not answer; what was known is used", "conversation", id, "error", why)
	return a.tendEvents(ctx, id, r)
}

// roomIDs returns all rooms.
func (a *Agent) roomIDs() []message.ConversationID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.rooms))
}
