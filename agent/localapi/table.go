package localapi

import (
	"context"
	"io"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc/wire"
)

// defaultPage is how many messages a page has when nobody says: a screen or two.
const defaultPage = 50

func page(limit int) int {
	if limit == 0 {
		return defaultPage
	}
	return limit
}

// table returns all methods as an agent does them; stop ends the agent.
func table(a *chat.Agent, stop func()) []row {
	return []row{
		calls(agentStatus, func(ctx context.Context, _ None) (chat.Self, error) { return a.Self(ctx) }),
		calls(agentStop, func(context.Context, None) (None, error) { stop(); return None{}, nil }),
		calls(agentWake, func(context.Context, None) (None, error) { a.Wake(); return None{}, nil }),

		lasts(contactAdd, func(ctx context.Context, q AddContact, say func(string)) (chat.Contact, error) {
			if (q.Card == "") == (q.Handle == "") {
				return chat.Contact{}, wire.Errorf(wire.Invalid, "add contact: either a handle or a card")
			}
			if q.Card != "" {
				return a.AddCard(ctx, q.Card, q.Met, q.Greeting, say)
			}
			return a.AddContact(ctx, q.Handle, q.Greeting, say)
		}),
		calls(contactAccept, func(ctx context.Context, q Who) (chat.Contact, error) { return a.AcceptContact(ctx, q.Who) }),
		calls(contactBlock, func(ctx context.Context, q Who) (chat.Contact, error) { return a.BlockContact(ctx, q.Who) }),
		calls(contactUnblock, func(ctx context.Context, q Who) (chat.Contact, error) { return a.UnblockContact(ctx, q.Who) }),
		calls(contactRemove, func(ctx context.Context, q Who) (None, error) { return None{}, a.RemoveContact(ctx, q.Who) }),
		calls(contactName, func(ctx context.Context, q NameContact) (chat.Contact, error) {
			return a.NameContact(ctx, q.Who, q.Name)
		}),
		calls(contactList, func(ctx context.Context, _ None) (Contacts, error) {
			list, err := a.Contacts(ctx)
			return Contacts{some(list)}, err
		}),
		calls(contactSafety, func(ctx context.Context, q Who) (chat.Safety, error) { return a.Safety(ctx, q.Who) }),
		calls(contactVerify, func(ctx context.Context, q VerifyContact) (chat.Contact, error) {
			return a.MarkVerified(ctx, q.Who, q.Verified)
		}),
		calls(contactRepin, func(ctx context.Context, q Who) (chat.Contact, error) { return a.Repin(ctx, q.Who) }),
		calls(contactCard, func(ctx context.Context, _ None) (Card, error) {
			c, err := a.Card(ctx)
			if err != nil {
				return Card{}, err
			}
			return Card{c.String(), c.Code()}, nil
		}),
		pours(contactAvatar, func(ctx context.Context, q Who, w io.Writer) error { return a.Avatar(ctx, q.Who, w) }),

		calls(chatSend, func(ctx context.Context, q Send) (chat.Message, error) {
			return a.Send(ctx, q.Who, chat.Draft{Text: q.Text, ReplyTo: q.ReplyTo, File: q.File})
		}),
		calls(chatAll, func(ctx context.Context, q SendAll) (SentAll, error) {
			sent, failed, err := a.SendAll(ctx, q.Text)
			return SentAll{some(sent), some(failed)}, err
		}),
		calls(chatReact, func(ctx context.Context, q React) (None, error) { return None{}, a.React(ctx, q.ID, q.Emoji, q.On) }),
		calls(chatEdit, func(ctx context.Context, q Edit) (None, error) { return None{}, a.Edit(ctx, q.ID, q.Text) }),
		calls(chatDelete, func(ctx context.Context, q One) (None, error) { return None{}, a.Delete(ctx, q.ID) }),
		calls(chatShow, func(ctx context.Context, q One) (chat.Message, error) { return a.Message(ctx, q.ID) }),
		calls(chatRead, func(ctx context.Context, q ReadPage) (chat.Page, error) {
			p, err := a.Messages(ctx, q.Who, q.Before, page(q.Limit))
			p.Messages = some(p.Messages)
			return p, err
		}),
		calls(chatMark, func(ctx context.Context, q Mark) (None, error) { return None{}, a.MarkRead(ctx, q.Who, q.UpTo) }),
		calls(chatSearch, func(ctx context.Context, q Search) (Messages, error) {
			list, err := a.Search(ctx, q.Query, q.Who, page(q.Limit))
			return Messages{some(list)}, err
		}),
		calls(chatTyping, func(ctx context.Context, q Typing) (None, error) { return None{}, a.Typing(ctx, q.Who, q.Seconds) }),
		lasts(chatFetch, func(ctx context.Context, q Fetch, _ func(string)) (Fetched, error) {
			path, err := a.FetchFile(ctx, q.ID, q.To)
			return Fetched{path}, err
		}),
		pours(chatExport, func(ctx context.Context, _ None, w io.Writer) error { return a.Export(ctx, w) }),

		calls(deviceList, func(ctx context.Context, _ None) (Devices, error) {
			list, err := a.Devices(ctx)
			return Devices{some(list)}, err
		}),
		calls(deviceLink, func(ctx context.Context, _ None) (chat.Invitation, error) { return a.Link(ctx) }),
		calls(deviceRequests, func(ctx context.Context, _ None) (Requests, error) {
			list, err := a.LinkRequests(ctx)
			return Requests{some(list)}, err
		}),
		lasts(deviceAccept, func(ctx context.Context, q Device, say func(string)) (None, error) {
			return None{}, a.LinkAccept(ctx, q.Device, nil, say)
		}),
		lasts(deviceRemove, func(ctx context.Context, q Device, say func(string)) (None, error) {
			return None{}, a.RemoveDevice(ctx, q.Device, nil, say)
		}),

		calls(conciergeStatus, func(ctx context.Context, _ None) (Offices, error) {
			list, err := a.Concierges(ctx)
			return Offices{some(list)}, err
		}),
		lasts(conciergeSwitch, func(ctx context.Context, q Switch, say func(string)) (None, error) {
			return None{}, a.Switch(ctx, q.Handle, say)
		}),
	}
}

// some returns a list that is [] in JSON when it is empty, and never null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
