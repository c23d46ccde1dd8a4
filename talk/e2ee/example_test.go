package e2ee_test

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// Alice lets Bob's device in and writes to him; what travels is an envelope.
func Example() {
	alice, aliceKey := someone(1)
	bob, bobKey := someone(2)
	parties := []message.Party{alice.Party(), bob.Party()}
	judge := func(e2ee.Member) error { return nil } // asks a light client

	// Bob's device publishes an offer and keeps its secret.
	now := time.Now()
	offer, secret, err := e2ee.NewOffer(rand.Reader, now, bobKey, bob, 30*24*time.Hour)
	must(err)

	// Alice has fetched it, and starts instance 1.
	offer, err = e2ee.ParseOffer(offer.Bytes(), now)
	must(err)
	a, welcome, err := e2ee.Create(rand.Reader, now, e2ee.Options{Self: alice, Signer: aliceKey, Judge: judge, Parties: parties}, 1, []e2ee.Offer{offer})
	must(err)
	a.TakeDelta() // to be stored before the Welcome is sent
	b, _, err := e2ee.Enter(now, e2ee.Options{Self: bob, Signer: bobKey, Judge: judge, Parties: parties}, welcome, func([]byte) []byte { return secret })
	must(err)

	// She says something.
	event, err := message.New(a.Conversation(), alice.Author(), message.Place{Seq: 1, Clock: 1}, now, message.Text{Text: "See you at eight."})
	must(err)
	sealed, err := a.Seal(rand.Reader, e2ee.Payload{Event: &event})
	must(err)
	a.TakeDelta()

	// It goes into Bob's queue, whose key he told her.
	queue, err := e2ee.NewEnvelopeKey(rand.Reader)
	must(err)
	envelopes, err := queue.Wrap(rand.Reader, sealed)
	must(err)
	fmt.Println(len(envelopes), "envelope of", len(envelopes[0].Body), "bytes")

	// Bob puts the pieces together and reads.
	piece, err := queue.Open(envelopes[0].Body)
	must(err)
	got, err := e2ee.Assemble([]e2ee.Piece{piece})
	must(err)
	opened, err := b.Open(got)
	must(err)
	b.TakeDelta()
	fmt.Println(opened.From.Is(alice), message.Words(opened.Payload.Event.Body))

	// Output:
	// 1 envelope of 552 bytes
	// true See you at eight.
}

// someone makes a device of an account.
func someone(n byte) (e2ee.Member, key.Device) {
	device, err := key.NewDevice(rand.Reader)
	must(err)
	return e2ee.Member{Account: namesvc.AccountID{n}, Generation: 1, Device: device.Public(), Seq: 1}, device
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
