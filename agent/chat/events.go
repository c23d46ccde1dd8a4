package chat

import (
	"bytes"
	"context"
	"slices"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// arrived tells followers of an event that is on disk, and remembers that its
// author is owed a receipt. Receipts are not answered by receipts.
func (a *Agent) arrived(id message.ConversationID, with message.Party, e message.Event, own bool) {
	if !own && e.Kind() != message.KindReceipt {
		a.owe(id)
	}
	switch {
	case e.Kind() == message.KindReceipt:
		a.feed.tell(Notice{Type: "delivery", Contact: with.Account})
	}
	if e.Kind().Shown() {
		m, err := a.Message(context.Background(), e.ID())
		if err != nil {
			a.log.Error("show a message that has come", "error", err)
			return
		}
		a.feed.tell(Notice{Type: "message", Contact: with.Account, Message: &m})
		return
	}
	a.feed.tell(a.changedNotice(with.Account, e))
}

// changedNotice tells of an event that changes how another is shown, or stands by
// itself.
func (a *Agent) changedNotice(with namesvc.AccountID, e message.Event) Notice {
	about, ok := message.About(e.Body)
	if !ok || e.Kind().Shown() {
		about = e.ID()
	}
	n := Notice{Type: "changed", Contact: with}
	if m, err := a.Message(context.Background(), about); err == nil {
		n.Message = &m
	}
	return n
}

// delivery tells followers that an own message has come further.
func (a *Agent) delivery(id message.ID) {
	m, err := a.Message(context.Background(), id)
	if err != nil {
		return
	}
	a.feed.tell(Notice{Type: "delivery", Contact: a.withOf(m.Conversation), Message: &m})
}

func (a *Agent) withOf(id message.ConversationID) namesvc.AccountID {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r, ok := a.rooms[id]; ok {
		return r.With.Account
	}
	return namesvc.AccountID{}
}

func (a *Agent) owe(id message.ConversationID) {
	now := a.now()
	a.timing(id, func(t *timing) {
		if t.owes == 0 {
			t.owes = now
		}
	})
	wake(a.tend)
}

// sendAgain sends again what may have got lost: everything that no receipt has
// covered. The contact is looked up, since it may have moved.
func (a *Agent) sendAgain(ctx context.Context, id message.ConversationID, with message.Party) error {
	if _, err := a.roster.ask(ctx, with.Account, 0); err != nil {
		return err
	}
	if err := a.store.Update(func(tx *store.Tx) error { return tx.Retry() }); err != nil {
		return err
	}
	wake(a.send)
	a.resendUncovered(ctx, id, with)
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err == nil {
			r.Again = false
		}
		return err
	})
}

// resendUncovered sends events of this device again that the other side has not
// acknowledged by a receipt.
func (a *Agent) resendUncovered(ctx context.Context, id message.ConversationID, with message.Party) {
	var from, to uint64
	err := a.store.Update(func(tx *store.Tx) error {
		list, err := tx.Reached(id, with.Account)
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Author == a.author() {
				from = r.Delivered
			}
		}
		next, err := tx.Next(id, a.author())
		to = next.Seq - 1
		return err
	})
	if err != nil || to <= from {
		return
	}
	a.resend(ctx, id, []message.Range{{Author: a.author(), From: from + 1, To: min(to, from+maxResent)}})
}

// tendEvents sends a receipt that is owed, what the other side misses, and asks
// for what is missing here.
func (a *Agent) tendEvents(ctx context.Context, id message.ConversationID, r *room) error {
	now := a.now()
	var t timing
	a.timing(id, func(p *timing) { t = *p })
	if t.owes != 0 && past(t.owes, receiptAfter, now) {
		a.timing(id, func(p *timing) { p.owes = 0 })
		if err := a.receipt(ctx, id); err != nil {
			return err
		}
	}
	if len(t.wanted) > 0 && past(t.resent, resendEvery, now) {
		a.timing(id, func(p *timing) { p.wanted, p.resent = nil, now })
		a.resend(ctx, id, t.wanted)
	}
	if r.Again && past(t.again, againEvery, now) {
		a.timing(id, func(p *timing) { p.again = now })
		if err := a.sendAgain(ctx, id, r.With); err != nil {
			return err
		}
	}
	if r.Robbed && past(t.told, tellEvery, now) {
		a.timing(id, func(p *timing) { p.told = now })
		if err := a.tellRobbed(ctx, id); err != nil {
			return err
		}
	}
	if t.behind != 0 && t.behind <= now {
		a.timing(id, func(p *timing) { p.behind = 0 })
		if err := a.askHistory(ctx, id); err != nil {
			return err
		}
	}
	return a.askMissing(ctx, id, t)
}

// receipt tells how far this device has got, if that is news.
func (a *Agent) receipt(ctx context.Context, id message.ConversationID) error {
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil || a.own(r) {
			return err
		}
		if ready, err := b.ready(r); err != nil || !ready {
			return err
		}
		var list []message.Reached
		err = a.store.View(func(tx *store.Tx) (err error) {
			list, err = tx.Standing(id)
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		list = list[:min(len(list), message.MaxReceipts)]
		said := wire.Encode(list)
		before, err := b.note(receiptNote(id))
		if err == nil && bytes.Equal(before, said) {
			return nil
		}
		b.notes[receiptNote(id)] = said
		_, err = b.make(id, r, message.Receipt{Reached: list})
		return err
	})
}

func receiptNote(id message.ConversationID) string { return "receipt/" + id.String() }

// askMissing asks for events that were sent and have not come.
func (a *Agent) askMissing(ctx context.Context, id message.ConversationID, t timing) error {
	gaps, err := a.missing(id, t.asks)
	if err != nil {
		return err
	}
	if len(gaps) == 0 {
		a.timing(id, func(p *timing) { p.asked, p.asks = 0, 0 })
		return nil
	}
	now := a.now()
	switch {
	case t.asked == 0:
		// What is missing is most often just behind.
		a.timing(id, func(p *timing) { p.asked = now })
		return nil
	case !past(t.asked, askAgain<<min(t.asks, 10), now):
		return nil
	case t.asks >= maxAskings:
		a.timing(id, func(p *timing) { p.asked, p.asks = 0, 0 })
		return a.store.Update(func(tx *store.Tx) error { return tx.GiveUp(id, gaps[0].Author) })
	}
	a.timing(id, func(p *timing) { p.asked, p.asks = now, p.asks+1 })
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		_, err = b.make(id, r, message.Resend{Ranges: gaps})
		return err
	})
}

// missing returns what is missing in a conversation and may still come. What its
// author deleted does not: a single one is let go of at once, several once they
// were asked for, and what may be such after a second time. Should it come after
// all, it is taken.
func (a *Agent) missing(id message.ConversationID, asks int) (gaps []message.Range, err error) {
	look := func(tx *store.Tx) (gone []message.Author, err error) {
		if gaps, _, err = tx.Gaps(id); err != nil {
			return nil, err
		}
		gaps = slices.DeleteFunc(gaps, func(g message.Range) bool { return g.Author == a.author() })
		for i, g := range gaps {
			if i > 0 && gaps[i-1].Author == g.Author {
				continue // only an author's first gap can be given up
			}
			surely, perhaps, err := tx.Deleted(id, g)
			if err != nil {
				return nil, err
			}
			if surely && (g.From == g.To || asks > 0) || perhaps && asks > 1 {
				gone = append(gone, g.Author)
			}
		}
		return gone, nil
	}
	var gone []message.Author
	err = a.store.View(func(tx *store.Tx) (err error) {
		gone, err = look(tx)
		return err
	})
	if err != nil || len(gone) == 0 {
		return gaps, err
	}
	err = a.store.Update(func(tx *store.Tx) error {
		for range maxAskings { // bounds it; the rest is for the next time
			gone, err := look(tx)
			if err != nil || len(gone) == 0 {
				return err
			}
			for _, author := range gone {
				if err := tx.GiveUp(id, author); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return gaps, err
}

// maxAskings is how often missing events are asked for before they are given up:
// with growing pauses, for two days.
const maxAskings = 20

// robbed has missing events asked for now: the concierge lost mail of a queue.
// What no later event shows to be missing is known to the contact alone, who is
// told to send again what no receipt covered by telling where the mail is; not
// more often than tellEvery, whatever the concierge does.
func (a *Agent) robbed(box stream.ID) {
	err := a.change(context.Background(), func(b *batch) error {
		id, ok := a.byBox[box]
		if !ok {
			return nil
		}
		r, err := b.room(id)
		if err != nil {
			return err
		}
		r.Robbed = !a.own(r)
		b.hurry(id)
		b.then = append(b.then, func() {
			t := a.times[id]
			t.asked, t.asks = 1, 0
			a.times[id] = t
		})
		return nil
	})
	if err != nil {
		a.log.Info("a contact could not be asked to send again", "error", err)
	}
}

// tellRobbed tells a contact to send again what no receipt covered.
func (a *Agent) tellRobbed(ctx context.Context, id message.ConversationID) error {
	office, err := a.present()
	if err != nil {
		return err
	}
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		r.Robbed = false
		return b.tellMoved(id, r, office)
	})
}

// MarkRead says that this person has seen everything up to a message.
func (a *Agent) MarkRead(ctx context.Context, who string, upTo Position) error {
	c, err := a.find(who)
	if err != nil {
		return err
	}
	p, err := upTo.stored()
	if err != nil {
		return err
	}
	id := message.Direct(a.party(), c.Party)
	if err := a.store.Update(func(tx *store.Tx) error { return tx.MarkRead(id, p) }); err != nil {
		return err
	}
	a.owe(id)
	return nil
}
