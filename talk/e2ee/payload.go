package e2ee

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Payload is what a message says: exactly one of its fields is set. Of a kind that
// this version does not know both are empty, and there is nothing to do.
type Payload struct {
	Event *message.Event
	Sync  []byte // what an account's devices tell each other; only in their own conversation
}

// The kinds of payloads. The numbers are frozen; others are for later versions.
const (
	payloadEvent = 0
	payloadSync  = 1
)

// payload is a Payload as it is encoded.
type payload struct {
	_     struct{} `cbor:",toarray"`
	Kind  uint16
	Bytes []byte
}

// encode checks and encodes what this member sends.
func (s *Session) encode(p Payload) ([]byte, error) {
	w := payload{Kind: payloadSync, Bytes: p.Sync}
	switch {
	case (p.Event == nil) == (len(p.Sync) == 0):
		return nil, fmt.Errorf("a payload has exactly one content")
	case p.Event != nil:
		w = payload{Kind: payloadEvent, Bytes: p.Event.Bytes()}
	case len(p.Sync) > message.MaxEvent:
		return nil, fmt.Errorf("a record of %d bytes, at most %d are allowed", len(p.Sync), message.MaxEvent)
	}
	return wire.Encode(w), s.may(s.o.Self, p)
}

// decode reads what a member sent and checks it against the rules.
func (s *Session) decode(from Member, b []byte) (Payload, error) {
	var w payload
	if err := wire.Decode(b, &w, maxPayload); err != nil {
		return Payload{}, fmt.Errorf("payload: %w", err)
	}
	var p Payload
	switch w.Kind {
	case payloadEvent:
		e, err := message.Decode(w.Bytes)
		if err != nil {
			return Payload{}, err
		}
		p.Event = &e
	case payloadSync:
		p.Sync = w.Bytes
	default:
		return Payload{}, nil
	}
	return p, s.may(from, p)
}

// may checks whether a member may say something here.
func (s *Session) may(from Member, p Payload) error {
	switch e := p.Event; {
	case e != nil && e.Author != from.Author():
		return fmt.Errorf("%v sends an event of %v", from, e.Author)
	case e != nil && e.Conversation != s.terms.Conversation:
		return fmt.Errorf("the event is of another conversation")
	case e == nil && len(s.o.Parties) != 1:
		return fmt.Errorf("a record for one's own devices in a conversation with others")
	}
	return nil
}
