package chat

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc/key"
)

// Two people with as many devices as the chain lists. CONFAB_LONG has all of
// them; without it there are few.
func TestMany_AMessageReachesAllDevicesOfBoth(t *testing.T) {
	w := newWorld(t)
	each := 3
	wait := w.until
	if os.Getenv("CONFAB_LONG") != "" {
		each = 16
		wait = func(what string, ok func() bool) {
			t.Helper()
			for end := time.Now().Add(4 * time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("it did not happen: %s", what)
				}
			}
		}
	}
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	begin := time.Now()
	all := [2][]*device{{alice}, {bob}}
	for side, first := range []*device{alice, bob} {
		keys := []key.Device{first.key}
		for range each - 1 {
			keys = append(keys, newKey(t))
		}
		first.p.devices(keys...)
		for _, k := range keys[1:] {
			all[side] = append(all[side], first.p.start(k, t.TempDir()))
		}
	}
	id := alice.with(bob)
	wait("all devices are in one session", func() bool {
		for _, d := range append(slices.Clone(all[0]), all[1]...) {
			if d.members(id) != 2*each {
				return false
			}
		}
		return true
	})
	t.Logf("%d devices were in one session after %v", 2*each, time.Since(begin).Round(time.Millisecond))
	for _, text := range []string{"one", "two"} {
		begin = time.Now()
		last := all[0][each-1]
		last.say(bob, text)
		wait("every device reads it", func() bool {
			for _, d := range all[0] {
				if d != last && !slices.Contains(d.sees(bob), "you: "+text) {
					return false
				}
			}
			for _, d := range all[1] {
				if !slices.Contains(d.sees(alice), "@alice: "+text) {
					return false
				}
			}
			return true
		})
		t.Logf("it was read by %d devices after %v", 2*each-1, time.Since(begin).Round(time.Millisecond))
	}
}
