package chat

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// sendAll sends what waits, each destination by itself, until ctx ends.
func (a *Agent) sendAll(ctx context.Context) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		busy = map[string]bool{}
	)
	defer wg.Wait()
	for {
		now := a.now()
		var list []store.Item
		var next uint64
		var waits bool
		err := a.store.View(func(tx *store.Tx) (err error) {
			// More than are sent at once: some may be busy.
			if list, err = tx.Ready(now, 2*maxDestinations, maxAtOnce); err != nil {
				return err
			}
			next, waits, err = tx.NextReady()
			return err
		})
		if err != nil {
			a.log.Error("read what waits to be sent", "error", err)
			next, waits = now+ms(retryLeast), true
		}
		for _, items := range byDestination(list) {
			to := items[0].Destination
			mu.Lock()
			start := !busy[to] && len(busy) < maxDestinations
			if start {
				busy[to] = true
			}
			mu.Unlock()
			if !start {
				continue
			}
			wg.Go(func() {
				a.deliver(ctx, to, items)
				mu.Lock()
				delete(busy, to)
				mu.Unlock()
				wake(a.send)
			})
		}
		var due <-chan time.Time
		if waits && next > now {
			t := time.NewTimer(min(time.Duration(next-now)*time.Millisecond, retryMost))
			defer t.Stop()
			due = t.C
		}
		select {
		case <-ctx.Done():
			return
		case <-a.send:
		case <-due:
		}
	}
}

func byDestination(list []store.Item) (out [][]store.Item) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Destination == list[0].Destination {
			n++
		}
		out = append(out, list[:n])
		list = list[n:]
	}
	return out
}

// deliver sends items of one destination, in their order.
func (a *Agent) deliver(ctx context.Context, name string, items []store.Item) {
	to, err := parseDestination(name)
	if err != nil {
		a.refuse(items[0], err)
		return
	}
	// A commit's slot goes by itself, after what comes before it is there.
	n := len(items)
	for i, it := range items {
		if a.slot(it.ID) {
			n = max(i, 1)
			break
		}
	}
	items = items[:n]
	messages := make([]stream.Message, 0, n)
	for _, it := range items {
		messages = append(messages, stream.Message{ID: it.ID, Body: it.Body})
	}
	done, err := a.post.Deliver(ctx, to.party, to.address, messages)
	var kept error
	if done > 0 {
		kept = a.sent(items[:done])
	}
	if err != nil && ctx.Err() == nil {
		kept = errors.Join(kept, a.undelivered(items[done], err))
	}
	if kept == nil {
		return
	}
	// As on a full disk: what comes next would not be kept either.
	a.log.Error("take note of what was sent; it is tried again", "error", kept)
	select {
	case <-time.After(retryLeast):
	case <-ctx.Done():
	}
}

// slot reports whether an item is an own commit in its slot.
func (a *Agent) slot(id stream.MessageID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.slotOf(id)
	return ok
}

func (a *Agent) slotOf(id stream.MessageID) (message.ConversationID, bool) {
	for conv, r := range a.rooms {
		if p := r.Commit; p != nil && p.IDs[len(p.IDs)-1] == id {
			return conv, true
		}
	}
	return message.ConversationID{}, false
}

// sent takes note of what is at its destination.
func (a *Agent) sent(items []store.Item) error {
	return a.change(context.Background(), func(b *batch) error {
		for _, it := range items {
			if id, ok := a.slotOf(it.ID); ok {
				r, err := b.room(id)
				if err != nil {
					return err
				}
				if err := b.won(id, r); err != nil {
					return err
				}
			}
			b.do(func(tx *store.Tx) error { return tx.Sent(it.ID) })
			if !it.About.IsZero() {
				b.say(func() { a.delivery(it.About) })
			}
		}
		return nil
	})
}

// undelivered decides what becomes of an item that was not taken.
func (a *Agent) undelivered(it store.Item, err error) error {
	switch wire.CodeOf(err) {
	case wire.Exists:
		// Another message has its id: somebody else's commit has the slot.
		return a.change(context.Background(), func(b *batch) error {
			id, ok := a.slotOf(it.ID)
			if !ok {
				b.do(func(tx *store.Tx) error { return tx.Refuse(it.ID, "another message has its number") })
				return nil
			}
			r, err := b.room(id)
			if err != nil {
				return err
			}
			b.lost(r)
			if r.Taken == 0 {
				r.Taken = b.now // until the commit that has it comes
			}
			return nil
		})
	case wire.Invalid:
		a.refuse(it, err)
	default:
		wait := retryLeast << min(it.Attempts, 20)
		if wait <= 0 || wait > retryMost {
			wait = retryMost
		}
		wait = wait/2 + rand.N(wait/2+1) // so that many who wait do not come at once
		a.log.Info("not sent yet", "attempts", it.Attempts+1, "again", wait.Round(time.Millisecond), "error", err)
		next := a.now() + ms(wait)
		return a.store.Update(func(tx *store.Tx) error { return tx.PutOff(it.Destination, next) })
	}
	return nil
}

// refuse takes note that an item will never be taken.
func (a *Agent) refuse(it store.Item, why error) {
	text := why.Error()
	text = text[:min(len(text), store.MaxName)]
	err := a.store.Update(func(tx *store.Tx) error { return tx.Refuse(it.ID, text) })
	if err != nil {
		a.log.Error("take note of a refusal", "error", err)
	}
	if !it.About.IsZero() {
		a.delivery(it.About)
	}
}

// lost drops the own commit: another has its slot, or the session went on.
func (b *batch) lost(r *room) {
	p := r.Commit
	if p == nil {
		return
	}
	b.unqueue(p.IDs)
	b.keys = append(b.keys, commitKey(r.Group, nil))
	r.Commit = nil
}

// won puts the own commit in force: it has the slot.
func (b *batch) won(id message.ConversationID, r *room) error {
	p := r.Commit
	if p == nil {
		return nil
	}
	raw, err := b.a.secrets.Get(shelfOfCommit(r.Group), []byte("c"))
	if err != nil {
		b.lost(r)
		return b.broken(id, r, r.Group, err)
	}
	s, err := b.session(r, r.Group)
	if err != nil {
		return b.broken(id, r, r.Group, err)
	}
	c, err := s.LoadChange(raw)
	if err == nil {
		err = s.Merge(c)
	}
	b.keys = append(b.keys, commitKey(r.Group, nil))
	r.Commit, r.Taken = nil, 0
	if err != nil {
		return b.broken(id, r, r.Group, err)
	}
	for _, ms := range slices.Clone(p.IDs) {
		b.do(func(tx *store.Tx) error { return tx.Sent(ms) })
	}
	r.Renewed = b.now
	if err := b.announce(r, s, c); err != nil {
		return err
	}
	if err := b.flush(id, r); err != nil {
		return err
	}
	return b.again(id, r)
}
