package bundle_test

import (
	"bytes"
	"cmp"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// small is a world with one validator, so that a bundle has one signature to
// check and all of its bits can be tried.
func small(t testing.TB) *world { return newWorld(t, fakechain.Spec{Set: fakechain.Equal(0, 1)}) }

func TestVerify_RefusesABundleCutAnywhere(t *testing.T) {
	w := small(t)
	whole := w.ask().Encode()
	for n := range whole {
		if _, err := bundle.Verify(whole[:n], w.trust(), w.Now()); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := bundle.Verify(append(whole, 0), w.trust(), w.Now()); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("with a byte too many: %v", err)
	}
}

// TestVerify_NoFlippedBitChangesAnAnswer flips bits of several sorts of
// bundles. What is accepted then must be a change of the note, which proves
// nothing, or the proof that something else is absent, which is true and does
// not answer the question.
func TestVerify_NoFlippedBitChangesAnAnswer(t *testing.T) {
	w := small(t)
	stranger := fakechain.NewActor("stranger", namesvc.Person)
	absent := w.about("zed", 1, 0)
	absent.Leaves = append(absent.Leaves, w.Leaf(w.Height(), namesvc.LeafAccount, stranger.ID[:]))
	four := newWorld(t, fakechain.Spec{})
	for name, test := range map[string]struct {
		w      *world
		b      bundle.Bundle
		trust  bundle.Trust
		handle namesvc.Handle
		every  int // so many bits are tried of each byte
	}{
		"from the pin":       {w, w.ask(), w.trust(), "alice", 8},
		"from what is known": {w, w.about("alice", 1, 3), w.knows(3), "alice", 2},
		"absent":             {w, absent, w.trust(), "zed", 2},
		"four validators":    {four, four.ask(), four.trust(), "alice", 1},
	} {
		t.Run(name, func(t *testing.T) {
			switch {
			case os.Getenv("CONFAB_LONG") != "":
				test.every = 8
			case testing.Short():
				test.every = 1
			}
			flipAll(t, test.w, test.b, test.trust, test.handle, test.every)
		})
	}
}

func flipAll(t *testing.T, w *world, b bundle.Bundle, trust bundle.Trust, h namesvc.Handle, every int) {
	good := b.Encode()
	v, err := bundle.Verify(good, trust, w.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := meaning(v, h)
	note := bytes.Index(good, []byte(b.About))
	refused := 0
	for i := range good {
		for n := range every {
			bit := (i + n) % 8
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			v, err := bundle.Verify(bad, trust, w.Now())
			if err != nil {
				if wire.CodeOf(err) == wire.Internal {
					t.Errorf("byte %d, bit %d: an error without a kind: %v", i, bit, err)
				}
				refused++
				continue
			}
			got := meaning(v, h)
			_, uncovered := v.Handle(h)
			switch {
			case got == want && i >= note && i < note+len(b.About):
			case errors.Is(uncovered, bundle.ErrNotCovered) && onlyAbsent(b):
			case got == want && onlyAbsent(b): // the other leaf of the bundle became another
			default:
				t.Errorf("byte %d, bit %d: accepted, and %v means %s", i, bit, h, got)
			}
		}
	}
	if refused < len(good)*every*9/10 {
		t.Errorf("only %d of %d changed bundles were refused", refused, len(good)*every)
	}
}

// onlyAbsent reports whether all leaves are proven absent: such a proof may
// hold for another leaf too, which is absent for the same reason.
func onlyAbsent(b bundle.Bundle) bool {
	for _, l := range b.Leaves {
		if len(l.Value) > 0 {
			return false
		}
	}
	return true
}

// TestVerify_PartsOfTrueBundlesMakeNoLie puts parts of true bundles of many
// heights together at random, and forged heads among them. What is believed
// must say what the chain said at the height of its head.
func TestVerify_PartsOfTrueBundlesMakeNoLie(t *testing.T) {
	w := newWorld(t, fakechain.Spec{Set: fakechain.Equal(0, 2)})
	w.SetValidators(fakechain.Equal(1, 2))
	w.Skip(3)
	own := fakechain.Equal(0, 2)
	var parts []bundle.Bundle
	truth := map[uint64]string{}
	for height := uint64(2); height <= w.Height(); height++ {
		for _, known := range []uint64{0, height - 1} {
			b, err := w.BundleAt(height, lightclient.Request{Handle: "alice", Serving: true, Pin: 1, Known: known})
			w.do(err)
			parts = append(parts, b)
			v, err := bundle.Verify(b.Encode(), w.from(known), w.Now())
			w.do(err)
			truth[height] = meaning(v, "alice")
		}
		forged := w.ask()
		h := &forged.Steps[len(forged.Steps)-1].Head
		h.Header.Height, h.Header.AppHash = height, [32]byte{1}
		own.Sign(h, int(height)%2) // half of them
		parts = append(parts, forged)
	}
	r := rand.New(rand.NewPCG(1, 2))
	pick := func() bundle.Bundle { return parts[r.IntN(len(parts))] }
	believed := 0
	rounds := 3000
	switch {
	case os.Getenv("CONFAB_LONG") != "":
		rounds = 200_000
	case testing.Short():
		rounds = 500
	}
	for range rounds {
		b := bundle.Bundle{Version: 1, Origin: pick().Origin}
		for range 1 + r.IntN(3) {
			b.Steps = append(b.Steps, pick().Steps...)
		}
		if r.IntN(3) > 0 {
			slices.SortStableFunc(b.Steps, func(x, y bundle.Step) int { return cmp.Compare(x.Head.Header.Height, y.Head.Header.Height) })
		}
		// Leaves are worth mixing under a head that some of them belong to.
		var leaves []bundle.Leaf
		for _, p := range parts {
			if r.IntN(4) == 0 || p.Head().Header.AppHash == b.Head().Header.AppHash {
				leaves = append(leaves, p.Leaves...)
			}
		}
		for _, i := range r.Perm(len(leaves))[:min(len(leaves), 1+r.IntN(3))] {
			b.Leaves = append(b.Leaves, leaves[i])
		}
		trust := w.trust()
		if r.IntN(2) == 0 {
			trust.Known = w.Chain.Trust(uint64(1 + r.IntN(int(w.Height()))))
		}
		v, err := bundle.Verify(b.Encode(), trust, w.Now())
		if err != nil {
			continue
		}
		believed++
		got := meaning(v, "alice")
		if _, err := v.Handle("alice"); !errors.Is(err, bundle.ErrNotCovered) && got != truth[v.Trust.Height] && !uncovered(v, w) {
			t.Fatalf("at height %d @alice is %s\nand not %s", v.Trust.Height, got, truth[v.Trust.Height])
		}
	}
	t.Logf("%d of %d mixtures were believed", believed, rounds)
	if believed < rounds/100 {
		t.Errorf("only %d of %d mixtures were believed, which tests little", believed, rounds)
	}
}

// from is the trust of who knows a height, or only the pin for 0.
func (w *world) from(height uint64) bundle.Trust {
	if height == 0 {
		return w.trust()
	}
	return w.knows(height)
}
