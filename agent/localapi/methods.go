package localapi

import (
	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/talk/message"
)

// A call is a method by the path that it has below /v1/, NOUN/VERB, with the
// shapes of its request and result. Client and Server are both made of these
// constants, so that they cannot differ.
type call[Q, R any] string

// A long call takes some seconds or more. Its answer is lines of JSON: any number
// of {"progress":"…"}, then {"result":…} or {"error":{"code":…,"text":…}}.
type long[Q, R any] string

// A download answers with bytes instead of JSON.
type download[Q any] string

// All methods.
const (
	agentStatus call[None, chat.Self] = "agent/status"
	agentStop   call[None, None]      = "agent/stop"
	agentWake   call[None, None]      = "agent/wake"

	contactAdd     long[AddContact, chat.Contact]    = "contact/add"
	contactAccept  call[Who, chat.Contact]           = "contact/accept"
	contactBlock   call[Who, chat.Contact]           = "contact/block"
	contactUnblock call[Who, chat.Contact]           = "contact/unblock"
	contactRemove  call[Who, None]                   = "contact/remove"
	contactName    call[NameContact, chat.Contact]   = "contact/name"
	contactList    call[None, Contacts]              = "contact/list"
	contactSafety  call[Who, chat.Safety]            = "contact/safety"
	contactVerify  call[VerifyContact, chat.Contact] = "contact/verify"
	contactRepin   call[Who, chat.Contact]           = "contact/repin"
	contactCard    call[None, Card]                  = "contact/card"
	contactAvatar  download[Who]                     = "contact/avatar"

	chatSend   call[Send, chat.Message]  = "chat/send"
	chatAll    call[SendAll, SentAll]    = "chat/broadcast"
	chatReact  call[React, None]         = "chat/react"
	chatEdit   call[Edit, None]          = "chat/edit"
	chatDelete call[One, None]           = "chat/delete"
	chatShow   call[One, chat.Message]   = "chat/show"
	chatRead   call[ReadPage, chat.Page] = "chat/read"
	chatMark   call[Mark, None]          = "chat/mark"
	chatSearch call[Search, Messages]    = "chat/search"
	chatTyping call[Typing, None]        = "chat/typing"
	chatFetch  long[Fetch, Fetched]      = "chat/fetch"
	chatExport download[None]            = "chat/export"

	deviceList     call[None, Devices]         = "device/list"
	deviceLink     call[None, chat.Invitation] = "device/link"
	deviceRequests call[None, Requests]        = "device/requests"
	deviceAccept   long[Device, None]          = "device/accept"
	deviceRemove   long[Device, None]          = "device/remove"

	conciergeStatus call[None, Offices] = "concierge/status"
	conciergeSwitch long[Switch, None]  = "concierge/switch"
)

// events is the path of the stream of what happens, which is no call.
const events = "events"

// None is a request or result without content: {}.
type None struct{}

// Who names a contact: @handle, an account's id in hexadecimal, or the person's
// own name for it.
type Who struct {
	Who string `json:"who"`
}

// AddContact asks somebody to become a contact: the owner of a handle, or of a
// card. Met says that the card was taken from their own hands. The greeting, of at
// most message.MaxAbout bytes, is what they see of it before they accept.
type AddContact struct {
	Handle   string `json:"handle,omitempty"`
	Card     string `json:"card,omitempty"`
	Met      bool   `json:"met,omitempty"`
	Greeting string `json:"greeting,omitempty"`
}

// Card is what to hand to somebody who wants to write to this person; package
// card reads it. Code is the same for a QR code.
type Card struct {
	Card string `json:"card"`
	Code string `json:"code"`
}

// NameContact gives a contact a name of this person's own; an empty one takes it
// away.
type NameContact struct {
	Who  string `json:"who"`
	Name string `json:"name"`
}

// VerifyContact notes that the safety number was compared, or that it was not.
type VerifyContact struct {
	Who      string `json:"who"`
	Verified bool   `json:"verified"`
}

// Contacts are all contacts and requests.
type Contacts struct {
	Contacts []chat.Contact `json:"contacts"`
}

// Send is a message to be sent. File is a path on this machine, and taken from
// the socket only.
type Send struct {
	Who     string     `json:"who"`
	Text    string     `json:"text,omitempty"`
	ReplyTo message.ID `json:"reply_to,omitzero"`
	File    string     `json:"file,omitempty"`
}

// SendAll is a text for each contact.
type SendAll struct {
	Text string `json:"text"`
}

// SentAll is what was sent of it, and to whom it could not be sent.
type SentAll struct {
	Messages []chat.Message `json:"messages"`
	Failed   []chat.Unsent  `json:"failed"`
}

// One names a message.
type One struct {
	ID message.ID `json:"id"`
}

// React puts a sign on a message or takes it away.
type React struct {
	ID    message.ID `json:"id"`
	Emoji string     `json:"emoji"`
	On    bool       `json:"on"`
}

// Edit gives an own message another text.
type Edit struct {
	ID   message.ID `json:"id"`
	Text string     `json:"text"`
}

// ReadPage asks for a page of messages, the newest before a position; none is
// the end of the conversation. A limit of 0 is 50.
type ReadPage struct {
	Who    string        `json:"who"`
	Before chat.Position `json:"before,omitempty"`
	Limit  int           `json:"limit,omitempty"`
}

// Mark notes that a person has read up to a position.
type Mark struct {
	Who  string        `json:"who"`
	UpTo chat.Position `json:"up_to"`
}

// Search looks for words, in one conversation or, without Who, in all. A limit
// of 0 is 50.
type Search struct {
	Query string `json:"query"`
	Who   string `json:"who,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// Messages are some messages.
type Messages struct {
	Messages []chat.Message `json:"messages"`
}

// Typing tells a contact that this person is writing, for so many seconds.
type Typing struct {
	Who     string `json:"who"`
	Seconds int    `json:"seconds"`
}

// Fetch gets the file that a message brings. To is a path on this machine, and
// taken from the socket only.
type Fetch struct {
	ID message.ID `json:"id"`
	To string     `json:"to,omitempty"`
}

// Fetched says where a file is now.
type Fetched struct {
	Path string `json:"path"`
}

// Devices are the devices of this account.
type Devices struct {
	Devices []chat.Device `json:"devices"`
}

// Requests are the devices that ask to be linked.
type Requests struct {
	Requests []chat.LinkRequest `json:"requests"`
}

// Device names a device by its key.
type Device struct {
	Device key.Public `json:"device"`
}

// Switch names the concierge to move to.
type Switch struct {
	Handle string `json:"handle"`
}

// Offices are the concierges in use, the present one first.
type Offices struct {
	Concierges []chat.Office `json:"concierges"`
}

// namesFiles is implemented by requests that can name files of this machine.
type namesFiles interface{ file() string }

func (q Send) file() string  { return q.File }
func (q Fetch) file() string { return q.To }
