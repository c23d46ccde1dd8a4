package post

import (
	"net"
	"strings"
	"testing"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// names has a house's entry say a URL.
func (h *house) names(url string) {
	h.w.Helper()
	if e, _ := h.w.Entry(h.actor.ID); e.Records.Service.URLs[0] == url {
		return
	}
	h.w.must(h.w.Next(h.w.Sign(h.actor, namesvc.OpRecords, *h.actor.Concierge(url))))
	h.w.Skip(1)
}

// A contact's entry that leads to this machine or its network sends nobody there,
// unless the own concierge is there as well.
func TestDeliver_ToPrivateAddressesOnlyFromAmongThem(t *testing.T) {
	w := newWorld(t)
	bob := w.post(w.bob)
	address := w.queue(bob)
	_, port, _ := net.SplitHostPort(w.lagoon.addr)
	at := func(host string) string { return "https://" + net.JoinHostPort(host, port) }
	for _, c := range []struct {
		home    string
		foreign string
		refused bool
	}{
		{"https://harbor.example", at("127.0.0.1"), true},
		{"https://harbor.example", at("localhost"), true}, // what it means is known when it is dialled
		{"https://harbor.example", at("::ffff:127.0.0.1"), true},
		{"https://harbor.example", "http://127.0.0.1:" + port, true},
		{"https://harbor.example", "https://192.168.77.1:8443", true},
		{"https://10.0.0.1", at("127.0.0.1"), true},
		{"https://10.0.0.1", at("localhost"), true},
		{"https://127.0.0.1:1", at("127.0.0.1"), false},
	} {
		w.harbor.names(c.home)
		w.lagoon.names(c.foreign)
		alice := w.post(w.alice)
		n, err := alice.Deliver(t.Context(), party(w.bob), address, texts(1, 1))
		switch {
		case !c.refused && (n != 1 || err != nil):
			t.Errorf("from %s to %s: %d, %v", c.home, c.foreign, n, err)
		case c.refused && (n != 0 || wire.CodeOf(err) != wire.Unauthorized || !strings.Contains(err.Error(), "public internet")):
			t.Errorf("from %s to %s: %d, %v", c.home, c.foreign, n, err)
		}
		alice.Close()
	}
	// The own concierge is reached wherever it is.
	if n, err := w.post(w.bob).Deliver(t.Context(), party(w.bob), address, texts(1, 1)); n != 1 || err != nil {
		t.Errorf("own: %d, %v", n, err)
	}
	guest := New(Options{Names: w.client(), Self: concierge.Identity{Device: w.bob.Device}, Home: w.bob.ID, Now: w.Now})
	defer guest.Close()
	if n, err := guest.Deliver(t.Context(), party(w.bob), address, texts(1, 1)); n != 1 || err != nil {
		t.Errorf("as a guest: %d, %v", n, err)
	}
}
