package e2ee

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

// extTerms is the group context extension that says what a group is for: of the
// private range (RFC 9420 §17.3), required of all members.
const extTerms mls.ExtensionType = 0xF647

// terms are what a group was made for, as they are encoded. They never change.
type terms struct {
	_            struct{} `cbor:",toarray"`
	Version      uint8
	Conversation message.ConversationID
	Instance     uint64
	Parties      []message.Party // one or two, the lower account first
}

// conversation returns the id of the conversation of these parties.
func conversation(parties []message.Party) message.ConversationID {
	return message.Direct(parties[0], parties[len(parties)-1])
}

// sorted checks the parties of a conversation and puts them in order.
func sorted(parties []message.Party) ([]message.Party, error) {
	if len(parties) != 1 && len(parties) != 2 {
		return nil, fmt.Errorf("a conversation of %d parties, want one or two", len(parties))
	}
	list := slices.SortedFunc(slices.Values(parties), func(a, b message.Party) int { return bytes.Compare(a.Account[:], b.Account[:]) })
	for i, p := range list {
		if (Member{Account: p.Account, Generation: p.Generation}).blank() {
			return nil, fmt.Errorf("a party without account or generation")
		}
		if i > 0 && p.Account == list[i-1].Account {
			return nil, fmt.Errorf("both parties are one account")
		}
	}
	return list, nil
}

func newTerms(parties []message.Party, instance uint64) (terms, error) {
	t := terms{Version: version, Conversation: conversation(parties), Instance: instance, Parties: parties}
	return t, t.check(parties)
}

// check compares what a group was made for with what it should be.
func (t terms) check(parties []message.Party) error {
	switch {
	case t.Version != version:
		return fmt.Errorf("terms of version %d are unknown", t.Version)
	case !slices.Equal(t.Parties, parties) || t.Conversation != conversation(parties):
		return fmt.Errorf("the group is of another conversation: %w", ErrOthers)
	case t.Instance == 0 || t.Instance > MaxInstance:
		return fmt.Errorf("instance %d is out of range", t.Instance)
	}
	return nil
}

// extensions are all that a group's context has: whoever may propose from
// outside, or anything else that changes the rules, would stand there too.
func (t terms) extensions() []mls.Extension {
	required := mls.RequiredCapabilities{Extensions: []mls.ExtensionType{extTerms}, Credentials: []mls.CredentialType{mls.CredentialBasic}}
	return []mls.Extension{required.Extension(), {Type: extTerms, Data: wire.Encode(t)}}
}

// termsOf reads a group's terms. The context must be exactly what these terms
// make of it.
func termsOf(context []mls.Extension) (terms, error) {
	var t terms
	data, ok := mls.FindExtension(context, extTerms)
	if !ok {
		return t, fmt.Errorf("the group has no terms: %w", ErrOthers)
	}
	if err := wire.Decode(data, &t, maxTerms); err != nil {
		return t, fmt.Errorf("terms: %w", err)
	}
	same := func(a, b mls.Extension) bool { return a.Type == b.Type && bytes.Equal(a.Data, b.Data) }
	if !slices.EqualFunc(context, t.extensions(), same) {
		return t, fmt.Errorf("the group's context says more than its terms")
	}
	return t, nil
}
