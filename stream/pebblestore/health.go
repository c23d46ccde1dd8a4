package pebblestore

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/confab-chat/confab/stream"
)

// pebbleLogger is how Pebble speaks. It calls Fatalf where it cannot go on, and
// relies on it not to return.
type pebbleLogger struct{ logger *slog.Logger }

// fatalError is what Fatalf panics with. Where the database was called, say with
// a batch for a log that cannot be written, guard makes an error of it. In the
// background, where the list of tables cannot be written, it ends the process,
// which loses nothing that was answered.
type fatalError string

func (e fatalError) Error() string { return string(e) }

// guard calls the database.
func guard(f func() error) (err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case fatalError:
			err = cause
		default:
			panic(cause)
		}
	}()
	return f()
}

// read calls the database, unless it is closed, for anyone but the committer.
func (s *Store) read(f func() error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return stream.ErrClosed
	}
	return guard(f)
}

func (l pebbleLogger) Infof(format string, args ...any) { l.log(slog.LevelDebug, format, args) }

func (l pebbleLogger) Errorf(format string, args ...any) { l.log(slog.LevelError, format, args) }

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.log(slog.LevelError, format, args)
	panic(fatalError(fmt.Sprintf(format, args...)))
}

func (l pebbleLogger) log(level slog.Level, format string, args []any) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, "database: "+fmt.Sprintf(format, args...))
	}
}
