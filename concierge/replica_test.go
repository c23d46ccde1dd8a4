package concierge

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/redisstore"
	"github.com/confab-chat/confab/stream/streamtest"
)

// replica starts another server of the world's concierge on a store.
func (w *world) replica(store stream.Store, issue [16]byte) string {
	w.Helper()
	s := w.newServerOn(store, issue, cheap(), w.harbor)
	ts := httptest.NewUnstartedServer(s.Handler())
	ts.EnableHTTP2 = false
	ts.StartTLS()
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
		ts.Close()
	})
	return ts.URL
}

func (w *world) connectTo(url string, a *fakechain.Actor) *Client {
	w.Helper()
	var id *Identity
	if a != nil {
		id = &Identity{Account: a.ID, Device: a.Device}
	}
	c, err := Dial(w.Context(), url, w.service(), id)
	w.must(err)
	w.Cleanup(func() { c.Close() })
	return c
}

// Two processes with one Redis serve one user: what one takes the other pushes,
// and neither gives out a KeyPackage that the other has.
func TestServer_ReplicasOnOneRedisServeTheSameUser(t *testing.T) {
	redis := streamtest.StartRedis(t)
	w := newWorld(t, cheap())
	var at [2]string
	for i := range at {
		store, err := redisstore.Open(t.Context(), redis.URL, redisstore.Options{})
		w.must(err)
		t.Cleanup(func() { store.Close() })
		at[i] = w.replica(store, [16]byte{})
	}
	alice, guest := w.connectTo(at[0], w.alice), w.connectTo(at[1], nil)
	address, q := w.queue(alice, w.alice, stream.Settings{})
	sub, err := alice.Subscribe(t.Context(), q.ID, 0, nil)
	w.must(err)
	w.must(write(t.Context(), guest, address, "across"))
	page, err := sub.Next(t.Context())
	w.must(err)
	if len(page.Entries) != 1 || string(page.Entries[0].Body) != "across" {
		t.Errorf("pushed: %v", page)
	}
	// A queue made at one is read at the other, which has not heard of it.
	there := w.connectTo(at[1], w.alice)
	_, late := w.queue(alice, w.alice, stream.Settings{})
	_, err = there.Range(t.Context(), late.ID, 0, 1)
	w.must(err)

	_, err = alice.UploadPackages(t.Context(), packages(10), nil)
	w.must(err)
	got := make(chan string, 10)
	for i := range 2 {
		c := w.connectTo(at[i], nil)
		go func() {
			for range 5 {
				p, err := c.FetchPackage(t.Context(), w.ofAlice(address))
				for wire.CodeOf(err) == wire.Unavailable && t.Context().Err() == nil {
					p, err = c.FetchPackage(t.Context(), w.ofAlice(address))
				}
				if err != nil {
					got <- fmt.Sprint("error: ", err)
					continue
				}
				got <- string(p.Body)
			}
		}()
	}
	seen := map[string]bool{}
	for range 10 {
		seen[<-got] = true
	}
	for _, p := range packages(10) {
		if !seen[string(p)] {
			t.Errorf("%s is not among %v", p, seen)
		}
	}
}

// A store restored from a backup does not know what was given out since.
func TestPackages_OfAnotherIssueAreNotGivenOut(t *testing.T) {
	w := newWorld(t, cheap())
	before := w.connect(w.alice)
	address, _ := w.queue(before, w.alice, stream.Settings{})
	_, err := before.UploadPackages(t.Context(), packages(2), []byte("last"))
	w.must(err)
	after := w.replica(w.store, [16]byte{1})
	alice, guest := w.connectTo(after, w.alice), w.connectTo(after, nil)
	if p, err := guest.FetchPackage(t.Context(), w.ofAlice(address)); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("%q is given out: %v", p.Body, err)
	}
	count, err := alice.CountPackages(t.Context())
	w.must(err)
	if count != (PackageCount{}) {
		t.Errorf("she is told of %+v", count)
	}
}

// A device that takes nothing costs others nothing, and loses nothing.
func TestServer_SlowReaderHoldsUpNobody(t *testing.T) {
	w := newWorld(t, cheap())
	slow, alice, guest := w.connect(w.alice), w.connect(w.alice), w.connect(nil)
	address, q := w.queue(alice, w.alice, stream.Settings{})
	stuck, err := slow.Subscribe(t.Context(), q.ID, 0, nil) // and never calls Next
	w.must(err)
	sub, err := alice.Subscribe(t.Context(), q.ID, 0, nil)
	w.must(err)
	const n = 60 // of 64 KiB: more than buffers of both ends hold
	body := bytes.Repeat([]byte("x"), stream.MaxBody)
	go func() {
		for range n {
			write(t.Context(), guest, address, string(body))
		}
	}()
	count := func(s interface {
		Next(context.Context) (stream.Page, error)
	}) {
		for seen := 0; seen < n; {
			page, err := s.Next(t.Context())
			w.must(err)
			seen += len(page.Entries)
		}
	}
	count(sub)
	count(stuck)
}

func TestWork_OfOneNetworkIsNotCheckedWithoutEnd(t *testing.T) {
	w := newWorld(t, Limits{WorkBits: 200, WorkKiB: 8})
	w.connect(w.alice)
	guest := w.connect(nil)
	k := Knock{Account: w.alice.ID, Generation: 1, Body: []byte("x"), Work: Work{Period: periodOf(w.now())}}
	for i := range strangerBurst + 1 {
		want := wire.Unauthorized
		if i == strangerBurst {
			want = wire.Exhausted
		}
		if err := guest.Knock(t.Context(), k); wire.CodeOf(err) != want {
			t.Fatalf("knock %d: %v", i, err)
		}
	}
}
