package stream

import (
	"context"
	"encoding/hex"
	"io"
	"time"
)

// An ID names a stream. Ids are chosen by whoever creates the stream; a random
// one cannot be found by trying.
type ID [32]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// A MessageID is chosen by the writer of an entry, at random or as a MAC, and
// tells a retry from a new message.
type MessageID [16]byte

// String returns the id in hexadecimal.
func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// A Reader names who acknowledges: one device, say.
type Reader [32]byte

// A Message is what a writer appends.
type Message struct {
	ID   MessageID
	Body []byte // at most MaxBody bytes; it belongs to the store from then on
	// Expect, unless nil, is the head that the stream must have: otherwise the
	// append fails with a *HeadError that holds the head it has.
	Expect *Head
}

// A Receipt is the answer to an append.
type Receipt struct {
	Seq   uint64
	Again bool // the message was there already, under this number
}

// An Entry is a message in its place.
type Entry struct {
	Seq  uint64
	ID   MessageID
	Body []byte // the caller must not change it: others read it too
}

// A Page is some consecutive entries of a stream.
type Page struct {
	// After is the number before the first entry. It is what the caller asked
	// for, unless entries after that were trimmed: then it is the last trimmed.
	After   uint64
	Entries []Entry
	// Head is the newest number when the page was read; the reader is at the
	// end if Last returns it.
	Head uint64
}

// Last returns the number of the page's last entry, or After if it has none.
func (p Page) Last() uint64 { return p.After + uint64(len(p.Entries)) }

// Settings say what a stream may hold and for how long. Zero means no bound.
type Settings struct {
	MaxEntries uint64
	MaxBytes   uint64 // of bodies
	// TTL is how long at least an entry waits, in whole seconds. Expired entries
	// are swept in the background, so they may stay somewhat longer.
	TTL time.Duration
	// Readers are those whose acknowledgements are waited for: an entry goes
	// once all of them have acknowledged it. Without readers entries only go by
	// TTL or Trim. A reader that is added starts with what is still there.
	Readers []Reader
}

// A State is what is known of a stream at one moment.
type State struct {
	Settings Settings
	Head     Head
	Base     uint64 // the last number that is gone; 0 if none is
	Bytes    uint64 // of the bodies that are there
	Cursors  map[Reader]uint64
}

// Entries returns how many entries are there.
func (s State) Entries() uint64 { return s.Head.Seq - s.Base }

// A Watcher is told what happens to a stream. Its methods are called one at a
// time for each stream, must not block and must not call the store.
type Watcher interface {
	// Woken says that the stream may have entries up to this number, or has been
	// deleted. It is a hint: numbers may be skipped or repeated, and 0 means
	// "look yourself".
	Woken(seq uint64)
	// Heard passes on what was announced, from this process or another.
	Heard(body []byte)
}

// Log appends and reads.
type Log interface {
	// Submit appends a message and calls done once it is durable, or with an
	// error: ErrNotFound, ErrTooLarge, ErrReused, ErrFull, *HeadError, or one of
	// kind Unavailable, after which the message may or may not be there and the
	// same Submit is safe to repeat. Appends that one goroutine submits to one
	// stream keep their order. Submit waits while the store has more to do than
	// it should hold in memory. done must not block and must not call Submit.
	Submit(id ID, m Message, done func(Receipt, error))
	// Range returns entries after a number, at most max bytes of them (bodies
	// and EntryCost each; never more than MaxPage) but at least one if there is
	// any. ErrNotFound; ErrAhead if the stream is not as long as that.
	Range(ctx context.Context, id ID, after uint64, max int) (Page, error)
	// State returns the stream's state, or ErrNotFound.
	State(ctx context.Context, id ID) (State, error)
}

// Keeper makes streams and lets go of what they hold.
type Keeper interface {
	// Configure changes a stream's settings, or creates it with them. Cursors of
	// readers that stay are kept.
	Configure(ctx context.Context, id ID, s Settings) error
	// Acknowledge moves a reader's cursor to a number; it never moves back.
	// ErrNotFound, ErrUnknownReader, ErrAhead.
	Acknowledge(ctx context.Context, id ID, r Reader, seq uint64) error
	// Trim lets go of all entries up to a number. ErrNotFound, ErrAhead.
	Trim(ctx context.Context, id ID, upto uint64) error
	// Delete lets go of the stream and all it holds; it is not an error if there
	// is none.
	Delete(ctx context.Context, id ID) error
}

// Waker tells who waits.
type Waker interface {
	// Watch calls w from now on until stop is called; a call may be under way
	// when stop returns. ErrNotFound.
	Watch(ctx context.Context, id ID, w Watcher) (stop func(), err error)
	// Announce passes a body, at most MaxAnnouncement bytes, to all who watch the
	// stream now, and keeps nothing.
	Announce(ctx context.Context, id ID, body []byte) error
}

// A Store keeps streams. Its methods may be called from any goroutine.
type Store interface {
	Log
	Keeper
	Waker
	io.Closer
}

// Append submits a message and waits for the answer. If ctx ends first, the
// message may still be appended.
func Append(ctx context.Context, log Log, id ID, m Message) (Receipt, error) {
	type answer struct {
		receipt Receipt
		err     error
	}
	answered := make(chan answer, 1)
	log.Submit(id, m, func(r Receipt, err error) { answered <- answer{r, err} })
	select {
	case a := <-answered:
		return a.receipt, a.err
	case <-ctx.Done():
		return Receipt{}, unanswered(context.Cause(ctx))
	}
}
