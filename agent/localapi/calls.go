package localapi

import (
	"context"
	"io"
	"net/http"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/talk/message"
)

// The calls as methods of Client. What they do is said at chat.Agent's methods;
// contacts are named as in [Who].

// Status returns who the agent acts for and how it is connected.
func (c *Client) Status(ctx context.Context) (chat.Self, error) {
	return do(ctx, c, agentStatus, None{})
}

// Stop ends the agent, soon after it returns.
func (c *Client) Stop(ctx context.Context) error { return only(do(ctx, c, agentStop, None{})) }

// Wake makes all that waits be tried again now.
func (c *Client) Wake(ctx context.Context) error { return only(do(ctx, c, agentWake, None{})) }

// AddContact asks somebody to become a contact; it takes some seconds of work.
func (c *Client) AddContact(ctx context.Context, q AddContact, progress func(string)) (chat.Contact, error) {
	return doLong(ctx, c, contactAdd, q, progress)
}

// Card returns what to hand to somebody who wants to write to this person.
func (c *Client) Card(ctx context.Context) (Card, error) { return do(ctx, c, contactCard, None{}) }

// SendAll sends a text to each contact.
func (c *Client) SendAll(ctx context.Context, text string) (SentAll, error) {
	return do(ctx, c, chatAll, SendAll{text})
}

// AcceptContact accepts a request.
func (c *Client) AcceptContact(ctx context.Context, who string) (chat.Contact, error) {
	return do(ctx, c, contactAccept, Who{who})
}

// BlockContact takes nothing more from somebody.
func (c *Client) BlockContact(ctx context.Context, who string) (chat.Contact, error) {
	return do(ctx, c, contactBlock, Who{who})
}

// UnblockContact is the opposite of BlockContact.
func (c *Client) UnblockContact(ctx context.Context, who string) (chat.Contact, error) {
	return do(ctx, c, contactUnblock, Who{who})
}

// RemoveContact forgets a contact.
func (c *Client) RemoveContact(ctx context.Context, who string) error {
	return only(do(ctx, c, contactRemove, Who{who}))
}

// NameContact gives a contact a name of this person's own.
func (c *Client) NameContact(ctx context.Context, who, name string) (chat.Contact, error) {
	return do(ctx, c, contactName, NameContact{who, name})
}

// Contacts returns all contacts and requests.
func (c *Client) Contacts(ctx context.Context) ([]chat.Contact, error) {
	r, err := do(ctx, c, contactList, None{})
	return r.Contacts, err
}

// Safety returns the number that two people compare.
func (c *Client) Safety(ctx context.Context, who string) (chat.Safety, error) {
	return do(ctx, c, contactSafety, Who{who})
}

// VerifyContact notes whether the safety number was compared.
func (c *Client) VerifyContact(ctx context.Context, who string, verified bool) (chat.Contact, error) {
	return do(ctx, c, contactVerify, VerifyContact{who, verified})
}

// Repin accepts that somebody else may be behind the account now.
func (c *Client) Repin(ctx context.Context, who string) (chat.Contact, error) {
	return do(ctx, c, contactRepin, Who{who})
}

// Send sends a message. It is on disk when Send returns, and sent as soon as may
// be.
func (c *Client) Send(ctx context.Context, q Send) (chat.Message, error) {
	return do(ctx, c, chatSend, q)
}

// React puts a sign on a message or takes it away.
func (c *Client) React(ctx context.Context, id message.ID, emoji string, on bool) error {
	return only(do(ctx, c, chatReact, React{id, emoji, on}))
}

// Edit gives an own message another text.
func (c *Client) Edit(ctx context.Context, id message.ID, text string) error {
	return only(do(ctx, c, chatEdit, Edit{id, text}))
}

// Delete asks all devices to delete an own message.
func (c *Client) Delete(ctx context.Context, id message.ID) error {
	return only(do(ctx, c, chatDelete, One{id}))
}

// Message returns one message as it is now.
func (c *Client) Message(ctx context.Context, id message.ID) (chat.Message, error) {
	return do(ctx, c, chatShow, One{id})
}

// Messages returns a page of a conversation.
func (c *Client) Messages(ctx context.Context, q ReadPage) (chat.Page, error) {
	return do(ctx, c, chatRead, q)
}

// MarkRead notes that a person has read up to a position.
func (c *Client) MarkRead(ctx context.Context, who string, upTo chat.Position) error {
	return only(do(ctx, c, chatMark, Mark{who, upTo}))
}

// Search looks for words.
func (c *Client) Search(ctx context.Context, q Search) ([]chat.Message, error) {
	r, err := do(ctx, c, chatSearch, q)
	return r.Messages, err
}

// Typing tells a contact that this person is writing.
func (c *Client) Typing(ctx context.Context, who string, seconds int) error {
	return only(do(ctx, c, chatTyping, Typing{who, seconds}))
}

// FetchFile gets the file of a message and returns where it is.
func (c *Client) FetchFile(ctx context.Context, id message.ID, to string) (string, error) {
	r, err := doLong(ctx, c, chatFetch, Fetch{id, to}, nil)
	return r.Path, err
}

// Export writes everything that this device keeps of conversations.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	return pourInto(ctx, c, chatExport, None{}, w)
}

// Avatar writes a contact's picture, as it was published.
func (c *Client) Avatar(ctx context.Context, who string, w io.Writer) error {
	return pourInto(ctx, c, contactAvatar, Who{who}, w)
}

// pourInto copies what a download answers with.
func pourInto[Q any](ctx context.Context, c *Client, m download[Q], q Q, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodPost, string(m), encode(q))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return gone(ctx, err)
	}
	return nil
}

// Devices returns the devices of this account.
func (c *Client) Devices(ctx context.Context) ([]chat.Device, error) {
	r, err := do(ctx, c, deviceList, None{})
	return r.Devices, err
}

// Link makes an invitation for a new device; requests come as notices.
func (c *Client) Link(ctx context.Context) (chat.Invitation, error) {
	return do(ctx, c, deviceLink, None{})
}

// LinkRequests returns the devices that ask to be linked.
func (c *Client) LinkRequests(ctx context.Context) ([]chat.LinkRequest, error) {
	r, err := do(ctx, c, deviceRequests, None{})
	return r.Requests, err
}

// LinkAccept makes a device that asks one of the account's, with the root key
// that the agent has.
func (c *Client) LinkAccept(ctx context.Context, device key.Public, progress func(string)) error {
	return only(doLong(ctx, c, deviceAccept, Device{device}, progress))
}

// RemoveDevice takes a device off the account's list, with the root key that the
// agent has.
func (c *Client) RemoveDevice(ctx context.Context, device key.Public, progress func(string)) error {
	return only(doLong(ctx, c, deviceRemove, Device{device}, progress))
}

// Concierges returns the concierges in use, the present one first.
func (c *Client) Concierges(ctx context.Context) ([]chat.Office, error) {
	r, err := do(ctx, c, conciergeStatus, None{})
	return r.Concierges, err
}

// SwitchConcierge moves to another concierge.
func (c *Client) SwitchConcierge(ctx context.Context, handle string, progress func(string)) error {
	return only(doLong(ctx, c, conciergeSwitch, Switch{handle}, progress))
}

// only drops an empty result.
func only(_ None, err error) error { return err }
