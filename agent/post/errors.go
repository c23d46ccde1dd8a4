package post

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Rolled says that a queue is not the one that was read: it ends before the
// reader's cursor, or has other entries up to there. The concierge has lost entries
// (a restored backup), made the queue anew, or hides some. Reading goes on with what
// is there, so the next page may begin below the cursor.
type Rolled struct {
	Box    stream.ID
	Cursor uint64 // what was read before
	Head   uint64 // the newest entry that the concierge tells of
	Other  bool   // the queue has grown beyond the cursor since
}

func (e *Rolled) Error() string {
	if e.Other {
		return fmt.Sprintf("queue %.8s has other entries than those that were read: its concierge has lost or hides mail; ask your contacts to send again what is missing", e.Box)
	}
	return fmt.Sprintf("queue %.8s ends at entry %d, and %d were read: its concierge has lost or hides mail; ask your contacts to send again what is missing", e.Box, e.Head, e.Cursor)
}

// Unwrap returns an error of kind Conflict.
func (e *Rolled) Unwrap() error { return stream.ErrAhead }

// Gap says that entries after the reader's cursor are gone: they waited for
// longer than the queue keeps them, or the concierge hides them.
type Gap struct {
	Box    stream.ID
	Cursor uint64 // what was read before
	Next   uint64 // the first entry that is there
}

func (e *Gap) Error() string {
	return fmt.Sprintf("queue %.8s goes on at entry %d, and only %d were read: the others were kept no longer, or are hidden; ask your contacts to send again what is missing", e.Box, e.Next, e.Cursor)
}

// Unwrap returns an error of kind NotFound.
func (e *Gap) Unwrap() error { return wire.Errorf(wire.NotFound, "entries are gone") }

// Missing says that the concierge knows no such queue of this account: it was
// deleted, was not made yet, or the concierge has lost it. It is looked for
// again, so that making it from its seed is enough.
type Missing struct{ Box stream.ID }

func (e *Missing) Error() string {
	return fmt.Sprintf("concierge has no queue %.8s: make it again", e.Box)
}

// Unwrap returns an error of kind NotFound.
func (e *Missing) Unwrap() error { return stream.ErrNotFound }

var (
	errClosed error = wire.Errorf(wire.Unavailable, "post is closed")
	errSilent error = wire.Errorf(wire.Unavailable, "concierge does not answer in time: the connection was closed, and a request may have been done")
)

// said is an error whose text may come from a stranger; it is fit to be shown.
type said struct{ err error }

func (e said) Error() string { return lightclient.Printable(e.err.Error()) }
func (e said) Unwrap() error { return e.err }

// heard returns err as the error of a request: with a kind, also when ctx ended
// it, and fit to be shown.
func heard(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return stopped(ctx)
	}
	return said{err}
}

// stopped is the error of what ctx ended.
func stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errClosed) || errors.Is(cause, errSilent) {
		return cause
	}
	return wire.Errorf(wire.Unavailable, "stopped before the concierge answered (%w): what was asked may have been done", cause)
}
