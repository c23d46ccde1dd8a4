package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// exportVersion is the version of the format of exports.
const exportVersion = 1

// line is one line of an export. The first says what it is; then come contacts,
// conversations, and events in the order in which they were received, as they were
// sent. An event also has its words, for people and other programs; reading back
// uses its bytes alone.
type line struct {
	Export       *exportLine       `json:"confab_export,omitempty"`
	Contact      *contactLine      `json:"contact,omitempty"`
	Conversation *conversationLine `json:"conversation,omitempty"`
	Event        *eventLine        `json:"event,omitempty"`
	Reached      *reachedLine      `json:"reached,omitempty"`
}

type exportLine struct {
	Version int               `json:"version"`
	Account namesvc.AccountID `json:"account"`
}

type contactLine struct {
	Account    namesvc.AccountID `json:"account"`
	Generation uint32            `json:"generation"`
	State      ContactState      `json:"state"`
	Handle     string            `json:"handle"`
	Name       string            `json:"name"`
	Added      uint64            `json:"added"`
	Verified   uint64            `json:"verified"`
	Data       string            `json:"data"` // hexadecimal
}

type conversationLine struct {
	ID         message.ConversationID `json:"id"`
	Account    *namesvc.AccountID     `json:"account,omitempty"`
	Generation uint32                 `json:"generation,omitempty"`
	Title      string                 `json:"title"`
	Added      uint64                 `json:"added"`
	Muted      bool                   `json:"muted"`
}

type eventLine struct {
	ID     message.ID        `json:"id"`
	From   namesvc.AccountID `json:"from"`
	Time   uint64            `json:"time"`
	Kind   string            `json:"kind"`
	Text   string            `json:"text,omitempty"`
	Binary string            `json:"bytes"` // hexadecimal
}

// reachedLine says up to where this person has read one author.
type reachedLine struct {
	Conversation message.ConversationID `json:"conversation"`
	Account      namesvc.AccountID      `json:"account"`
	Device       string                 `json:"device"`
	Delivered    uint64                 `json:"delivered"`
	Read         uint64                 `json:"read"`
}

// Export writes this person's contacts, conversations and events to w in the
// clear, one JSON object a line. Deleted content, what waits to be sent and
// secrets are not in it; keys of files are, inside their events.
func (s *Store) Export(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	err := s.with(ctx, func(tx *Tx) error {
		if err := enc.Encode(line{Export: &exportLine{exportVersion, s.self}}); err != nil {
			return err
		}
		if err := tx.exportPeople(enc); err != nil {
			return err
		}
		return tx.exportEvents(enc)
	}, false)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// exportPeople writes contacts and conversations.
func (tx *Tx) exportPeople(enc *json.Encoder) error {
	contacts, err := tx.Contacts()
	if err != nil {
		return err
	}
	for _, c := range contacts {
		if err := enc.Encode(line{Contact: &contactLine{
			c.Party.Account, c.Party.Generation, c.State, c.Handle, c.Name, c.Added, c.Verified, hex.EncodeToString(c.Data),
		}}); err != nil {
			return err
		}
	}
	list, err := tx.Conversations()
	if err != nil {
		return err
	}
	for _, c := range list {
		l := conversationLine{ID: c.ID, Generation: c.With.Generation, Title: c.Title, Added: c.Added, Muted: c.Muted}
		if c.With.Account != (namesvc.AccountID{}) {
			l.Account = &c.With.Account
		}
		if err := enc.Encode(line{Conversation: &l}); err != nil {
			return err
		}
		reached, err := tx.Reached(c.ID, tx.selfAccount())
		if err != nil {
			return err
		}
		for _, r := range reached {
			if err := enc.Encode(line{Reached: &reachedLine{c.ID, r.Author.Account, r.Author.Device.String(), r.Delivered, r.Read}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (tx *Tx) exportEvents(enc *json.Encoder) error {
	return tx.rows("SELECT bytes FROM events WHERE bytes IS NOT NULL ORDER BY id", nil, func(st *sqlite3.Stmt) error {
		e, err := decode(st.ColumnBlob(0, nil))
		if err != nil {
			return err
		}
		return enc.Encode(line{Event: &eventLine{e.ID(), e.Author.Account, e.Time, e.Kind().String(), message.Words(e.Body), hex.EncodeToString(e.Bytes())}})
	})
}

// Import reads what Export wrote into this database, beside what is here: nothing
// that is here is changed or doubled. All of it is taken or nothing. It returns
// how many events were new. The error is of kind Conflict if the export is of
// another account, or pins another generation of a contact.
func (s *Store) Import(ctx context.Context, r io.Reader) (added int, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	err = s.with(ctx, func(tx *Tx) error {
		n := 0
		for in.Scan() {
			n++
			isNew, err := tx.importLine(n, in.Bytes())
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			if isNew {
				added++
			}
		}
		if err := in.Err(); err != nil {
			return wire.Errorf(wire.Invalid, "after line %d: %w", n, err)
		}
		if n == 0 {
			return wire.Errorf(wire.Invalid, "it is empty")
		}
		return nil
	}, true)
	if err != nil {
		return 0, fmt.Errorf("import: %w", err)
	}
	return added, nil
}

// importLine takes one line, and reports whether it is an event that is new.
func (tx *Tx) importLine(n int, b []byte) (bool, error) {
	var l line
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return false, wire.Errorf(wire.Invalid, "it is no line of an export: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return false, wire.Errorf(wire.Invalid, "something follows its end")
	}
	if (n == 1) != (l.Export != nil) {
		return false, wire.Errorf(wire.Invalid, "an export begins with a line that says so")
	}
	switch {
	case l.Export != nil && l.Export.Version != exportVersion:
		return false, wire.Errorf(wire.Invalid, "version %d is unknown: use a newer confab", l.Export.Version)
	case l.Export != nil && l.Export.Account != tx.selfAccount():
		return false, wire.Errorf(wire.Conflict, "it is the export of account %v", l.Export.Account)
	case l.Export != nil:
		return false, nil
	case l.Contact != nil:
		return false, tx.importContact(*l.Contact)
	case l.Conversation != nil:
		return false, tx.importConversation(*l.Conversation)
	case l.Reached != nil:
		return false, tx.importReached(*l.Reached)
	case l.Event != nil:
		return tx.importEvent(*l.Event)
	}
	return false, wire.Errorf(wire.Invalid, "it says nothing")
}

func (tx *Tx) importContact(l contactLine) error {
	data, err := hex.DecodeString(l.Data)
	if err != nil {
		return wire.Errorf(wire.Invalid, "contact %v: its data is not hexadecimal", l.Account)
	}
	c := Contact{
		Party: message.Party{Account: l.Account, Generation: l.Generation}, State: l.State,
		Handle: l.Handle, Name: l.Name, Added: l.Added, Verified: l.Verified, Data: data,
	}
	err = tx.AddContact(c)
	if wire.CodeOf(err) != wire.Exists {
		return err
	}
	old, err := tx.Contact(l.Account)
	if err == nil && old.Party != c.Party {
		return wire.Errorf(wire.Conflict, "contact %v has generation %d here and %d there", l.Account, old.Party.Generation, l.Generation)
	}
	return err
}

func (tx *Tx) importConversation(l conversationLine) error {
	c := Conversation{ID: l.ID, Title: l.Title, Added: l.Added, Muted: l.Muted}
	if l.Account != nil {
		c.With = message.Party{Account: *l.Account, Generation: l.Generation}
	}
	err := tx.AddConversation(c)
	if wire.CodeOf(err) != wire.Exists {
		return err
	}
	old, err := tx.Conversation(l.ID)
	if err == nil && old.With != c.With {
		return wire.Errorf(wire.Conflict, "conversation %v is with another account here", l.ID)
	}
	return err
}

func (tx *Tx) importReached(l reachedLine) error {
	conv, err := tx.conversation(l.Conversation)
	if err != nil {
		return err
	}
	a := message.Author{Account: l.Account}
	if err := a.Device.UnmarshalText([]byte(l.Device)); err != nil {
		return wire.Errorf(wire.Invalid, "%w", err)
	}
	if l.Delivered == 0 || l.Delivered > 1<<53 || l.Read > l.Delivered {
		return wire.Errorf(wire.Invalid, "delivered %d and read %d cannot be", l.Delivered, l.Read)
	}
	return tx.reach(conv, tx.selfAccount(), []message.Reached{{Author: a, Delivered: l.Delivered, Read: l.Read}})
}

func (tx *Tx) importEvent(l eventLine) (bool, error) {
	b, err := hex.DecodeString(l.Binary)
	if err != nil {
		return false, wire.Errorf(wire.Invalid, "event %v: its bytes are not hexadecimal", l.ID)
	}
	e, err := message.Decode(b)
	if err != nil {
		return false, wire.Errorf(wire.Invalid, "event %v: %w", l.ID, err)
	}
	if e.ID() != l.ID {
		return false, wire.Errorf(wire.Invalid, "event %v: its bytes are those of %v", l.ID, e.ID())
	}
	a, err := tx.AddEvent(e)
	return a.New, err
}
