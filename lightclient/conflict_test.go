package lightclient_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// forked is a world whose validators signed two blocks 8 and all after.
func forked(t testing.TB) (w *world, fork *source) {
	w = newWorld(t, fakechain.Spec{})
	f := w.Fork()
	w.Skip(3)
	f.Skip(3)
	return w, &source{Node: fakechain.Node{Chain: f, Label: "fork"}}
}

// evidence is a MemStore that shows what it was given.
type evidence struct {
	lightclient.MemStore
	kept []lightclient.Evidence
	err  error
}

func (s *evidence) Evidence(e lightclient.Evidence) (string, error) {
	s.kept = append(s.kept, e)
	if s.err != nil {
		return "", s.err
	}
	return s.MemStore.Evidence(e)
}

// holds fails the test unless exactly one piece of evidence was kept and proves
// itself to a stranger who has its bytes and the pin.
func (s *evidence) holds(t *testing.T, height uint64, sources ...string) {
	t.Helper()
	if len(s.kept) != 1 {
		t.Fatalf("%d pieces of evidence were kept", len(s.kept))
	}
	e, err := lightclient.DecodeEvidence(wire.Encode(s.kept[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Check(verify.DefaultRules()); err != nil {
		t.Errorf("the evidence does not hold: %v", err)
	}
	if !e.Standalone() {
		t.Error("the evidence rests on its finder's word")
	}
	expect(t, "height", e.Height, height)
	expect(t, "sources", []string{e.Sides[0].Source, e.Sides[1].Source}, sources)
	for i := range e.Sides {
		bad := e
		bad.Sides[i] = e.Sides[1-i]
		if bad.Check(verify.DefaultRules()) == nil {
			t.Error("one side twice passes for evidence")
		}
		bad = e
		bad.Sides[i].Bundle = append([]byte(nil), bad.Sides[i].Bundle...)
		if len(bad.Sides[i].Bundle) > 0 {
			bad.Sides[i].Bundle[100] ^= 1
			if bad.Check(verify.DefaultRules()) == nil {
				t.Error("a changed side passes for evidence")
			}
		}
	}
	bad := e
	bad.Height++
	if bad.Check(verify.DefaultRules()) == nil {
		t.Error("another height passes for evidence")
	}
}

// believesNothing fails the test unless every question to the client gives the
// same refusal.
func (w *world) believesNothing(c *lightclient.Client) {
	w.t.Helper()
	ctx := w.t.Context()
	for name, question := range map[string]func() error{
		"resolve":  func() error { _, err := ask(c, ctx); return err },
		"account":  func() error { _, _, err := c.Account(ctx, w.alice.ID, 0); return err },
		"devices":  func() error { _, _, _, err := c.Devices(ctx, w.alice.ID, 0); return err },
		"chain":    func() error { _, err := c.Chain(ctx); return err },
		"portable": func() error { _, err := c.Portable(ctx, "alice", false); return err },
		"submit": func() error {
			_, err := c.Submit(ctx, w.Sign(w.alice, namesvc.OpRenew, namesvc.Renewal{}), nil)
			return err
		},
	} {
		err := question()
		if wire.CodeOf(err) != wire.Conflict || !errors.Is(err, verify.ErrConflict) || !strings.Contains(err.Error(), "do not believe this chain") {
			w.t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConflict_BetweenTwoSourcesEndsAllBelief(t *testing.T) {
	w, fork := forked(t)
	store := &evidence{}
	c := w.keeping(store, w.honest("main"), fork)
	_, err := ask(c, t.Context())
	if !errors.Is(err, verify.ErrConflict) || !strings.Contains(err.Error(), "main and fork") {
		t.Fatalf("got %v", err)
	}
	store.holds(t, w.Height(), "main", "fork")
	asked := fork.asked.Load()
	w.believesNothing(c)
	expect(t, "questions after the conflict", fork.asked.Load(), asked)
}

func TestConflict_WithWhatWasVerifiedBefore(t *testing.T) {
	w, fork := forked(t)
	for name, lie := range map[string]func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error){
		"from the known head": nil,
		// A path from the pin that passes the known height by must not escape.
		"around the known head": func(_ context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
			b, err := fork.Chain.Bundle(lightclient.Request{Handle: r.Handle, Pin: 1, Serving: true})
			b.Steps = append(fork.Chain.Steps(1, 9), b.Steps...)
			return b.Encode(), err
		},
	} {
		store := &evidence{}
		w.isAlice(ask(w.keeping(store, w.honest("main")), t.Context()))
		fork.lie = lie
		c := w.keeping(store, fork, w.honest("main"))
		_, err := ask(c, t.Context())
		if !errors.Is(err, verify.ErrConflict) || !strings.Contains(err.Error(), "what was verified before and fork showed") {
			t.Fatalf("%s: got %v", name, err)
		}
		store.holds(t, w.Height(), "what was verified before", "fork")
		w.believesNothing(c)
	}
}

func TestConflict_WithThePin(t *testing.T) {
	w, fork := forked(t)
	store := &evidence{}
	c, err := lightclient.New(lightclient.Config{Pin: w.Pin(9), Sources: []lightclient.Source{fork}, Store: store, Now: w.Now})
	w.do(err)
	fork.lie = func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) {
		b, err := fork.Chain.Bundle(lightclient.Request{Handle: "alice", Serving: true, Pin: 9})
		b.Origin = w.Origin(9)
		b.Steps = append(fork.Chain.Steps(8, 9), b.Steps...)
		return b.Encode(), err
	}
	_, err = ask(c, t.Context())
	if !errors.Is(err, verify.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	store.holds(t, 9, "what was verified before", "fork")
}

func TestConflict_IsFoundByPortableToo(t *testing.T) {
	w, fork := forked(t)
	store := &evidence{}
	c := w.keeping(store, w.honest("main"), fork)
	if _, err := c.Portable(t.Context(), "alice", false); !errors.Is(err, verify.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	store.holds(t, w.Height(), "main", "fork")
	w.believesNothing(c)
}

// Anyone can make up a head and say that he verified it. That is no evidence for
// others, and neither is what was found when nobody shows the sides any more.
func TestEvidence_StandsAloneOnlyFromThePin(t *testing.T) {
	w, fork := forked(t)
	truth, err := w.Bundle(lightclient.Request{At: 8, Pin: 1})
	w.do(err)
	invented := w.Trust(8)
	invented.Hash[0] ^= 1
	lie := lightclient.Evidence{Version: 1, Pin: w.Pin(1), Height: 8, Found: uint64(w.Now().Unix()), Sides: [2]lightclient.Side{
		{Source: "what was verified before", From: invented}, {Source: "main", Bundle: truth.Encode()},
	}}
	if err := lie.Check(verify.DefaultRules()); err != nil || lie.Standalone() {
		t.Errorf("an invented side: standalone %v, %v", lie.Standalone(), err)
	}
	lie.Sides[0] = lightclient.Side{From: w.Trust(2), Bundle: truth.Encode()}
	if lie.Standalone() {
		t.Error("a bundle from an invented head stands alone")
	}

	store := &evidence{}
	w.isAlice(ask(w.keeping(store, w.honest("main")), t.Context()))
	fork.lie = func(_ context.Context, r lightclient.Request, theirs bundle.Bundle) ([]byte, error) {
		if r.At > 0 {
			return nil, errors.New("busy")
		}
		return theirs.Encode(), nil
	}
	if _, err := ask(w.keeping(store, fork), t.Context()); !errors.Is(err, verify.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	if e := store.kept[0]; e.Check(verify.DefaultRules()) != nil || e.Standalone() {
		t.Errorf("nobody showed the sides again: standalone %v, %v", e.Standalone(), e.Check(verify.DefaultRules()))
	}
}

// Two calls at once may each verify one side, and neither sees the other's.
func TestConflict_BetweenTwoCallsAtOnce(t *testing.T) {
	w, fork := forked(t)
	store := &evidence{}
	var c *lightclient.Client
	inside := false
	first := w.lying("main", func(_ context.Context, r lightclient.Request, truth bundle.Bundle) ([]byte, error) {
		if !inside {
			inside = true // while this source thinks, another call is answered by the fork
			w.isAlice(ask(c, t.Context()))
			return truth.Encode(), nil
		}
		b, err := fork.Chain.Bundle(r)
		return b.Encode(), err
	})
	c = w.keeping(store, first)
	if _, err := ask(c, t.Context()); !errors.Is(err, verify.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	store.holds(t, w.Height(), "what was verified before", "main")
	w.believesNothing(c)
}

// A call that was under way when another one found the conflict has an answer
// that holds, and must not give it.
func TestConflict_EndsCallsThatAreUnderWay(t *testing.T) {
	w, fork := forked(t)
	var c *lightclient.Client
	inside := false
	slow := w.lying("slow", func(_ context.Context, r lightclient.Request, truth bundle.Bundle) ([]byte, error) {
		if !inside {
			inside = true
			if _, err := ask(c, t.Context()); !errors.Is(err, verify.ErrConflict) {
				t.Errorf("the other call: %v", err)
			}
		}
		return truth.Encode(), nil
	})
	fork.lie = func(_ context.Context, _ lightclient.Request, theirs bundle.Bundle) ([]byte, error) {
		if fork.asked.Load() > 1 {
			return nil, errors.New("busy")
		}
		return theirs.Encode(), nil
	}
	c = w.client(slow, fork)
	if _, err := ask(c, t.Context()); !errors.Is(err, verify.ErrConflict) {
		t.Errorf("got %v", err)
	}
	expect(t, "questions to the fork", fork.asked.Load(), 2)
	w.believesNothing(c)
}

func TestMemStore_OnlyRollsForward(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	var store lightclient.MemStore
	if known, err := store.Load(w.Pin(1)); known != nil || err != nil {
		t.Errorf("empty: %v, %v", known, err)
	}
	for _, height := range []uint64{3, 5, 4, 2} {
		w.do(store.Save(w.Pin(1), *w.Trust(height)))
	}
	known, err := store.Load(w.Pin(1))
	w.do(err)
	expect(t, "height", known.Height, 5)
	if known, err := store.Load(w.Pin(2)); known != nil || err != nil {
		t.Errorf("another pin: %v, %v", known, err)
	}
}

func TestConflict_StaysWithTheStore(t *testing.T) {
	w, fork := forked(t)
	store := &lightclient.MemStore{}
	if _, err := ask(w.keeping(store, w.honest("main"), fork), t.Context()); !errors.Is(err, verify.ErrConflict) {
		t.Fatal(err)
	}
	_, err := lightclient.New(lightclient.Config{Pin: w.Pin(1), Sources: []lightclient.Source{w.honest("main")}, Store: store})
	if wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a new client on the same store: %v", err)
	}
	if _, err := lightclient.New(lightclient.Config{Pin: w.Pin(2), Sources: []lightclient.Source{w.honest("main")}, Store: store}); err != nil {
		t.Errorf("a new client from another pin: %v", err)
	}
}

func TestConflict_IsToldEvenIfItCannotBeKept(t *testing.T) {
	w, fork := forked(t)
	c := w.keeping(&evidence{err: errors.New("the disk is full")}, w.honest("main"), fork)
	_, err := ask(c, t.Context())
	if !errors.Is(err, verify.ErrConflict) || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("got %v", err)
	}
	w.believesNothing(c)
}

// What nobody signed is a lie like any other, and no evidence of anything.
func TestConflict_NeedsSignatures(t *testing.T) {
	w, fork := forked(t)
	store := &evidence{}
	fork.lie = changed(func(b *bundle.Bundle) { fakechain.Equal(0, 4).Sign(&b.Steps[len(b.Steps)-1].Head, 0, 1) })
	c := w.keeping(store, w.honest("main"), fork)
	for range 2 {
		r, err := ask(c, t.Context())
		w.isAlice(r, err)
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "not enough power") {
			t.Errorf("notes: %q", r.Notes)
		}
	}
	expect(t, "evidence", len(store.kept), 0)
}

func TestDecodeEvidence_RefusesWhatIsNone(t *testing.T) {
	good := lightclient.Evidence{Version: 1, Pin: verify.Pin{ChainID: "x", Height: 1}, Height: 2}
	for name, b := range map[string][]byte{
		"nothing": nil, "garbage": []byte("garbage"), "too much": make([]byte, 2<<20),
		"a later version": wire.Encode(lightclient.Evidence{Version: 2, Pin: good.Pin}), "trailing bytes": append(wire.Encode(good), 0),
	} {
		if _, err := lightclient.DecodeEvidence(b); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := lightclient.DecodeEvidence(wire.Encode(good))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Check(verify.DefaultRules()); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("empty evidence: %v", err)
	}
}

func FuzzDecodeEvidence(f *testing.F) {
	w, fork := forked(f)
	store := &evidence{}
	if _, err := ask(w.keeping(store, w.honest("main"), fork), f.Context()); err == nil {
		f.Fatal("no conflict")
	}
	f.Add(wire.Encode(store.kept[0]))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := lightclient.DecodeEvidence(b)
		if err != nil {
			return
		}
		if string(wire.Encode(e)) != string(b) {
			t.Error("it does not encode to the same bytes")
		}
		_ = e.Check(verify.DefaultRules())
	})
}
