package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc/wire"
)

// explain gives an error of the database its kind and, where a person can do
// something, says what. op names what was being done.
func explain(op string, err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, sqlite3.FULL):
		return wire.Errorf(wire.Exhausted, "%s: the disk is full: free some space", op)
	case errors.Is(err, sqlite3.BUSY), errors.Is(err, sqlite3.LOCKED):
		return wire.Errorf(wire.Unavailable, "%s: another confab is using it: wait for it or end it", op)
	case errors.Is(err, sqlite3.NOTADB), errors.Is(err, sqlite3.IOERR_BADKEY):
		return wire.Errorf(wire.Unauthorized, "%s: the key is not this database's, or its first page is damaged", op)
	case errors.Is(err, sqlite3.CORRUPT):
		return wire.Errorf(wire.Invalid, "%s: the database is damaged: restore a backup", op)
	case errors.Is(err, sqlite3.INTERRUPT):
		return fmt.Errorf("%s: %w", op, context.Canceled)
	case errors.Is(err, sqlite3.READONLY), errors.Is(err, sqlite3.PERM), errors.Is(err, sqlite3.CANTOPEN):
		return wire.Errorf(wire.Unavailable, "%s: its file cannot be opened for writing: check the folder's owner: %w", op, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// notFound says that something is not in the database.
func notFound(format string, args ...any) error { return wire.Errorf(wire.NotFound, format, args...) }

// ours reports whether an error is an answer and not a failure of the database.
func ours(err error) bool {
	var e *wire.Error
	return errors.As(err, &e)
}
