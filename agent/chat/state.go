package chat

import (
	"fmt"
	"slices"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// recall reads rooms and concierges as they were kept.
func (a *Agent) recall(tx *store.Tx) error {
	rooms, err := a.allRooms(tx)
	if err != nil {
		return err
	}
	for id, r := range rooms {
		a.keep(id, r)
		a.hurry[id] = true
		if a.heads[id], err = a.head(tx, id); err != nil {
			return err
		}
	}
	list, err := keptOffices(tx)
	if err != nil {
		return err
	}
	a.recallOffices(list)
	return nil
}

func keptOffices(tx *store.Tx) (list []keptOffice, err error) {
	raw, err := tx.Get(officesNote)
	if wire.CodeOf(err) == wire.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := wire.Recall(raw, &list); err != nil {
		return nil, wire.Errorf(wire.Invalid, "database: the list of concierges is damaged: %w", err)
	}
	return list, nil
}

// recallOffices makes the concierges in use those of a list. Those that are read
// already are read on.
func (a *Agent) recallOffices(list []keptOffice) {
	var before []*reading
	if a.offices.now != nil {
		before = append(before, a.offices.now)
	}
	before = append(before, a.offices.former...)
	a.offices = offices{}
	for i, k := range list {
		r := k.reading()
		if at := slices.IndexFunc(before, func(had *reading) bool { return had.office.Service == r.office.Service }); at >= 0 {
			before[at].until, before[at].told = r.until, r.told
			r = before[at]
			before = slices.Delete(before, at, at+1)
		}
		if i == 0 && k.Until == 0 {
			a.offices.now = r
		} else {
			a.offices.former = append(a.offices.former, r)
		}
	}
	for _, over := range before {
		if over.cancel != nil {
			over.cancel()
		}
	}
}

// reread has memory be as the disk is, after a write of which is not known
// whether it is done; a.mu is held.
func (a *Agent) reread() error {
	if err := a.openSecrets(); err != nil {
		return fmt.Errorf("read conversations again after a write that failed: %w", err)
	}
	a.sessions = newSessions(a)
	var rooms map[message.ConversationID]*room
	var list []keptOffice
	err := a.store.View(func(tx *store.Tx) (err error) {
		if rooms, err = a.allRooms(tx); err == nil {
			list, err = keptOffices(tx)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read conversations again after a write that failed: %w", err)
	}
	for id, r := range a.rooms {
		if _, ok := rooms[id]; !ok {
			a.closeRoom(id, r.Address)
		}
	}
	for id, r := range rooms {
		a.keep(id, r)
		a.hurry[id] = true
		a.feed.tell(Notice{Type: "changed", Contact: r.With.Account})
	}
	a.recallOffices(list)
	a.unsure = false
	a.changed++
	wake(a.tend)
	wake(a.send)
	return nil
}

// allRooms reads all rooms.
func (a *Agent) allRooms(tx *store.Tx) (map[message.ConversationID]*room, error) {
	list, err := tx.Conversations()
	if err != nil {
		return nil, err
	}
	out := make(map[message.ConversationID]*room, len(list))
	for _, c := range list {
		r, err := a.load(tx, c.ID)
		if wire.CodeOf(err) == wire.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[c.ID] = r
	}
	return out, nil
}
