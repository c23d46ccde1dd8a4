package frame

import (
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Kind is the first byte of a frame. The numbers are frozen; they stay below 24.
type Kind byte

// The kinds: those of clients, those of both, those of servers.
const (
	KindHello       Kind = 0
	KindAppend      Kind = 1
	KindRange       Kind = 2
	KindSubscribe   Kind = 3
	KindUnsubscribe Kind = 4
	KindAcknowledge Kind = 5
	KindHead        Kind = 6
	KindAnnounce    Kind = 7

	KindPing Kind = 8
	KindPong Kind = 9
	KindBye  Kind = 10

	KindWelcome Kind = 11
	KindDone    Kind = 12
	KindFailed  Kind = 13
	KindPage    Kind = 14
	KindState   Kind = 15
	KindPushed  Kind = 16
	KindHeard   Kind = 17
	KindEnded   Kind = 18
)

// A Frame is one of the types below.
type Frame interface{ kind() Kind }

// Hello begins a connection: which versions the client speaks.
type Hello struct {
	_     struct{} `cbor:",toarray"`
	Least uint64
	Most  uint64
}

// Append adds a message; the answer is Done or Failed.
type Append struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Stream  stream.ID
	Message stream.MessageID
	Expect  []stream.Head // none or one: the head that the stream must have
	Body    []byte
}

// Range asks for entries after a number, at most so many bytes of them; the
// answer is Page or Failed.
type Range struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Stream  stream.ID
	After   uint64
	Max     uint64
}

// Subscribe asks for all entries after a number, those to come too; the answer
// is Done or Failed, and after Done, Pushed. A second Subscribe for a stream
// takes the place of the first.
type Subscribe struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Stream  stream.ID
	After   uint64
}

// Unsubscribe ends a subscription; the answer is Done, after which nothing of
// the stream comes any more.
type Unsubscribe struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Stream  stream.ID
}

// Acknowledge says that the client has processed all up to a number. With
// request 0 there is no answer; otherwise it is Done or Failed.
type Acknowledge struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Stream  stream.ID
	Seq     uint64
}

// Head asks for a stream's signed head and state; the answer is State or Failed.
type Head struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Stream  stream.ID
}

// Announce passes a body on to all who follow the stream now, the client itself
// included if it does. There is no answer.
type Announce struct {
	_      struct{} `cbor:",toarray"`
	Stream stream.ID
	Body   []byte
}

// Ping asks for a Pong with the same number. Either end may.
type Ping struct {
	_     struct{} `cbor:",toarray"`
	Token uint64
}

// Pong answers a Ping.
type Pong struct {
	_     struct{} `cbor:",toarray"`
	Token uint64
}

// Bye is the last frame of whoever ends the connection, and says why.
type Bye struct {
	_    struct{} `cbor:",toarray"`
	Code wire.Code
	Text string
}

// Welcome answers Hello: the version to speak, and how many seconds the client
// may be silent at most before it should send a Ping.
type Welcome struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Ping    uint64
}

// Done answers a request that is done. For an append it has the entry's number,
// and whether it was there already.
type Done struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Seq     uint64
	Again   bool
}

// Failed answers a request that is not done.
type Failed struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	Code    wire.Code
	Text    string
	Head    []stream.Head // one if an append expected another
}

// Entry is an entry in a page; its number is its place there.
type Entry struct {
	_       struct{} `cbor:",toarray"`
	Message stream.MessageID
	Body    []byte
}

// Page answers Range, as stream.Page.
type Page struct {
	_       struct{} `cbor:",toarray"`
	Request uint64
	After   uint64
	Head    uint64
	Entries []Entry
}

// State answers Head: stream.State without the readers but with the client's own
// cursor, and the server's signature of Head.Message(stream), empty if the server
// signs nothing.
type State struct {
	_          struct{} `cbor:",toarray"`
	Request    uint64
	Head       stream.Head
	Signature  []byte
	Base       uint64
	Bytes      uint64
	MaxEntries uint64
	MaxBytes   uint64
	TTL        uint64 // seconds
	Cursor     uint64
}

// Pushed brings what follows From, where the subscription had come to: a page
// that begins after After, which is larger only if what is between was trimmed.
type Pushed struct {
	_       struct{} `cbor:",toarray"`
	Stream  stream.ID
	From    uint64
	After   uint64
	Head    uint64
	Entries []Entry
}

// Heard brings an announcement to whoever follows the stream.
type Heard struct {
	_      struct{} `cbor:",toarray"`
	Stream stream.ID
	Body   []byte
}

// Ended says that a subscription has ended, and why.
type Ended struct {
	_      struct{} `cbor:",toarray"`
	Stream stream.ID
	Code   wire.Code
	Text   string
}

func (*Hello) kind() Kind       { return KindHello }
func (*Append) kind() Kind      { return KindAppend }
func (*Range) kind() Kind       { return KindRange }
func (*Subscribe) kind() Kind   { return KindSubscribe }
func (*Unsubscribe) kind() Kind { return KindUnsubscribe }
func (*Acknowledge) kind() Kind { return KindAcknowledge }
func (*Head) kind() Kind        { return KindHead }
func (*Announce) kind() Kind    { return KindAnnounce }
func (*Ping) kind() Kind        { return KindPing }
func (*Pong) kind() Kind        { return KindPong }
func (*Bye) kind() Kind         { return KindBye }
func (*Welcome) kind() Kind     { return KindWelcome }
func (*Done) kind() Kind        { return KindDone }
func (*Failed) kind() Kind      { return KindFailed }
func (*Page) kind() Kind        { return KindPage }
func (*State) kind() Kind       { return KindState }
func (*Pushed) kind() Kind      { return KindPushed }
func (*Heard) kind() Kind       { return KindHeard }
func (*Ended) kind() Kind       { return KindEnded }

// blank returns an empty frame of a kind, or nil if there is no such kind.
func blank(k Kind) Frame {
	switch k {
	case KindHello:
		return &Hello{}
	case KindAppend:
		return &Append{}
	case KindRange:
		return &Range{}
	case KindSubscribe:
		return &Subscribe{}
	case KindUnsubscribe:
		return &Unsubscribe{}
	case KindAcknowledge:
		return &Acknowledge{}
	case KindHead:
		return &Head{}
	case KindAnnounce:
		return &Announce{}
	case KindPing:
		return &Ping{}
	case KindPong:
		return &Pong{}
	case KindBye:
		return &Bye{}
	case KindWelcome:
		return &Welcome{}
	case KindDone:
		return &Done{}
	case KindFailed:
		return &Failed{}
	case KindPage:
		return &Page{}
	case KindState:
		return &State{}
	case KindPushed:
		return &Pushed{}
	case KindHeard:
		return &Heard{}
	case KindEnded:
		return &Ended{}
	}
	return nil
}

// Encode returns a frame's bytes.
func Encode(f Frame) []byte {
	if b := encodeHot(f); b != nil {
		return b
	}
	return encodeAny(f)
}

// encodeAny is Encode for frames of all kinds.
func encodeAny(f Frame) []byte {
	body := wire.Encode(f)
	b := make([]byte, 0, 1+len(body))
	return append(append(b, byte(f.kind())), body...)
}

// Decode returns the frame that b is, all of it. What it returns does not share
// memory with b. Errors are of kind wire.Invalid.
func Decode(b []byte) (Frame, error) {
	if len(b) == 0 {
		return nil, wire.Errorf(wire.Invalid, "frame is empty")
	}
	if len(b) > MaxFrame {
		return nil, wire.Errorf(wire.Invalid, "frame has %d bytes, at most %d are allowed", len(b), MaxFrame)
	}
	f, err := decodeHot(Kind(b[0]), b[1:])
	if f == nil && err == nil {
		f, err = decodeAny(b)
	}
	if err == nil {
		err = check(f)
	}
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "frame of kind %d: %w", b[0], err)
	}
	return f, nil
}

// decodeAny decodes a frame of any kind, and does not hold its parts to their
// bounds.
func decodeAny(b []byte) (Frame, error) {
	f := blank(Kind(b[0]))
	if f == nil {
		return nil, wire.Errorf(wire.Invalid, "there is no such kind")
	}
	if err := wire.Decode(b[1:], f, MaxFrame); err != nil {
		return nil, err
	}
	return f, nil
}

// check holds a frame's parts to their bounds.
func check(f Frame) error {
	size, most := 0, 0
	switch f := f.(type) {
	case *Append:
		size, most = len(f.Body), stream.MaxBody
		if len(f.Expect) > 1 {
			return wire.Errorf(wire.Invalid, "expects %d heads", len(f.Expect))
		}
	case *Announce:
		size, most = len(f.Body), stream.MaxAnnouncement
	case *Heard:
		size, most = len(f.Body), stream.MaxAnnouncement
	case *Failed:
		size, most = len(f.Text), maxText
		if len(f.Head) > 1 {
			return wire.Errorf(wire.Invalid, "has %d heads", len(f.Head))
		}
	case *Bye:
		size, most = len(f.Text), maxText
	case *Ended:
		size, most = len(f.Text), maxText
	case *State:
		size, most = len(f.Signature), maxSignature
	case *Page:
		return checkPage(f.After, f.Head, f.Entries)
	case *Pushed:
		if f.After < f.From {
			return wire.Errorf(wire.Invalid, "page goes back")
		}
		return checkPage(f.After, f.Head, f.Entries)
	}
	if size > most {
		return wire.Errorf(wire.Invalid, "part has %d bytes, at most %d are allowed", size, most)
	}
	return nil
}

func checkPage(after, head uint64, entries []Entry) error {
	if len(entries) > maxEntries {
		return wire.Errorf(wire.Invalid, "page has %d entries", len(entries))
	}
	if last := after + uint64(len(entries)); last < after || last > head {
		return wire.Errorf(wire.Invalid, "page goes beyond the stream's head")
	}
	for _, e := range entries {
		if len(e.Body) > stream.MaxBody {
			return wire.Errorf(wire.Invalid, "entry is too large")
		}
	}
	return nil
}

// packed returns a page's entries as they travel.
func packed(entries []stream.Entry) []Entry {
	out := make([]Entry, len(entries))
	for i, e := range entries {
		out[i].Message, out[i].Body = e.ID, e.Body
	}
	return out
}

// unpacked returns the entries that follow a number.
func unpacked(after uint64, entries []Entry) []stream.Entry {
	out := make([]stream.Entry, len(entries))
	for i, e := range entries {
		out[i] = stream.Entry{Seq: after + 1 + uint64(i), ID: e.Message, Body: e.Body}
	}
	return out
}

// failure returns the frame that tells of an error. What is not of a kind of
// package wire stays inside.
func failure(request uint64, err error) *Failed {
	code, text := telling(err)
	f := &Failed{Request: request, Code: code, Text: text}
	if he := headError(err); he != nil {
		f.Head = []stream.Head{he.Head}
	}
	return f
}
