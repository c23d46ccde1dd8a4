package message

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Body is what an event says: one of the types of this file.
type Body interface {
	Kind() Kind
	encode() []byte
	check() error
}

// Text is words.
type Text struct {
	_    struct{} `cbor:",toarray"`
	Text string   // see CheckText
}

// Reply is words about an earlier event.
type Reply struct {
	_    struct{} `cbor:",toarray"`
	To   ID
	Text string
}

// Reaction sets or takes back one sign at an event. A person's reactions are a
// set: the last word about each sign counts.
type Reaction struct {
	_     struct{} `cbor:",toarray"`
	To    ID
	Emoji string // a line, not empty
	On    bool
}

// Edit gives an event of the same account new words. The last one counts.
type Edit struct {
	_    struct{} `cbor:",toarray"`
	To   ID
	Text string
}

// Delete asks everyone to forget an event of the same account. It is final, and
// it is a request: copies may remain, and whoever shows it should say so.
type Delete struct {
	_  struct{} `cbor:",toarray"`
	To ID
}

// Receipt says how far an account has got. It only ever adds.
type Receipt struct {
	_       struct{}  `cbor:",toarray"`
	Reached []Reached // rising by author
}

// Reached says how far an account has got in one author's chain: everything up
// to these sequence numbers.
type Reached struct {
	_         struct{} `cbor:",toarray"`
	Author    Author
	Delivered uint64 // is on a device of theirs
	Read      uint64 // was seen; at most Delivered
}

// Typing says that somebody is writing, for so many seconds; 0 ends it.
type Typing struct {
	_       struct{} `cbor:",toarray"`
	Seconds uint8
}

// Ref is a file at a concierge: encrypted, found by the hash of its ciphertext.
type Ref struct {
	_    struct{} `cbor:",toarray"`
	Root [32]byte // Merkle root of the ciphertext's chunks
	Key  FileKey
	Size uint64 // bytes of the content
	Type string // media type, lower case, without parameters
}

// FileKey opens a file. It prints as a placeholder.
type FileKey [32]byte

// String never shows the key.
func (FileKey) String() string { return "(file key)" }

// GoString never shows the key.
func (FileKey) GoString() string { return "(file key)" }

// Format never shows the key, whatever the verb.
func (FileKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(file key)") }

// File is a file with its name, a small picture of it and words.
type File struct {
	_         struct{} `cbor:",toarray"`
	Ref       Ref
	Name      string // a line without path separators
	Thumbnail []byte // an image, or empty; a hostile one like any other
	Text      string
}

// Profile is how an account wants to be shown to this conversation. It proves
// nothing; the handle does.
type Profile struct {
	_      struct{} `cbor:",toarray"`
	Name   string   // a line
	About  string
	Avatar *Ref
}

// ContactRequest is what a stranger's knock says.
type ContactRequest struct {
	_        struct{} `cbor:",toarray"`
	From     Party    // the asking account, whose generation must be pinned
	Name     string   // a line, as in Profile
	Greeting string
	Reach    []byte // where the answer goes; what it means is agent's matter
}

// ContactAnswer answers a ContactRequest.
type ContactAnswer struct {
	_        struct{} `cbor:",toarray"`
	To       ID
	Accepted bool
	Reach    []byte // where messages go from now on; empty unless accepted
}

// Moved tells that the account's mail is elsewhere now. Whoever gets it checks it
// against the chain; it only saves the wait until he looks there.
type Moved struct {
	_         struct{} `cbor:",toarray"`
	Concierge Party
	EntrySeq  uint64 // the account's entry that names it; a lower one than known is old news
	Reach     []byte // the new queue
}

// Resend asks an account for events of its devices that are missing.
type Resend struct {
	_      struct{} `cbor:",toarray"`
	Ranges []Range  // rising, not touching
}

// Range is some consecutive events of one author.
type Range struct {
	_        struct{} `cbor:",toarray"`
	Author   Author
	From, To uint64 // both included
}

// Extension is the body of every kind from [FirstLater] on: what to show to
// people whose program does not know the kind, and what is in it for those whose
// program does.
type Extension struct {
	Number Kind
	Shown  string // a text, may be empty
	Data   []byte
}

// extension is an Extension as it is encoded: the number is the envelope's.
type extension struct {
	_     struct{} `cbor:",toarray"`
	Shown string
	Data  []byte
}

// Kind implements [Body].
func (Text) Kind() Kind { return KindText }

// Kind implements [Body].
func (Reply) Kind() Kind { return KindReply }

// Kind implements [Body].
func (Reaction) Kind() Kind { return KindReaction }

// Kind implements [Body].
func (Edit) Kind() Kind { return KindEdit }

// Kind implements [Body].
func (Delete) Kind() Kind { return KindDelete }

// Kind implements [Body].
func (Receipt) Kind() Kind { return KindReceipt }

// Kind implements [Body].
func (Typing) Kind() Kind { return KindTyping }

// Kind implements [Body].
func (File) Kind() Kind { return KindFile }

// Kind implements [Body].
func (Profile) Kind() Kind { return KindProfile }

// Kind implements [Body].
func (ContactRequest) Kind() Kind { return KindContactRequest }

// Kind implements [Body].
func (ContactAnswer) Kind() Kind { return KindContactAnswer }

// Kind implements [Body].
func (Moved) Kind() Kind { return KindMoved }

// Kind implements [Body].
func (Resend) Kind() Kind { return KindResend }

// Kind implements [Body].
func (x Extension) Kind() Kind { return x.Number }

func (b Text) encode() []byte           { return wire.Encode(b) }
func (b Reply) encode() []byte          { return wire.Encode(b) }
func (b Reaction) encode() []byte       { return wire.Encode(b) }
func (b Edit) encode() []byte           { return wire.Encode(b) }
func (b Delete) encode() []byte         { return wire.Encode(b) }
func (b Receipt) encode() []byte        { return wire.Encode(b) }
func (b Typing) encode() []byte         { return wire.Encode(b) }
func (b File) encode() []byte           { return wire.Encode(b) }
func (b Profile) encode() []byte        { return wire.Encode(b) }
func (b ContactRequest) encode() []byte { return wire.Encode(b) }
func (b ContactAnswer) encode() []byte  { return wire.Encode(b) }
func (b Moved) encode() []byte          { return wire.Encode(b) }
func (b Resend) encode() []byte         { return wire.Encode(b) }
func (x Extension) encode() []byte      { return wire.Encode(extension{Shown: x.Shown, Data: x.Data}) }

// decodeBody parses and checks the body of an event of this kind.
func decodeBody(k Kind, b []byte) (Body, error) {
	switch k {
	case KindText:
		return decodeAs[Text](b)
	case KindReply:
		return decodeAs[Reply](b)
	case KindReaction:
		return decodeAs[Reaction](b)
	case KindEdit:
		return decodeAs[Edit](b)
	case KindDelete:
		return decodeAs[Delete](b)
	case KindReceipt:
		return decodeAs[Receipt](b)
	case KindTyping:
		return decodeAs[Typing](b)
	case KindFile:
		return decodeAs[File](b)
	case KindProfile:
		return decodeAs[Profile](b)
	case KindContactRequest:
		return decodeAs[ContactRequest](b)
	case KindContactAnswer:
		return decodeAs[ContactAnswer](b)
	case KindMoved:
		return decodeAs[Moved](b)
	case KindResend:
		return decodeAs[Resend](b)
	}
	if k < FirstLater {
		return nil, fmt.Errorf("the kind does not exist; later ones begin at %d", uint16(FirstLater))
	}
	var x extension
	if err := wire.Decode(b, &x, MaxEvent); err != nil {
		return nil, err
	}
	ext := Extension{Number: k, Shown: x.Shown, Data: x.Data}
	return ext, ext.check()
}

func decodeAs[B Body](b []byte) (Body, error) {
	var body B
	if err := wire.Decode(b, &body, MaxEvent); err != nil {
		return nil, err
	}
	return body, body.check()
}

// About returns the event that a body is about, and whether there is one: the
// target of a reaction, edit or delete request, which changes how that one looks.
func About(b Body) (ID, bool) {
	switch b := b.(type) {
	case Reaction:
		return b.To, true
	case Edit:
		return b.To, true
	case Delete:
		return b.To, true
	}
	return ID{}, false
}

// Words returns the words that a body shows.
func Words(b Body) string {
	switch b := b.(type) {
	case Text:
		return b.Text
	case Reply:
		return b.Text
	case Edit:
		return b.Text
	case File:
		return b.Text
	case Extension:
		return b.Shown
	}
	return ""
}
