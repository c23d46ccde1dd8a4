package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Receive takes note that an entry of an inbox is being processed, in the
// transaction that also stores what came of it. fresh is false if it was
// processed before: under this number, or, because another inbox handed it over,
// under this id. Then there is nothing to do. Once the transaction is committed
// the entry may be acknowledged, and not before.
//
// seq is the entry's number in this inbox, from 1. A cursor never moves back.
func (tx *Tx) Receive(source string, seq uint64, id stream.MessageID, now uint64) (fresh bool, err error) {
	if source == "" || len(source) > MaxSource || seq == 0 || seq > 1<<62 {
		return false, wire.Errorf(wire.Invalid, "inbox: its name or an entry's number is out of range")
	}
	at, err := tx.Cursor(source)
	if err != nil || seq <= at {
		return false, err
	}
	if err := tx.exec("INSERT INTO inboxes (source, seq) VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq", source, seq); err != nil {
		return false, err
	}
	if err := tx.exec("INSERT INTO seen (name, time) VALUES (?, ?) ON CONFLICT DO NOTHING", id[:], now); err != nil {
		return false, err
	}
	return tx.changed() == 1, nil
}

// Seen reports whether an entry with this id was processed, whichever inbox
// brought it.
func (tx *Tx) Seen(id stream.MessageID) (bool, error) {
	n, err := tx.count("SELECT count(*) FROM seen WHERE name = ?", id[:])
	return n > 0, err
}

// Cursor returns the number of the last entry of an inbox that was processed, 0
// before the first.
func (tx *Tx) Cursor(source string) (seq uint64, err error) {
	_, err = tx.row("SELECT seq FROM inboxes WHERE source = ?", []any{source}, func(st *sqlite3.Stmt) { seq = uint64(st.ColumnInt64(0)) })
	return seq, err
}

// Inboxes returns the names of all inboxes with their cursors.
func (tx *Tx) Inboxes() (map[string]uint64, error) {
	out := map[string]uint64{}
	err := tx.rows("SELECT source, seq FROM inboxes", nil, func(st *sqlite3.Stmt) error {
		out[st.ColumnText(0)] = uint64(st.ColumnInt64(1))
		return nil
	})
	return out, err
}

// DropInbox forgets an inbox that exists no more. Ids of what it brought are
// remembered for as long as others are.
func (tx *Tx) DropInbox(source string) error {
	return tx.exec("DELETE FROM inboxes WHERE source = ?", source)
}

// ForgetSeen forgets ids that came before a time: longer ago than any server
// keeps or hands over what it has.
func (tx *Tx) ForgetSeen(before uint64) error {
	return tx.exec("DELETE FROM seen WHERE time < ?", before)
}
