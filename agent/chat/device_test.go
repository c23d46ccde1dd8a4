package chat

import (
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
)

// devices makes these the devices of a person; those that are new agree.
func (p *person) devices(list ...key.Device) {
	w := p.w
	w.Helper()
	e, _ := w.Entry(p.actor.ID)
	_, have, _, err := w.client().Devices(w.Context(), p.actor.ID, 0)
	w.must(err)
	var body namesvc.DeviceList
	for _, d := range list {
		g := namesvc.Grant{Key: d.Public(), Scopes: namesvc.AllScopes, Expires: uint64(w.Now().Add(1000 * time.Hour).Unix())}
		if old, ok := have.Find(d.Public()); ok {
			g.Scopes, g.Expires = old.Scopes, old.Expires
		} else {
			consent := d.SignConsent(namesvc.Consent(w.ID(), p.actor.ID, e.DeviceSeq+1, g.Key, g.Scopes, g.Expires))
			g.Consent = consent[:]
		}
		body.Devices = append(body.Devices, g)
	}
	w.must(w.block(w.Sign(p.actor, namesvc.OpDevices, body)))
}

func newKey(t *testing.T) key.Device {
	k, err := key.NewDevice(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// second adds a second device to a person and starts it.
func (d *device) second() *device {
	w := d.p.w
	w.Helper()
	k := newKey(w.T)
	d.p.devices(d.key, k)
	return d.p.start(k, w.TempDir())
}

func TestDevices_ASecondOneTakesPartInEverything(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "before")
	bob.reads(alice, "@alice: before")
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	bob.say(alice, "hello all of you")
	w.until("both of alice's devices read it", func() bool {
		return slices.Contains(tablet.sees(bob), "@bob: hello all of you") && slices.Contains(alice.sees(bob), "@bob: hello all of you")
	})
	tablet.say(bob, "from the tablet")
	w.until("bob and the other device read it", func() bool {
		return slices.Contains(bob.sees(alice), "@alice: from the tablet") && slices.Contains(alice.sees(bob), "you: from the tablet")
	})
	alice.say(bob, "from the phone")
	w.until("the tablet reads it", func() bool { return slices.Contains(tablet.sees(bob), "you: from the phone") })
	w.until("the tablet has what was said before it came", func() bool { return slices.Contains(tablet.sees(bob), "you: before") })
}

func TestDevices_ARemovedOneReadsNothingMore(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	bob.say(alice, "to both")
	w.until("the tablet reads", func() bool { return slices.Contains(tablet.sees(bob), "@bob: to both") })
	alice.p.devices(alice.key)
	id := bob.roomIDs()[0]
	w.until("bob's session has two devices", func() bool {
		bob.mu.Lock()
		defer bob.mu.Unlock()
		r := bob.rooms[id]
		s, err := bob.sessions.get(r, r.Group)
		return err == nil && len(s.Members()) == 2
	})
	bob.say(alice, "to one")
	w.until("alice reads", func() bool { return slices.Contains(alice.sees(bob), "@bob: to one") })
	if slices.Contains(tablet.sees(bob), "@bob: to one") {
		t.Error("a removed device reads on")
	}
}

func TestDevices_TwoSendAtOnce(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	for range 5 {
		alice.say(bob, "phone")
		tablet.say(bob, "tablet")
		bob.say(alice, "bob")
	}
	for _, d := range []*device{alice, tablet} {
		w.until("every device has all fifteen", func() bool { return len(d.sees(bob)) == 15 })
	}
	w.until("bob has all fifteen", func() bool { return len(bob.sees(alice)) == 15 })
	if !slices.Equal(alice.sees(bob), tablet.sees(bob)) {
		t.Error("the two devices show different orders")
	}
}
