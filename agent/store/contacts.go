package store

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// ContactState says how this person and another stand to each other. The numbers
// are stored.
type ContactState uint8

// The states of a contact.
const (
	Invited   ContactState = 1 // we asked, and wait for the answer
	Requested ContactState = 2 // they asked, and wait for ours
	Accepted  ContactState = 3
	Blocked   ContactState = 4 // nothing of theirs is shown or answered
)

// String returns the state's name.
func (s ContactState) String() string {
	switch s {
	case Invited:
		return "invited"
	case Requested:
		return "requested"
	case Accepted:
		return "accepted"
	case Blocked:
		return "blocked"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Contact is another person as this one knows them. The account id and its
// generation are pinned: they are who somebody is. Handles may pass to others.
type Contact struct {
	Party    message.Party
	State    ContactState
	Handle   string // as it was last resolved, may be empty
	Name     string // what this person calls them, may be empty
	Added    uint64 // milliseconds since 1970
	Verified uint64 // when the safety number was compared, 0 if it was not
	Data     []byte // the agent's: where to write to, say
}

func (c Contact) check() error {
	switch {
	case c.Party.Generation == 0 || c.Party.Account == (namesvc.AccountID{}):
		return wire.Errorf(wire.Invalid, "contact: the account's id or generation is missing")
	case c.State < Invited || c.State > Blocked:
		return wire.Errorf(wire.Invalid, "contact %v: %v is unknown", c.Party.Account, c.State)
	case len(c.Handle) > MaxName || len(c.Name) > MaxName || len(c.Data) > MaxNote:
		return wire.Errorf(wire.Invalid, "contact %v: its handle, name or data is too long", c.Party.Account)
	}
	return nil
}

// AddContact adds a contact. The error is of kind Exists if the account is one
// already, whatever its state: a request never changes what was decided before.
func (tx *Tx) AddContact(c Contact) error {
	if err := c.check(); err != nil {
		return err
	}
	if n, err := tx.count("SELECT count(*) FROM contacts"); err != nil {
		return err
	} else if n >= MaxContacts {
		return wire.Errorf(wire.Exhausted, "there are %d contacts, and no more fit: remove some", n)
	}
	err := tx.exec(`INSERT INTO contacts (account, generation, state, handle, name, added, verified, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		c.Party.Account[:], int(c.Party.Generation), int(c.State), c.Handle, c.Name, c.Added, c.Verified, c.Data)
	if err == nil && tx.changed() == 0 {
		return wire.Errorf(wire.Exists, "account %v is a contact already", c.Party.Account)
	}
	return err
}

// SetContact replaces what is known of a contact. The error is of kind Conflict
// if that would change the generation, which only [Tx.Repin] does.
func (tx *Tx) SetContact(c Contact) error {
	if err := c.check(); err != nil {
		return err
	}
	old, err := tx.Contact(c.Party.Account)
	if err != nil {
		return err
	}
	if old.Party.Generation != c.Party.Generation {
		return wire.Errorf(wire.Conflict, "contact %v has generation %d, and %d is another owner's: compare safety numbers first",
			c.Party.Account, old.Party.Generation, c.Party.Generation)
	}
	return tx.exec("UPDATE contacts SET state = ?, handle = ?, name = ?, added = ?, verified = ?, data = ? WHERE account = ?",
		int(c.State), c.Handle, c.Name, c.Added, c.Verified, c.Data, c.Party.Account[:])
}

// Repin accepts another generation of a contact's account, because the person
// said so. It is not verified any more.
func (tx *Tx) Repin(p message.Party) error {
	old, err := tx.Contact(p.Account)
	if err != nil {
		return err
	}
	if p.Generation < old.Party.Generation {
		return wire.Errorf(wire.Stale, "contact %v has generation %d already", p.Account, old.Party.Generation)
	}
	return tx.exec("UPDATE contacts SET generation = ?, verified = 0 WHERE account = ?", int(p.Generation), p.Account[:])
}

// RemoveContact forgets a contact; its conversation stays. One that is not there
// is fine.
func (tx *Tx) RemoveContact(a namesvc.AccountID) error {
	return tx.exec("DELETE FROM contacts WHERE account = ?", a[:])
}

const contactColumns = "SELECT account, generation, state, handle, name, added, verified, data FROM contacts "

func scanContact(st *sqlite3.Stmt) Contact {
	return Contact{
		Party: message.Party{Account: scanAccount(st, 0), Generation: uint32(st.ColumnInt64(1))}, State: ContactState(st.ColumnInt(2)),
		Handle: st.ColumnText(3), Name: st.ColumnText(4), Added: uint64(st.ColumnInt64(5)), Verified: uint64(st.ColumnInt64(6)),
		Data: st.ColumnBlob(7, []byte{}),
	}
}

// Contact returns a contact.
func (tx *Tx) Contact(a namesvc.AccountID) (c Contact, err error) {
	found, err := tx.row(contactColumns+"WHERE account = ?", []any{a[:]}, func(st *sqlite3.Stmt) { c = scanContact(st) })
	if err == nil && !found {
		return Contact{}, notFound("account %v is no contact", a)
	}
	return c, err
}

// Contacts returns all contacts in one of these states, all if none is named, in
// the order in which they were added.
func (tx *Tx) Contacts(states ...ContactState) (list []Contact, err error) {
	want := map[ContactState]bool{}
	for _, s := range states {
		want[s] = true
	}
	err = tx.rows(contactColumns+"ORDER BY added, account", nil, func(st *sqlite3.Stmt) error {
		if c := scanContact(st); len(want) == 0 || want[c.State] {
			list = append(list, c)
		}
		return nil
	})
	return list, err
}
