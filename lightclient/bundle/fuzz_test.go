package bundle_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc/wire"
)

// seeds adds bundles of all sorts.
func seeds(f *testing.F, w *world) {
	f.Helper()
	fork := w.Fork()
	fork.Skip(1)
	for _, r := range []lightclient.Request{
		{Handle: "alice", Serving: true, Pin: 1}, {Handle: "alice", Known: 3, Pin: 1}, {Handle: "nobody", Pin: 1},
		{Account: &w.alice.ID, Devices: true, Pin: 1}, {Chain: true, Pin: 1}, {At: 3, Pin: 1},
	} {
		b, err := w.Bundle(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.Encode())
	}
	b, err := fork.Bundle(lightclient.Request{Handle: "alice", Pin: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Encode())
}

// FuzzDecode looks for a bundle that decodes and is not the one encoding of
// what it decodes to, or that panics whoever prints it.
func FuzzDecode(f *testing.F) {
	seeds(f, small(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := bundle.Decode(data)
		if err != nil {
			if wire.CodeOf(err) != wire.Invalid {
				t.Errorf("kind %v: %v", wire.CodeOf(err), err)
			}
			return
		}
		if !bytes.Equal(b.Encode(), data) {
			t.Error("it does not encode to the same bytes")
		}
		if b.String() == "" || b.Head().Header.ChainID != b.Steps[len(b.Steps)-1].Head.Header.ChainID {
			t.Error("it has no head")
		}
		if _, err := wire.JSON(b); err != nil {
			t.Errorf("as JSON: %v", err)
		}
	})
}

// FuzzVerify looks for a bundle that is believed and says something else of
// @alice than the chain said at that height.
func FuzzVerify(f *testing.F) {
	w := small(f)
	seeds(f, w)
	truth := map[uint64]string{}
	for height := uint64(2); height <= w.Height()+1; height++ {
		b, err := w.BundleAt(min(height, w.Height()), lightclient.Request{Handle: "alice", Serving: true, Pin: 1})
		if err != nil {
			f.Fatal(err)
		}
		v, err := w.verify(b)
		if err != nil {
			f.Fatal(err)
		}
		truth[height] = meaning(v, "alice")
	}
	now, pinned, known := w.Now(), w.trust(), w.knows(3)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, trust := range []bundle.Trust{pinned, known} {
			v, err := bundle.Verify(data, trust, now)
			if err != nil {
				if wire.CodeOf(err) == wire.Internal {
					t.Errorf("an error without a kind: %v", err)
				}
				continue
			}
			_, err = v.Handle("alice")
			if got := meaning(v, "alice"); wire.CodeOf(err) != wire.Invalid && got != truth[v.Trust.Height] && !uncovered(v, w) {
				t.Errorf("at height %d @alice is %s", v.Trust.Height, got)
			}
		}
	})
}

// uncovered reports whether the bundle answers, but leaves out the concierge.
func uncovered(v *bundle.Verified, w *world) bool {
	m, err := v.Handle("alice")
	_, lacks := v.Account(w.harbor.ID)
	return err == nil && m.Entry.Account == w.alice.ID && errors.Is(lacks, bundle.ErrNotCovered)
}
