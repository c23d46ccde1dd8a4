package chat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
)

// faulty is a disk that fails as it is told.
type faulty struct {
	disk
	mu   sync.Mutex
	next func() fault
	deaf bool // the next question for the generation gets no answer
}

// fault is what a write does.
type fault int

const (
	works    fault = iota
	refuses        // nothing is written
	swallows       // all is written, and it says that it is not
	dies           // the same, and then it cannot be read for a moment
)

var errDisk = errors.New("input/output error")

func (f *faulty) Update(do func(*store.Tx) error) error {
	f.mu.Lock()
	what := works
	if f.next != nil {
		what = f.next()
	}
	f.deaf = what == dies
	f.mu.Unlock()
	if what == refuses {
		return errDisk
	}
	err := f.disk.Update(do)
	if err == nil && what != works {
		err = errDisk
	}
	return err
}

func (f *faulty) Generation() (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deaf {
		f.deaf = false
		return 0, errDisk
	}
	return f.disk.Generation()
}

// breaks has a device's disk fail from now on as next says; nil mends it.
func (d *device) breaks(next func() fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.disk.(*faulty)
	if !ok {
		f = &faulty{disk: d.disk}
		d.disk = f
		d.unsure = true // so that the secrets ask it too
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = next
}

// once returns faults that come one after the other, and then none.
func once(list ...fault) func() fault {
	return func() fault {
		if len(list) == 0 {
			return works
		}
		f := list[0]
		list = list[1:]
		return f
	}
}

// agrees checks that memory has what the disk has.
func (d *device) agrees(when string) {
	d.p.w.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for tries := 0; d.unsure && tries < 2; tries++ { // it may not be readable at first
		d.reread()
	}
	d.p.w.must(d.store.View(func(tx *store.Tx) error {
		kept, err := d.allRooms(tx)
		if err != nil {
			return err
		}
		if len(kept) != len(d.rooms) {
			d.p.w.Errorf("%s: %d rooms in memory, %d on disk", when, len(d.rooms), len(kept))
		}
		for id, r := range kept {
			if have := d.rooms[id]; have == nil || string(have.encode()) != string(r.encode()) {
				d.p.w.Errorf("%s: conversation %v is another in memory than on disk", when, id)
			}
		}
		return nil
	}))
}

func TestDisk_MemoryAgreesWithItAfterEachFailure(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.halt() // so that nobody else writes
	name := func(d *device, text string) error {
		_, err := d.NameContact(w.Context(), "@bob", text)
		return err
	}
	for i, c := range []struct {
		fault fault
		keys  bool // the change is of secrets too
		done  bool // and is there
		says  bool // and it says so
	}{
		{refuses, false, false, false}, {swallows, false, true, false}, {dies, false, true, false},
		{refuses, true, false, false}, {swallows, true, true, true}, {dies, true, true, true},
	} {
		when := fmt.Sprint("case ", i)
		text := fmt.Sprint("text ", i)
		alice.change(w.Context(), func(*batch) error { return nil }) // whatever is to be read again is
		alice.breaks(once(c.fault))
		var err error
		var done bool
		if c.keys {
			_, err = alice.Send(w.Context(), "@bob", Draft{Text: text})
			done = slices.Contains(alice.sees(bob), "you: "+text)
		} else {
			err = name(alice, text)
			shown, _ := alice.Contact(w.Context(), bob.p.actor.ID.String())
			done = shown.Name == text
		}
		alice.breaks(nil)
		if done != c.done || (err == nil) != c.says {
			t.Errorf("%s: it is there: %t, want %t; it says %v", when, done, c.done, err)
		}
		alice.agrees(when)
	}
	alice.stop()
	alice = alice.p.start(alice.key, alice.home)
	alice.say(bob, "last")
	bob.reads(alice, "@alice: text 4", "@alice: text 5", "@alice: last")
}

// A disk that fails at every third write loses nothing that was accepted and
// doubles nothing.
func TestDisk_ThatFailsAgainAndAgainLosesNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	alice.breaks(func() fault {
		if rng.IntN(3) > 0 {
			return works
		}
		return fault(rng.IntN(4))
	})
	var accepted, maybe []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 40 {
			text := fmt.Sprint("a", i)
			_, err := alice.Send(w.Context(), "@bob", Draft{Text: text})
			if err == nil {
				accepted = append(accepted, text)
			} else {
				maybe = append(maybe, text)
				if code := wire.CodeOf(err); code != wire.Internal && code != wire.Unavailable {
					t.Errorf("a broken disk gives %v", err)
				}
			}
		}
	})
	wg.Go(func() {
		for i := range 40 {
			bob.say(alice, fmt.Sprint("b", i))
		}
	})
	wg.Wait()
	alice.breaks(nil)
	alice.Wake()
	bob.Wake()
	heard := func(d, other *device, from string) (out []string) {
		for _, s := range d.sees(other) {
			if text, ok := strings.CutPrefix(s, from); ok {
				out = append(out, text)
			}
		}
		return out
	}
	w.until("alice has what bob said", func() bool { return len(heard(alice, bob, "@bob: ")) >= 40 })
	w.until("bob has what alice said", func() bool {
		have := heard(bob, alice, "@alice: ")
		return !slices.ContainsFunc(accepted, func(s string) bool { return !slices.Contains(have, s) })
	})
	for i, s := range heard(alice, bob, "@bob: ") {
		if s != fmt.Sprint("b", i) {
			t.Errorf("bob's message %d is %q for alice", i, s)
		}
	}
	order := slices.DeleteFunc(heard(bob, alice, "@alice: "), func(s string) bool { return slices.Contains(maybe, s) })
	if !slices.Equal(order, accepted) {
		t.Errorf("bob has\n%v\nalice said\n%v", order, accepted)
	}
	alice.agrees("in the end")
	t.Logf("%d of 40 were accepted", len(accepted))
}
