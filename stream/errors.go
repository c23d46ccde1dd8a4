package stream

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Errors of a Store; each has its kind of package wire.
var (
	// ErrNotFound: there is no stream of this id.
	ErrNotFound error = wire.Errorf(wire.NotFound, "there is no such stream")
	// ErrTooLarge: a body has more than MaxBody bytes.
	ErrTooLarge error = wire.Errorf(wire.Invalid, "body is too large: at most %d bytes are allowed", MaxBody)
	// ErrReused: the message id belongs to a message with another body.
	ErrReused error = wire.Errorf(wire.Exists, "another message has this id: choose a new one")
	// ErrFull: the stream's quota is used up.
	ErrFull error = wire.Errorf(wire.Exhausted, "stream is full: wait until its readers have fetched what is there")
	// ErrAhead: the caller knows of entries that the stream does not have. Unless
	// the caller errs, the server has lost them or hides them.
	ErrAhead error = wire.Errorf(wire.Conflict, "stream ends before that number: it was rolled back, or made anew")
	// ErrUnknownReader: the stream waits for no such reader.
	ErrUnknownReader error = wire.Errorf(wire.Unauthorized, "stream does not wait for this reader")
	// ErrClosed: the store was closed.
	ErrClosed error = wire.Errorf(wire.Unavailable, "store is closed")
)

// A HeadError says that the stream's head is not the one that was expected.
type HeadError struct{ Head Head }

func (e *HeadError) Error() string {
	return fmt.Sprintf("stream has gone on to entry %d: read it and try again", e.Head.Seq)
}

// Unwrap returns an error of kind wire.Conflict.
func (e *HeadError) Unwrap() error { return wire.Errorf(wire.Conflict, "%s", e.Error()) }

func unanswered(err error) error {
	return wire.Errorf(wire.Unavailable, "append was not answered (%w): it may have succeeded; repeat it with the same id", err)
}

// Check returns an error of kind wire.Invalid if settings make no sense.
func (s Settings) Check() error {
	if len(s.Readers) > MaxReaders {
		return wire.Errorf(wire.Invalid, "settings name %d readers: at most %d are allowed", len(s.Readers), MaxReaders)
	}
	if s.TTL < 0 || s.TTL%1e9 != 0 {
		return wire.Errorf(wire.Invalid, "settings have a TTL of %s: it must be whole seconds and not negative", s.TTL)
	}
	seen := make(map[Reader]bool, len(s.Readers))
	for _, r := range s.Readers {
		if seen[r] {
			return wire.Errorf(wire.Invalid, "settings name the reader %x twice", r)
		}
		seen[r] = true
	}
	return nil
}
