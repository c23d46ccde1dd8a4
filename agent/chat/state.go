package chat

import (
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
	}
	raw, err := tx.Get(officesNote)
	if wire.CodeOf(err) == wire.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	var list []keptOffice
	if err := wire.Recall(raw, &list); err != nil {
		return wire.Errorf(wire.Invalid, "database: the list of concierges is damaged: %w", err)
	}
	for i, k := range list {
		if r := k.reading(); i == 0 && k.Until == 0 {
			a.offices.now = r
		} else {
			a.offices.former = append(a.offices.former, r)
		}
	}
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
