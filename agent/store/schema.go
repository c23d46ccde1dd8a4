package store

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// applicationID marks our databases in SQLite's header: "cnfb".
const applicationID = 0x636e6662

// migrations take a database from version n to n+1; the last one's number is the
// version of this program. A migration that was released never changes.
//
// Times are milliseconds since 1970. place is the sort key of message.Event's
// order: clock, account, device, seq, id, each big-endian.
func migrations() []string {
	return []string{`
CREATE TABLE notes (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE state (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	self       BLOB NOT NULL,
	generation INTEGER NOT NULL
) STRICT;

CREATE TABLE contacts (
	account    BLOB PRIMARY KEY,
	generation INTEGER NOT NULL,
	state      INTEGER NOT NULL,
	handle     TEXT NOT NULL,
	name       TEXT NOT NULL,
	added      INTEGER NOT NULL,
	verified   INTEGER NOT NULL,
	data       BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
	id         INTEGER PRIMARY KEY,
	name       BLOB NOT NULL UNIQUE,
	account    BLOB,
	generation INTEGER NOT NULL,
	title      TEXT NOT NULL,
	added      INTEGER NOT NULL,
	muted      INTEGER NOT NULL,
	clock      INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE authors (
	id      INTEGER PRIMARY KEY,
	account BLOB NOT NULL,
	device  BLOB NOT NULL,
	UNIQUE (account, device)
) STRICT;

CREATE TABLE events (
	id           INTEGER PRIMARY KEY,
	name         BLOB NOT NULL UNIQUE,
	conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
	author       INTEGER NOT NULL REFERENCES authors,
	seq          INTEGER NOT NULL,
	prev         BLOB NOT NULL,
	clock        INTEGER NOT NULL,
	time         INTEGER NOT NULL,
	kind         INTEGER NOT NULL,
	about        BLOB,
	bytes        BLOB
) STRICT;
CREATE INDEX events_chain ON events (conversation, author, seq);
CREATE INDEX events_about ON events (about) WHERE about IS NOT NULL;

CREATE TABLE chains (
	conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
	author       INTEGER NOT NULL REFERENCES authors,
	chain        BLOB NOT NULL,
	PRIMARY KEY (conversation, author)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
	id           INTEGER PRIMARY KEY REFERENCES events ON DELETE CASCADE,
	conversation INTEGER NOT NULL,
	place        BLOB NOT NULL,
	author       INTEGER NOT NULL,
	seq          INTEGER NOT NULL,
	unread       INTEGER NOT NULL,
	edited       INTEGER NOT NULL,
	deleted      INTEGER NOT NULL,
	disputed     INTEGER NOT NULL,
	reactions    BLOB NOT NULL,
	text         TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_place ON messages (conversation, place);
CREATE INDEX messages_unread ON messages (conversation, place) WHERE unread = 1;

CREATE VIRTUAL TABLE search USING fts5 (text, content = 'messages', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER messages_insert AFTER INSERT ON messages BEGIN
	INSERT INTO search (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER messages_delete AFTER DELETE ON messages BEGIN
	INSERT INTO search (search, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER messages_update AFTER UPDATE OF text ON messages WHEN old.text <> new.text BEGIN
	INSERT INTO search (search, rowid, text) VALUES ('delete', old.id, old.text);
	INSERT INTO search (rowid, text) VALUES (new.id, new.text);
END;

CREATE TABLE reached (
	conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
	account      BLOB NOT NULL,
	author       INTEGER NOT NULL REFERENCES authors,
	delivered    INTEGER NOT NULL,
	read         INTEGER NOT NULL,
	PRIMARY KEY (conversation, account, author)
) STRICT, WITHOUT ROWID;

CREATE TABLE latest (
	conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
	account      BLOB NOT NULL,
	kind         INTEGER NOT NULL,
	event        INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
	PRIMARY KEY (conversation, account, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE destinations (
	id       INTEGER PRIMARY KEY,
	name     TEXT NOT NULL UNIQUE,
	attempts INTEGER NOT NULL,
	next     INTEGER NOT NULL
) STRICT;
CREATE INDEX destinations_next ON destinations (next);

CREATE TABLE outbox (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	name        BLOB NOT NULL UNIQUE,
	destination INTEGER NOT NULL REFERENCES destinations,
	body        BLOB NOT NULL,
	about       BLOB NOT NULL,
	added       INTEGER NOT NULL,
	refused     TEXT
) STRICT;
CREATE INDEX outbox_destination ON outbox (destination, id);

CREATE TABLE inboxes (
	source TEXT PRIMARY KEY,
	seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE seen (
	name BLOB PRIMARY KEY,
	time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_time ON seen (time);

CREATE TABLE files (
	root  BLOB PRIMARY KEY,
	state INTEGER NOT NULL,
	path  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE files_of (
	root  BLOB NOT NULL,
	event INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
	PRIMARY KEY (root, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_of_event ON files_of (event);
`}
}

// migrate brings the database to this program's version, one transaction a step,
// so that a crash leaves it at a version.
func (s *Store) migrate(steps []string) error {
	var id, have int64
	for _, q := range []struct {
		sql string
		to  *int64
	}{{"PRAGMA application_id", &id}, {"PRAGMA user_version", &have}} {
		n, err := s.number(q.sql)
		if err != nil {
			return err
		}
		*q.to = n
	}
	switch {
	case have == 0 && id == 0:
		if n, err := s.number("SELECT count(*) FROM sqlite_schema"); err != nil || n != 0 {
			return wire.Errorf(wire.Invalid, "open database: it is another program's (%v)", err)
		}
	case id != applicationID:
		return wire.Errorf(wire.Invalid, "open database: it is another program's")
	case have > int64(len(steps)):
		return wire.Errorf(wire.Unavailable, "open database: it is of version %d, this program knows %d: install the newer confab", have, len(steps))
	}
	for v := have; v < int64(len(steps)); v++ {
		err := s.transact(func() error {
			return s.conn.Exec(fmt.Sprintf("%s; PRAGMA application_id = %d; PRAGMA user_version = %d", steps[v], applicationID, v+1))
		})
		if err != nil {
			return fmt.Errorf("open database: bring it to version %d: %w", v+1, err)
		}
	}
	return nil
}

// number returns the one number that a statement gives.
func (s *Store) number(sql string) (int64, error) {
	stmt, _, err := s.conn.Prepare(sql)
	if err != nil {
		return 0, explain("open database", err)
	}
	defer stmt.Close()
	if !stmt.Step() {
		return 0, explain("open database", stmt.Err())
	}
	return stmt.ColumnInt64(0), nil
}
