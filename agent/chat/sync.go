package chat

import (
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// The devices of an account keep each other up to date in the account's
// conversation with itself: contacts, and how to read and write where they are.
// Events need no such thing, since every device is in every session.

// record is what one device tells the others. Kinds that are not known are left
// alone: a newer program sent them.
type record struct {
	_    struct{} `cbor:",toarray"`
	Kind uint16
	Body []byte
}

const (
	recordContact = 1
	recordGone    = 2
	recordQueue   = 3
	recordAsk     = 4
	recordEvents  = 5
	recordVault   = 6
)

// sharedContact is a contact with its room, as another device needs it.
type sharedContact struct {
	_        struct{} `cbor:",toarray"`
	Party    message.Party
	State    uint8
	Handle   string
	Name     string
	Added    uint64
	Verified uint64
	Changed  uint64
	Seed     []byte
	Address  concierge.Address
	Key      [32]byte
	Reach    []byte
	Request  []byte
	Asked    uint64
	Answered bool
	Instance uint64 // of the session in use: a new one must have a higher number
}

// sharedGone says that a contact was removed.
type sharedGone struct {
	_       struct{} `cbor:",toarray"`
	Party   message.Party
	Changed uint64
}

// sharedQueue is the seed of the account's own queue, so that any device can make
// it again at another concierge.
type sharedQueue struct {
	_    struct{} `cbor:",toarray"`
	Seed []byte
}

// tell has a contact's state told to the own other devices.
func (b *batch) tell(id message.ConversationID) {
	if r, ok := b.rooms[id]; ok {
		r.Untold = true
	}
	b.hurry(b.a.selfID())
}

// untell has everything told to the own other devices again.
func (b *batch) untell() {
	for id, r := range b.a.rooms {
		if b.a.own(r) {
			continue
		}
		if r, err := b.room(id); err == nil { // not one that this batch removes
			r.Untold = true
		}
	}
}

func (a *Agent) selfID() message.ConversationID { return message.Direct(a.party(), a.party()) }

// share seals a record for the own other devices. It reports false if that is not
// possible now.
func (b *batch) share(kind uint16, body any) (bool, error) {
	r, err := b.room(b.a.selfID())
	if err != nil {
		return false, nil
	}
	if ready, err := b.ready(r); err != nil || !ready {
		return false, err
	}
	return true, b.seal(r, e2ee.Payload{Sync: wire.Encode(record{Kind: kind, Body: wire.Encode(body)})}, message.ID{})
}

// shareUntold tells what has not been told.
func (b *batch) shareUntold() error {
	for id, r := range b.a.rooms {
		if b.a.own(r) || !r.Untold {
			continue
		}
		r, err := b.room(id)
		if err != nil {
			return err
		}
		done, err := b.shareContact(r)
		if err != nil {
			return err
		}
		r.Untold = !done
	}
	return b.shareGone()
}

func (b *batch) shareContact(r *room) (bool, error) {
	s, known, err := b.sharedRoom(r)
	if err != nil || !known {
		return err == nil, err
	}
	return b.share(recordContact, s)
}

// sharedRoom returns what other devices are told of a room's contact. There is
// nothing to be told of one that is no contact any more, or whose account is
// another party since: that has a room of its own.
func (b *batch) sharedRoom(r *room) (s sharedContact, known bool, err error) {
	c, err := b.contact(r.With.Account)
	if wire.CodeOf(err) == wire.NotFound || err == nil && c.Party != r.With {
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	return shared(c, r), true, nil
}

func shared(c store.Contact, r *room) sharedContact {
	return sharedContact{
		Party: c.Party, State: uint8(c.State), Handle: c.Handle, Name: c.Name, Added: c.Added, Verified: c.Verified,
		Changed: r.Changed, Seed: r.Seed, Address: r.Address, Key: r.Key, Reach: r.Reach, Request: r.Request, Asked: r.Asked, Answered: r.Answered,
		Instance: max(r.Instance, r.Least),
	}
}

// untoldGone begins the notes of removals that the own other devices have not been
// told of: there is no room any more to have it in.
const untoldGone = "untold gone/"

// tellGone tells the own other devices that a contact was removed, now or as soon
// as that is possible.
func (b *batch) tellGone(p message.Party, changed uint64) error {
	gone := sharedGone{Party: p, Changed: changed}
	done, err := b.share(recordGone, gone)
	if err == nil && !done && len(b.a.otherDevices()) > 0 {
		b.notes[untoldGone+p.Account.String()] = wire.Encode(gone)
		b.hurry(b.a.selfID())
	}
	return err
}

// shareGone tells of removals that have not been told.
func (b *batch) shareGone() error {
	var names []string
	err := b.a.store.View(func(tx *store.Tx) (err error) {
		names, err = tx.Names(untoldGone, "")
		return err
	})
	for _, name := range names {
		var gone sharedGone
		raw, err := b.note(name)
		if err == nil {
			err = wire.Recall(raw, &gone)
		}
		if err != nil {
			return err
		}
		done, err := b.share(recordGone, gone)
		if err != nil || !done {
			return err
		}
		b.notes[name] = nil
	}
	return err
}

// snapshot tells devices that have just come in everything there is.
func (b *batch) snapshot(own *room) error {
	if len(own.Seed) == 32 {
		if _, err := b.share(recordQueue, sharedQueue{Seed: own.Seed}); err != nil {
			return err
		}
	}
	if k, err := b.a.vaultKey(); err == nil && !k.IsZero() {
		if _, err := b.share(recordVault, k[:]); err != nil {
			return err
		}
	}
	for id, r := range b.a.rooms {
		if b.a.own(r) {
			continue
		}
		r, err := b.room(id)
		if err != nil {
			return err
		}
		if _, err := b.shareContact(r); err != nil {
			return err
		}
	}
	return nil
}

// sync takes what another device of this account tells.
func (b *batch) sync(raw []byte) error {
	var rec record
	if err := wire.Decode(raw, &rec, len(raw)); err != nil {
		return nil
	}
	switch rec.Kind {
	case recordContact:
		var s sharedContact
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil {
			return nil
		}
		return b.syncContact(s)
	case recordGone:
		var s sharedGone
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil {
			return nil
		}
		return b.syncGone(s)
	case recordQueue:
		var s sharedQueue
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil || len(s.Seed) != 32 {
			return nil
		}
		return b.syncQueue(s)
	case recordAsk:
		var s historyAsk
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil {
			return nil
		}
		b.then = append(b.then, func() { b.a.noteAsk(s) })
	case recordVault:
		var k []byte
		if err := wire.Decode(rec.Body, &k, len(rec.Body)); err == nil && len(k) == len(key.Vault{}) {
			b.notes[vaultKeyNote] = k
		}
	case recordEvents:
		var s historyEvents
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil {
			return nil
		}
		return b.syncEvents(s)
	}
	return nil
}

// syncContact takes a contact as another device has it. What was decided last
// counts.
func (b *batch) syncContact(s sharedContact) error {
	if s.Party.Account == b.a.o.Account || s.Party.Generation == 0 {
		return nil
	}
	id := message.Direct(b.a.party(), s.Party)
	c, err := b.contact(s.Party.Account)
	isNew := wire.CodeOf(err) == wire.NotFound
	if err != nil && !isNew {
		return err
	}
	if !isNew && c.Party.Generation > s.Party.Generation {
		return nil // who had the account before; the other device does not know yet
	}
	r, rerr := b.room(id)
	if rerr == nil && r.Changed >= s.Changed && r.Address == s.Address && len(r.Reach) > 0 {
		return nil
	}
	if rerr != nil {
		r = &room{Version: 1, With: s.Party, Changed: s.Changed}
		b.rooms[id] = r
		b.do(func(tx *store.Tx) error {
			err := tx.AddConversation(store.Conversation{ID: id, With: s.Party, Added: s.Added})
			if wire.CodeOf(err) == wire.Exists {
				return nil
			}
			return err
		})
	}
	if rerr != nil || s.Changed >= r.Changed {
		r.Changed, r.Seed, r.Address, r.Key = s.Changed, s.Seed, s.Address, s.Key
		r.Made = false
		r.Asked, r.Answered = s.Asked, s.Answered || r.Answered
		if len(s.Request) > 0 {
			r.Request = s.Request
		}
		next := store.Contact{
			Party: s.Party, State: store.ContactState(s.State), Handle: s.Handle, Name: s.Name, Added: s.Added, Verified: s.Verified,
		}
		if next.State < store.Invited || next.State > store.Blocked {
			return nil
		}
		if !isNew && c.Party != s.Party {
			b.do(func(tx *store.Tx) error { return tx.Repin(s.Party) })
		}
		b.setContact(next, isNew)
	}
	if len(r.Reach) == 0 {
		r.Reach = s.Reach
	}
	r.Least = max(r.Least, s.Instance)
	b.hurry(id)
	return nil
}

func (b *batch) syncGone(s sharedGone) error {
	id := message.Direct(b.a.party(), s.Party)
	r, err := b.room(id)
	if err != nil || b.a.own(r) || r.Changed > s.Changed {
		return nil
	}
	b.remove(id, r, s.Changed)
	return nil
}

func (b *batch) syncQueue(s sharedQueue) error {
	r, err := b.room(b.a.selfID())
	if err != nil {
		return nil
	}
	p := b.a.party()
	if concierge.OwnerOf(p.Account, p.Generation).Address(concierge.Seed(s.Seed)) == r.Address {
		r.Seed = s.Seed
	}
	return nil
}
