package message

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Event is one thing that an author's device says in a conversation. Only [New]
// and [Decode] make one; its bytes never change.
type Event struct {
	Place
	Conversation ConversationID
	Author       Author
	Time         uint64 // milliseconds since 1970 by the author's clock; to be shown, never believed
	Body         Body

	id  ID
	raw []byte
}

// Place is an event's place in its author's chain. It is zero for kinds that are
// not chained.
type Place struct {
	Seq   uint64 // 1, 2, 3 and so on without holes
	Prev  ID     // the event with Seq-1; zero for the first
	Clock uint64 // above that of every event the author had seen; gives the order
}

// version is the version of the envelope.
const version = 1

// envelope is an event as it is encoded.
type envelope struct {
	_            struct{} `cbor:",toarray"`
	Version      uint8
	Conversation ConversationID
	Author       Author
	Seq          uint64
	Prev         []byte // 32 bytes, or empty
	Clock        uint64
	Time         uint64
	Kind         Kind
	Body         []byte
}

// New makes an event. The place comes from [Chain.Next] for chained kinds and is
// zero for the others; now is the author's clock.
func New(c ConversationID, a Author, p Place, now time.Time, body Body) (Event, error) {
	e := envelope{
		Version: version, Conversation: c, Author: a, Seq: p.Seq, Clock: p.Clock,
		Time: uint64(max(now.UnixMilli(), 0)), Kind: body.Kind(), Body: body.encode(),
	}
	if !p.Prev.IsZero() {
		e.Prev = p.Prev[:]
	}
	return Decode(wire.Encode(e))
}

// Decode parses and checks an event.
func Decode(b []byte) (Event, error) {
	var w envelope
	if err := wire.Decode(b, &w, MaxEvent); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	if err := w.check(); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	body, err := decodeBody(w.Kind, w.Body)
	if err != nil {
		return Event{}, fmt.Errorf("event: %v: %w", w.Kind, err)
	}
	e := Event{
		Place:        Place{Seq: w.Seq, Clock: w.Clock},
		Conversation: w.Conversation, Author: w.Author, Time: w.Time, Body: body,
		id: sha256.Sum256(b), raw: bytes.Clone(b),
	}
	copy(e.Prev[:], w.Prev)
	return e, nil
}

// check checks the envelope around the body.
func (w envelope) check() error {
	switch {
	case w.Version != version:
		return fmt.Errorf("version %d is unknown", w.Version)
	case w.Time >= maxTime:
		return fmt.Errorf("time %d is out of range", w.Time)
	case w.Kind.Chained() && w.Seq == 0:
		return fmt.Errorf("%v needs a place in its author's chain", w.Kind)
	case !w.Kind.Chained() && (w.Seq != 0 || w.Clock != 0 || len(w.Prev) != 0):
		return fmt.Errorf("%v has no place in its author's chain", w.Kind)
	case w.Seq > maxSeq || w.Clock > maxClock:
		return fmt.Errorf("sequence %d or clock %d is out of range", w.Seq, w.Clock)
	case w.Seq > 0 && w.Clock < w.Seq:
		return fmt.Errorf("clock %d is behind sequence %d", w.Clock, w.Seq)
	case w.Seq == 1 && w.Clock > maxFirstClock:
		return fmt.Errorf("clock %d is too far for a first event", w.Clock)
	case w.Seq <= 1 && len(w.Prev) != 0:
		return fmt.Errorf("nothing stands before the first event of a chain")
	case w.Seq > 1 && (len(w.Prev) != len(ID{}) || bytes.Equal(w.Prev, make([]byte, len(ID{})))):
		return fmt.Errorf("the hash of the event before is missing")
	}
	return nil
}

// ID returns the event's name.
func (e Event) ID() ID { return e.id }

// Bytes returns the event's encoding. The caller must not change it.
func (e Event) Bytes() []byte { return e.raw }

// String returns the event's kind and id.
func (e Event) String() string { return fmt.Sprintf("%v %v", e.Kind(), e.id) }

// Format writes what String returns, whatever the verb: what people write, and the
// keys of their files, do not get into logs by a stray %+v.
func (e Event) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.String()) }

// Kind returns what the event is, 0 once its body is gone.
func (e Event) Kind() Kind {
	if e.Body == nil {
		return 0
	}
	return e.Body.Kind()
}

// Compare orders the events of a conversation: by clock, then by author, then by
// sequence and last by id. All readers have the same order, and an answer always
// stands behind what its author had seen.
func (e Event) Compare(f Event) int {
	return cmp.Or(cmp.Compare(e.Clock, f.Clock), e.Author.Compare(f.Author), cmp.Compare(e.Seq, f.Seq), bytes.Compare(e.id[:], f.id[:]))
}

// Link returns what a [Chain] needs of the event.
func (e Event) Link() Link { return Link{Seq: e.Seq, Clock: e.Clock, ID: e.id, Prev: e.Prev} }
