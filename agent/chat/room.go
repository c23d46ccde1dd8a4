package chat

import (
	"bytes"
	"slices"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// room is what is kept of a direct conversation besides its events: how mail
// comes and goes, and which session is in use. The account's conversation with
// itself, by which its devices keep each other up to date, is a room too.
//
// It holds no secret that must be forgotten; those are agent/ratchet's.
type room struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1
	With    message.Party
	Changed uint64 // when this person last decided something about it, ms since 1970
	Mine    bool   // it was decided on this device, which therefore makes the first session
	Untold  bool   // the own other devices have not been told of it

	// The own queue, into which others write. Seed is empty for a device that
	// knows the queue and did not make it.
	Seed    []byte
	Address concierge.Address
	Key     [32]byte
	Made    bool   // it exists at the present concierge
	Reach   []byte // the other's queue, empty until known

	// Sessions.
	Group    []byte // in use, empty if none
	Instance uint64
	Least    uint64   // the highest instance that this device has heard of and is not in
	Former   [][]byte // earlier ones, the newest first; for reading only
	Renewed  uint64   // when this device last renewed its keys, ms
	Spoke    uint64   // when this device last sent something, ms
	Broken   uint64   // since when the session cannot go on, ms; 0: it can
	Commit   *pending // the own commit that waits for its slot
	Taken    uint64   // since when this epoch's slot is known to be another's whose commit has not come, ms
	Again    bool     // what no receipt covers is to be sent again
	Robbed   bool     // its queue lost mail: the contact is to be told

	// What waits.
	Unsealed           []message.ID // own events that no session has sealed yet
	Partial            []partial
	Behind             bool   // some of them are of the session in use
	EarlyFrom, EarlyTo uint64 // numbers of the kept early messages: [from, to)

	// First contact.
	Request  []byte // the event of the knock, theirs or ours
	Asked    uint64 // when our knock was last left, ms
	Answered bool   // our acceptance is on its way
	Anew     bool   // sessions of before are lost: the contact has to be told by a knock
}

// pending is an own commit whose slot is not decided.
type pending struct {
	_     struct{} `cbor:",toarray"`
	Epoch uint64
	Hash  [32]byte           // of the commit's message
	IDs   []stream.MessageID // of its envelopes; the last is in the slot
	Since uint64
}

// partial is a message of which some pieces came.
type partial struct {
	_     struct{} `cbor:",toarray"`
	Whole [32]byte
	Of    uint8
	Have  uint64 // bits
	Since uint64
}

func (r *room) encode() []byte { return wire.Encode(r) }

func decodeRoom(b []byte) (*room, error) {
	r := new(room)
	if err := wire.Recall(b, r); err != nil {
		return nil, wire.Errorf(wire.Invalid, "database: a conversation's state is damaged: %w", err)
	}
	return r, nil
}

func (r *room) clone() *room {
	c, err := decodeRoom(r.encode())
	if err != nil {
		panic(err) // it was just encoded
	}
	return c
}

// id returns the conversation's id.
func (a *Agent) id(r *room) message.ConversationID { return message.Direct(a.party(), r.With) }

// own reports whether it is the account's conversation with itself.
func (a *Agent) own(r *room) bool { return r.With.Account == a.o.Account }

// orders returns the party in whose queue commits are ordered: that of the lower
// account.
func (a *Agent) orders(r *room) message.Party {
	if self := a.party(); bytes.Compare(self.Account[:], r.With.Account[:]) <= 0 {
		return self
	}
	return r.With
}

// reach returns where to write to a party of the room.
func (a *Agent) reach(r *room, p message.Party) (e2ee.Reach, bool) {
	if p.Account == a.o.Account {
		return e2ee.Reach{Address: r.Address, Key: r.Key}, r.Address != concierge.Address{}
	}
	to, err := e2ee.DecodeReach(r.Reach)
	return to, err == nil
}

// parties returns who takes part.
func (a *Agent) parties(r *room) []message.Party {
	if a.own(r) {
		return []message.Party{a.party()}
	}
	return []message.Party{a.party(), r.With}
}

// groups returns the ids of all sessions that may be read.
func (r *room) groups() [][]byte {
	if len(r.Group) == 0 {
		return r.Former
	}
	return append([][]byte{r.Group}, r.Former...)
}

// replace makes another session the one in use and returns those that are over.
func (r *room) replace(group []byte, instance uint64) (over [][]byte) {
	if len(r.Group) > 0 {
		r.Former = slices.Insert(r.Former, 0, r.Group)
	}
	r.Group, r.Instance, r.Broken, r.Commit, r.Taken = bytes.Clone(group), instance, 0, nil, 0
	if len(r.Former) > maxFormer {
		over = slices.Clone(r.Former[maxFormer:])
		r.Former = r.Former[:maxFormer]
	}
	return over
}

func roomNote(id message.ConversationID) string { return "room/" + id.String() }

// load returns a room as it is stored.
func (a *Agent) load(tx *store.Tx, id message.ConversationID) (*room, error) {
	b, err := tx.Get(roomNote(id))
	if err != nil {
		return nil, err
	}
	return decodeRoom(b)
}
