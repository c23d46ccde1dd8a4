package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// health is what the database says of its work in the background: flushes and
// compactions, which it repeats until they succeed. While they do not, a store
// must take no block, or it would stall in the middle of one when the memory
// for what is not flushed is used up.
type health struct {
	logger *slog.Logger

	mu         sync.Mutex
	flushed    error // what the last flush ended with
	flush      error // the same, if it failed
	compaction error // of the last compaction
}

// err returns why the background cannot go on, if it cannot.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.flush, h.compaction)
}

func (h *health) listener() *pebble.EventListener {
	return &pebble.EventListener{
		// A flush that had nothing to write ends with an error too. One that failed
		// is reported here as well, right after its end.
		BackgroundError: func(err error) {
			h.logger.Error("database: background work failed", "error", err)
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.flushed != nil && errors.Is(err, h.flushed) {
				h.flush = err
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			h.logger.Error("database: a file is damaged", "file", info.Path, "error", info.Details)
		},
		LowDiskSpace: func(info pebble.LowDiskSpaceInfo) { h.logger.Warn("database: " + info.String()) },
		FlushEnd: func(info pebble.FlushInfo) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.flushed, h.flush = info.Err, nil
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			if errors.Is(info.Err, pebble.ErrCancelledCompaction) {
				return
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.compaction = info.Err
		},
	}
}

// pebbleLogger is how Pebble speaks. It calls Fatalf where it cannot go on, and
// relies on it not to return.
type pebbleLogger struct{ logger *slog.Logger }

// fatalError is what Fatalf panics with. Where the database was called, say with
// a block for a log that cannot be written, guard makes an error of it. In the
// background, where the list of tables cannot be written, it ends the process,
// which loses nothing: the folder opens again at the last commit.
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
