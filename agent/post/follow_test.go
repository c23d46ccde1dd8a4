package post

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

func TestFollow_PoisonStopsOnlyItsBox(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	bad, good := w.queue(bob), w.queue(bob)
	var boxes Boxes
	boxes.Add(bad.Queue(), 0)
	boxes.Add(good.Queue(), 0)
	b := w.inbox()
	b.poison = bad.Queue()
	w.follow(bob, &boxes, b)
	w.deliver(alice, w.bob, bad, 1, 1)
	b.until("tried twice", func() bool { return b.tried >= 2 })
	w.deliver(alice, w.bob, bad, 2, 2)
	w.deliver(alice, w.bob, good, 1, 50)
	b.has(good.Queue(), 50)
	if at, _ := boxes.After(bad.Queue()); at != 0 {
		t.Errorf("the cursor of what was not taken is %d", at)
	}
	b.mu.Lock()
	b.poison = stream.ID{}
	b.mu.Unlock()
	bob.Wake() // it need not wait then
	b.has(bad.Queue(), 2)
}

func TestFollow_ReactsToBoxesThatComeAndGo(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	var boxes Boxes
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.until("connected", func() bool { return b.last().Connected })
	first, second := w.queue(bob), w.queue(bob)
	boxes.Add(first.Queue(), 0)
	w.deliver(alice, w.bob, first, 1, 3)
	b.has(first.Queue(), 3)
	boxes.Remove(first.Queue())
	boxes.Add(second.Queue(), 0)
	w.deliver(alice, w.bob, first, 4, 6)
	w.deliver(alice, w.bob, second, 1, 3)
	b.has(second.Queue(), 3)
	b.has(first.Queue(), 3)
	boxes.Add(first.Queue(), 3)
	b.has(first.Queue(), 6)
}

func TestFollow_GoesOnWhenTheConciergeIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	for round := range 3 {
		from := 1 + 20*round
		w.deliver(alice, w.bob, address, from, from+9)
		w.lagoon.stop()
		b.until("noticed", func() bool { return !b.last().Connected && b.last().Err != nil })
		ms := texts(from+10, from+19)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if n, err := alice.Deliver(ctx, party(w.bob), address, ms); n != 0 || wire.CodeOf(err) != wire.Unavailable {
			t.Errorf("to a concierge that is down: %d, %v", n, err)
		}
		cancel()
		w.lagoon.start()
		if n, err := alice.Deliver(t.Context(), party(w.bob), address, ms); n != 10 || err != nil {
			t.Fatalf("after it came back: %d, %v", n, err)
		}
		b.has(address.Queue(), from+19)
	}
}

func TestFollow_LosesAndDoublesNothingWhileTheConciergeFalls(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	const n = 300
	ms := texts(1, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sent := 0; sent < n && t.Context().Err() == nil; {
			taken, _ := alice.Deliver(t.Context(), party(w.bob), address, ms[sent:min(sent+7, n)])
			sent += taken
		}
	}()
	for _, at := range []int{40, 120, 200} {
		b.until("some have come", func() bool { return len(b.got[address.Queue()]) >= at })
		w.lagoon.stop()
		w.lagoon.start()
	}
	<-done
	b.has(address.Queue(), n)
}

func TestFollow_TellsOfARolledQueueAndGoesOn(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	var seed concierge.Seed
	rand.Read(seed[:])
	w.grow(bob, seed)
	address := concierge.OwnerOf(w.bob.ID, 1).Address(seed)
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	stop := w.follow(bob, &boxes, b)
	w.deliver(alice, w.bob, address, 1, 5)
	b.has(address.Queue(), 5)
	stop()
	w.must(w.lagoon.store.Delete(t.Context(), address.Queue()))
	w.grow(bob, seed)
	w.deliver(alice, w.bob, address, 6, 8)
	w.follow(bob, &boxes, b)
	b.has(address.Queue(), 8)
	var rolled *Rolled
	if len(b.errs) != 1 || !errors.As(b.errs[0], &rolled) || *rolled != (Rolled{Box: address.Queue(), Cursor: 5, Head: 3}) {
		t.Errorf("told: %v", b.errs)
	}
	if at, _ := boxes.After(address.Queue()); at != 3 {
		t.Errorf("the cursor is %d", at)
	}
}

// A queue that was rolled back and has grown beyond the cursor since is told from
// the one that was read, by the hash over all entries, also over a restart of the
// reader; and what stands below the cursor now is not missed.
func TestFollow_TellsOfARolledQueueThatHasGrown(t *testing.T) {
	for _, kept := range []string{"in memory", "on disk", "not"} {
		t.Run(kept, func(t *testing.T) {
			w := newWorld(t)
			alice, bob := w.post(w.alice), w.post(w.bob)
			var seed concierge.Seed
			rand.Read(seed[:])
			w.grow(bob, seed)
			address := concierge.OwnerOf(w.bob.ID, 1).Address(seed)
			box := address.Queue()
			boxes := new(Boxes)
			boxes.Add(box, 0)
			b := w.inbox()
			stop := w.follow(bob, boxes, b)
			w.deliver(alice, w.bob, address, 1, 5)
			b.has(box, 5)
			stop()
			head, known := boxes.Head(box)
			if !known || head.Seq != 5 {
				t.Fatalf("the head is %v (%v)", head, known)
			}
			switch kept {
			case "on disk":
				boxes = new(Boxes)
				boxes.AddAt(box, head)
			case "not": // then it is known once the concierge was asked
				boxes = new(Boxes)
				boxes.Add(box, 5)
				stop := w.follow(bob, boxes, b)
				w.until("the hash", func() bool { _, known := boxes.Head(box); return known })
				stop()
				if got, _ := boxes.Head(box); got != head {
					t.Fatalf("the head is %v, and was %v", got, head)
				}
			}
			w.deliver(alice, w.bob, address, 6, 6)
			stop = w.follow(bob, boxes, b) // nothing happens to an honest one
			b.has(box, 6)
			stop()
			if len(b.errs) != 0 {
				t.Fatalf("told: %v", b.errs)
			}
			w.must(w.lagoon.store.Delete(t.Context(), box))
			w.grow(bob, seed)
			w.deliver(alice, w.bob, address, 7, 15)
			w.follow(bob, boxes, b)
			b.has(box, 15)
			b.mu.Lock()
			defer b.mu.Unlock()
			var rolled *Rolled
			if len(b.errs) != 1 || !errors.As(b.errs[0], &rolled) || *rolled != (Rolled{Box: box, Cursor: 6, Head: 9, Other: true}) {
				t.Errorf("told: %v", b.errs)
			}
		})
	}
}

func TestMark_FollowsWhatIsReadAndKnowsAnotherHistory(t *testing.T) {
	id := stream.ID{1}
	entries := []stream.Entry{{ID: stream.MessageID{1}, Body: []byte("a")}, {ID: stream.MessageID{2}, Body: []byte("b")}, {ID: stream.MessageID{3}, Body: []byte("c")}}
	heads := []stream.Head{stream.Genesis(id)}
	for i := range entries {
		heads = append(heads, heads[i].Follow(entries[i:i+1]))
	}
	page := func(after, last int) stream.Page {
		return stream.Page{After: uint64(after), Entries: entries[after:last], Head: 3}
	}
	other := stream.Head{Seq: 2, Hash: [32]byte{9}}
	for name, c := range map[string]struct {
		at   mark
		page stream.Page
		told *stream.Head
		want mark
		same bool
	}{
		"from the beginning":         {begun(id), page(0, 3), nil, mark{heads[3], true}, true},
		"to the head":                {mark{heads[1], true}, page(1, 3), &heads[3], mark{heads[3], true}, true},
		"beyond the head":            {mark{heads[1], true}, page(1, 3), &heads[2], mark{heads[3], true}, true},
		"nothing new":                {mark{heads[2], true}, page(2, 2), &heads[2], mark{heads[2], true}, true},
		"not there yet":              {mark{heads[0], true}, page(0, 1), &heads[3], mark{heads[1], true}, true},
		"another history":            {mark{heads[1], true}, page(1, 3), &other, mark{Head: stream.Head{Seq: 3}}, false},
		"another one, nothing new":   {mark{heads[2], true}, page(2, 2), &other, mark{Head: stream.Head{Seq: 2}}, false},
		"only the number was kept":   {markAt(id, 1), page(1, 3), &heads[2], mark{heads[3], true}, true},
		"and the head says nothing":  {markAt(id, 1), page(1, 3), nil, mark{Head: stream.Head{Seq: 3}}, true},
		"entries are gone":           {mark{heads[1], true}, page(2, 3), &heads[3], mark{heads[3], true}, true},
		"gone, and the head is past": {mark{heads[0], true}, page(2, 2), &heads[3], mark{Head: stream.Head{Seq: 2}}, true},
	} {
		if got, same := c.at.past(c.page, c.told); got != c.want || same != c.same {
			t.Errorf("%s: %v, %v", name, got, same)
		}
	}
}

func TestFollow_TellsOfAGapAndOfAMissingQueue(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	missing := concierge.Address{1}.Queue()
	w.deliver(alice, w.bob, address, 1, 9)
	w.must(w.lagoon.store.Trim(t.Context(), address.Queue(), 7))
	var boxes Boxes
	boxes.Add(address.Queue(), 4)
	boxes.Add(missing, 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.until("both told", func() bool { return len(b.errs) >= 2 && len(b.got[address.Queue()]) >= 2 })
	var gap *Gap
	var gone *Missing
	for _, err := range b.errs {
		errors.As(err, &gap)
		errors.As(err, &gone)
	}
	if gap == nil || *gap != (Gap{address.Queue(), 4, 8}) {
		t.Errorf("gap: %v", gap)
	}
	if gone == nil || gone.Box != missing {
		t.Errorf("missing: %v", gone)
	}
	if got := b.got[address.Queue()]; got[0] != "8" || got[1] != "9" {
		t.Errorf("taken: %v", got)
	}
}

// A queue that is made after it was asked for is read as soon as it is added
// again.
func TestFollow_ReadsAQueueThatWasMissing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	var seed concierge.Seed
	rand.Read(seed[:])
	address := concierge.OwnerOf(w.bob.ID, 1).Address(seed)
	var boxes Boxes
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	w.follow(bob, &boxes, b)
	b.until("missing", func() bool { return len(b.errs) > 0 })
	w.grow(bob, seed)
	boxes.Add(address.Queue(), 0)
	w.deliver(alice, w.bob, address, 1, 3)
	b.has(address.Queue(), 3)
}

// A reader that ends must not take the subscription of the next one with it.
func TestFollow_ABoxThatIsAddedAgainAndAgainIsReadToItsEnd(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	var boxes Boxes
	b := w.inbox()
	w.follow(bob, &boxes, b)
	for i := range 100 {
		boxes.Add(address.Queue(), uint64(i))
		runtime.Gosched()
		if i%3 == 0 {
			boxes.Remove(address.Queue())
		}
		boxes.Add(address.Queue(), uint64(i))
		w.deliver(alice, w.bob, address, i+1, i+1)
		last := strconv.Itoa(i + 1)
		b.until("message "+last, func() bool { return slices.Contains(b.got[address.Queue()], last) })
	}
}

func TestFollow_TakersNeverRunTwoAtATime(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	var boxes Boxes
	b := w.inbox()
	var ids []stream.ID
	for range 12 {
		a := w.queue(bob)
		w.deliver(alice, w.bob, a, 1, 5)
		ids = append(ids, a.Queue())
		boxes.Add(a.Queue(), 0)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.Mutex
	done := make(chan error, 1)
	go func() {
		done <- bob.Follow(ctx, w.home(bob), &boxes, func(ctx context.Context, id stream.ID, page stream.Page) error {
			if !busy.TryLock() {
				t.Error("two takers at a time")
				return nil
			}
			defer busy.Unlock()
			time.Sleep(time.Millisecond) // room for others to come in
			return b.take(ctx, id, page)
		}, nil)
	}()
	for _, id := range ids {
		b.has(id, 5)
	}
	cancel()
	<-done
}

// Takers may change the boxes, also their own.
func TestFollow_TakersMayChangeBoxes(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	var boxes Boxes
	var addresses []concierge.Address
	for range 12 {
		a := w.queue(bob)
		w.deliver(alice, w.bob, a, 1, 5)
		addresses = append(addresses, a)
	}
	boxes.Add(addresses[0].Queue(), 0)
	b := w.inbox()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	next := 1
	go func() {
		done <- bob.Follow(ctx, w.home(bob), &boxes, func(ctx context.Context, id stream.ID, page stream.Page) error {
			boxes.Remove(id)
			if next < len(addresses) {
				boxes.Add(addresses[next].Queue(), 0)
				next++
			}
			return b.take(ctx, id, page)
		}, nil)
	}()
	for _, a := range addresses {
		b.has(a.Queue(), 5)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v", err)
	}
}

func TestClose_EndsEverything(t *testing.T) {
	w := newWorld(t)
	before := runtime.NumGoroutine()
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	var boxes Boxes
	for range 20 {
		boxes.Add(w.queue(bob).Queue(), 0)
	}
	boxes.Add(address.Queue(), 0)
	b := w.inbox()
	done := make(chan error, 1)
	office := w.home(bob)
	go func() { done <- bob.Follow(context.Background(), office, &boxes, b.take, b.state) }()
	w.deliver(alice, w.bob, address, 1, 10)
	b.has(address.Queue(), 10)
	w.must(bob.Close())
	w.must(alice.Close())
	if err := <-done; !errors.Is(err, errClosed) {
		t.Errorf("Follow ended with %v", err)
	}
	if _, err := alice.Deliver(t.Context(), party(w.bob), address, texts(1, 1)); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("after Close: %v", err)
	}
	if _, err := alice.Own(t.Context(), office); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("after Close: %v", err)
	}
	w.until("no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

func TestLine_IsClosedWhenIdleAndSharedMeanwhile(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.post(w.alice), w.post(w.bob)
	address := w.queue(bob)
	before := w.lagoon.dials.Load()
	for i := range 5 {
		w.deliver(alice, w.bob, address, i, i)
	}
	if n := w.lagoon.dials.Load() - before; n != 1 {
		t.Errorf("%d connections for five deliveries", n)
	}
	alice.mu.Lock()
	alice.times.idle = time.Millisecond
	alice.mu.Unlock()
	w.deliver(alice, w.bob, address, 6, 6)
	w.until("closed", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return len(alice.lines) == 0
	})
	w.deliver(alice, w.bob, address, 7, 7)
	if n := w.lagoon.dials.Load() - before; n < 2 {
		t.Error("the closed connection is used")
	}
}

func TestBackoff_GrowsAndIsBounded(t *testing.T) {
	most := map[int]time.Duration{}
	for failures := range 64 {
		for range 200 {
			most[failures] = max(most[failures], backoff(failures, rand.Reader))
		}
	}
	if most[0] >= leastBackoff || most[0] < leastBackoff/2 {
		t.Errorf("the first wait is up to %v", most[0])
	}
	if most[4] < most[0] || most[63] >= mostBackoff || most[63] < mostBackoff/2 {
		t.Errorf("waits are up to %v, %v, %v", most[0], most[4], most[63])
	}
}
