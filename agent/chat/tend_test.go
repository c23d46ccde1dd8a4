package chat

import (
	"context"
	"net"
	"testing"
	"time"
)

// hang stops a concierge and has its address take connections that nobody
// answers.
func (h *house) hang() {
	h.w.Helper()
	h.stop()
	l, err := net.Listen("tcp", h.addr)
	h.w.must(err)
	h.w.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.w.Cleanup(func() { c.Close() })
		}
	}()
}

func TestTend_AConciergeThatHangsHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t)
	reef := w.house("reef")
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	reef.hang()
	for _, name := range []string{"carol", "dave", "erin"} {
		w.person(name, reef)
		ctx, cancel := context.WithCancel(w.Context())
		go alice.AddContact(ctx, "@"+name, "", nil)
		w.until("they are invited", func() bool {
			c, err := alice.Contact(w.Context(), "@"+name)
			return err == nil && c.State == "invited"
		})
		cancel() // what is left to do is tending's
	}
	w.until("three conversations are being tended", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return len(alice.tending) == 3
	})
	m := bob.say(alice, "here?")
	begin := time.Now()
	w.until("bob has a receipt", func() bool {
		shown, err := bob.Message(w.Context(), m.ID)
		return err == nil && shown.Delivery == Delivered
	})
	if took := time.Since(begin); took > 10*time.Second { // dialling gives up after 15
		t.Errorf("the receipt took %v", took)
	}
	alice.mu.Lock()
	defer alice.mu.Unlock()
	if len(alice.tending) < 3 {
		t.Error("the others are not tended any more: the test shows nothing")
	}
}

// A room is tended by one at a time, however often it is in a hurry; those that
// failed leave places to the others.
func TestTend_TakesEachConversationOnce(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice", w.harbor).device()
	alice.stop()
	for i := range 3 * maxTending {
		id := [32]byte{byte(i)}
		alice.rooms[id] = &room{}
		alice.hurry[id] = true
		if i%2 == 0 {
			alice.times[id] = timing{failures: 1}
		}
	}
	first := alice.toTend()
	failed := 0
	for _, id := range first {
		if id[0]%2 == 0 {
			failed++
		}
	}
	if len(first) != maxTending || failed > maxFailing {
		t.Errorf("%d are tended, %d of them failed before; at most %d and %d may", len(first), failed, maxTending, maxFailing)
	}
	alice.hurryAll()
	if more := alice.toTend(); len(more) > 0 {
		t.Errorf("%d more are tended", len(more))
	}
	alice.release(first[0])
	alice.release(first[1])
	for _, id := range alice.toTend() {
		for _, busy := range first[2:] {
			if id == busy {
				t.Error("a conversation is tended twice at a time")
			}
		}
	}
	alice.rooms, alice.tending = nil, nil
}

func TestTend_ReceiptsGoOnWhileTheChainIsSilent(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.say(bob, "before")
	bob.reads(alice, "@alice: before")
	w.blind.Store(true)
	for _, d := range []*device{alice, bob} {
		d.sets(2 * listedAge) // what is known is old
	}
	m := alice.say(bob, "during")
	w.until("alice has a receipt", func() bool {
		shown, err := alice.Message(w.Context(), m.ID)
		return err == nil && shown.Delivery == Delivered
	})
}
