package concierge

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

func entry(body string) stream.Message {
	return stream.Message{ID: newMessageID(), Body: []byte(body)}
}

func TestVault_KeepsInOrderWhatItsDevicesAppend(t *testing.T) {
	w := newWorld(t, cheap())
	alice := w.connect(w.alice)
	v, err := alice.Vault(t.Context())
	w.must(err)
	if v.ID != OwnerOf(w.alice.ID, 1).Vault() || v.Head != stream.Genesis(v.ID) || v.Bytes != 0 || v.Limit != 64<<20 {
		t.Errorf("empty: %+v", v)
	}
	first := entry("first")
	for again := range 2 {
		r, err := alice.AppendVault(t.Context(), first)
		if err != nil || r != (stream.Receipt{Seq: 1, Again: again == 1}) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	v, err = alice.Vault(t.Context())
	w.must(err)
	second := entry("second")
	second.Expect = &v.Head
	_, err = alice.AppendVault(t.Context(), second)
	w.must(err)
	third := entry("third")
	third.Expect = &v.Head
	var moved *stream.HeadError
	if _, err := alice.AppendVault(t.Context(), third); !errors.As(err, &moved) || moved.Head.Seq != 2 {
		t.Fatalf("another head was expected: %v", err)
	}
	third.Expect = &moved.Head
	_, err = alice.AppendVault(t.Context(), third)
	w.must(err)
	if got := w.texts(alice, v.ID); strings.Join(got, " ") != "first second third" {
		t.Errorf("it has %q", got)
	}
	w.must(alice.TrimVault(t.Context(), 2))
	if v, err := alice.Vault(t.Context()); err != nil || v.Base != 2 || v.Bytes != 5 || v.Head.Seq != 3 {
		t.Errorf("trimmed: %+v, %v", v, err)
	}
	if got := w.texts(alice, v.ID); strings.Join(got, " ") != "third" {
		t.Errorf("it has %q", got)
	}
	large := stream.Message{ID: newMessageID(), Body: bytes.Repeat([]byte("x"), stream.MaxBody)}
	if _, err := alice.AppendVault(t.Context(), large); err != nil {
		t.Errorf("the largest entry: %v", err)
	}
	large.Body = append(large.Body, 1)
	if _, err := alice.AppendVault(t.Context(), large); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("a larger one: %v", err)
	}
}

func TestVault_IsItsOwnersAlone(t *testing.T) {
	w := newWorld(t, cheap())
	alice, bob, guest := w.connect(w.alice), w.connect(w.bob), w.connect(nil)
	_, err := alice.AppendVault(t.Context(), entry("history"))
	w.must(err)
	id := OwnerOf(w.alice.ID, 1).Vault()
	for name, c := range map[string]*Client{"bob": bob, "a guest": guest} {
		if _, err := c.Range(t.Context(), id, 0, 100); wire.CodeOf(err) != wire.NotFound && wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s reads: %v", name, err)
		}
		if _, err := c.Subscribe(t.Context(), id, 0, nil); err == nil {
			t.Errorf("%s follows", name)
		}
		if err := write(t.Context(), c, Address(id), "x"); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("%s writes: %v", name, err)
		}
		w.must(c.Announce(id, []byte("x")))
	}
	if _, err := guest.AppendVault(t.Context(), entry("x")); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a guest appends: %v", err)
	}
	w.must2(bob.AppendVault(t.Context(), entry("bob's")))
	if err := bob.DeleteQueue(t.Context(), id); err != nil {
		t.Error(err)
	}
	if got := w.texts(alice, id); strings.Join(got, " ") != "history" {
		t.Errorf("alice's vault has %q", got)
	}
	if err := alice.DeleteQueue(t.Context(), id); err != nil {
		t.Error(err)
	}
	if got := w.texts(alice, id); len(got) != 1 {
		t.Errorf("a vault was deleted as a queue")
	}
}

func (w *world) must2(_ any, err error) {
	w.Helper()
	w.must(err)
}

// Somebody who has lost all devices restores the account from its phrase: his new
// device reads what the old ones kept, and those are out.
func TestVault_IsReadByADeviceThatIsNew(t *testing.T) {
	w := newWorld(t, cheap())
	alice := w.connect(w.alice)
	for i := range 3 {
		w.must2(alice.AppendVault(t.Context(), entry(fmt.Sprint(i))))
	}
	fresh := fakechain.NewActor("alice's new phone", namesvc.Person).Device
	w.devices(w.alice, w.alice.Device, fresh)
	w.removeFirst(fresh)
	w.server.members.look(t.Context())
	w.finished(alice)
	restored := *w.alice
	restored.Device = fresh
	c := w.connect(&restored)
	v, err := c.Vault(t.Context())
	w.must(err)
	if got := w.texts(c, v.ID); strings.Join(got, " ") != "0 1 2" {
		t.Errorf("it reads %q", got)
	}
	w.must2(c.AppendVault(t.Context(), entry("3")))
}

func TestVault_HasAQuotaThatItsOperatorMayRaise(t *testing.T) {
	limits := cheap()
	limits.VaultBytes = 1000
	w := newWorld(t, limits)
	alice := w.connect(w.alice)
	text := strings.Repeat("x", 600)
	w.must2(alice.AppendVault(t.Context(), entry(text)))
	if _, err := alice.AppendVault(t.Context(), entry(text)); wire.CodeOf(err) != wire.Exhausted || !strings.Contains(err.Error(), "vault is full") {
		t.Errorf("%v", err)
	}
	w.server.limits.VaultBytes = 2000
	w.must2(alice.AppendVault(t.Context(), entry(text)))
	w.must(alice.TrimVault(t.Context(), 1))
	w.must2(alice.AppendVault(t.Context(), entry(text)))
}

func TestVault_GoesAlongWhenItsOwnerMoves(t *testing.T) {
	old, next := moving(t)
	w := old.world
	first := old.connect(w.alice)
	for i := range 300 {
		w.must2(first.AppendVault(t.Context(), entry(fmt.Sprint("entry ", i, strings.Repeat("x", 900)))))
	}
	w.must(first.TrimVault(t.Context(), 10))
	w.serve(w.alice, next)
	next.start()
	old.server.members.look(t.Context())
	to, from := next.connect(w.alice), old.connect(w.alice)
	if _, err := from.AppendVault(t.Context(), entry("late")); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("the old vault grows: %v", err)
	}
	var last uint64
	for range 2 { // an interrupted copy is repeated
		var err error
		last, err = to.CopyVault(t.Context(), from, 0)
		w.must(err)
	}
	v, err := to.Vault(t.Context())
	w.must(err)
	have, want := w.texts(to, v.ID), w.texts(from, v.ID)
	if len(have) != 290 || strings.Join(have, " ") != strings.Join(want, " ") {
		t.Errorf("%d entries came, %d were there", len(have), len(want))
	}
	if s, err := from.Vault(t.Context()); err != nil || last != s.Head.Seq {
		t.Errorf("the copy ends at %d: %+v, %v", last, s, err)
	}
}

func TestVault_SurvivesARestart(t *testing.T) {
	w := newWorld(t, cheap())
	alice := w.connect(w.alice)
	w.must2(alice.AppendVault(t.Context(), entry("before")))
	w.later(400 * 24 * 3600 * 1e9 / 2) // nothing of it expires
	v := OwnerOf(w.alice.ID, 1).Vault()
	page, err := w.store.Range(t.Context(), v, 0, 1000)
	if err != nil || len(page.Entries) != 1 || string(page.Entries[0].Body) != "before" {
		t.Errorf("%+v, %v", page, err)
	}
	state, err := w.store.State(t.Context(), v)
	if err != nil || state.Settings.TTL != 0 || len(state.Settings.Readers) != 0 {
		t.Errorf("%+v, %v", state, err)
	}
}
