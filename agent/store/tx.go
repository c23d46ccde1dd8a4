package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Tx is a transaction. Its methods return errors of kind NotFound for what is
// not there, Exists for what is, Invalid for arguments that can never be right,
// Exhausted where a bound is reached. After such an error a transaction may go on.
type Tx struct {
	s      *Store
	write  bool
	failed error // of the database: the transaction cannot be committed
}

var errOver = errors.New("database: this transaction is over")

// exec runs a statement.
func (tx *Tx) exec(sql string, args ...any) error {
	if tx.s != nil && !tx.write {
		return wire.Errorf(wire.Invalid, "database: this transaction only reads")
	}
	return tx.rows(sql, args, func(*sqlite3.Stmt) error { return nil })
}

// row runs a statement and gives its first row, if there is one, to scan.
func (tx *Tx) row(sql string, args []any, scan func(*sqlite3.Stmt)) (found bool, err error) {
	stop := errors.New("stop")
	err = tx.rows(sql, args, func(st *sqlite3.Stmt) error {
		scan(st)
		found = true
		return stop
	})
	if errors.Is(err, stop) {
		err = nil
	}
	return found, err
}

// rows runs a statement and gives each row to scan.
func (tx *Tx) rows(sql string, args []any, scan func(*sqlite3.Stmt) error) error {
	if tx.s == nil {
		return errOver
	}
	if tx.failed != nil {
		return tx.failed
	}
	st, release, err := tx.prepare(sql)
	if err != nil {
		return tx.fail(err)
	}
	defer release()
	for i, a := range args {
		if err := bind(st, i+1, a); err != nil {
			return tx.fail(err)
		}
	}
	for st.Step() {
		if err := scan(st); err != nil {
			return err
		}
	}
	return tx.fail(st.Err())
}

// fail remembers that the transaction cannot be committed.
func (tx *Tx) fail(err error) error {
	if err != nil {
		tx.failed = explain("database", err)
	}
	return tx.failed
}

// prepare returns a statement, made once, and what to do after its use.
func (tx *Tx) prepare(sql string) (st *sqlite3.Stmt, release func(), err error) {
	if st := tx.s.stmts[sql]; st != nil && !st.Busy() {
		return st, func() { st.Reset(); st.ClearBindings() }, nil
	}
	st, _, err = tx.s.conn.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, nil, err
	}
	if tx.s.stmts[sql] != nil {
		return st, func() { st.Close() }, nil // the other is in use further up
	}
	tx.s.stmts[sql] = st
	return st, func() { st.Reset(); st.ClearBindings() }, nil
}

// bind gives a statement an argument.
func bind(st *sqlite3.Stmt, i int, v any) error {
	switch v := v.(type) {
	case nil:
		return st.BindNull(i)
	case int:
		return st.BindInt64(i, int64(v))
	case int64:
		return st.BindInt64(i, v)
	case uint64:
		return st.BindInt64(i, int64(v))
	case bool:
		return st.BindBool(i, v)
	case string:
		return st.BindText(i, v)
	case []byte:
		if v == nil {
			v = []byte{} // nil would be NULL
		}
		return st.BindBlob(i, v)
	}
	return fmt.Errorf("argument %d is a %T", i, v)
}

// count returns the number that a statement gives.
func (tx *Tx) count(sql string, args ...any) (n int64, err error) {
	_, err = tx.row(sql, args, func(st *sqlite3.Stmt) { n = st.ColumnInt64(0) })
	return n, err
}

// changed returns how many rows the last statement changed.
func (tx *Tx) changed() int64 { return tx.s.conn.Changes() }

// SetGeneration records the generation of the secrets that belong to what this
// transaction does (see agent/ratchet). It only rises.
func (tx *Tx) SetGeneration(g uint64) error {
	if g > 1<<62 {
		return wire.Errorf(wire.Invalid, "database: generation %d is out of range", g)
	}
	if err := tx.exec("UPDATE state SET generation = ? WHERE generation <= ?", g, g); err != nil {
		return err
	}
	if tx.changed() == 0 {
		return wire.Errorf(wire.Conflict, "database: it has a later generation of secrets than %d", g)
	}
	return nil
}

// Put keeps a small value of the agent's own under a name; nil deletes it.
// Secrets that must be forgotten do not belong here.
func (tx *Tx) Put(name string, value []byte) error {
	if name == "" || len(name) > MaxName || len(value) > MaxNote {
		return wire.Errorf(wire.Invalid, "database: a note's name or value has an impossible size")
	}
	if value == nil {
		return tx.exec("DELETE FROM notes WHERE name = ?", name)
	}
	return tx.exec("INSERT INTO notes (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
}

// Get returns what Put keeps.
func (tx *Tx) Get(name string) (value []byte, err error) {
	found, err := tx.row("SELECT value FROM notes WHERE name = ?", []any{name}, func(st *sqlite3.Stmt) { value = st.ColumnBlob(0, []byte{}) })
	if err == nil && !found {
		return nil, notFound("there is no note %q", name)
	}
	return value, err
}

// Names returns the names of what Put keeps that begin with a prefix, after a name,
// rising; at most MaxPage.
func (tx *Tx) Names(prefix, after string) (list []string, err error) {
	err = tx.rows("SELECT name FROM notes WHERE name > ? AND name >= ? AND substr(name, 1, length(?)) = ? ORDER BY name LIMIT ?",
		[]any{after, prefix, prefix, prefix, MaxPage}, func(st *sqlite3.Stmt) error {
			list = append(list, st.ColumnText(0))
			return nil
		})
	return list, err
}

// author returns the number of an author, making one if need be.
func (tx *Tx) author(a message.Author) (id int64, err error) {
	q := "SELECT id FROM authors WHERE account = ? AND device = ?"
	args := []any{a.Account[:], a.Device[:]}
	found, err := tx.row(q, args, func(st *sqlite3.Stmt) { id = st.ColumnInt64(0) })
	if err != nil || found {
		return id, err
	}
	if err := tx.exec("INSERT INTO authors (account, device) VALUES (?, ?)", args...); err != nil {
		return 0, err
	}
	return tx.s.conn.LastInsertRowID(), nil
}

// scanAuthor reads an author from two columns.
func scanAuthor(st *sqlite3.Stmt, col int) (a message.Author) {
	copy(a.Account[:], st.ColumnRawBlob(col))
	copy(a.Device[:], st.ColumnRawBlob(col+1))
	return a
}

func scanAccount(st *sqlite3.Stmt, col int) (a namesvc.AccountID) {
	copy(a[:], st.ColumnRawBlob(col))
	return a
}

// Position is where a message stands in its conversation, to read on from there.
// The zero Position is behind the last one.
type Position string

// position returns an event's place as a sort key.
func position(e message.Event) Position {
	b := binary.BigEndian.AppendUint64(nil, e.Clock)
	b = append(b, e.Author.Account[:]...)
	b = append(b, e.Author.Device[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Seq)
	id := e.ID()
	return Position(append(b, id[:]...))
}
