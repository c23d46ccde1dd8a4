package bundle_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
)

// names is how many leaves the state of a measured chain has: with each
// doubling a proof grows by 32 bytes and a hash.
func names() int {
	if os.Getenv("CONFAB_LONG") != "" {
		return 1_000_000
	}
	return 10_000
}

// Bounds that the design sets for a lookup with 16 validators, at a million
// names: the handle and the entry behind it, under a head that the reader
// reaches in one step.
const (
	maxWithSet = 4 << 10
	maxByHash  = 3 << 10
)

// TestBundle_IsSmall prints what lookups weigh and holds them to the design's
// bounds.
func TestBundle_IsSmall(t *testing.T) {
	for _, n := range []int{4, 16, 50, 100} {
		w := newWorld(t, fakechain.Spec{Set: fakechain.Equal(0, n), Fill: names()})
		for _, r := range []struct {
			what  string
			ask   lightclient.Request
			limit int
		}{
			{"known by hash", lightclient.Request{Handle: "alice", Pin: 1, Known: 3}, maxByHash},
			{"known by hash, with the concierge", lightclient.Request{Handle: "alice", Serving: true, Pin: 1, Known: 3}, 0},
			{"whole, from the pin", lightclient.Request{Handle: "alice", Pin: 1}, 0},
			{"whole, with concierge and devices", lightclient.Request{Handle: "alice", Serving: true, Devices: true, Pin: 1}, 0},
			{"a head to compare", lightclient.Request{At: w.Height(), Pin: 1, Known: 3}, 0},
		} {
			b, err := w.Bundle(r.ask)
			w.do(err)
			size := len(b.Encode())
			t.Logf("%3d validators, %d names: %5d bytes %s", n, names(), size, r.what)
			if n == 16 && r.limit > 0 && size > r.limit {
				t.Errorf("%d validators: %d bytes %s, at most %d are allowed", n, size, r.what, r.limit)
			}
		}
		b, err := w.Bundle(lightclient.Request{Handle: "alice", Pin: 1, Known: 3})
		w.do(err)
		_, set := w.Head(w.Height())
		b.Steps[0].Validators = &set.Validators
		size := len(b.Encode())
		t.Logf("%3d validators, %d names: %5d bytes with the validator set included", n, names(), size)
		if n == 16 && size > maxWithSet {
			t.Errorf("%d validators: %d bytes with the set, at most %d are allowed", n, size, maxWithSet)
		}
	}
}

// BenchmarkVerify measures a lookup's proof on the reader's side: from the pin,
// which brings the validators along, and from a known head, which does not.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{4, 16, 100} {
		w := newWorld(b, fakechain.Spec{Set: fakechain.Equal(0, n), Fill: 10_000})
		for _, from := range []struct {
			name  string
			known uint64
			trust bundle.Trust
		}{{"pin", 0, w.trust()}, {"known", 3, w.knows(3)}} {
			b.Run(fmt.Sprintf("validators=%d/from=%s", n, from.name), func(b *testing.B) {
				data := w.about("alice", 1, from.known).Encode()
				now := w.Now()
				for b.Loop() {
					if _, err := bundle.Verify(data, from.trust, now); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(data)), "bytes")
			})
		}
	}
}

// TestBundle_CostsTheSameAtAnyAge is the regression test for a light client
// whose first lookup gets dearer with each day of the chain: the way from a pin
// to the newest head is one step if the validators stayed, and grows with their
// changes, not with the blocks between.
func TestBundle_CostsTheSameAtAnyAge(t *testing.T) {
	size := func(age int) (int, int) {
		w := newWorld(t, fakechain.Spec{})
		w.Skip(age)
		b := w.ask()
		trust := w.trust()
		if _, err := bundle.Verify(b.Encode(), trust, w.Now()); err != nil {
			t.Fatal(err)
		}
		return len(b.Encode()), len(b.Steps)
	}
	young, one := size(3)
	old, steps := size(600)
	// The state has grown by its checkpoints: three proofs may be deeper.
	if one != 1 || steps != 1 || old > young+3*4*32 {
		t.Errorf("after 600 blocks the first lookup takes %d bytes and %d heads, after 3 it took %d and %d", old, steps, young, one)
	}

	// 30 changes of a validator each: three of four were trusted, so a step
	// spans two changes.
	w := newWorld(t, fakechain.Spec{})
	for i := range 30 {
		w.SetValidators(fakechain.Equal(i+1, 4))
		w.Skip(4)
	}
	b := w.ask()
	if _, err := bundle.Verify(b.Encode(), bundle.Trust{Pin: w.Pin(1), Rules: verify.DefaultRules(), MaxAge: time.Minute}, w.Now()); err != nil {
		t.Fatal(err)
	}
	t.Logf("30 changes in %d blocks: %d heads, %d bytes", w.Height(), len(b.Steps), len(b.Encode()))
	if len(b.Steps) > 30 || len(b.Encode()) > 100_000 {
		t.Errorf("it takes %d heads and %d bytes", len(b.Steps), len(b.Encode()))
	}
}
