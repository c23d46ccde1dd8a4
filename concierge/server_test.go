package concierge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

func TestServer_CarriesMailFromAGuestToTheOwner(t *testing.T) {
	w := newWorld(t, cheap())
	alice, guest := w.connect(w.alice), w.connect(nil)
	address, q := w.queue(alice, w.alice, stream.Settings{})
	sub, err := alice.Subscribe(t.Context(), q.ID, 0, nil)
	w.must(err)
	for i := range 3 {
		w.must(write(t.Context(), guest, address, fmt.Sprint("text ", i)))
	}
	var got []string
	for len(got) < 3 {
		page, err := sub.Next(t.Context())
		w.must(err)
		for _, e := range page.Entries {
			got = append(got, string(e.Body))
		}
	}
	if strings.Join(got, ",") != "text 0,text 1,text 2" {
		t.Errorf("got %q", got)
	}
	head, err := alice.Head(t.Context(), q.ID)
	w.must(err)
	if err := key.Verify(w.harbor.Server.Public(), "", head.Head.Message(q.ID), key.Signature(head.Signature)); err != nil {
		t.Errorf("signature of the head: %v", err)
	}
	alice.Acknowledge(q.ID, 3)
	for {
		state, err := w.store.State(t.Context(), q.ID)
		w.must(err)
		if state.Entries() == 0 {
			break // the only device has it
		}
		select {
		case <-t.Context().Done():
		case <-time.After(time.Millisecond):
		}
	}
}

func TestServer_OnlyTheOwnerReadsAndOnlyTheAddressWrites(t *testing.T) {
	w := newWorld(t, cheap())
	alice, bob, guest := w.connect(w.alice), w.connect(w.bob), w.connect(nil)
	address, q := w.queue(alice, w.alice, stream.Settings{})
	kept, err := alice.Kept(t.Context())
	w.must(err)
	for name, c := range map[string]*Client{"bob": bob, "guest": guest} {
		for _, id := range []stream.ID{q.ID, stream.ID(address), kept.Knocks, OwnerOf(w.alice.ID, 1).kept(keptRecord, nil)} {
			if _, err := c.Range(t.Context(), id, 0, 1<<10); wire.CodeOf(err) != wire.NotFound && wire.CodeOf(err) != wire.Unauthorized {
				t.Errorf("%s reads %v: %v", name, id, err)
			}
			if _, err := c.Subscribe(t.Context(), id, 0, nil); err == nil {
				t.Errorf("%s follows %v", name, id)
			}
			if _, err := c.Head(t.Context(), id); err == nil {
				t.Errorf("%s sees the head of %v", name, id)
			}
		}
		for what, id := range map[string]stream.ID{"queue": q.ID, "knocks": kept.Knocks} {
			if err := write(t.Context(), c, Address(id), "x"); wire.CodeOf(err) != wire.NotFound {
				t.Errorf("%s writes to the id of %s: %v", name, what, err)
			}
		}
	}
	// Bob was told the address, and would like the queue to be his.
	if _, err := bob.CreateQueue(t.Context(), Seed(address), stream.Settings{}); err != nil {
		t.Fatal(err)
	}
	w.must(write(t.Context(), guest, address, "for alice"))
	w.must(bob.DeleteQueue(t.Context(), q.ID))
	page, err := alice.Range(t.Context(), q.ID, 0, 1<<10)
	w.must(err)
	if len(page.Entries) != 1 || string(page.Entries[0].Body) != "for alice" {
		t.Errorf("alice has %v", page)
	}
	if _, err := guest.Kept(t.Context()); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("guest: %v", err)
	}
	w.must(alice.DeleteQueue(t.Context(), q.ID))
	if err := write(t.Context(), guest, address, "late"); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a deleted queue: %v", err)
	}
}

func TestServer_RefusesWhoMayNotComeIn(t *testing.T) {
	w := newWorld(t, cheap())
	stranger := fakechain.NewActor("stranger", namesvc.Person)
	w.must(w.Register(stranger, "stranger", nil))
	w.Skip(1)
	nobody := fakechain.NewActor("nobody", namesvc.Person)
	thief := *w.alice
	thief.Device = nobody.Device
	for name, a := range map[string]*fakechain.Actor{
		"an account that names another concierge": stranger, "an account of no chain": nobody, "a device that the account does not list": &thief,
	} {
		if _, err := w.dial(a); wire.CodeOf(err) != wire.Unauthorized && wire.CodeOf(err) != wire.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.server.members.mu.Lock()
	defer w.server.members.mu.Unlock()
	if n := len(w.server.members.accounts); n != 0 {
		t.Errorf("%d accounts are remembered", n)
	}
}

func TestServer_ExpiredDeviceIsOut(t *testing.T) {
	w := newWorld(t, cheap())
	second := fakechain.NewActor("alice's other device", namesvc.Person)
	w.devices(w.alice, w.alice.Device, second.Device) // for 1000 s
	alice := w.connect(w.alice)
	other, err := Dial(t.Context(), w.url, w.service(), &Identity{Account: w.alice.ID, Device: second.Device})
	w.must(err)
	defer other.Close()
	w.Cut(w.Now().Add(1000 * time.Second))
	w.Skip(1)
	w.server.members.look(t.Context())
	w.finished(other)
	_, err = alice.Kept(t.Context())
	w.must(err)
}

func TestServer_RemovedDeviceIsOutWithinABlock(t *testing.T) {
	w := newWorld(t, cheap())
	alice, bob := w.connect(w.alice), w.connect(w.bob)
	address, q := w.queue(alice, w.alice, stream.Settings{})
	w.must(write(t.Context(), bob, address, "waiting"))
	second := fakechain.NewActor("alice's other device", namesvc.Person)
	w.devices(w.alice, w.alice.Device, second.Device)
	w.server.members.look(t.Context())
	state, err := w.store.State(t.Context(), q.ID)
	w.must(err)
	if len(state.Settings.Readers) != 2 {
		t.Errorf("the queue waits for %d devices", len(state.Settings.Readers))
	}
	w.removeFirst(second.Device)
	w.server.members.look(t.Context())
	w.finished(alice)
	if _, err := w.dial(w.alice); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("it comes back: %v", err)
	}
	select {
	case <-bob.Done():
		t.Error("bob is out too")
	default:
	}
	other, err := Dial(t.Context(), w.url, w.service(), &Identity{Account: w.alice.ID, Device: second.Device})
	w.must(err)
	defer other.Close()
	page, err := other.Range(t.Context(), q.ID, 0, 1<<10)
	w.must(err)
	if len(page.Entries) != 1 {
		t.Errorf("the other device reads %v", page)
	}
	if state, err = w.store.State(t.Context(), q.ID); err != nil || len(state.Settings.Readers) != 1 {
		t.Errorf("the queue waits for %v (%v)", state.Settings.Readers, err)
	}
}

func TestServer_WithoutAChainConnectionsStayForTheGraceOnly(t *testing.T) {
	w := newWorld(t, Limits{Grace: 10 * time.Minute})
	alice := w.connect(w.alice)
	w.blind.Store(true)
	w.late.Store(int64(9 * time.Minute))
	w.server.members.look(t.Context())
	_, err := alice.Kept(t.Context())
	w.must(err)
	if _, err := w.dial(w.bob); err == nil {
		t.Error("somebody unknown comes in while nobody can be asked about him")
	}
	w.late.Store(int64(11 * time.Minute))
	w.server.members.look(t.Context())
	w.finished(alice)
}

func TestServer_WhoLeftStillDrains(t *testing.T) {
	w := newWorld(t, cheap())
	alice, guest := w.connect(w.alice), w.connect(nil)
	address, q := w.queue(alice, w.alice, stream.Settings{})
	w.must(write(t.Context(), guest, address, "old"))
	w.must(w.Next(w.Sign(w.alice, namesvc.OpRecords, namesvc.Records{})))
	w.Skip(1)
	w.server.members.look(t.Context())
	again := w.connect(w.alice)
	page, err := again.Range(t.Context(), q.ID, 0, 1<<10)
	w.must(err)
	if len(page.Entries) != 1 {
		t.Errorf("she reads %v", page)
	}
	if _, err := again.CreateQueue(t.Context(), newSeed(), stream.Settings{}); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a new queue: %v", err)
	}
}

func TestServer_HoldsTheLimitsAndSaysWhich(t *testing.T) {
	l := cheap()
	l.QueueBurst, l.QueueRate, l.AccountBytes, l.QueueBytes, l.PrefixConnections = 5, 0.001, 10_000, 4000, 3
	w := newWorld(t, l)
	alice, guest := w.connect(w.alice), w.connect(nil)
	address, q := w.queue(alice, w.alice, stream.Settings{MaxBytes: 1 << 40})
	if q.Bytes != 4000 {
		t.Errorf("a queue has %d bytes", q.Bytes)
	}
	w.queue(alice, w.alice, stream.Settings{})
	if _, err := alice.CreateQueue(t.Context(), newSeed(), stream.Settings{}); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("a third queue: %v", err)
	}
	var flood error
	sent := 0
	for ; flood == nil && sent < 20; sent++ {
		flood = write(t.Context(), guest, address, "x")
	}
	if sent != 6 || wire.CodeOf(flood) != wire.Exhausted || !strings.Contains(flood.Error(), "queue") {
		t.Errorf("after %d messages: %v", sent, flood)
	}
	w.connect(nil)
	if _, err := w.dial(nil); err == nil {
		t.Error("a fourth connection of one network")
	}
	if err := write(t.Context(), guest, address, strings.Repeat("x", stream.MaxBody+1)); err == nil {
		t.Error("a body that is too large")
	}
}

func TestServer_FloodOfAConnectionIsRefusedAndOthersAreServed(t *testing.T) {
	l := cheap()
	l.Rate, l.Burst = 0.001, 50
	w := newWorld(t, l)
	guest := w.connect(nil)
	var refused error
	for range 100 {
		if err := write(t.Context(), guest, Address{}, "x"); wire.CodeOf(err) == wire.Exhausted {
			refused = err
		}
	}
	if refused == nil {
		t.Error("a flood passes")
	}
	if err := write(t.Context(), w.connect(nil), Address{}, "x"); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("another connection: %v", err)
	}
}

func TestServer_LargestLegalMessagesDrain(t *testing.T) {
	w := newWorld(t, cheap())
	alice, guest := w.connect(w.alice), w.connect(nil)
	address, q := w.queue(alice, w.alice, stream.Settings{})
	sub, err := alice.Subscribe(t.Context(), q.ID, 0, nil)
	w.must(err)
	big := strings.Repeat("x", stream.MaxBody)
	for range 10 {
		w.must(write(t.Context(), guest, address, big))
	}
	for n := 0; n < 10; {
		page, err := sub.Next(t.Context())
		w.must(err)
		for _, e := range page.Entries {
			if string(e.Body) != big {
				t.Fatal("another body")
			}
			n++
		}
	}
}

func TestServer_CloseSaysGoodbye(t *testing.T) {
	w := newWorld(t, cheap())
	alice := w.connect(w.alice)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	w.must(w.server.Close(ctx))
	w.finished(alice)
	if err := alice.Err(); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("reason: %v", err)
	}
	if _, err := w.dial(w.alice); err == nil {
		t.Error("a closed server takes connections")
	}
}

func TestRecord_ConcurrentChangesAreAllThere(t *testing.T) {
	w := newWorld(t, cheap())
	first, second := w.connect(w.alice), w.connect(w.alice)
	errs := make(chan error)
	for _, c := range []*Client{first, second} {
		go func() {
			var err error
			for range 10 {
				_, e := c.CreateQueue(t.Context(), newSeed(), stream.Settings{})
				err = errors.Join(err, e)
			}
			errs <- err
		}()
	}
	w.must(errors.Join(<-errs, <-errs))
	kept, err := first.Kept(t.Context())
	w.must(err)
	if len(kept.Queues) != 20 {
		t.Errorf("%d queues of 20", len(kept.Queues))
	}
}
