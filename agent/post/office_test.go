package post

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// slowNames answers when it is let.
type slowNames struct {
	Names
	asked atomic.Int64
	let   chan struct{}
}

func (n *slowNames) Account(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (namesvc.Entry, lightclient.Proof, error) {
	n.asked.Add(1)
	select {
	case <-n.let:
		return n.Names.Account(ctx, id, maxAge)
	case <-ctx.Done():
		return namesvc.Entry{}, lightclient.Proof{}, ctx.Err()
	}
}

// waits counts who waits for something else than it.
type waits struct {
	context.Context
	count *atomic.Int64
}

func (c waits) Done() <-chan struct{} {
	c.count.Add(1)
	return c.Context.Done()
}

// Whoever wants to know the same at one moment shares one question, which does not
// end with whoever came first; who knows that something has changed asks anew.
func TestFind_AsksOnceForAllWhoWait(t *testing.T) {
	w := newWorld(t)
	names := &slowNames{Names: w.client(), let: make(chan struct{})}
	p := New(Options{Names: names, Self: concierge.Identity{Account: w.alice.ID, Device: w.alice.Device}, Now: w.Now})
	defer p.Close()
	first, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := p.Find(first, party(w.bob), 0); left <- err }()
	w.until("it is asked", func() bool { return names.asked.Load() == 1 })
	leave()
	if err := <-left; wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("who left: %v", err)
	}
	var wait sync.WaitGroup
	var waiting atomic.Int64
	for range 50 {
		wait.Go(func() {
			if o, err := p.Find(waits{t.Context(), &waiting}, party(w.bob), 0); err != nil || o.Service.Account != w.lagoon.actor.ID {
				t.Errorf("%v, %v", o, err)
			}
		})
	}
	var anew atomic.Bool
	wait.Go(func() {
		if _, err := p.lookUp(waits{t.Context(), &waiting}, w.bob.ID, time.Minute); err != nil {
			t.Error(err)
		}
		anew.Store(true)
	})
	w.until("all wait", func() bool { return waiting.Load() == 51 })
	names.let <- struct{}{} // one answer
	w.until("another question", func() bool { return names.asked.Load() == 2 })
	if anew.Load() {
		t.Error("a question from before the call was taken for new")
	}
	close(names.let)
	wait.Wait()
	if n := names.asked.Load(); n != 2 {
		t.Errorf("the chain was asked %d times", n)
	}
}
