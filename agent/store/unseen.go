package store

import (
	"slices"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Who reads on may leave gaps behind: messages that are sent again later, and were
// read by nobody, though the author's numbers up to a higher one were. What is
// missing when a person reads is noted, so that it is new when it comes.

// Bounds of what is noted of a conversation, so that it fits a note: some gaps of
// each device of both sides. What is beyond them is taken for read, as before.
const (
	maxUnseenAuthors = 64
	maxUnseenSpans   = 32
)

func unseenNote(id message.ConversationID) string { return "unseen/" + id.String() }

// unseen is what of an author was missing below what was read.
type unseen struct {
	_      struct{} `cbor:",toarray"`
	Author message.Author
	Spans  []span
}

type span struct {
	_        struct{} `cbor:",toarray"`
	From, To uint64   // both included
}

func (tx *Tx) unseen(id message.ConversationID) (list []unseen, err error) {
	b, err := tx.Get(unseenNote(id))
	if wire.CodeOf(err) == wire.NotFound {
		return nil, nil
	}
	if err == nil {
		err = wire.Recall(b, &list)
	}
	return list, err
}

// noteUnseen notes what is missing of authors of whom something is read now.
func (tx *Tx) noteUnseen(id message.ConversationID, read []message.Reached) error {
	list, err := tx.unseen(id)
	if err != nil {
		return err
	}
	changed := false
	err = tx.eachChain(id, func(a message.Author, c *message.Chain) {
		at := slices.IndexFunc(read, func(r message.Reached) bool { return r.Author == a })
		if at < 0 {
			return
		}
		now, upTo := unseen{Author: a}, read[at].Read
		was := slices.IndexFunc(list, func(u unseen) bool { return u.Author == a })
		if was >= 0 {
			for _, s := range list[was].Spans { // what he read before reaches at least as far
				upTo = max(upTo, s.To)
			}
		}
		for _, s := range append(c.Gaps(), c.Lost()...) {
			if s.From <= upTo && len(now.Spans) < maxUnseenSpans {
				now.Spans = append(now.Spans, span{From: s.From, To: min(s.To, upTo)})
			}
		}
		switch {
		case was >= 0 && len(now.Spans) == 0:
			list = slices.Delete(list, was, was+1)
		case was >= 0:
			list[was] = now
		case len(now.Spans) == 0 || len(list) >= maxUnseenAuthors:
			return
		default:
			list = append(list, now)
		}
		changed = true
	})
	if err != nil || !changed {
		return err
	}
	if len(list) == 0 {
		return tx.Put(unseenNote(id), nil)
	}
	return tx.Put(unseenNote(id), wire.Encode(list))
}

// isUnseen reports whether an event was missing when its person read beyond it.
func (tx *Tx) isUnseen(e message.Event) (bool, error) {
	list, err := tx.unseen(e.Conversation)
	for _, u := range list {
		if u.Author == e.Author {
			return slices.ContainsFunc(u.Spans, func(s span) bool { return s.From <= e.Seq && e.Seq <= s.To }), err
		}
	}
	return false, err
}
