package store

import (
	"errors"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Message is an event as it is to be shown.
type Message struct {
	message.Shown
	At     Position
	Unread bool
}

// show brings what is shown up to date with a new event, whose row this is.
func (tx *Tx) show(conv, author, row int64, e message.Event) error {
	if to, ok := message.About(e.Body); ok {
		return tx.showAgain(conv, row, to)
	}
	switch b := e.Body.(type) {
	case message.Receipt:
		return tx.reach(conv, e.Author.Account, b.Reached)
	case message.Profile:
		return tx.setLatest(conv, row, e, message.Event.Compare)
	case message.Moved:
		if err := tx.setLatest(conv, row, e, message.CompareMoved); err != nil {
			return err
		}
	case message.File:
		if err := tx.exec("INSERT INTO files_of (root, event) VALUES (?, ?)", b.Ref.Root[:], row); err != nil {
			return err
		}
	}
	if !e.Kind().Shown() {
		return nil
	}
	about, err := tx.about(conv, e.ID())
	if err != nil {
		return err
	}
	v := message.View(e, about)
	unread, err := tx.isUnread(conv, author, e)
	if err != nil {
		return err
	}
	err = tx.exec(`INSERT INTO messages (id, conversation, place, author, seq, unread, edited, deleted, disputed, reactions, text)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`, row, conv, []byte(position(e)), author, e.Seq, unread && !v.Deleted,
		v.Edited, v.Deleted, encodeReactions(v.Reactions), v.Text)
	if err == nil && v.Deleted {
		err = tx.purge(conv, e.ID())
	}
	return err
}

// showAgain shows the message to anew after an event about it. If that message is
// not here yet, it is shown rightly when it comes.
func (tx *Tx) showAgain(conv, row int64, to message.ID) error {
	var target int64
	var bytes []byte
	found, err := tx.row("SELECT e.id, e.bytes FROM events e JOIN messages m ON m.id = e.id WHERE e.name = ? AND e.conversation = ?", []any{to[:], conv},
		func(st *sqlite3.Stmt) { target, bytes = st.ColumnInt64(0), st.ColumnBlob(1, nil) })
	if err != nil || !found {
		return err
	}
	if bytes == nil { // deleted: nothing that comes later brings anything back
		return tx.exec("UPDATE events SET bytes = NULL WHERE id = ? AND kind <> ?", row, int(message.KindDelete))
	}
	e, err := decode(bytes)
	if err != nil {
		return err
	}
	about, err := tx.about(conv, to)
	if err != nil {
		return err
	}
	v := message.View(e, about)
	err = tx.exec("UPDATE messages SET edited = ?, deleted = ?, reactions = ?, text = ?, unread = unread AND NOT ? WHERE id = ?",
		v.Edited, v.Deleted, encodeReactions(v.Reactions), v.Text, v.Deleted, target)
	if err == nil && v.Deleted {
		err = tx.purge(conv, to)
	}
	return err
}

// purge deletes the content of an event and of all that was said about it, apart
// from the request to delete it. Their places in chains stay.
func (tx *Tx) purge(conv int64, id message.ID) error {
	if err := tx.exec("DELETE FROM files_of WHERE event = (SELECT id FROM events WHERE name = ?)", id[:]); err != nil {
		return err
	}
	return tx.exec("UPDATE events SET bytes = NULL WHERE conversation = ? AND (name = ? OR about = ? AND kind <> ?)", conv, id[:], id[:], int(message.KindDelete))
}

// about returns the events about another.
func (tx *Tx) about(conv int64, id message.ID) (list []message.Event, err error) {
	err = tx.rows("SELECT bytes FROM events WHERE about = ? AND conversation = ? AND bytes IS NOT NULL", []any{id[:], conv}, func(st *sqlite3.Stmt) error {
		e, err := decode(st.ColumnBlob(0, nil))
		list = append(list, e)
		return err
	})
	return list, err
}

// isUnread reports whether a new message is still to be read.
func (tx *Tx) isUnread(conv, author int64, e message.Event) (bool, error) {
	self := tx.selfAccount()
	if e.Author.Account == self {
		return false, nil
	}
	read, err := tx.count("SELECT read FROM reached WHERE conversation = ? AND account = ? AND author = ?", conv, self[:], author)
	if err != nil || uint64(read) < e.Seq {
		return err == nil, err
	}
	return tx.isUnseen(e)
}

func (tx *Tx) selfAccount() namesvc.AccountID {
	if tx.s == nil {
		return namesvc.AccountID{}
	}
	return tx.s.self
}

// reach records how far an account has got. What this person read on another
// device is read here.
func (tx *Tx) reach(conv int64, account namesvc.AccountID, list []message.Reached) error {
	for _, r := range list {
		author, err := tx.author(r.Author)
		if err != nil {
			return err
		}
		err = tx.exec(`INSERT INTO reached (conversation, account, author, delivered, read) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)`,
			conv, account[:], author, r.Delivered, r.Read)
		if err != nil {
			return err
		}
		if account != tx.selfAccount() {
			continue
		}
		if err := tx.exec("UPDATE messages SET unread = 0 WHERE conversation = ? AND unread = 1 AND author = ? AND seq <= ?", conv, author, r.Read); err != nil {
			return err
		}
	}
	return nil
}

// setLatest keeps an event as the one of its kind that counts for its author, if
// it is greater than the one before.
func (tx *Tx) setLatest(conv, row int64, e message.Event, compare func(a, b message.Event) int) error {
	old, err := tx.latest(conv, e.Author.Account, e.Kind())
	if wire.CodeOf(err) != wire.NotFound && (err != nil || compare(e, old) <= 0) {
		return err
	}
	return tx.exec("INSERT INTO latest (conversation, account, kind, event) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET event = excluded.event",
		conv, e.Author.Account[:], int(e.Kind()), row)
}

func (tx *Tx) latest(conv int64, a namesvc.AccountID, k message.Kind) (message.Event, error) {
	var b []byte
	found, err := tx.row("SELECT e.bytes FROM latest l JOIN events e ON e.id = l.event WHERE l.conversation = ? AND l.account = ? AND l.kind = ? AND e.bytes IS NOT NULL",
		[]any{conv, a[:], int(k)}, func(st *sqlite3.Stmt) { b = st.ColumnBlob(0, nil) })
	if err != nil {
		return message.Event{}, err
	}
	if !found {
		return message.Event{}, notFound("account %v sent no %v", a, k)
	}
	return decode(b)
}

// Profile returns the last profile that an account sent in a conversation.
func (tx *Tx) Profile(id message.ConversationID, a namesvc.AccountID) (message.Profile, error) {
	return latestAs[message.Profile](tx, id, a, message.KindProfile)
}

// Moved returns the newest notice of an account about where its mail is.
func (tx *Tx) Moved(id message.ConversationID, a namesvc.AccountID) (message.Moved, error) {
	return latestAs[message.Moved](tx, id, a, message.KindMoved)
}

func latestAs[B message.Body](tx *Tx, id message.ConversationID, a namesvc.AccountID, k message.Kind) (body B, err error) {
	conv, err := tx.conversation(id)
	if err != nil {
		return body, err
	}
	e, err := tx.latest(conv, a, k)
	if err != nil {
		return body, err
	}
	return e.Body.(B), nil
}

// Reached returns how far an account has got in each author's chain, rising by
// author: by its receipts, and for this person also by [Tx.MarkRead].
func (tx *Tx) Reached(id message.ConversationID, a namesvc.AccountID) (list []message.Reached, err error) {
	conv, err := tx.conversation(id)
	if err != nil {
		return nil, err
	}
	err = tx.rows(`SELECT a.account, a.device, r.delivered, r.read FROM reached r JOIN authors a ON a.id = r.author
		WHERE r.conversation = ? AND r.account = ? ORDER BY a.account, a.device`, []any{conv, a[:]}, func(st *sqlite3.Stmt) error {
		list = append(list, message.Reached{Author: scanAuthor(st, 0), Delivered: uint64(st.ColumnInt64(2)), Read: uint64(st.ColumnInt64(3))})
		return nil
	})
	return list, err
}

// MarkRead marks all messages up to a position as read. [Tx.Standing] then says
// what to tell the others.
func (tx *Tx) MarkRead(id message.ConversationID, upTo Position) error {
	conv, err := tx.conversation(id)
	if err != nil {
		return err
	}
	var list []message.Reached
	err = tx.rows(`SELECT a.account, a.device, max(m.seq) FROM messages m JOIN authors a ON a.id = m.author
		WHERE m.conversation = ? AND m.unread = 1 AND m.place <= ? GROUP BY m.author`, []any{conv, []byte(upTo)}, func(st *sqlite3.Stmt) error {
		seq := uint64(st.ColumnInt64(2))
		list = append(list, message.Reached{Author: scanAuthor(st, 0), Delivered: seq, Read: seq})
		return nil
	})
	if err == nil {
		err = tx.noteUnseen(id, list)
	}
	if err != nil {
		return err
	}
	return tx.reach(conv, tx.selfAccount(), list)
}

const messageColumns = `SELECT e.name, e.bytes, a.account, a.device, e.seq, e.clock, e.time, m.place, m.unread, m.edited, m.deleted,
	m.disputed, m.reactions, m.text, c.name FROM messages m JOIN events e ON e.id = m.id JOIN authors a ON a.id = m.author
	JOIN conversations c ON c.id = m.conversation `

// scanMessage reads a row of messageColumns.
func scanMessage(st *sqlite3.Stmt) (m Message, err error) {
	copy(m.ID[:], st.ColumnRawBlob(0))
	m.Deleted = st.ColumnBool(10)
	if b := st.ColumnBlob(1, nil); len(b) > 0 {
		if m.Event, err = decode(b); err != nil {
			return m, err
		}
		m.Unknown = m.Event.Kind() >= message.FirstLater
	} else {
		m.Event.Author, m.Event.Time = scanAuthor(st, 2), uint64(st.ColumnInt64(6))
		m.Event.Seq, m.Event.Clock = uint64(st.ColumnInt64(4)), uint64(st.ColumnInt64(5))
		copy(m.Event.Conversation[:], st.ColumnRawBlob(14))
	}
	m.At, m.Unread = Position(st.ColumnBlob(7, nil)), st.ColumnBool(8)
	m.Edited, m.Disputed, m.Text = st.ColumnBool(9), st.ColumnBool(11), st.ColumnText(13)
	m.Reactions, err = decodeReactions(st.ColumnBlob(12, nil))
	return m, err
}

// Messages returns at most limit messages of a conversation that stand before a
// position, the zero one for the last; the last comes last.
func (tx *Tx) Messages(id message.ConversationID, before Position, limit int) (list []Message, err error) {
	conv, err := tx.conversation(id)
	if err != nil {
		return nil, err
	}
	if before == "" {
		before = Position(slices.Repeat([]byte{0xff}, 9))
	}
	err = tx.rows(messageColumns+"WHERE m.conversation = ? AND m.place < ? ORDER BY m.place DESC LIMIT ?",
		[]any{conv, []byte(before), max(0, min(limit, MaxPage))}, func(st *sqlite3.Stmt) error {
			m, err := scanMessage(st)
			list = append(list, m)
			return err
		})
	slices.Reverse(list)
	return list, err
}

// After returns at most limit messages that stand behind a position, the zero one
// for the beginning; the first comes first.
func (tx *Tx) After(id message.ConversationID, after Position, limit int) (list []Message, err error) {
	conv, err := tx.conversation(id)
	if err != nil {
		return nil, err
	}
	err = tx.rows(messageColumns+"WHERE m.conversation = ? AND m.place > ? ORDER BY m.place LIMIT ?",
		[]any{conv, []byte(after), max(0, min(limit, MaxPage))}, func(st *sqlite3.Stmt) error {
			m, err := scanMessage(st)
			list = append(list, m)
			return err
		})
	return list, err
}

// Message returns one message.
func (tx *Tx) Message(id message.ID) (m Message, err error) {
	var bad error
	found, err := tx.row(messageColumns+"WHERE e.name = ?", []any{id[:]}, func(st *sqlite3.Stmt) { m, bad = scanMessage(st) })
	if err == nil && !found {
		return m, notFound("message %v is not here", id)
	}
	return m, errors.Join(err, bad)
}

// reaction is a message.Reacted as it is stored.
type reaction struct {
	_        struct{} `cbor:",toarray"`
	Emoji    string
	Accounts []namesvc.AccountID
}

func encodeReactions(list []message.Reacted) []byte {
	if len(list) == 0 {
		return nil
	}
	out := make([]reaction, len(list))
	for i, r := range list {
		out[i] = reaction{Emoji: r.Emoji, Accounts: r.Accounts}
	}
	return wire.Encode(out)
}

func decodeReactions(b []byte) ([]message.Reacted, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var list []reaction
	if err := wire.Recall(b, &list); err != nil {
		return nil, wire.Errorf(wire.Invalid, "database: it is damaged: %w", err)
	}
	out := make([]message.Reacted, len(list))
	for i, r := range list {
		out[i] = message.Reacted{Emoji: r.Emoji, Accounts: r.Accounts}
	}
	return out, nil
}
