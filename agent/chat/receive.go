package chat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// take processes a page of one box. When it returns nil all of it is on disk, or
// was worth nothing, and may be acknowledged. boxes has what was read before it.
func (a *Agent) take(ctx context.Context, boxes *post.Boxes, source string, box stream.ID, page stream.Page) error {
	return a.change(ctx, func(b *batch) error {
		var after uint64
		err := a.store.View(func(tx *store.Tx) (err error) {
			after, err = tx.Cursor(source)
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.Seq <= after {
				continue
			}
			fresh, err := b.fresh(source, e)
			if err != nil {
				return err
			}
			if !fresh {
				continue
			}
			if err := b.entry(box, e); err != nil {
				return err
			}
		}
		if h, known := boxes.Head(box); known && h.Seq == page.After {
			b.notes[headNote(source)] = wire.Encode(h.Follow(page.Entries))
		}
		return nil
	})
}

// fresh takes note of an entry and reports whether no other box brought it.
func (b *batch) fresh(source string, e stream.Entry) (bool, error) {
	if b.seen[e.ID] {
		return false, nil
	}
	b.seen[e.ID] = true
	var seen bool
	err := b.a.store.View(func(tx *store.Tx) (err error) {
		seen, err = tx.Seen(e.ID)
		return err
	})
	b.do(func(tx *store.Tx) error {
		_, err := tx.Receive(source, e.Seq, e.ID, b.now)
		return err
	})
	return !seen, err
}

// entry processes one entry. An error means that it cannot be known yet what it
// is worth; what is worth nothing is dropped here.
func (b *batch) entry(box stream.ID, e stream.Entry) error {
	if box == b.a.knockBox() {
		return b.knock(e.Body)
	}
	if l := b.a.linking; l != nil && box == l.box {
		b.a.linkEntry(e.Body)
		return nil
	}
	id, ok := b.a.byBox[box]
	if !ok {
		return nil
	}
	r, err := b.room(id)
	if err != nil {
		return err
	}
	if !b.a.looked[id] {
		b.hurry(id)
	}
	if c, err := b.contact(r.With.Account); err == nil && c.State == store.Blocked && c.Party == r.With {
		// Not even opened: a blocked contact costs what fetching his mail costs.
		b.notes[unheardNote(id)] = []byte{1}
		return nil
	}
	p, err := e2ee.EnvelopeKey(r.Key).Open(e.Body)
	if err != nil {
		b.a.log.Debug("dropped what is no envelope", "conversation", id, "error", err)
		return nil
	}
	m, err := b.assemble(id, r, p)
	if err != nil || m == nil {
		return err
	}
	return b.message(id, r, m)
}

// assemble keeps a piece and returns the whole message once all are there.
func (b *batch) assemble(id message.ConversationID, r *room, p e2ee.Piece) ([]byte, error) {
	if p.Of == 1 {
		return b.whole(id, []e2ee.Piece{p})
	}
	at := -1
	for i, have := range r.Partial {
		if have.Whole == p.Whole {
			at = i
		}
	}
	if at < 0 {
		if len(r.Partial) >= maxPartial {
			b.dropPartial(id, r.Partial[0])
			r.Partial = r.Partial[1:]
		}
		r.Partial = append(r.Partial, partial{Whole: p.Whole, Of: p.Of, Since: b.now})
		at = len(r.Partial) - 1
	}
	part := &r.Partial[at]
	if part.Of != p.Of {
		return nil, nil // who counts differently writes something else
	}
	part.Have |= 1 << p.Part
	b.notes[pieceNote(id, p.Whole, p.Part)] = p.Data
	if part.Have != 1<<p.Of-1 {
		return nil, nil
	}
	pieces := make([]e2ee.Piece, p.Of)
	for i := range pieces {
		data, err := b.note(pieceNote(id, p.Whole, uint8(i)))
		if err != nil {
			return nil, err
		}
		pieces[i] = e2ee.Piece{Part: uint8(i), Of: p.Of, Whole: p.Whole, Data: data}
	}
	b.dropPartial(id, *part)
	r.Partial = append(r.Partial[:at], r.Partial[at+1:]...)
	return b.whole(id, pieces)
}

func (b *batch) whole(id message.ConversationID, pieces []e2ee.Piece) ([]byte, error) {
	m, err := e2ee.Assemble(pieces)
	if err != nil {
		b.a.log.Debug("dropped pieces that make no message", "conversation", id, "error", err)
		return nil, nil
	}
	return m, nil
}

func (b *batch) dropPartial(id message.ConversationID, p partial) {
	for i := range p.Of {
		b.notes[pieceNote(id, p.Whole, i)] = nil
	}
}

func pieceNote(id message.ConversationID, whole [32]byte, part uint8) string {
	return fmt.Sprintf("piece/%s/%s/%d", id, hex.EncodeToString(whole[:]), part)
}

// message processes a whole MLS message.
func (b *batch) message(id message.ConversationID, r *room, m []byte) error {
	if e2ee.IsWelcome(m) {
		return b.welcome(id, r, m)
	}
	group, epoch, ok := e2ee.GroupOf(m)
	if !ok {
		return nil
	}
	if p := r.Commit; p != nil && bytes.Equal(group, r.Group) && p.Hash == sha256.Sum256(m) {
		return b.won(id, r) // our own commit came back: it has the slot
	}
	known := false
	for _, g := range r.groups() {
		known = known || bytes.Equal(g, group)
	}
	if !known {
		return b.early(id, r, m, false)
	}
	s, err := b.session(r, group)
	if waits(err) {
		return err
	}
	if err != nil {
		return b.broken(id, r, group, err)
	}
	opened, err := s.Open(m)
	switch {
	case errors.Is(err, e2ee.ErrEarly):
		return b.early(id, r, m, bytes.Equal(group, r.Group))
	case errors.Is(err, e2ee.ErrSpent):
		return nil // our own, or one that was read
	case errors.Is(err, e2ee.ErrLate):
		b.behind(id) // said before this device came, by who did not know of it yet
		return nil
	case errors.Is(err, e2ee.ErrBroken):
		return b.broken(id, r, group, err)
	case waits(err):
		return err
	case errors.Is(err, e2ee.ErrForbidden) && b.a.oldest(r) != nil:
		// By what was known here: perhaps its sender has seen a newer block.
		return b.a.oldest(r)
	case errors.Is(err, e2ee.ErrForbidden) && e2ee.IsCommit(m) && bytes.Equal(group, r.Group) && epoch == s.Epoch():
		// It has the epoch's slot, so nobody can change this session any more.
		return b.broken(id, r, group, err)
	case err != nil:
		b.a.log.Info("dropped a message that breaks the rules", "conversation", id, "epoch", epoch, "error", err)
		return nil
	}
	if opened.Change != nil {
		return b.changed(id, r, s, opened.Change)
	}
	return b.payload(id, r, opened)
}

// waits reports whether an error says that the chain must be asked first.
func waits(err error) bool {
	var ask *askError
	return errors.As(err, &ask) || wire.CodeOf(err) == wire.Unavailable
}

// broken takes note that a session cannot go on; another instance will be made.
func (b *batch) broken(id message.ConversationID, r *room, group []byte, why error) error {
	if bytes.Equal(group, r.Group) && r.Broken == 0 {
		b.a.log.Warn("a conversation needs a new session", "conversation", id, "error", why)
		r.Broken = b.now
		b.hurry(id)
	}
	return nil
}

// unheardNote is the note that says that mail of a blocked contact was dropped:
// the session may have gone on without this device.
func unheardNote(id message.ConversationID) string { return "unheard/" + id.String() }

// unkeep drops what of a room's mail could not be opened so far.
func (b *batch) unkeep(id message.ConversationID, r *room) {
	b.unkeepEarly(id, r)
	for _, p := range r.Partial {
		b.dropPartial(id, p)
	}
	r.Partial = nil
}

func (b *batch) unkeepEarly(id message.ConversationID, r *room) {
	for n := r.EarlyFrom; n < r.EarlyTo; n++ {
		b.notes[earlyNote(id, n)] = nil
	}
	r.EarlyFrom, r.Behind = r.EarlyTo, false
}

// early keeps a message that cannot be opened yet. ours says that it is of the
// session in use, so that a commit must be missing; otherwise it may be of one
// that this device never was in.
func (b *batch) early(id message.ConversationID, r *room, m []byte, ours bool) error {
	if len(m) > store.MaxNote {
		return nil // a Welcome is never early; nothing else is so large
	}
	r.Behind = r.Behind || ours
	b.notes[earlyNote(id, r.EarlyTo)] = m
	r.EarlyTo++
	if r.EarlyTo-r.EarlyFrom > maxEarly {
		b.notes[earlyNote(id, r.EarlyFrom)] = nil
		r.EarlyFrom++
	}
	b.say(func() { wake(b.a.tend) })
	return nil
}

func earlyNote(id message.ConversationID, n uint64) string {
	return fmt.Sprintf("early/%s/%016x", id, n)
}

// again tries the early messages, after the session went on.
func (b *batch) again(id message.ConversationID, r *room) error {
	from, to := r.EarlyFrom, r.EarlyTo
	r.EarlyFrom, r.Behind = to, false
	for n := from; n < to; n++ {
		m, err := b.note(earlyNote(id, n))
		if wire.CodeOf(err) == wire.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		b.notes[earlyNote(id, n)] = nil
		// What is still early is kept anew, behind the others.
		if err := b.message(id, r, m); err != nil {
			return err
		}
	}
	return nil
}

// changed merges a commit of another member.
func (b *batch) changed(id message.ConversationID, r *room, s *e2ee.Session, c *e2ee.Change) error {
	if r.Commit != nil && bytes.Equal(s.Group(), r.Group) {
		b.lost(r)
	}
	if err := s.Merge(c); err != nil {
		return b.broken(id, r, s.Group(), err)
	}
	if bytes.Equal(s.Group(), r.Group) {
		r.Taken = 0
	}
	if s.Removed() && bytes.Equal(s.Group(), r.Group) {
		r.Broken = b.now
	}
	b.hurry(id)
	if err := b.flush(id, r); err != nil {
		return err
	}
	return b.again(id, r)
}

// welcome enters a new session, if it is newer than the one in use.
func (b *batch) welcome(id message.ConversationID, r *room, m []byte) error {
	s, ref, err := e2ee.Enter(b.a.o.Now(), b.a.options(r), m, b.offerSecret)
	var stale *e2ee.StaleError
	switch {
	case b.unread != nil:
		return b.unread
	case waits(err):
		return err
	case errors.As(err, &stale):
		return b.stale(id, r, stale)
	case err != nil:
		// Most often it is for another device of this account.
		b.a.log.Debug("a Welcome is not for this device, or not acceptable", "conversation", id, "error", err)
		return nil
	}
	b.spend(ref)
	if slices.ContainsFunc(r.groups(), func(g []byte) bool { return bytes.Equal(g, s.Group()) }) {
		return nil // a second time: its keys would encrypt twice
	}
	if len(r.Group) > 0 && !e2ee.Newer(s.Instance(), s.Group(), r.Instance, r.Group) {
		// The other side of a race: what its maker said before it saw ours.
		if len(r.Former) >= maxFormer {
			return nil
		}
		b.used[string(s.Group())] = s
		b.a.sessions.put(s.Group(), s)
		r.Former = append([][]byte{s.Group()}, r.Former...)
	} else {
		b.enter(r, s)
		b.hurry(id)
		b.behind(id)
	}
	if err := b.flush(id, r); err != nil {
		return err
	}
	return b.again(id, r)
}

// stale takes a Welcome to a session in which somebody is whom the chain does not
// list. Perhaps it has been asked too long ago; otherwise a device was removed
// since, and whoever is in there may not know of this one any more: it makes a
// session that is newer.
func (b *batch) stale(id message.ConversationID, r *room, why *e2ee.StaleError) error {
	if err := b.a.oldest(r); err != nil {
		return err
	}
	if !e2ee.Newer(why.Instance, why.Group, r.Instance, r.Group) {
		return nil
	}
	r.Least = max(r.Least, why.Instance)
	if len(r.Group) == 0 {
		r.Mine = true
		b.hurry(id)
		return nil
	}
	return b.broken(id, r, r.Group, why)
}

// payload takes what a member said.
func (b *batch) payload(id message.ConversationID, r *room, o e2ee.Opened) error {
	switch {
	case o.Payload.Sync != nil:
		if b.a.own(r) {
			return b.sync(o.Payload.Sync)
		}
	case o.Payload.Event != nil:
		return b.event(id, r, o.From, *o.Payload.Event)
	}
	return nil
}

// event takes an event that its author sealed.
func (b *batch) event(id message.ConversationID, r *room, from e2ee.Member, e message.Event) error {
	own := from.Account == b.a.o.Account
	if c, err := b.contact(r.With.Account); err == nil && c.State == store.Blocked && !own {
		return nil
	}
	switch body := e.Body.(type) {
	case message.ContactAnswer:
		return b.answered(id, r, own, body)
	case message.Resend:
		b.then = append(b.then, func() { b.a.askedAgain(id, body.Ranges) })
		return nil
	case message.Receipt:
		if err := b.ahead(id, r, own, body.Reached); err != nil {
			return err
		}
	case message.Typing:
		if !own {
			b.say(func() { b.a.feed.tell(Notice{Type: "typing", Contact: from.Account, Text: typingText(body)}) })
		}
		return nil
	case message.ContactRequest:
		return nil // only a knock is one
	}
	if !e.Kind().Chained() {
		return nil
	}
	b.do(func(tx *store.Tx) error {
		arrival, err := tx.AddEvent(e)
		switch {
		case wire.CodeOf(err) == wire.Invalid:
			b.a.log.Info("dropped an event that its chain shows wrong", "conversation", id, "error", err)
			return nil
		case err != nil || !arrival.New:
			return err
		}
		if e.Kind() == message.KindMoved && !own {
			// Where their mail was something may have got lost.
			r.Again = true
			b.say(func() { b.a.tendNow(id) })
		}
		b.say(func() { b.a.arrived(id, r.With, e, own) })
		if arrival.Fork != nil {
			b.say(func() {
				b.a.feed.tell(Notice{Type: "notice", Contact: from.Account,
					Text: "a device of this contact sent two histories: it was restored from an old copy, or somebody else has its key"})
			})
		}
		return nil
	})
	return nil
}
