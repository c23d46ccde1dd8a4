package chat

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
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

func newKey(t testing.TB) key.Device {
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
	k := newKey(w.TB)
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

// A contact that is removed while the devices cannot speak with one another is
// removed on all of them in the end.
func TestDevices_ARemovedContactIsToldOfLater(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	var group []byte
	own := func(f func(*room)) {
		w.must(alice.change(w.Context(), func(b *batch) error {
			r, err := b.room(b.a.selfID())
			if err == nil {
				f(r)
			}
			return err
		}))
	}
	alice.halt() // so that nobody mends it meanwhile
	own(func(r *room) { group, r.Group = r.Group, nil })
	w.must(alice.RemoveContact(w.Context(), "@bob"))
	own(func(r *room) { r.Group = group })
	alice.stop()
	alice = alice.p.start(alice.key, alice.home)
	w.until("the tablet forgets bob", func() bool {
		list, err := tablet.Contacts(w.Context())
		return err == nil && len(list) == 0
	})
	w.until("it is told once", func() bool {
		var names []string
		err := alice.store.View(func(tx *store.Tx) (err error) {
			names, err = tx.Names(untoldGone, "")
			return err
		})
		return err == nil && len(names) == 0
	})
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

func TestLink_ByACode(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "before")
	invitation, err := alice.Link(w.Context())
	w.must(err)
	k := newKey(t)
	ask := Joining{
		Client: w.client(), Account: alice.p.actor.ID, Code: invitation.Code, Device: k, Name: "tablet", Now: w.Now, Rand: rand.Reader,
	}
	wrong := ask
	wrong.Code = "AAAA-AAAA-AAAA-AAAA"
	if err := AskToJoin(w.Context(), wrong); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a wrong code gives %v", err)
	}
	w.must(AskToJoin(w.Context(), ask))
	w.until("the request is shown", func() bool {
		list, err := alice.LinkRequests(w.Context())
		return err == nil && len(list) == 1 && list[0].Device == k.Public() && list[0].Name == "tablet"
	})
	if err := alice.LinkAccept(w.Context(), newKey(t).Public(), alice.p.actor.Root, nil); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("accepting who did not ask gives %v", err)
	}
	w.must(alice.LinkAccept(w.Context(), k.Public(), alice.p.actor.Root, nil))
	tablet := alice.p.start(k, t.TempDir())
	w.until("the tablet has what was said before", func() bool { return slices.Contains(tablet.sees(bob), "you: before") })
	if err := AskToJoin(w.Context(), ask); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a code that was used gives %v", err)
	}
	w.must(alice.RemoveDevice(w.Context(), k.Public(), alice.p.actor.Root, nil))
	list, err := alice.Devices(w.Context())
	w.must(err)
	if len(list) != 1 || !list[0].This {
		t.Errorf("after the removal there are %d devices", len(list))
	}
}

func TestSweep_ForgetsNotesOfWhatIsGone(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	tablet := alice.second()
	w.until("the tablet knows bob", func() bool { return tablet.state(bob) == "accepted" })
	id := alice.with(bob)
	var gone message.ConversationID
	notes := map[string]bool{ // whether it stays
		introducedNote(tablet.member()): true, receiptNote(id): true, earlyNote(id, 3): true,
		introducedNote(bob.member()): false, receiptNote(gone): false, earlyNote(gone, 3): false, pieceNote(gone, [32]byte{}, 1): false,
	}
	w.must(alice.store.Update(func(tx *store.Tx) error {
		for name := range notes {
			if err := tx.Put(name, []byte{1}); err != nil {
				return err
			}
		}
		for i := range store.MaxPage {
			if err := tx.Put(earlyNote(gone, uint64(i)), []byte{1}); err != nil {
				return err
			}
		}
		return nil
	}))
	w.must(alice.sweepNotes())
	w.must(alice.store.View(func(tx *store.Tx) error {
		for name, stays := range notes {
			if _, err := tx.Get(name); (err == nil) != stays {
				t.Errorf("%s: %v", name, err)
			}
		}
		if left, err := tx.Names("early/", ""); err != nil || len(left) != 1 {
			t.Errorf("of the early messages %d are left (%v)", len(left), err)
		}
		return nil
	}))
}

// The eldest device would answer, and is off.
func TestHistory_IsToldByTheNextDeviceIfTheEldestIsOff(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "before")
	bob.reads(alice, "@alice: before")
	tablet := alice.second()
	w.until("the tablet has what was said", func() bool { return slices.Contains(tablet.sees(bob), "you: before") })
	alice.stop()
	k := newKey(t)
	alice.p.devices(alice.key, tablet.key, k)
	watch := alice.p.start(k, t.TempDir())
	w.until("the watch knows bob", func() bool { return watch.state(bob) == "accepted" })
	w.until("the tablet was asked", func() bool {
		tablet.mu.Lock()
		defer tablet.mu.Unlock()
		return len(tablet.asked) > 0
	})
	if slices.Contains(watch.sees(bob), "you: before") {
		t.Error("the tablet answers before its turn")
	}
	tablet.sets(historyTurn)
	tablet.Wake()
	w.until("the watch has what was said", func() bool { return slices.Contains(watch.sees(bob), "you: before") })
}

// Two devices of an account begin its own conversation at once.
func TestDevices_TwoThatBeginTheirConversationAtOnceComeTogether(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.halt()
	tablet := alice.second()
	id := alice.selfID()
	var others [32]byte
	for _, d := range []*device{tablet, alice} {
		w.must(d.change(w.Context(), func(b *batch) error {
			r, err := b.open(id, d.party())
			r.Mine = true
			for d == alice && bytes.Compare(r.Address[:], others[:]) > 0 {
				rand.Read(r.Seed)
				r.Address = concierge.OwnerOf(d.party().Account, d.party().Generation).Address(concierge.Seed(r.Seed))
			}
			others = r.Address
			return err
		}))
	}
	lower := alice.look(id).Address // so that the tablet, which has a session, is to leave it
	w.until("the tablet has a session", func() bool { return tablet.members(id) == 2 })
	alice.stop()
	alice = alice.p.start(alice.key, alice.home)
	w.until("both are in the one that counts", func() bool {
		a, b := alice.look(id), tablet.look(id)
		return a.Address == lower && b.Address == lower && len(a.Group) > 0 && bytes.Equal(a.Group, b.Group)
	})
	_, err := alice.NameContact(w.Context(), "@bob", "bobby")
	w.must(err)
	w.until("one tells the other", func() bool {
		c, err := tablet.Contact(w.Context(), "@bob")
		return err == nil && c.Name == "bobby"
	})
}

// Every device is lost; the phrase is not.
func TestVault_RestoresFromThePhrase(t *testing.T) {
	w := newWorld(t)
	p := w.person("alice", w.harbor)
	p.vault = key.Vault{1, 2, 3}
	alice, bob := p.device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "one")
	bob.say(alice, "two")
	alice.reads(bob, "you: one", "@bob: two")
	id := alice.roomIDs()[0]
	w.until("the vault has it", func() bool {
		var s saved
		err := alice.store.View(func(tx *store.Tx) error {
			b, err := tx.Get(vaultNote(id))
			if err != nil {
				return err
			}
			return wire.Recall(b, &s)
		})
		n := 0
		for _, h := range s.Heads {
			if h.Delivered > 0 {
				n++
			}
		}
		return err == nil && n == 2
	})
	alice.stop()
	bob.say(alice, "three, while she has nothing")
	k := newKey(t)
	p.devices(k)
	alice = p.start(k, t.TempDir())
	w.until("contacts and messages are back", func() bool {
		return alice.state(bob) == "accepted" && slices.Contains(alice.sees(bob), "you: one") && slices.Contains(alice.sees(bob), "@bob: two")
	})
	bob.say(alice, "four")
	w.until("the conversation goes on", func() bool { return slices.Contains(alice.sees(bob), "@bob: four") })
	w.until("what was sent meanwhile comes", func() bool { return slices.Contains(alice.sees(bob), "@bob: three, while she has nothing") })
	alice.say(bob, "five")
	w.until("bob reads her", func() bool { return slices.Contains(bob.sees(alice), "@alice: five") })
}

// The phrase brings back what there was, and not who was removed.
func TestVault_DoesNotBringBackWhoWasRemoved(t *testing.T) {
	w := newWorld(t)
	p := w.person("alice", w.harbor)
	p.vault = key.Vault{1, 2, 3}
	alice, bob, carol := p.device(), w.person("bob", w.lagoon).device(), w.person("carol", w.lagoon).device()
	w.friends(alice, bob)
	w.friends(alice, carol)
	bob.say(alice, "regrettable")
	alice.reads(bob, "@bob: regrettable")
	complete := func() bool { return alice.backupNow().State == backupComplete }
	w.until("the vault has it", complete)
	w.must(alice.RemoveContact(w.Context(), "@bob"))
	w.must(alice.RemoveContact(w.Context(), "@carol"))
	_, err := alice.AddContact(w.Context(), "@carol", "", nil)
	w.must(err)
	w.until("carol's devices answer", func() bool { return alice.state(carol) == "accepted" })
	w.until("the vault has that too", complete)
	alice.stop()
	k := newKey(t)
	p.devices(k)
	alice = p.start(k, t.TempDir())
	w.until("contacts are back", func() bool {
		return alice.state(carol) == "accepted" && alice.store.View(func(tx *store.Tx) error { _, err := tx.Get(vaultDoneNote); return err }) == nil
	})
	if c, err := alice.Contact(w.Context(), "@bob"); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("%+v, %v", c, err)
	}
	if list, err := alice.Search(w.Context(), "regrettable", "", 10); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// Who writes into the vault what the key does not open costs nothing but that.
func TestVault_LeavesOutWhatIsDamagedAndSaysSo(t *testing.T) {
	w := newWorld(t)
	p := w.person("alice", w.harbor)
	p.vault = key.Vault{1, 2, 3}
	alice, bob := p.device(), w.person("bob", w.lagoon).device()
	office, err := alice.post.Home(w.Context(), 0)
	w.must(err)
	junk := func(id byte) {
		w.must(alice.post.Ask(w.Context(), office, func(ctx context.Context, c *concierge.Client) error {
			_, err := c.AppendVault(ctx, stream.Message{ID: stream.MessageID{id}, Body: []byte("no entry of ours")})
			return err
		}))
	}
	junk(1)
	w.friends(alice, bob)
	id := alice.roomIDs()[0]
	w.until("the vault has the contact", func() bool {
		return alice.store.View(func(tx *store.Tx) error {
			_, err := tx.Get(vaultNote(id))
			return err
		}) == nil
	})
	junk(2)
	alice.stop()
	k := newKey(t)
	p.devices(k)
	alice = p.start(k, t.TempDir())
	w.until("the contact is back", func() bool { return alice.state(bob) != "" && len(alice.roomIDs()) == 1 })
	notices, stop := alice.Follow(0)
	defer stop()
	for n := range notices {
		if strings.Contains(n.Text, "damaged") {
			return
		}
	}
	t.Error("nobody was told that some of it was left out")
}

// A disk that cannot be read now is no reason to let go of mail.
func TestSecrets_ThatCannotBeReadNowAreNotGone(t *testing.T) {
	for _, c := range []struct {
		err  error
		want wire.Code
	}{
		{errors.New("input/output error"), wire.Unavailable},
		{wire.Errorf(wire.Unavailable, "open them again"), wire.Unavailable},
		{wire.Errorf(wire.NotFound, "gone"), wire.NotFound},
		{wire.Errorf(wire.Invalid, "damaged"), wire.Invalid},
	} {
		if got := unreadable(c.err); wire.CodeOf(got) != c.want || waits(got) != (c.want == wire.Unavailable) {
			t.Errorf("%v becomes %v", c.err, got)
		}
	}
}
