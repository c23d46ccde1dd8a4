package chat

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSoak_NobodyMissesOrDoublesAnything has people with several devices talk
// while agents and concierges stop and start again. The checker knows every
// message. CONFAB_LONG makes it longer.
func TestSoak_NobodyMissesOrDoublesAnything(t *testing.T) {
	w := newWorld(t)
	rounds, seed := 6, uint64(time.Now().UnixNano())
	if os.Getenv("CONFAB_LONG") != "" {
		rounds = 300
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	carol := w.person("carol", w.harbor).device()
	pairs := [][2]*device{{alice, bob}, {alice, carol}, {bob, carol}}
	for _, p := range pairs {
		w.friends(p[0], p[1])
	}
	said := make([][]string, len(pairs)) // by "who: what"
	for round := range rounds {
		var stopped []**device
		for _, d := range []**device{&alice, &bob, &carol} {
			if rng.IntN(3) == 0 {
				(*d).stop()
				stopped = append(stopped, d)
			}
		}
		down := []*house{w.harbor, w.lagoon}[rng.IntN(2)]
		if rng.IntN(2) == 0 {
			down.stop()
		}
		pairs = [][2]*device{{alice, bob}, {alice, carol}, {bob, carol}}
		var wg sync.WaitGroup
		for i, p := range pairs {
			for side, d := range p {
				if slices.ContainsFunc(stopped, func(s **device) bool { return *s == d }) {
					continue
				}
				n := rng.IntN(4)
				for k := range n {
					said[i] = append(said[i], fmt.Sprintf("%s: %d.%d", d.p.name, round, k))
				}
				wg.Go(func() {
					for k := range n {
						if _, err := d.Send(w.Context(), "@"+p[1-side].p.name, Draft{Text: fmt.Sprintf("%d.%d", round, k)}); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		down.start()
		for _, d := range stopped {
			*d = (*d).p.start((*d).key, (*d).home)
		}
		for _, d := range []*device{alice, bob, carol} {
			d.Wake()
		}
	}
	pairs = [][2]*device{{alice, bob}, {alice, carol}, {bob, carol}}
	for i, p := range pairs {
		want := slices.Sorted(slices.Values(said[i]))
		for side, d := range p {
			other := p[1-side]
			have := func() []string {
				var out []string
				for _, s := range d.sees(other) {
					s = strings.Replace(s, "you:", d.p.name+":", 1)
					out = append(out, strings.TrimPrefix(s, "@"))
				}
				slices.Sort(out)
				return out
			}
			deadline := time.Now().Add(4 * patience)
			for !slices.Equal(have(), want) && time.Now().Before(deadline) {
				time.Sleep(50 * time.Millisecond)
			}
			if got := have(); !slices.Equal(got, want) {
				t.Errorf("%s sees of %s\n%v\nwant\n%v", d.p.name, other.p.name, got, want)
			}
		}
	}
}
