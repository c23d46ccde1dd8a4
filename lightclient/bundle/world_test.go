package bundle_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// world is a chain on which @alice is served by @harbor.
type world struct {
	*fakechain.Chain
	t             testing.TB
	alice, harbor *fakechain.Actor
}

func newWorld(t testing.TB, s fakechain.Spec) *world {
	t.Helper()
	w := &world{
		t: t, Chain: fakechain.New(s),
		alice: fakechain.NewActor("alice", namesvc.Person), harbor: fakechain.NewActor("harbor", namesvc.Service),
	}
	w.do(w.Register(w.harbor, "harbor", w.harbor.Concierge("https://harbor.example")))
	w.do(w.Register(w.alice, "alice", fakechain.ServedBy(w.harbor)))
	w.Skip(2)
	return w
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// ask returns the bundle about @alice for somebody who has the pin of height 1.
func (w *world) ask() bundle.Bundle { return w.about("alice", 1, 0) }

// about returns the bundle about a handle for somebody who has a pin, and knows
// a height or 0.
func (w *world) about(h namesvc.Handle, pin, known uint64) bundle.Bundle {
	w.t.Helper()
	b, err := w.Bundle(lightclient.Request{Handle: h, Serving: true, Pin: pin, Known: known})
	w.do(err)
	return b
}

// trust is what a reader brings who has nothing but the pin of height 1.
func (w *world) trust() bundle.Trust {
	return bundle.Trust{Pin: w.Pin(1), Rules: verify.DefaultRules(), MaxAge: time.Minute}
}

// knows is trust with a head that has been verified since.
func (w *world) knows(height uint64) bundle.Trust {
	t := w.trust()
	t.Known = w.Chain.Trust(height)
	return t
}

func (w *world) verify(b bundle.Bundle) (*bundle.Verified, error) {
	return bundle.Verify(b.Encode(), w.trust(), w.Now())
}

// meaning says all that a verified bundle says of a handle, so that two answers
// are the same if their texts are.
func meaning(v *bundle.Verified, h namesvc.Handle) string {
	m, err := v.Handle(h)
	if err != nil {
		return fmt.Sprintf("%v: %v", wire.CodeOf(err), err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v %d %v %x", m.Handle, m.Generation, m.Status, m.Entry.Encode())
	for _, c := range m.Entry.Records.Concierges {
		e, err := v.Account(c.Account)
		fmt.Fprintf(&b, " %x %v", e.Encode(), err)
	}
	return b.String()
}
