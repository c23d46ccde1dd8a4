package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// Item is something that is to be sent. Items for one destination are sent in the
// order in which they were added; one destination knows nothing of another.
type Item struct {
	ID          stream.MessageID // by which the other side knows it when it comes twice
	Destination string           // what the agent sends to, say a queue
	Body        []byte
	About       message.ID // the event inside, zero if it is none: to show what became of it
	Added       uint64     // milliseconds since 1970
	Attempts    int        // failed attempts to reach the destination since it last answered
	Refused     string     // why the destination will never take it, empty while it waits
}

// Enqueue adds an item. It stays, across restarts, until [Tx.Sent] or [Tx.Drop].
// The error is of kind Exists if one with this id is waiting.
func (tx *Tx) Enqueue(it Item) error {
	if it.Destination == "" || len(it.Destination) > MaxDestination || len(it.Body) == 0 || len(it.Body) > MaxItem {
		return wire.Errorf(wire.Invalid, "outbox: a destination or body has an impossible size")
	}
	if n, err := tx.count("SELECT count(*) FROM outbox WHERE name = ?", it.ID[:]); err != nil {
		return err
	} else if n > 0 {
		return wire.Errorf(wire.Exists, "outbox: item %v is waiting already", it.ID)
	}
	if n, err := tx.count("SELECT count(*) FROM outbox"); err != nil {
		return err
	} else if n >= MaxOutbox {
		return wire.Errorf(wire.Exhausted, "outbox: %d items wait, and no more fit: wait until some are sent", n)
	}
	if err := tx.exec("INSERT INTO destinations (name, attempts, next) VALUES (?, 0, 0) ON CONFLICT DO NOTHING", it.Destination); err != nil {
		return err
	}
	n, err := tx.count("SELECT count(*) FROM outbox WHERE destination = (SELECT id FROM destinations WHERE name = ?)", it.Destination)
	if err != nil {
		return err
	}
	if n >= MaxOutboxEach {
		return wire.Errorf(wire.Exhausted, "outbox: %d items wait for one destination, and no more fit: it did not answer for long", n)
	}
	return tx.exec("INSERT INTO outbox (name, destination, body, about, added) VALUES (?, (SELECT id FROM destinations WHERE name = ?), ?, ?, ?)",
		it.ID[:], it.Destination, it.Body, it.About[:], it.Added)
}

// Free returns how many more items for a destination fit.
func (tx *Tx) Free(destination string) (int, error) {
	all, err := tx.count("SELECT count(*) FROM outbox")
	if err != nil {
		return 0, err
	}
	each, err := tx.count("SELECT count(*) FROM outbox WHERE destination = (SELECT id FROM destinations WHERE name = ?)", destination)
	return int(max(0, min(MaxOutbox-all, MaxOutboxEach-each))), err
}

// Ready returns what may be sent now: of each destination that is not put off
// beyond now the first items, at most each, and of at most destinations of them,
// those first that waited longest. Items of one destination stand together, in
// their order; a sender who has several under way must keep it.
func (tx *Tx) Ready(now uint64, destinations, each int) (list []Item, err error) {
	type destination struct {
		id       int64
		name     string
		attempts int
	}
	var due []destination
	err = tx.rows(`SELECT id, name, attempts FROM destinations d WHERE next <= ?
		AND EXISTS (SELECT 1 FROM outbox o WHERE o.destination = d.id AND o.refused IS NULL) ORDER BY next, id LIMIT ?`,
		[]any{now, max(0, min(destinations, MaxPage))}, func(st *sqlite3.Stmt) error {
			due = append(due, destination{st.ColumnInt64(0), st.ColumnText(1), st.ColumnInt(2)})
			return nil
		})
	for _, d := range due {
		if err != nil {
			break
		}
		err = tx.rows("SELECT name, body, about, added FROM outbox WHERE destination = ? AND refused IS NULL ORDER BY id LIMIT ?",
			[]any{d.id, max(0, min(each, MaxPage))}, func(st *sqlite3.Stmt) error {
				it := Item{Destination: d.name, Attempts: d.attempts, Body: st.ColumnBlob(1, nil), Added: uint64(st.ColumnInt64(3))}
				copy(it.ID[:], st.ColumnRawBlob(0))
				copy(it.About[:], st.ColumnRawBlob(2))
				list = append(list, it)
				return nil
			})
	}
	return list, err
}

// NextReady returns when a destination that was put off is due next, and whether
// anything waits at all: until when Ready has nothing more.
func (tx *Tx) NextReady() (at uint64, waits bool, err error) {
	_, err = tx.row(`SELECT min(next), count(*) FROM destinations d
		WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.destination = d.id AND o.refused IS NULL)`, nil, func(st *sqlite3.Stmt) {
		at, waits = uint64(st.ColumnInt64(0)), st.ColumnInt64(1) > 0
	})
	return at, waits, err
}

// Waits reports whether anything waits for a destination.
func (tx *Tx) Waits(destination string) (bool, error) {
	n, err := tx.count("SELECT EXISTS (SELECT 1 FROM outbox WHERE refused IS NULL AND destination = (SELECT id FROM destinations WHERE name = ?))", destination)
	return n > 0, err
}

// CountOutbox returns how many events have items that wait.
func (tx *Tx) CountOutbox() (int, error) {
	var none message.ID
	n, err := tx.count("SELECT count(DISTINCT about) FROM outbox WHERE refused IS NULL AND about <> ?", none[:])
	return int(n), err
}

// Sent forgets an item, because its destination has it durably and said so, and
// takes note that the destination answers. One that is not here is fine.
func (tx *Tx) Sent(id stream.MessageID) error {
	if err := tx.exec("UPDATE destinations SET attempts = 0, next = 0 WHERE id = (SELECT destination FROM outbox WHERE name = ?)", id[:]); err != nil {
		return err
	}
	return tx.Drop(id)
}

// Drop forgets an item that was not sent, because the person gave it up.
func (tx *Tx) Drop(id stream.MessageID) error {
	if err := tx.exec("DELETE FROM outbox WHERE name = ?", id[:]); err != nil {
		return err
	}
	return tx.exec("DELETE FROM destinations WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE destination = destinations.id)")
}

// Abandon forgets everything that waits for a destination: nobody reads there any
// more.
func (tx *Tx) Abandon(destination string) error {
	err := tx.exec("DELETE FROM outbox WHERE destination = (SELECT id FROM destinations WHERE name = ?)", destination)
	if err != nil {
		return err
	}
	return tx.exec("DELETE FROM destinations WHERE name = ?", destination)
}

// PutOff takes note that a destination could not be reached, and holds all its
// items back until next.
func (tx *Tx) PutOff(destination string, next uint64) error {
	return tx.exec("UPDATE destinations SET attempts = attempts + 1, next = ? WHERE name = ?", next, destination)
}

// Retry makes all destinations due, because the network is back or the clock was
// set.
func (tx *Tx) Retry() error { return tx.exec("UPDATE destinations SET next = 0") }

// Refuse takes note that a destination will never take an item. It stays, for the
// person to see, and holds up none of those behind it.
func (tx *Tx) Refuse(id stream.MessageID, why string) error {
	if why == "" || len(why) > MaxName {
		return wire.Errorf(wire.Invalid, "outbox: a reason has an impossible size")
	}
	err := tx.exec("UPDATE outbox SET refused = ? WHERE name = ?", why, id[:])
	if err == nil && tx.changed() == 0 {
		return notFound("outbox: there is no item %v", id)
	}
	return err
}

// Redirect gives everything that waits for a destination to another, behind what
// waits there already: a contact's mail is elsewhere now.
func (tx *Tx) Redirect(from, to string) error {
	if to == "" || len(to) > MaxDestination {
		return wire.Errorf(wire.Invalid, "outbox: a destination has an impossible size")
	}
	if from == to {
		return nil
	}
	if err := tx.exec("INSERT INTO destinations (name, attempts, next) VALUES (?, 0, 0) ON CONFLICT DO NOTHING", to); err != nil {
		return err
	}
	// New numbers, so that they stand behind, in their order.
	err := tx.exec(`UPDATE outbox SET destination = (SELECT id FROM destinations WHERE name = ?),
		id = id + (SELECT max(id) FROM outbox) WHERE destination = (SELECT id FROM destinations WHERE name = ?)`, to, from)
	if err != nil {
		return err
	}
	return tx.exec("DELETE FROM destinations WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE destination = destinations.id)")
}

// Undelivered returns what is here about an event: nothing once every destination
// has it.
func (tx *Tx) Undelivered(id message.ID) (list []Item, err error) {
	return tx.items("WHERE o.about = ?", id[:])
}

// Refusals returns the items that were refused, the oldest first.
func (tx *Tx) Refusals() (list []Item, err error) { return tx.items("WHERE o.refused IS NOT NULL") }

// items returns items without their bodies.
func (tx *Tx) items(where string, args ...any) (list []Item, err error) {
	err = tx.rows("SELECT o.name, d.name, d.attempts, o.about, o.added, o.refused FROM outbox o JOIN destinations d ON d.id = o.destination "+where+" ORDER BY o.id LIMIT 1000",
		args, func(st *sqlite3.Stmt) error {
			it := Item{Destination: st.ColumnText(1), Attempts: st.ColumnInt(2), Added: uint64(st.ColumnInt64(4)), Refused: st.ColumnText(5)}
			copy(it.ID[:], st.ColumnRawBlob(0))
			copy(it.About[:], st.ColumnRawBlob(3))
			list = append(list, it)
			return nil
		})
	return list, err
}
