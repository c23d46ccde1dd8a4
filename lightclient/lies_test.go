package lightclient_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// changed makes a lie of a change to the truth.
func changed(change func(b *bundle.Bundle)) func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) {
	return func(_ context.Context, _ lightclient.Request, truth bundle.Bundle) ([]byte, error) {
		change(&truth)
		return truth.Encode(), nil
	}
}

// told is changed for the leaves, where there are any.
func told(change func(b *bundle.Bundle)) func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) {
	return changed(func(b *bundle.Bundle) {
		if len(b.Leaves) > 0 {
			change(b)
		}
	})
}

func said(b []byte, err error) func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) {
	return func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) { return b, err }
}

// TestResolve_BelievesNoLie asks a liar first and an honest source second, and
// then the liar alone.
func TestResolve_BelievesNoLie(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	elsewhere := newWorld(t, fakechain.Spec{ID: "confab-elsewhere"})
	foreign, err := elsewhere.Bundle(lightclient.Request{Handle: "alice", Serving: true, Pin: 1})
	w.do(err)
	own := fakechain.Equal(70, 4)
	const escape = "\x1b[2J\x1b]0;owned\x07\u202eevil\u009b31m\r\nconfab: all is well"

	for name, test := range map[string]struct {
		lie  func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error)
		kind wire.Code // of the error if there is nobody else to ask
	}{
		"a header of its own keys": {changed(func(b *bundle.Bundle) {
			h := &b.Steps[0].Head
			h.Header.AppHash, h.Header.ValidatorsHash, b.Steps[0].Validators = [32]byte{1}, own.Hash(), &own.Validators
			own.Sign(h)
		}), wire.Invalid},
		"a header that names the true validators": {changed(func(b *bundle.Bundle) {
			b.Steps[0].Head.Header.AppHash = [32]byte{1}
			own.Sign(&b.Steps[0].Head)
		}), wire.Invalid},
		"another root": {changed(func(b *bundle.Bundle) { b.Steps[0].Head.Header.AppHash[0] ^= 1 }), wire.Invalid},
		"another leaf": {told(func(b *bundle.Bundle) { b.Leaves[1] = b.Leaves[2] }), wire.Invalid},
		"absence":      {told(func(b *bundle.Bundle) { b.Leaves[0].Value = nil }), wire.Invalid},
		"a changed value": {told(func(b *bundle.Bundle) {
			b.Leaves[1].Value = bytes.Clone(b.Leaves[1].Value)
			b.Leaves[1].Value[40] ^= 1
		}), wire.Invalid},
		"nothing at all":        {said(nil, nil), wire.Invalid},
		"garbage":               {said([]byte("<html>hello</html>"), nil), wire.Invalid},
		"too much":              {said(make([]byte, bundle.MaxSize+1), nil), wire.Invalid},
		"another chain's proof": {said(foreign.Encode(), nil), wire.Invalid},
		// True, and no answer: to believe that there is none would let any source
		// hide any handle.
		"a true proof of something else": {func(_ context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
			r.Handle = "harbor"
			b, err := w.Bundle(r)
			return b.Encode(), err
		}, wire.Invalid},
		"a true proof of nothing":             {told(func(b *bundle.Bundle) { b.Leaves = nil }), wire.Invalid},
		"a true proof without the entry":      {told(func(b *bundle.Bundle) { b.Leaves = b.Leaves[:1] }), wire.Invalid},
		"a true proof without the concierge":  {told(func(b *bundle.Bundle) { b.Leaves = b.Leaves[:2] }), wire.Invalid},
		"a genuine old answer":                {said(old(w), nil), wire.Stale},
		"that it is not found":                {said(nil, wire.Errorf(wire.NotFound, "@alice is not registered")), wire.Unavailable},
		"that it is retired, as the law does": {said(nil, &namesvc.NotFoundError{Handle: "alice", Retired: true}), wire.Unavailable},
		"that the chain has forked":           {said(nil, wire.Errorf(wire.Conflict, "two blocks at one height")), wire.Unavailable},
		"that the law refuses":                {said(nil, &lightclient.RejectError{Code: namesvc.UnknownAccount, Text: "no"}), wire.Unavailable},
		"that it has an inner fault":          {said(nil, errors.New("boom")), wire.Unavailable},
		"words for the terminal":              {said(nil, wire.Errorf(wire.Unavailable, "%s", escape)), wire.Unavailable},
		"a very long story":                   {said(nil, errors.New(strings.Repeat("é", 100_000))), wire.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, Chain: w.Chain, alice: w.alice, harbor: w.harbor}
			liar := w.lying("liar", test.lie)
			r, err := ask(w.client(liar, w.honest("honest")), t.Context())
			w.isAlice(r, err)
			expect(t, "source", r.Source, "honest")
			expect(t, "agree", r.Agree, "[]")
			if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "liar: ") || len(r.Notes[0]) > 450 {
				t.Errorf("notes: %q", r.Notes)
			}
			printable(t, strings.Join(r.Notes, ""))

			_, err = ask(w.client(liar), t.Context())
			var answer *lightclient.AnswerError
			if err == nil || errors.As(err, &answer) || wire.CodeOf(err) != test.kind {
				t.Fatalf("alone: kind %v, %v", wire.CodeOf(err), err)
			}
			printable(t, strings.ReplaceAll(err.Error(), "\n", "")) // the errors of several sources have a line each

			// Second, it confirms nothing and does no harm.
			r, err = ask(w.client(w.honest("honest"), liar), t.Context())
			w.isAlice(r, err)
			expect(t, "source", r.Source, "honest")
			printable(t, strings.Join(r.Notes, ""))
		})
	}
}

// What one source makes of the question says nothing about what others will: a
// caller may try again as long as one of them may get better.
func TestResolve_GivesItsErrorTheMostHopefulKind(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	garbage, gone := w.lying("garbage", said([]byte("x"), nil)), w.failing("gone", errors.New("connection refused"))
	stale := w.lying("stale", said(old(w), nil))
	for _, test := range []struct {
		sources []lightclient.Source
		kind    wire.Code
	}{
		{[]lightclient.Source{garbage}, wire.Invalid}, {[]lightclient.Source{gone}, wire.Unavailable}, {[]lightclient.Source{stale}, wire.Stale},
		{[]lightclient.Source{garbage, gone}, wire.Unavailable}, {[]lightclient.Source{gone, garbage}, wire.Unavailable},
		{[]lightclient.Source{garbage, stale, gone}, wire.Stale}, {[]lightclient.Source{stale, garbage}, wire.Stale},
	} {
		_, err := ask(w.client(test.sources...), t.Context())
		expect(t, "kind", wire.CodeOf(err), test.kind)
	}
}

// old returns an answer that is true and an hour old, and moves the chain on.
func old(w *world) []byte {
	b, err := w.Bundle(lightclient.Request{Handle: "alice", Serving: true, Pin: 1})
	w.do(err)
	w.Cut(w.Now().Add(time.Hour))
	w.Skip(1)
	return b.Encode()
}

// printable fails the test if a text could do anything to a terminal.
func printable(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if !unicode.IsPrint(r) {
			t.Errorf("%q contains %U", text, r)
		}
	}
}

func TestPrintable_KeepsWhatCanBeRead(t *testing.T) {
	for in, want := range map[string]string{
		"connection refused": "connection refused", "größer, 更大": "größer, 更大", "two\nlines\tand": "two lines and",
		"\x1b[31mred\x1b[0m": "[31mred[0m", "a\xffb": "ab", "\u202eabc\u2066\u200b\ufeff": "abc", "\u009b1m\x7f": "1m",
	} {
		expect(t, "printable", lightclient.Printable(in), want)
	}
	if got := lightclient.Printable(strings.Repeat("é", 1000)); got != strings.Repeat("é", 200)+"…" {
		t.Errorf("a long text has %d bytes: %q…", len(got), got[:20])
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2Jb\u202e")
	f.Fuzz(func(t *testing.T, text string) {
		got := lightclient.Printable(text)
		printable(t, got)
		if len(got) > 410 || lightclient.Printable(got) != got && len(got) <= 400 {
			t.Errorf("%q", got)
		}
	})
}

func TestAccount_NeedsAnAnswerToTheQuestion(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	hollow := w.lying("hollow", changed(func(b *bundle.Bundle) { b.Leaves = b.Leaves[:max(0, len(b.Leaves)-1)] }))
	c := w.client(hollow, w.honest("honest"))
	_, d, p, err := c.Devices(t.Context(), w.alice.ID, 0)
	w.do(err)
	expect(t, "devices", len(d.List), 1)
	expect(t, "source", p.Source, "honest")
	_, p, err = c.Account(t.Context(), w.alice.ID, 0)
	w.do(err)
	expect(t, "source", p.Source, "honest")
	info, err := c.Chain(t.Context())
	w.do(err)
	expect(t, "source", info.Proof.Source, "honest")
	if info, err := w.client(hollow).Chain(t.Context()); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestCrossCheck_SaysWhoDidNotConfirm(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	other := func(_ context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
		r.At--
		b, err := w.Bundle(r)
		return b.Encode(), err
	}
	c := w.client(w.honest("first"), w.failing("gone", errors.New("connection refused")), w.lying("beside", other), w.honest("last"))
	r, err := ask(c, t.Context())
	w.isAlice(r, err)
	expect(t, "agree", r.Agree, "[last]")
	want := []string{
		"gone did not confirm the head of height 7: connection refused",
		"beside did not confirm the head of height 7: it answered with height 6 instead of 7",
	}
	expect(t, "notes", strings.Join(r.Notes, "\n"), strings.Join(want, "\n"))
}

func TestResolve_AsksTheNextSourceWhenOneStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fakechain.Spec{})
		silent := w.silent("silent")
		c := w.client(silent, w.honest("second"), w.honest("third"))
		start := time.Now()
		r, err := ask(c, t.Context())
		w.isAlice(r, err)
		expect(t, "waited", time.Since(start), 2*time.Second)
		expect(t, "source", r.Source, "second")
		expect(t, "agree", r.Agree, "[third]")
		expect(t, "notes", r.Notes, "[silent has not answered within 2s]")
		expect(t, "questions to the silent one", silent.asked.Load(), 1)
	})
}

func TestResolve_GivesUpWhenAllStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fakechain.Spec{})
		c := w.client(w.silent("first"), w.silent("second"))
		start := time.Now()
		_, err := ask(c, t.Context())
		if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "first: ") || !strings.Contains(err.Error(), "second: ") {
			t.Errorf("got %v", err)
		}
		expect(t, "waited", time.Since(start), 17*time.Second)
	})
}

// A source is somebody else's code: one that does not even listen to its context
// must not hold anything up.
func TestResolve_GetsPastASourceThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fakechain.Spec{})
		release := make(chan struct{})
		deaf := w.lying("deaf", func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) {
			<-release
			return nil, errors.New("late")
		})
		r, err := ask(w.client(deaf, w.honest("second")), t.Context())
		w.isAlice(r, err)
		start := time.Now()
		_, err = ask(w.client(deaf), t.Context())
		expect(t, "kind", wire.CodeOf(err), wire.Unavailable)
		expect(t, "waited", time.Since(start), 17*time.Second)
		close(release) // synctest fails if anything of theirs stays behind
	})
}

func TestCrossCheck_DoesNotHoldUpAProvenAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fakechain.Spec{})
		start := time.Now()
		r, err := ask(w.client(w.honest("first"), w.silent("a"), w.silent("b"), w.silent("c")), t.Context())
		w.isAlice(r, err)
		expect(t, "waited", time.Since(start), 5*time.Second)
		expect(t, "notes", len(r.Notes), 3)
		expect(t, "agree", r.Agree, "[]")
	})
}

func TestResolve_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fakechain.Spec{})
		start := time.Now()
		_, err := ask(w.client(w.silent("first"), w.silent("second")), within(t, 3*time.Second))
		if wire.CodeOf(err) != wire.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		expect(t, "waited", time.Since(start), 3*time.Second)
	})
}

// A source that replays a fresh answer from before what is known must not keep
// newer ones away, nor make its asker wait for sources that are gone.
func TestResolve_HearsTheOthersBeforeItTakesAnOlderAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fakechain.Spec{})
		behind := w.lying("behind", func(_ context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
			b, err := w.BundleAt(w.Height()-1, r)
			return b.Encode(), err
		})
		store := &lightclient.MemStore{}
		w.isAlice(ask(w.keeping(store, w.honest("first")), t.Context()))

		start := time.Now()
		r, err := ask(w.keeping(store, behind, w.silent("silent")), t.Context())
		w.isAlice(r, err)
		expect(t, "waited", time.Since(start), 2*time.Second)
		expect(t, "height", r.Height, w.Height()-1)
		r, err = ask(w.keeping(store, behind, w.honest("honest")), t.Context())
		w.isAlice(r, err)
		expect(t, "height", r.Height, w.Height())
	})
}
