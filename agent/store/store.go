package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/embed" // SQLite itself
	_ "github.com/ncruces/go-sqlite3/vfs/adiantum"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Store is an open database. Its methods may be called from several goroutines;
// they come one after the other.
type Store struct {
	path string
	vfs  string // SQLite's name for what encrypts
	key  [KeySize]byte
	self namesvc.AccountID

	mu     sync.Mutex
	conn   *sqlite3.Conn
	stmts  map[string]*sqlite3.Stmt
	broken error // why the connection cannot be used
	closed bool  // and will never be used again
}

// Open opens the database at path, making it if there is none, for an account of
// this person. key encrypts it, the same one every time.
//
// The error is of kind Unavailable if another process has it open or this program
// is too old for it, Unauthorized if the key is another, Conflict if it belongs
// to another account, and Invalid if it is damaged or no database of ours.
func Open(path string, key [KeySize]byte, self namesvc.AccountID) (*Store, error) {
	if err := private(path); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return open(path, "adiantum", key, self, migrations())
}

func open(path, vfs string, key [KeySize]byte, self namesvc.AccountID, steps []string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s := &Store{path: path, vfs: vfs, key: key, self: self}
	if err := s.connect(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.migrate(steps), s.belong()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// private makes the database's file and folder, if need be, as their owner's alone.
func private(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// String never shows what is inside.
func (s *Store) String() string { return "(store)" }

// Format never shows what is inside, whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(store)") }

// connect opens the connection. The key goes in by a pragma: within the file's
// name it would be in errors.
func (s *Store) connect() error {
	params := url.Values{"vfs": {s.vfs}, "modeof": {s.path}} // the journal is as private as the file
	name := "file:" + (&url.URL{Path: filepath.ToSlash(s.path)}).EscapedPath() + "?" + strings.ReplaceAll(params.Encode(), "+", "%20")
	conn, err := sqlite3.OpenFlags(name, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE|sqlite3.OPEN_URI|sqlite3.OPEN_NOFOLLOW)
	if err != nil {
		return explain("open database", err)
	}
	for _, sql := range []string{
		"PRAGMA hexkey = '" + hex.EncodeToString(s.key[:]) + "'",
		// One process at a time: also, the index of the journal is then in memory.
		"PRAGMA locking_mode = EXCLUSIVE",
		"PRAGMA journal_mode = WAL",
		// Each commit is synced: what was answered stays.
		"PRAGMA synchronous = FULL",
		"PRAGMA foreign_keys = ON",
		"PRAGMA secure_delete = ON",
		"PRAGMA temp_store = MEMORY",
		"PRAGMA journal_size_limit = 4194304",
		"PRAGMA cell_size_check = ON",
	} {
		if err := conn.Exec(sql); err != nil {
			conn.Close()
			return explain("open database", err)
		}
	}
	// Takes the lock now and not at the first write.
	if err := conn.Exec("BEGIN EXCLUSIVE; COMMIT"); err != nil {
		conn.Close()
		return explain("open database", err)
	}
	s.conn, s.stmts = conn, map[string]*sqlite3.Stmt{}
	return nil
}

// belong makes the database the account's, or checks that it is.
func (s *Store) belong() error {
	if s.conn == nil {
		return nil
	}
	return s.Update(func(tx *Tx) error {
		var have []byte
		found, err := tx.row("SELECT self FROM state", nil, func(st *sqlite3.Stmt) { have = st.ColumnBlob(0, nil) })
		switch {
		case err != nil:
			return err
		case !found:
			return tx.exec("INSERT INTO state (id, self, generation) VALUES (1, ?, 0)", s.self[:])
		case namesvc.AccountID(have) != s.self:
			return wire.Errorf(wire.Conflict, "open database: it belongs to account %x", have)
		}
		return nil
	})
}

// Close closes the database.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.closed = wire.Errorf(wire.Unavailable, "database: it is closed"), true
	return s.disconnect()
}

func (s *Store) disconnect() error {
	if s.conn == nil {
		return nil
	}
	for _, st := range s.stmts {
		st.Close()
	}
	err := s.conn.Close()
	s.conn, s.stmts = nil, nil
	return explain("close database", err)
}

// Update runs f in a transaction and commits what it did, unless f returns an
// error: then nothing of it is there, and the error is returned. Tx is worthless
// afterwards. f must not call methods of the Store.
//
// If committing fails, the database is opened anew to learn whether the
// transaction is there; then whoever asks (see [Store.Generation]) gets the truth,
// and an attempt to do the same again does it once.
func (s *Store) Update(f func(*Tx) error) error { return s.begin(f, true) }

// View runs f in a transaction that reads one state of the database and changes
// nothing.
func (s *Store) View(f func(*Tx) error) error { return s.begin(f, false) }

func (s *Store) begin(f func(*Tx) error, write bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run(f, write)
}

func (s *Store) run(f func(*Tx) error, write bool) error {
	if err := s.ready(); err != nil {
		return err
	}
	tx := &Tx{s: s, write: write}
	defer func() { tx.s = nil }()
	return s.transact(func() error {
		if err := f(tx); err != nil {
			return err
		}
		return tx.failed // which f may have overlooked
	})
}

// transact runs f in a transaction.
func (s *Store) transact(f func() error) (err error) {
	if err := s.conn.Exec("BEGIN IMMEDIATE"); err != nil {
		return explain("database", err)
	}
	done := false
	defer func() {
		if !done { // f panicked
			s.conn.Exec("ROLLBACK")
		}
	}()
	err = f()
	done = true
	if err != nil {
		return errors.Join(explain("database", s.rollback()), unjoined(err))
	}
	if err := s.conn.Exec("COMMIT"); err != nil {
		return errors.Join(explain("database", err), s.reconnect())
	}
	return nil
}

// unjoined gives an error of the database, which f passed on as it was, its kind.
func unjoined(err error) error {
	var e *sqlite3.Error
	if !ours(err) && errors.As(err, &e) {
		return explain("database", err)
	}
	return err
}

// rollback ends a transaction, unless a full disk ended it already.
func (s *Store) rollback() error {
	if s.conn.GetAutocommit() {
		return nil
	}
	if err := s.conn.Exec("ROLLBACK"); err != nil {
		return errors.Join(err, s.reconnect())
	}
	return nil
}

// reconnect opens the database anew after a commit whose outcome is not known, and
// makes sure that whatever is there now stays. If it cannot, the next call tries
// again.
func (s *Store) reconnect() error {
	s.broken = wire.Errorf(wire.Unavailable, "database: whether its last transaction is there is not known: try again")
	s.disconnect() // its error is that of what failed already
	if err := s.connect(); err != nil {
		return errors.Join(err, s.broken)
	}
	// This syncs the journal before anything else. That no space is left to copy it
	// to where it belongs is no harm.
	if _, _, err := s.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil && !errors.Is(err, sqlite3.FULL) {
		s.disconnect()
		return errors.Join(explain("checkpoint", err), s.broken)
	}
	s.broken = nil
	return nil
}

// ready returns nil if the database can be used.
func (s *Store) ready() error {
	if s.broken == nil || s.closed {
		return s.broken
	}
	return s.reconnect()
}

// Self returns the account that the database belongs to.
func (s *Store) Self() namesvc.AccountID { return s.self }

// Generation returns the generation that the last transaction with
// [Tx.SetGeneration] recorded, 0 if there was none. It is the ledger of
// agent/ratchet.
func (s *Store) Generation() (g uint64, err error) {
	err = s.View(func(tx *Tx) error {
		found, err := tx.row("SELECT generation FROM state", nil, func(st *sqlite3.Stmt) { g = uint64(st.ColumnInt64(0)) })
		if err == nil && !found {
			err = notFound("database: it has no state")
		}
		return err
	})
	return g, err
}

// Check reads the whole database and returns an error of kind Invalid if it is
// damaged.
func (s *Store) Check(ctx context.Context) error {
	return s.with(ctx, func(tx *Tx) error {
		var first string
		if _, err := tx.row("PRAGMA integrity_check(1)", nil, func(st *sqlite3.Stmt) { first = st.ColumnText(0) }); err != nil {
			return err
		}
		if first != "ok" {
			return wire.Errorf(wire.Invalid, "check database: it is damaged (%s): restore a backup", first)
		}
		return tx.exec("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")
	}, true)
}

// with runs f in a transaction that ends when ctx does.
func (s *Store) with(ctx context.Context, f func(*Tx) error, write bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	conn := s.conn
	old := conn.SetInterrupt(ctx)
	defer func() {
		if s.conn == conn {
			conn.SetInterrupt(old)
		}
	}()
	err := s.run(f, write)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
