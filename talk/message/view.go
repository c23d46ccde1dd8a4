package message

import (
	"cmp"
	"slices"

	"github.com/confab-chat/confab/namesvc"
)

// Shown is an event as it is to be shown, after everything that was said about
// it.
type Shown struct {
	ID        ID
	Event     Event  // as it was sent; without a body if it was deleted
	Text      string // the words that count now; see Display
	Edited    bool
	Deleted   bool // its author asked to forget it; copies may remain elsewhere
	Disputed  bool // its author's device sent another event with the same number
	Unknown   bool // a kind that this program does not understand; Text is what its maker wants shown
	Reactions []Reacted
}

// Reacted is one sign at an event and the accounts it is from, rising.
type Reacted struct {
	Emoji    string
	Accounts []namesvc.AccountID
}

// View returns how an event is to be shown, given all known events about it. Their
// order does not matter, nor do repetitions; those that may not change it, by
// somebody else or about something else, do not.
func View(e Event, about []Event) Shown {
	s := Shown{ID: e.ID(), Event: e, Text: Words(e.Body), Unknown: e.Kind() >= FirstLater}
	var edit *Event
	signs := make(map[sign]Event)
	for i, a := range about {
		if to, ok := About(a.Body); !ok || to != e.ID() || a.Conversation != e.Conversation {
			continue
		}
		own := a.Author.Account == e.Author.Account
		switch b := a.Body.(type) {
		case Edit:
			if own && Editable(e.Kind()) && (edit == nil || a.Compare(*edit) > 0) {
				edit = &about[i]
			}
		case Delete:
			s.Deleted = s.Deleted || own && Deletable(e.Kind())
		case Reaction:
			k := sign{a.Author.Account, b.Emoji}
			if old, ok := signs[k]; !ok || a.Compare(old) > 0 {
				signs[k] = a
			}
		}
	}
	if s.Deleted {
		s.Event.Body, s.Event.raw = nil, nil
		s.Text, s.Unknown = "", false
		return s
	}
	if edit != nil {
		s.Text, s.Edited = Words(edit.Body), true
	}
	s.Reactions = reactions(signs)
	return s
}

// Editable reports whether events of this kind have words that an edit replaces.
func Editable(k Kind) bool { return k == KindText || k == KindReply || k == KindFile }

// Deletable reports whether events of this kind may be asked to be forgotten: all
// that stand in a conversation but notices about where mail is, which others
// already act on.
func Deletable(k Kind) bool { return k.Shown() && k != KindMoved }

// sign is one person's sign at an event.
type sign struct {
	account namesvc.AccountID
	emoji   string
}

// reactions returns the signs that stand: of each person the first MaxReactions
// in the conversation's order, so that all readers leave out the same.
func reactions(signs map[sign]Event) []Reacted {
	var standing []Event
	for _, e := range signs {
		if e.Body.(Reaction).On {
			standing = append(standing, e)
		}
	}
	slices.SortFunc(standing, Event.Compare)
	count := make(map[namesvc.AccountID]int)
	by := make(map[string][]namesvc.AccountID)
	for _, e := range standing {
		a := e.Author.Account
		if count[a]++; count[a] <= MaxReactions {
			emoji := e.Body.(Reaction).Emoji
			by[emoji] = append(by[emoji], a)
		}
	}
	var out []Reacted
	for emoji, accounts := range by {
		slices.SortFunc(accounts, compareAccounts)
		out = append(out, Reacted{Emoji: emoji, Accounts: accounts})
	}
	slices.SortFunc(out, func(a, b Reacted) int { return cmp.Compare(a.Emoji, b.Emoji) })
	return out
}

func compareAccounts(a, b namesvc.AccountID) int { return slices.Compare(a[:], b[:]) }
