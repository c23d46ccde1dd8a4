package chat

import (
	"container/list"
	"encoding/hex"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/mls"
)

// sessions holds the sessions that were used last; the others are in the secrets.
type sessions struct {
	a     *Agent
	order *list.List // of groups, the last used first
	held  map[string]heldSession
}

type heldSession struct {
	*e2ee.Session
	place *list.Element
}

func newSessions(a *Agent) *sessions {
	return &sessions{a: a, order: list.New(), held: map[string]heldSession{}}
}

// options are those of a room's sessions.
func (a *Agent) options(r *room) e2ee.Options {
	return e2ee.Options{Self: a.member(), Signer: a.o.Keys.Device, Judge: a.roster.judge, Parties: a.parties(r)}
}

func (s *sessions) get(r *room, group []byte) (*e2ee.Session, error) {
	if h, ok := s.held[string(group)]; ok {
		s.order.MoveToFront(h.place)
		return h.Session, nil
	}
	all, err := s.a.secrets.All(shelfOf(group))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(all) == 0 {
		return nil, wire.Errorf(wire.NotFound, "the session %s has no secrets here", hex.EncodeToString(group[:min(4, len(group))]))
	}
	records := make([]mls.Record, 0, len(all))
	for _, c := range all {
		records = append(records, mls.Record{Key: string(c.Key), Value: c.Value})
	}
	session, err := e2ee.Load(s.a.options(r), records)
	if err != nil {
		return nil, err
	}
	s.put(group, session)
	return session, nil
}

// unreadable returns an error of secrets as one that may pass, unless they are
// gone or damaged: mail that needs them is kept for later.
func unreadable(err error) error {
	switch wire.CodeOf(err) {
	case wire.NotFound, wire.Invalid, wire.Unavailable:
		return err
	}
	return wire.Errorf(wire.Unavailable, "the secrets cannot be read now: %w", err)
}

func (s *sessions) put(group []byte, session *e2ee.Session) {
	s.forget(string(group))
	s.held[string(group)] = heldSession{session, s.order.PushFront(string(group))}
	for s.order.Len() > maxSessions {
		s.forget(s.order.Back().Value.(string))
	}
}

func (s *sessions) forget(group string) {
	if h, ok := s.held[group]; ok {
		s.order.Remove(h.place)
		delete(s.held, group)
	}
}

// forgetSessions makes all rooms begin anew: their secrets are lost.
func (a *Agent) forgetSessions() error {
	return a.store.Update(func(tx *store.Tx) error {
		rooms, err := a.allRooms(tx)
		if err != nil {
			return err
		}
		for id, r := range rooms {
			r.Group, r.Former, r.Commit, r.Broken = nil, nil, nil, 0
			if err := tx.Put(roomNote(id), r.encode()); err != nil {
				return err
			}
		}
		return tx.Put(offersNote, nil)
	})
}
