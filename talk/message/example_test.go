package message_test

import (
	"fmt"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/message"
)

// Alice writes and corrects herself. Bob gets the correction first, and sees that
// something is missing before it.
func Example() {
	alice := message.Author{Account: namesvc.AccountID{0xa1}}
	room := message.Direct(message.Party{Account: namesvc.AccountID{0xa1}, Generation: 1}, message.Party{Account: namesvc.AccountID{0xb0}, Generation: 1})

	var hers message.Chain
	say := func(body message.Body) message.Event {
		place, err := hers.Next(0)
		if err != nil {
			panic(err)
		}
		e, err := message.New(room, alice, place, time.UnixMilli(0), body)
		if err != nil {
			panic(err)
		}
		hers.Accept(e.Link())
		return e
	}
	first := say(message.Text{Text: "See you at nien."})
	second := say(message.Edit{To: first.ID(), Text: "See you at nine."})

	var known message.Chain
	bob := message.NewConversation(room)
	for _, e := range []message.Event{second, first} {
		known.Accept(e.Link())
		bob.Add(e)
		fmt.Println("missing:", known.Gaps())
	}
	for _, s := range bob.Shown() {
		fmt.Println(s.Text, s.Edited)
	}
	// Output:
	// missing: [{1 1}]
	// missing: []
	// See you at nine. true
}
