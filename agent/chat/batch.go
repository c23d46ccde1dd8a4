package chat

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/confab-chat/confab/agent/ratchet"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// batch is one change of conversations: what is written together, to the
// database and to the secrets, or not at all. While it is made, sessions move in
// memory; if it is not written they are loaded again.
type batch struct {
	a      *Agent
	now    uint64
	rooms  map[message.ConversationID]*room    // copies of those that were looked at
	people map[namesvc.AccountID]store.Contact // contacts as they will be
	seen   map[stream.MessageID]bool           // entries of this batch
	notes  map[string][]byte                   // to be put; nil deletes
	gone   map[message.ConversationID]*room    // rooms that are no more, as they were
	strays map[namesvc.AccountID]bool          // who is no contact any more
	does   []func(*store.Tx) error
	keys   []ratchet.Change
	used   map[string]*e2ee.Session // sessions that moved, by group
	free   map[string]int           // room in the outbox, by destination, before this batch
	queued int                      // items of this batch
	then   []func()                 // once it is written, while a.mu is held
	// unread is why a KeyPackage's secret could not be read: what needed it may be
	// for this device after all.
	unread error
	said   []func() // once it is written
}

// change makes one. f is called again if it needs to know more of the chain.
func (a *Agent) change(ctx context.Context, f func(*batch) error) error {
	for tries := 0; ; tries++ {
		said, err := a.attempt(f)
		for _, say := range said {
			say()
		}
		var ask *askError
		if !errors.As(err, &ask) || tries == maxAsks {
			return err
		}
		// That there is no such account is an answer too.
		if _, err := a.roster.ask(ctx, ask.account, 0); err != nil && wire.CodeOf(err) != wire.NotFound {
			return err
		}
	}
}

// maxAsks bounds how often one change waits for the chain: each time for another
// account, of which a conversation has two.
const maxAsks = 6

func (a *Agent) attempt(f func(*batch) error) ([]func(), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unsure {
		if err := a.reread(); err != nil {
			return nil, err
		}
	}
	b := &batch{
		a: a, now: a.now(), rooms: map[message.ConversationID]*room{},
		people: map[namesvc.AccountID]store.Contact{}, seen: map[stream.MessageID]bool{},
		notes: map[string][]byte{}, used: map[string]*e2ee.Session{}, free: map[string]int{},
		gone: map[message.ConversationID]*room{}, strays: map[namesvc.AccountID]bool{},
	}
	if err := f(b); err != nil {
		b.drop()
		return nil, err
	}
	if err := b.write(); err != nil {
		b.drop()
		return nil, err
	}
	return b.said, nil
}

// drop forgets sessions that moved in vain.
func (b *batch) drop() {
	for group := range b.used {
		b.a.sessions.forget(group)
	}
}

func (b *batch) write() error {
	for group, s := range b.used {
		b.keys = append(b.keys, changes([]byte(group), s)...)
	}
	asked := false // to commit: from there on an error leaves open what is there
	tx := func(tx *store.Tx) error {
		asked = false
		for _, do := range b.does {
			if err := do(tx); err != nil {
				return err
			}
		}
		for id := range b.gone {
			if err := tx.Put(roomNote(id), nil); err != nil {
				return err
			}
		}
		for id, r := range b.rooms {
			if err := tx.Put(roomNote(id), r.encode()); err != nil {
				return err
			}
		}
		for name, value := range b.notes {
			if err := tx.Put(name, value); err != nil {
				return err
			}
		}
		asked = true
		return nil
	}
	var err error
	if len(b.keys) == 0 {
		err = b.a.disk.Update(tx)
	} else {
		err = b.a.secrets.Write(b.keys, func(generation uint64) error {
			return b.a.disk.Update(func(t *store.Tx) error {
				if err := t.SetGeneration(generation); err != nil {
					return err
				}
				return tx(t)
			})
		})
		if errors.Is(err, ratchet.ErrErase) {
			b.a.log.Warn("old keys could not be overwritten yet; it is tried again", "error", err)
			err = nil
		}
	}
	if err != nil {
		b.a.unsure = asked || errors.Is(err, ratchet.ErrReopen)
		return err
	}
	for id, r := range b.gone {
		b.a.closeRoom(id, r.Address)
	}
	for id, r := range b.rooms {
		b.a.keep(id, r)
	}
	for _, f := range b.then {
		f()
	}
	b.a.changed++
	wake(b.a.vault)
	return nil
}

// keep takes a room that was written as it is now.
func (a *Agent) keep(id message.ConversationID, r *room) {
	a.rooms[id] = r
	if r.Address != [32]byte{} {
		a.byBox[r.Address.Queue()] = id
	}
}

// room returns a room to be changed. The error is of kind NotFound if there is
// none.
func (b *batch) room(id message.ConversationID) (*room, error) {
	if r, ok := b.rooms[id]; ok {
		return r, nil
	}
	r, ok := b.a.rooms[id]
	if _, gone := b.gone[id]; !ok || gone {
		return nil, wire.Errorf(wire.NotFound, "there is no conversation %v", id)
	}
	c := r.clone()
	b.rooms[id] = c
	return c, nil
}

// contact returns a contact as this batch leaves it.
func (b *batch) contact(id namesvc.AccountID) (c store.Contact, err error) {
	if c, ok := b.people[id]; ok {
		return c, nil
	}
	if b.strays[id] {
		return c, wire.Errorf(wire.NotFound, "there is no contact %v", id)
	}
	err = b.a.store.View(func(tx *store.Tx) (err error) {
		c, err = tx.Contact(id)
		return err
	})
	return c, err
}

// remove forgets a room with everything in it, and the contact, as was decided at
// a time. Both may be there again later in the same batch.
func (b *batch) remove(id message.ConversationID, r *room, changed uint64) {
	for _, g := range r.groups() {
		b.forget(g)
	}
	if r.Commit != nil {
		b.lost(r)
	}
	b.unkeep(id, r)
	b.notes[receiptNote(id)], b.notes[vaultNote(id)], b.notes[unheardNote(id)], b.notes[aheadNote(id)] = nil, nil, nil, nil
	b.notes[vaultGoneNote(id)] = wire.Encode(sharedGone{Party: r.With, Changed: changed})
	b.notes[shownNote(r.With.Account)] = nil
	for n := range maxPieces {
		b.notes[pictureNote(r.With.Account, n)] = nil
	}
	delete(b.rooms, id)
	delete(b.people, r.With.Account)
	b.gone[id], b.strays[r.With.Account] = r, true
	b.do(func(tx *store.Tx) error {
		if err := tx.RemoveContact(r.With.Account); err != nil && wire.CodeOf(err) != wire.NotFound {
			return err
		}
		return tx.DeleteConversation(id)
	})
	b.say(func() {
		b.a.feed.tell(Notice{Type: "contact", Contact: r.With.Account, Text: "removed"})
	})
}

// setContact changes a contact, or adds it.
func (b *batch) setContact(c store.Contact, isNew bool) {
	if c.State != store.Blocked {
		b.notes[unheardNote(message.Direct(b.a.party(), c.Party))] = nil
	}
	b.people[c.Party.Account] = c
	b.do(func(tx *store.Tx) error {
		if isNew {
			return tx.AddContact(c)
		}
		return tx.SetContact(c)
	})
	b.say(func() { b.a.feed.tell(Notice{Type: "contact", Contact: c.Party.Account, Text: c.State.String()}) })
}

// hurry has a room looked after at once.
func (b *batch) hurry(id message.ConversationID) {
	b.a.hurry[id] = true
	b.say(func() { wake(b.a.tend) })
}

// do adds a step to the database's transaction.
func (b *batch) do(f func(*store.Tx) error) { b.does = append(b.does, f) }

// say adds what is to be done once all is written.
func (b *batch) say(f func()) { b.said = append(b.said, f) }

// note reads a note, as this batch has left it.
func (b *batch) note(name string) ([]byte, error) {
	if v, ok := b.notes[name]; ok {
		if v == nil {
			return nil, wire.Errorf(wire.NotFound, "there is no %s", name)
		}
		return v, nil
	}
	var out []byte
	err := b.a.store.View(func(tx *store.Tx) (err error) {
		out, err = tx.Get(name)
		return err
	})
	return out, err
}

// session returns a session that will be moved.
func (b *batch) session(r *room, group []byte) (*e2ee.Session, error) {
	if s, ok := b.used[string(group)]; ok {
		return s, nil
	}
	s, err := b.a.sessions.get(r, group)
	if err == nil {
		b.used[string(group)] = s
	}
	return s, err
}

// enter makes a session the one in use.
func (b *batch) enter(r *room, s *e2ee.Session) {
	group := s.Group()
	b.used[string(group)] = s
	b.a.sessions.put(group, s)
	b.lost(r) // with the secrets of the epoch that will not come
	if s.Instance() > 1 {
		// Somebody had lost what it takes to read: what no receipt covers may be part
		// of what he could not, and what own devices told each other likewise.
		if r.Again = !b.a.own(r); !r.Again {
			b.untell()
		}
	}
	for _, over := range r.replace(group, s.Instance()) {
		b.forget(over)
	}
}

// forget deletes all secrets of a session.
func (b *batch) forget(group []byte) {
	list, err := b.a.secrets.All(shelfOf(group))
	if err != nil {
		b.a.log.Error("read secrets that are to be deleted", "error", err)
		return
	}
	for _, c := range list {
		c.Value = nil
		b.keys = append(b.keys, c)
	}
	delete(b.used, string(group))
	b.a.sessions.forget(string(group))
}

// fits reports whether the outbox takes n more items for a destination.
func (b *batch) fits(d destination, n int) (bool, error) {
	name := d.String()
	if _, ok := b.free[name]; !ok {
		var free int
		err := b.a.store.View(func(tx *store.Tx) (err error) {
			free, err = tx.Free(name)
			return err
		})
		if err != nil {
			return false, err
		}
		b.free[name] = free + b.queued
	}
	return b.free[name]-b.queued >= n, nil
}

// queue adds envelopes to the outbox. What does not fit is left out as a whole:
// what came must be taken however much waits. Events are not sealed then (see
// ready); of a commit or Welcome that nobody gets another session makes up.
func (b *batch) queue(to message.Party, address [32]byte, about message.ID, list []e2ee.Envelope) ([]stream.MessageID, error) {
	ok, err := b.fits(destination{to, address}, len(list))
	if err != nil {
		return nil, err
	}
	if !ok {
		b.a.log.Warn("too much waits for a destination; what would keep the session in step is left out", "account", to.Account)
		return nil, nil
	}
	b.queued += len(list)
	var ids []stream.MessageID
	for _, e := range list {
		it := store.Item{
			ID: e.ID, Destination: destination{to, address}.String(), Body: e.Body, About: about, Added: b.now,
		}
		ids = append(ids, it.ID)
		b.do(func(tx *store.Tx) error {
			err := tx.Enqueue(it)
			if wire.CodeOf(err) == wire.Exists {
				return nil
			}
			return err
		})
	}
	if len(list) > 0 {
		b.say(func() { wake(b.a.send) })
	}
	return ids, nil
}

// unqueue takes items out of the outbox.
func (b *batch) unqueue(ids []stream.MessageID) {
	for _, id := range slices.Clone(ids) {
		b.do(func(tx *store.Tx) error { return tx.Drop(id) })
	}
}

// shelfOf names the shelf of a session's secrets.
func shelfOf(group []byte) []byte { return append([]byte("g"), group...) }

// changes returns what a session's secrets have become.
func changes(group []byte, s *e2ee.Session) []ratchet.Change {
	d := s.TakeDelta()
	var out []ratchet.Change
	for _, r := range d.Put {
		out = append(out, ratchet.Change{Shelf: shelfOf(group), Key: []byte(r.Key), Value: nonNil(r.Value)})
	}
	for _, k := range d.Delete {
		out = append(out, ratchet.Change{Shelf: shelfOf(group), Key: []byte(k)})
	}
	return out
}

// nonNil returns b, empty rather than nil, which would delete.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return bytes.Clone(b)
}
