package store

import (
	"errors"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Arrival says what became of an event.
type Arrival struct {
	New  bool          // it was not here before
	Fork *message.Fork // its author's device sent two histories, and this event shows it
}

// AddEvent stores an event and brings what is shown up to date. The caller has
// checked that its author sent it. An event that is here already changes nothing.
// Events may come in any order; [Tx.Gaps] says what is missing.
//
// The error is of kind NotFound if there is no such conversation, and Invalid for
// kinds without a place in a chain and for events whose chain shows them wrong.
func (tx *Tx) AddEvent(e message.Event) (Arrival, error) {
	if !e.Kind().Chained() {
		return Arrival{}, wire.Errorf(wire.Invalid, "event %v: %v is not stored", e.ID(), e.Kind())
	}
	conv, err := tx.conversation(e.Conversation)
	if err != nil {
		return Arrival{}, err
	}
	id := e.ID()
	if n, err := tx.count("SELECT count(*) FROM events WHERE name = ?", id[:]); err != nil || n > 0 {
		return Arrival{}, err
	}
	author, err := tx.author(e.Author)
	if err != nil {
		return Arrival{}, err
	}
	fork, err := tx.link(conv, author, e)
	if err != nil {
		return Arrival{}, err
	}
	row, err := tx.insertEvent(conv, author, e)
	if err != nil {
		return Arrival{}, err
	}
	if err := errors.Join(tx.show(conv, author, row, e), tx.dispute(conv, author, e.Seq)); err != nil {
		return Arrival{}, err
	}
	return Arrival{New: true, Fork: fork}, nil
}

// dispute marks the messages of a number that was used twice.
func (tx *Tx) dispute(conv, author int64, seq uint64) error {
	n, err := tx.count("SELECT count(*) FROM events WHERE conversation = ? AND author = ? AND seq = ?", conv, author, seq)
	if err != nil || n < 2 {
		return err
	}
	return tx.exec("UPDATE messages SET disputed = 1 WHERE conversation = ? AND author = ? AND seq = ?", conv, author, seq)
}

// insertEvent writes the event's row and returns its number.
func (tx *Tx) insertEvent(conv, author int64, e message.Event) (int64, error) {
	id := e.ID()
	var about any
	if to, ok := message.About(e.Body); ok {
		about = to[:]
	}
	err := tx.exec("INSERT INTO events (name, conversation, author, seq, prev, clock, time, kind, about, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		id[:], conv, author, e.Seq, e.Prev[:], e.Clock, e.Time, int(e.Kind()), about, e.Bytes())
	if err != nil {
		return 0, err
	}
	row := tx.s.conn.LastInsertRowID()
	return row, tx.exec("UPDATE conversations SET clock = max(clock, ?) WHERE id = ?", e.Clock, conv)
}

// link offers an event to its author's chain, and after it those that came
// earlier than their turn.
func (tx *Tx) link(conv, author int64, e message.Event) (*message.Fork, error) {
	c, err := tx.chain(conv, author)
	if err != nil {
		return nil, err
	}
	verdict, _, err := c.Accept(e.Link())
	var fork *message.ForkError
	var ahead *message.AheadError
	switch {
	case errors.As(err, &fork), errors.As(err, &ahead):
	case err != nil:
		return nil, wire.Errorf(wire.Invalid, "event %v: %w", e.ID(), err)
	case verdict == message.Old:
		// The chain forgot which event had this number; the table did not.
		if fork, err = tx.other(conv, author, e); err != nil {
			return nil, err
		}
	default:
		if err := tx.offer(conv, author, c); err != nil {
			return nil, err
		}
	}
	if err := tx.saveChain(conv, author, c); err != nil {
		return nil, err
	}
	if fork != nil {
		return &fork.Fork, nil
	}
	return nil, nil
}

// other looks for another event with the same number.
func (tx *Tx) other(conv, author int64, e message.Event) (*message.ForkError, error) {
	var have message.ID
	found, err := tx.row("SELECT name FROM events WHERE conversation = ? AND author = ? AND seq = ?", []any{conv, author, e.Seq},
		func(st *sqlite3.Stmt) { copy(have[:], st.ColumnRawBlob(0)) })
	if err != nil || !found {
		return nil, err
	}
	return &message.ForkError{Fork: message.Fork{Seq: e.Seq, Have: have, Got: e.ID()}}, nil
}

// offer gives the chain stored events that it could not take when they came: the
// next ones, and those that end a gap which was given up.
func (tx *Tx) offer(conv, author int64, c *message.Chain) error {
	for again := true; again; {
		again = false
		next := []uint64{c.Head().Seq + 1}
		for _, l := range c.Lost() {
			next = append(next, l.To)
		}
		for _, seq := range next {
			l, found, err := tx.stored(conv, author, seq)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if v, _, err := c.Accept(l); err == nil && (v == message.InOrder || v == message.Late) {
				again = true
			}
		}
	}
	return nil
}

// stored returns the link of a stored event.
func (tx *Tx) stored(conv, author int64, seq uint64) (l message.Link, found bool, err error) {
	found, err = tx.row("SELECT name, prev, clock FROM events WHERE conversation = ? AND author = ? AND seq = ? ORDER BY id", []any{conv, author, seq},
		func(st *sqlite3.Stmt) {
			copy(l.ID[:], st.ColumnRawBlob(0))
			copy(l.Prev[:], st.ColumnRawBlob(1))
			l.Seq, l.Clock = seq, uint64(st.ColumnInt64(2))
		})
	return l, found, err
}

// chain returns what is known of an author's events.
func (tx *Tx) chain(conv, author int64) (*message.Chain, error) {
	var b []byte
	found, err := tx.row("SELECT chain FROM chains WHERE conversation = ? AND author = ?", []any{conv, author}, func(st *sqlite3.Stmt) { b = st.ColumnBlob(0, nil) })
	if err != nil || !found {
		return new(message.Chain), err
	}
	c, err := message.DecodeChain(b)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "database: it is damaged: %w", err)
	}
	return c, nil
}

func (tx *Tx) saveChain(conv, author int64, c *message.Chain) error {
	return tx.exec("INSERT INTO chains (conversation, author, chain) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET chain = excluded.chain", conv, author, c.Encode())
}

// Next returns the place of an author's next event: that of a device of this
// person. The event must be added in the same transaction, else another gets the
// same place.
func (tx *Tx) Next(id message.ConversationID, a message.Author) (message.Place, error) {
	c, err := tx.Conversation(id)
	if err != nil {
		return message.Place{}, err
	}
	conv, err := tx.conversation(id)
	if err != nil {
		return message.Place{}, err
	}
	author, err := tx.author(a)
	if err != nil {
		return message.Place{}, err
	}
	chain, err := tx.chain(conv, author)
	if err != nil {
		return message.Place{}, err
	}
	return chain.Next(c.Clock)
}

// Gaps returns what is missing in a conversation before events that are here, at
// most what fits one request; lost returns what was given up and is not deleted.
func (tx *Tx) Gaps(id message.ConversationID) (gaps, lost []message.Range, err error) {
	err = tx.eachChain(id, func(a message.Author, c *message.Chain) {
		gaps = append(gaps, ranges(a, c.Gaps())...)
		lost = append(lost, ranges(a, c.Lost())...)
	})
	if err != nil {
		return nil, nil, err
	}
	var over []message.Range
	for _, g := range lost {
		gone, _, err := tx.Deleted(id, g)
		if err != nil {
			return nil, nil, err
		}
		if !gone {
			over = append(over, g)
		}
	}
	return gaps[:min(len(gaps), message.MaxRanges)], over, nil
}

// Deleted reports whether the events of a gap, one of those that Gaps returns,
// were deleted, as far as can be told from what came after them. surely says that
// their author says so of the last one by its id, and of as many as are missing;
// perhaps says that he does of something that is not here, which the gap may be,
// together with what was said about it. Whoever asks for them gets nothing.
func (tx *Tx) Deleted(id message.ConversationID, g message.Range) (surely, perhaps bool, err error) {
	conv, err := tx.conversation(id)
	if err != nil {
		return false, false, err
	}
	author, err := tx.author(g.Author)
	if err != nil {
		return false, false, err
	}
	next, found, err := tx.stored(conv, author, g.To+1)
	if err != nil || !found {
		return false, false, err
	}
	var all, last int64
	_, err = tx.row(`SELECT count(DISTINCT d.about), count(*) FILTER (WHERE d.about = ?) FROM events d JOIN authors a ON a.id = d.author
		WHERE d.conversation = ? AND d.kind = ? AND a.account = ? AND NOT EXISTS (SELECT 1 FROM events e WHERE e.name = d.about)`,
		[]any{next.Prev[:], conv, int(message.KindDelete), g.Author.Account[:]}, func(st *sqlite3.Stmt) {
			all, last = st.ColumnInt64(0), st.ColumnInt64(1)
		})
	return last > 0 && uint64(all) > g.To-g.From, all > 0, err
}

// ranges cuts spans into pieces that one request may ask for. Of a span so long
// that its asking would be endless it names the first piece only.
func ranges(a message.Author, spans []message.Span) (out []message.Range) {
	for _, s := range spans {
		out = append(out, message.Range{Author: a, From: s.From, To: min(s.To, s.From+message.MaxResend-1)})
	}
	return out
}

// Standing returns how far this device has got in the chains of all other
// accounts, rising by author: what a receipt of it says.
func (tx *Tx) Standing(id message.ConversationID) (list []message.Reached, err error) {
	read := map[message.Author]uint64{}
	reached, err := tx.Reached(id, tx.selfAccount())
	if err != nil {
		return nil, err
	}
	for _, r := range reached {
		read[r.Author] = r.Read
	}
	err = tx.eachChain(id, func(a message.Author, c *message.Chain) {
		if head := c.Head().Seq; a.Account != tx.selfAccount() && head > 0 {
			list = append(list, message.Reached{Author: a, Delivered: head, Read: min(read[a], head)})
		}
	})
	return list, err
}

// Heads returns how far this device has everything in the chains of all authors,
// those of this person included, rising by author: from there on others may tell
// it what it misses.
func (tx *Tx) Heads(id message.ConversationID) (list []message.Reached, err error) {
	err = tx.eachChain(id, func(a message.Author, c *message.Chain) {
		list = append(list, message.Reached{Author: a, Delivered: c.Head().Seq})
	})
	return list, err
}

// eachChain gives every chain of a conversation to f, rising by author.
func (tx *Tx) eachChain(id message.ConversationID, f func(message.Author, *message.Chain)) error {
	conv, err := tx.conversation(id)
	if err != nil {
		return err
	}
	return tx.rows(`SELECT a.account, a.device, c.chain FROM chains c JOIN authors a ON a.id = c.author
		WHERE c.conversation = ? ORDER BY a.account, a.device`, []any{conv}, func(st *sqlite3.Stmt) error {
		c, err := message.DecodeChain(st.ColumnBlob(2, nil))
		if err != nil {
			return wire.Errorf(wire.Invalid, "database: it is damaged: %w", err)
		}
		f(scanAuthor(st, 0), c)
		return nil
	})
}

// GiveUp stops waiting for the first gap of an author's events.
func (tx *Tx) GiveUp(id message.ConversationID, a message.Author) error {
	conv, err := tx.conversation(id)
	if err != nil {
		return err
	}
	author, err := tx.author(a)
	if err != nil {
		return err
	}
	c, err := tx.chain(conv, author)
	if err != nil {
		return err
	}
	c.GiveUp()
	if err := tx.offer(conv, author, c); err != nil {
		return err
	}
	return tx.saveChain(conv, author, c)
}

// Event returns a stored event. The error is of kind NotFound if it is not here
// or its content was deleted.
func (tx *Tx) Event(id message.ID) (e message.Event, err error) {
	var b []byte
	found, err := tx.row("SELECT bytes FROM events WHERE name = ? AND bytes IS NOT NULL", []any{id[:]}, func(st *sqlite3.Stmt) { b = st.ColumnBlob(0, nil) })
	if err != nil {
		return e, err
	}
	if !found {
		return e, notFound("event %v is not here", id)
	}
	return decode(b)
}

// Events returns the events of a range, rising, as far as they are here and were
// not deleted: what a request to send again is answered with. At most MaxPage.
func (tx *Tx) Events(id message.ConversationID, r message.Range) (list []message.Event, err error) {
	conv, err := tx.conversation(id)
	if err != nil {
		return nil, err
	}
	err = tx.rows(`SELECT e.bytes FROM events e JOIN authors a ON a.id = e.author WHERE e.conversation = ? AND a.account = ? AND a.device = ?
		AND e.seq BETWEEN ? AND ? AND e.bytes IS NOT NULL ORDER BY e.seq, e.id LIMIT ?`,
		[]any{conv, r.Author.Account[:], r.Author.Device[:], r.From, r.To, MaxPage}, func(st *sqlite3.Stmt) error {
			e, err := decode(st.ColumnBlob(0, nil))
			list = append(list, e)
			return err
		})
	return list, err
}

// decode reads an event that was stored: it was checked when it came.
func decode(b []byte) (message.Event, error) {
	e, err := message.Decode(b)
	if err != nil {
		return e, wire.Errorf(wire.Invalid, "database: it is damaged: %w", err)
	}
	return e, nil
}
