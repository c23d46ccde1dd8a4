package chat

import (
	"context"
	"time"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// A device's folder may be put back as a whole from an older copy. Database and
// secrets then fit each other, and the sessions in them have used keys that they
// do not know to be used. The concierge tells: it lets go of an entry when every
// device has acknowledged it, so what it let go of beyond this device's cursor
// this device has read before, or was away for longer than mail is kept. In both
// cases no session of before can be relied on. And so does a contact who says that
// he has more of this device's events than there are.

// lookFirst is how long nothing is sealed in a conversation before its queue was
// looked at: while the own concierge is there that takes a moment, and while it
// is not people can write all the same.
const lookFirst = 15 * time.Second

// lookAgain is after what time it is tried again while something waits for it.
const lookAgain = time.Second

// lookAt compares a room's queue with what was read of it, once while the agent
// runs and the concierge is there.
func (a *Agent) lookAt(ctx context.Context, id message.ConversationID, box stream.ID) {
	a.mu.Lock()
	now := a.offices.now
	if a.looked[id] || now == nil || !now.state.Connected {
		a.mu.Unlock()
		return
	}
	office := now.office
	a.mu.Unlock()
	var base, last, read uint64
	err := a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
		s, err := c.Head(ctx, box)
		if err == nil {
			base, last = s.Base, s.Head.Seq
		}
		return err
	})
	if err == nil {
		// After the answer: what was acknowledged meanwhile has been read.
		err = a.store.View(func(tx *store.Tx) (err error) {
			read, err = tx.Cursor(source(office.Service.Account, box))
			return err
		})
	}
	switch {
	case wire.CodeOf(err) == wire.NotFound:
	case err != nil:
		a.log.Debug("a queue is looked at later", "conversation", id, "error", err)
		return
	case read > 0 && base > read:
		a.outdated()
	case read < last:
		return // what waits may hold a receipt that tells; taking it has this looked at again
	}
	a.mu.Lock()
	a.looked[id] = true
	a.mu.Unlock()
}

// goneBefore takes note that mail was let go of before this device read it.
func (a *Agent) goneBefore(box stream.ID) {
	a.mu.Lock()
	id, ok := a.byBox[box]
	first := ok && !a.looked[id]
	a.mu.Unlock()
	if first {
		a.outdated()
	}
}

// outdated gives every conversation a new session.
func (a *Agent) outdated() {
	err := a.change(context.Background(), func(b *batch) error {
		for id := range a.rooms {
			r, err := b.room(id)
			if err != nil {
				return err
			}
			if err := b.broken(id, r, r.Group, errOutdated); err != nil {
				return err
			}
			b.behind(id)
			b.then = append(b.then, func() { a.looked[id], a.anew[id] = true, true })
		}
		return nil
	})
	if err != nil {
		a.log.Error("begin conversations anew", "error", err)
		return
	}
	a.tellOutdated()
}

func (a *Agent) tellOutdated() {
	a.once("outdated", Notice{Type: "notice", Text: "this device was put back from an older copy, or was away for longer than mail is kept: its conversations get new keys. " +
		"If it was an older copy, contacts see that messages have the same numbers: link this device anew"})
}

var errOutdated = wire.Errorf(wire.Stale, "what this device has is an older copy, or it was away for too long")

// current reports whether a room's session may be used for sealing; a.mu is held.
func (a *Agent) current(id message.ConversationID) bool {
	return a.looked[id] || past(a.begun, lookFirst, a.now())
}

// aheadNote is the note that says how many of this device's events the contact of
// a room has, where that is more than there are.
func aheadNote(id message.ConversationID) string { return "ahead/" + id.String() }

// ahead looks whether a contact has events of this device that this device does
// not know. What was sealed since the agent runs may have been sealed with keys
// that were used, and was not read then: it is sealed again in a new session.
func (b *batch) ahead(id message.ConversationID, r *room, own bool, list []message.Reached) error {
	var most uint64
	for _, reached := range list {
		if reached.Author == b.a.author() && !own {
			most = reached.Delivered
		}
	}
	if most == 0 {
		return nil
	}
	var since []message.Event
	var head, sealed, known uint64
	err := b.a.store.View(func(tx *store.Tx) (err error) {
		if head, err = b.a.head(tx, id); err != nil {
			return err
		}
		sealed = head
		for _, eid := range r.Unsealed {
			if e, err := tx.Event(eid); err == nil && e.Author == b.a.author() {
				sealed = min(sealed, e.Seq-1)
			}
		}
		if most <= sealed {
			return nil
		}
		since, err = tx.Events(id, message.Range{Author: b.a.author(), From: b.a.heads[id] + 1, To: head})
		return err
	})
	if err != nil || most <= sealed {
		return err
	}
	if raw, err := b.note(aheadNote(id)); err == nil && wire.Recall(raw, &known) == nil && most <= known {
		return nil
	}
	b.notes[aheadNote(id)] = wire.Encode(most)
	if b.a.anew[id] {
		return nil // that is why it has a new session
	}
	b.then = append(b.then, func() { b.a.anew[id] = true })
	if err := b.broken(id, r, r.Group, errOutdated); err != nil {
		return err
	}
	for _, e := range since[:min(len(since), maxResent)] {
		if err := b.dispatch(id, r, e); err != nil && wire.CodeOf(err) != wire.Exhausted {
			return err
		}
	}
	b.say(b.a.tellOutdated)
	return nil
}

// head returns how many events this device has said in a conversation.
func (a *Agent) head(tx *store.Tx, id message.ConversationID) (uint64, error) {
	list, err := tx.Heads(id)
	if err != nil {
		return 0, err
	}
	for _, h := range list {
		if h.Author == a.author() {
			return h.Delivered, nil
		}
	}
	return 0, nil
}
