package chat

import (
	"encoding/hex"
	"time"

	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// What an Agent shows. All of it crosses the local API as JSON.

// Self is who this agent acts for.
type Self struct {
	Account    namesvc.AccountID `json:"account"`
	Generation uint32            `json:"generation"`
	Handle     string            `json:"handle,omitempty"`
	Device     key.Public        `json:"device"`
	Chain      string            `json:"chain"`
	Concierge  Office            `json:"concierge"`
	Hops       string            `json:"hops"`    // how contacts' concierges are reached: direct or two, through the own one
	Waiting    int               `json:"waiting"` // messages that are not at their concierge yet
	Backup     Backup            `json:"backup"`
}

// The names of the ways to contacts' concierges.
const (
	DirectHops = "direct"
	TwoHops    = "two"
)

// HopsName returns the name of a way.
func HopsName(h post.Hops) string {
	if h == post.Two {
		return TwoHops
	}
	return DirectHops
}

// ParseHops returns the way of a name.
func ParseHops(name string) (post.Hops, error) {
	switch name {
	case DirectHops:
		return post.Direct, nil
	case TwoHops:
		return post.Two, nil
	}
	return 0, wire.Errorf(wire.Invalid, "hops are %.40q: they must be direct or two", name)
}

// Office is a concierge as this agent uses it.
type Office struct {
	Account   namesvc.AccountID `json:"account"`
	Handle    string            `json:"handle,omitempty"`
	URL       string            `json:"url,omitempty"`
	Connected bool              `json:"connected"`
	Since     time.Time         `json:"since,omitzero"`    // of the state
	Trouble   string            `json:"trouble,omitempty"` // why it is not connected
	// Former says that mail is still fetched from it after a switch; Until is
	// when that ends.
	Former bool      `json:"former,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// Contact is another person.
type Contact struct {
	Account    namesvc.AccountID `json:"account"`
	Generation uint32            `json:"generation"`
	Handle     string            `json:"handle,omitempty"` // as it was last resolved
	Name       string            `json:"name,omitempty"`   // what this person calls them
	Shown      string            `json:"shown,omitempty"`  // what they call themselves; proves nothing
	About      string            `json:"about,omitempty"`  // and say of themselves
	Avatar     bool              `json:"avatar,omitempty"` // there is a picture of theirs: see Agent.Avatar
	State      string            `json:"state"`            // invited, requested, accepted, blocked
	Greeting   string            `json:"greeting,omitempty"`
	Added      time.Time         `json:"added"`
	Verified   time.Time         `json:"verified,omitzero"`
	// Warning says what is wrong and what to do: another owner of the account,
	// a device that lied.
	Warning string `json:"warning,omitempty"`
	Unread  int    `json:"unread"`
}

// Safety is what two people compare, in person or by voice.
type Safety struct {
	Contact Contact `json:"contact"`
	Number  string  `json:"number"` // 12 groups of 5 digits
}

// Delivery says how far an own message has come.
type Delivery string

// The stages of an own message.
const (
	Waiting   Delivery = "waiting"   // not at the other's concierge yet
	Sent      Delivery = "sent"      // at the other's concierge
	Delivered Delivery = "delivered" // on one of the other's devices
	Read      Delivery = "read"
	Refused   Delivery = "refused" // it will never be taken; Trouble says why
)

// Position is where a message stands in its conversation, in a form that travels.
// The empty one is behind the last message.
type Position string

func positionOf(p store.Position) Position { return Position(hex.EncodeToString([]byte(p))) }

func (p Position) stored() (store.Position, error) {
	b, err := hex.DecodeString(string(p))
	if err != nil || len(b) > 128 {
		return "", wire.Errorf(wire.Invalid, "position %.80q: it is none that a message was shown with", string(p))
	}
	return store.Position(b), nil
}

// Message is an event as it is to be shown.
type Message struct {
	ID           message.ID             `json:"id"`
	Conversation message.ConversationID `json:"conversation"`
	At           Position               `json:"at"` // to read on from
	Author       namesvc.AccountID      `json:"author"`
	Own          bool                   `json:"own,omitempty"`
	From         string                 `json:"from"` // a handle or name, for people
	Time         time.Time              `json:"time"` // by the author's clock
	Kind         string                 `json:"kind"`
	Text         string                 `json:"text,omitempty"`
	ReplyTo      message.ID             `json:"reply_to,omitzero"`
	Edited       bool                   `json:"edited,omitempty"`
	Deleted      bool                   `json:"deleted,omitempty"`
	Disputed     bool                   `json:"disputed,omitempty"`
	Unread       bool                   `json:"unread,omitempty"`
	Reactions    []Reaction             `json:"reactions,omitempty"`
	File         *File                  `json:"file,omitempty"`
	Delivery     Delivery               `json:"delivery,omitempty"` // own messages only
	Trouble      string                 `json:"trouble,omitempty"`
}

// Unsent is somebody to whom a message for all could not be sent, and why.
type Unsent struct {
	Contact namesvc.AccountID `json:"contact"`
	Handle  string            `json:"handle,omitempty"`
	Error   string            `json:"error"`
}

// Reaction is one sign of some people.
type Reaction struct {
	Emoji string              `json:"emoji"`
	By    []namesvc.AccountID `json:"by"`
}

// File is a file that a message brings.
type File struct {
	Name  string `json:"name"`
	Size  uint64 `json:"size"`
	Type  string `json:"type"`
	State string `json:"state"` // remote, here, gone
	Path  string `json:"path,omitempty"`
}

// Page is some messages of a conversation, in its order, and what is missing.
type Page struct {
	With     Contact   `json:"with"`
	Messages []Message `json:"messages"`
	Missing  int       `json:"missing"` // events that were sent and have not come
	Lost     int       `json:"lost"`    // events that were given up
}

// Device is one device of this account as the chain lists it.
type Device struct {
	Key     key.Public `json:"key"`
	Name    string     `json:"name,omitempty"`
	This    bool       `json:"this,omitempty"`
	Expires time.Time  `json:"expires,omitzero"`
	Scopes  string     `json:"scopes"`
}

// Notice is something that happened, as it is told to who follows.
type Notice struct {
	Seq     uint64            `json:"seq"`
	Type    string            `json:"type"` // message, changed, contact, delivery, typing, office, notice
	Contact namesvc.AccountID `json:"contact,omitzero"`
	Message *Message          `json:"message,omitempty"`
	Office  *Office           `json:"office,omitempty"`
	Text    string            `json:"text,omitempty"` // for people
}
