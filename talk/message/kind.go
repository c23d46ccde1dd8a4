package message

import "fmt"

// Kind says what an event is. The numbers are frozen.
type Kind uint16

// The kinds of version 1.
const (
	KindText           Kind = 1
	KindReply          Kind = 2
	KindReaction       Kind = 3
	KindEdit           Kind = 4
	KindDelete         Kind = 5
	KindReceipt        Kind = 6
	KindTyping         Kind = 7
	KindFile           Kind = 8
	KindProfile        Kind = 9
	KindContactRequest Kind = 10
	KindContactAnswer  Kind = 11
	KindMoved          Kind = 12
	KindResend         Kind = 13
)

// Numbers of kinds that this version does not know. Every kind from FirstLater
// on has the body of [Extension], so that a program which does not know it can
// keep it and show its words.
const (
	FirstLater   Kind = 64     // up to FirstForeign: later versions of confab
	FirstForeign Kind = 0x8000 // and above: anybody's, by the list in SPEC-messages
)

// kindNames is indexed by Kind.
var kindNames = [...]string{
	KindText: "text", KindReply: "reply", KindReaction: "reaction", KindEdit: "edit", KindDelete: "delete",
	KindReceipt: "receipt", KindTyping: "typing", KindFile: "file", KindProfile: "profile",
	KindContactRequest: "contact-request", KindContactAnswer: "contact-answer", KindMoved: "moved", KindResend: "resend",
}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint16(k))
}

// Chained reports whether events of this kind have a place in their author's
// chain. The others are worth nothing once they are late, or are said before
// there is a conversation.
func (k Kind) Chained() bool {
	switch k {
	case KindTyping, KindContactRequest, KindContactAnswer, KindResend:
		return false
	}
	return true
}

// Shown reports whether an event of this kind stands in the conversation by
// itself. The others change how another one looks, or are not seen.
func (k Kind) Shown() bool {
	switch k {
	case KindText, KindReply, KindFile, KindMoved:
		return true
	}
	return k >= FirstLater
}
