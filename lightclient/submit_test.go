package lightclient_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// live runs a test on a chain that cuts a block each second of the test's own
// time.
func live(t *testing.T, f func(t *testing.T, w *liveWorld)) {
	synctest.Test(t, func(t *testing.T) {
		w := &liveWorld{world: newWorld(t, fakechain.Spec{Start: time.Now()})}
		time.Sleep(time.Minute) // past the blocks of the world's making
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Run(ctx, time.Second)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		f(t, w)
	})
}

type liveWorld struct {
	*world
	stages []lightclient.Progress
}

func (w *liveWorld) client(sources ...lightclient.Source) *lightclient.Client {
	w.t.Helper()
	c, err := lightclient.New(lightclient.Config{Pin: w.Pin(1), Sources: sources})
	w.do(err)
	return c
}

// report keeps what is reported.
func (w *liveWorld) report(p lightclient.Progress) { w.stages = append(w.stages, p) }

// count returns how often a stage was reported.
func (w *liveWorld) count(s lightclient.Stage) int {
	n := 0
	for _, p := range w.stages {
		if p.Stage == s {
			n++
		}
	}
	return n
}

// renewal is an op of @alice's.
func (w *liveWorld) renewal(changes ...func(*namesvc.Op)) []byte {
	return w.Sign(w.alice, namesvc.OpRenew, namesvc.Renewal{}, changes...)
}

// isIn fails the test unless the proof shows the op in the state.
func (w *liveWorld) isIn(op []byte, p lightclient.Proof, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := bundle.Verify(p.Bundle, bundle.Trust{Pin: w.Pin(1), Known: w.Trust(w.Height() - 1), Rules: verify.DefaultRules()}, time.Now())
	if err != nil {
		v, err = bundle.Verify(p.Bundle, bundle.Trust{Pin: w.Pin(1), Rules: verify.DefaultRules()}, time.Now())
	}
	w.do(err)
	tx, _ := namesvc.Parse(op)
	if tx.Commit != nil {
		if b, err := v.Leaf(namesvc.CommitKey(tx.Commit.ID())); b == nil || err != nil {
			w.t.Errorf("the commit is not in the state, %v", err)
		}
		return
	}
	if e, err := v.Account(tx.Op.Account); err != nil || e.Seq < tx.Op.Seq {
		w.t.Errorf("the entry is %+v, %v", e, err)
	}
}

func TestSubmit_ReturnsWhenTheOpIsProven(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		c := w.client(w.honest("first"), w.honest("second"))
		bob := fakechain.NewActor("bob", namesvc.Person)
		commit, register := w.Registration(bob, "bobby", nil)
		start := time.Now()
		p, err := c.Submit(t.Context(), commit, w.report)
		w.isIn(commit, p, err)
		expect(t, "agree", p.Agree, "[second]")
		// The op waits half a second for its block, whose state the next head proves.
		expect(t, "waited", time.Since(start), 1500*time.Millisecond)
		p, err = c.Submit(t.Context(), register, w.report)
		w.isIn(register, p, err)
		expect(t, "sent", w.count(lightclient.Sent), 2)
		expect(t, "proven", w.count(lightclient.Proven), 2)
		last := w.stages[len(w.stages)-1]
		expect(t, "last stage", last, lightclient.Progress{Stage: lightclient.Proven, Height: p.Height, Source: "first"})

		r, err := c.Resolve(t.Context(), "bobby", 0)
		w.do(err)
		expect(t, "account", r.Entry.Account, bob.ID)
		op := w.renewal()
		p, err = c.Submit(t.Context(), op, nil)
		w.isIn(op, p, err)
	})
}

// Mempools drop what they took when they fill up in the same moment (research 03
// §7.1): 48 of 30,000 ops that were answered with "taken" came into no block.
func TestRegression_MempoolDropsWhatItTook(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		forgetful := w.honest("forgetful")
		drops := 3
		forgetful.submit = func(ctx context.Context, op []byte) error {
			if drops--; drops >= 0 {
				return nil
			}
			return forgetful.Node.Submit(ctx, op)
		}
		op := w.renewal()
		start := time.Now()
		p, err := w.client(forgetful).Submit(t.Context(), op, w.report)
		w.isIn(op, p, err)
		expect(t, "sent", w.count(lightclient.Sent), 4)
		if took := time.Since(start); took > 4*4*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// The one that takes ops and forgets them on purpose must not be the only one to
// get them.
func TestSubmit_GetsPastASourceThatSwallowsOps(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		hole := w.honest("hole")
		hole.submit = func(context.Context, []byte) error { return nil }
		op := w.renewal()
		start := time.Now()
		p, err := w.client(hole, w.honest("second")).Submit(t.Context(), op, w.report)
		w.isIn(op, p, err)
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestSubmit_GetsPastASourceThatStalls(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		silent := w.silent("silent")
		silent.submit = func(ctx context.Context, _ []byte) error { <-ctx.Done(); return ctx.Err() }
		op := w.renewal()
		start := time.Now()
		p, err := w.client(silent, w.honest("second")).Submit(t.Context(), op, w.report)
		w.isIn(op, p, err)
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestSubmit_DoesNotBelieveARefusal(t *testing.T) {
	refuse := func(context.Context, []byte) error {
		return &lightclient.RejectError{Code: namesvc.WrongSequence, Text: "the sequence\x1b[2J is not the next"}
	}
	t.Run("if another source takes the op", func(t *testing.T) {
		live(t, func(t *testing.T, w *liveWorld) {
			liar := w.honest("liar")
			liar.submit = refuse
			op := w.renewal()
			p, err := w.client(liar, w.honest("second")).Submit(t.Context(), op, w.report)
			w.isIn(op, p, err)
		})
	})
	t.Run("if the state has the op", func(t *testing.T) {
		live(t, func(t *testing.T, w *liveWorld) {
			op := w.renewal()
			c := w.client(w.honest("first"))
			p, err := c.Submit(t.Context(), op, nil)
			w.isIn(op, p, err)
			liar := w.honest("liar")
			liar.submit = refuse
			p, err = w.client(liar).Submit(t.Context(), op, w.report)
			w.isIn(op, p, err)
		})
	})
	// A mempool refuses what is in the newest block, whose state is proven by a
	// head that does not exist yet.
	t.Run("if the next state has the op", func(t *testing.T) {
		live(t, func(t *testing.T, w *liveWorld) {
			early := w.honest("early")
			early.submit = func(ctx context.Context, op []byte) error {
				w.Cut(time.Now(), op)
				return refuse(ctx, op)
			}
			op := w.renewal()
			p, err := w.client(early).Submit(t.Context(), op, w.report)
			w.isIn(op, p, err)
			expect(t, "sent", w.count(lightclient.Sent), 0)
		})
	})
	// And whoever proves may be a block behind whoever refuses.
	t.Run("if the next state of a slow source has the op", func(t *testing.T) {
		live(t, func(t *testing.T, w *liveWorld) {
			early, slow := w.honest("early"), w.honest("slow")
			early.submit = func(ctx context.Context, op []byte) error {
				w.Cut(time.Now(), op)
				return refuse(ctx, op)
			}
			slow.submit = refuse
			slow.lie = func(ctx context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
				ahead := r
				ahead.After++ // it waits for a block, and tells of the one before
				if _, err := slow.Node.Bundle(ctx, ahead); err != nil {
					return nil, err
				}
				b, err := w.BundleAt(w.Height()-1, r)
				return b.Encode(), err
			}
			op := w.renewal()
			p, err := w.client(slow, early).Submit(t.Context(), op, w.report)
			w.isIn(op, p, err)
		})
	})
	t.Run("but in the end", func(t *testing.T) {
		live(t, func(t *testing.T, w *liveWorld) {
			first, second := w.honest("first"), w.honest("second")
			first.submit, second.submit = refuse, refuse
			_, err := w.client(first, second).Submit(t.Context(), w.renewal(), w.report)
			var reject *lightclient.RejectError
			if !errors.As(err, &reject) || reject.Code != namesvc.WrongSequence || wire.CodeOf(err) != wire.Conflict {
				t.Fatalf("got %v", err)
			}
			printable(t, err.Error())
			expect(t, "offers", []int64{first.offered.Load(), second.offered.Load()}, "[1 1]")
		})
	})
	t.Run("when it is sent again", func(t *testing.T) {
		live(t, func(t *testing.T, w *liveWorld) {
			fickle := w.honest("fickle")
			fickle.submit = func(ctx context.Context, op []byte) error {
				if fickle.offered.Load() == 1 {
					return nil // and forget it
				}
				return refuse(ctx, op)
			}
			_, err := w.client(fickle).Submit(t.Context(), w.renewal(), w.report)
			var reject *lightclient.RejectError
			if !errors.As(err, &reject) {
				t.Fatalf("got %v", err)
			}
		})
	})
}

func TestSubmit_EndsWhenTheOpHasExpired(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		hole := w.honest("hole")
		hole.submit = func(context.Context, []byte) error { return nil }
		last := w.Height() + 5
		_, err := w.client(hole).Submit(t.Context(), w.renewal(func(o *namesvc.Op) { o.Expires = last }), w.report)
		if wire.CodeOf(err) != wire.Stale || !strings.Contains(err.Error(), "sign and send it again") {
			t.Errorf("got %v", err)
		}
		expect(t, "height", w.Height(), last+1) // which proves the state after the last block that could have it
	})
}

func TestSubmit_TakesTheLastBlockToo(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		late := w.honest("late")
		last := w.Height() + 5
		late.submit = func(ctx context.Context, op []byte) error {
			if w.Height() < last-1 {
				return wire.Errorf(wire.Exhausted, "full")
			}
			return late.Node.Submit(ctx, op)
		}
		op := w.renewal(func(o *namesvc.Op) { o.Expires = last })
		p, err := w.client(late).Submit(t.Context(), op, w.report)
		w.isIn(op, p, err)
		expect(t, "proven at", p.Height, last+1)
	})
}

func TestSubmit_SaysWhenAnotherOpTookThePlace(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		op := w.renewal()
		rival := w.Sign(w.alice, namesvc.OpRecords, namesvc.Records{})
		src := w.honest("first")
		src.submit = func(ctx context.Context, _ []byte) error { return src.Node.Submit(ctx, rival) }
		_, err := w.client(src).Submit(t.Context(), op, w.report)
		if wire.CodeOf(err) != wire.Conflict || !strings.Contains(err.Error(), "another op took its place") {
			t.Errorf("got %v", err)
		}
	})
}

// By the time somebody looks, the account may have moved on: then its history
// tells whose op it was.
func TestSubmit_FindsItsOpInTheHistory(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		src := w.honest("first")
		op := w.renewal()
		w.do(src.Node.Submit(t.Context(), op))
		time.Sleep(time.Second)
		for range 4 { // more than a page
			w.do(src.Node.Submit(t.Context(), w.renewal()))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		p, err := w.client(src).Submit(t.Context(), op, w.report)
		w.isIn(op, p, err)

		rival := w.renewal(func(o *namesvc.Op) { o.Seq, o.Expires = 2, o.Expires-1 })
		_, err = w.client(src).Submit(t.Context(), rival, w.report)
		if wire.CodeOf(err) != wire.Conflict {
			t.Errorf("an op that never was: %v", err)
		}
		_, err = w.client(mute{src}).Submit(t.Context(), op, w.report)
		if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "no source keeps one") {
			t.Errorf("without a history: %v", err)
		}
	})
}

// mute keeps no history.
type mute struct{ s *source }

func (m mute) Name() string { return "mute" }
func (m mute) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	return m.s.Bundle(ctx, r)
}
func (m mute) Submit(ctx context.Context, op []byte) error { return m.s.Submit(ctx, op) }

func TestSubmit_WaitsForSourcesThatAreAwayOrFull(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		src := w.honest("first")
		back := time.Now().Add(20 * time.Second)
		src.lie = func(ctx context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
			if time.Now().Before(back) {
				return nil, errors.New("connection refused")
			}
			return src.Node.Bundle(ctx, r)
		}
		src.submit = func(ctx context.Context, op []byte) error {
			switch {
			case time.Now().Before(back):
				return errors.New("connection refused")
			case time.Now().Before(back.Add(5 * time.Second)):
				return wire.Errorf(wire.Exhausted, "full")
			}
			return src.Node.Submit(ctx, op)
		}
		op := w.renewal()
		p, err := w.client(src).Submit(t.Context(), op, w.report)
		w.isIn(op, p, err)
		expect(t, "sent", w.count(lightclient.Sent), 1)
		if n := src.offered.Load(); n > 85 {
			t.Errorf("%d offers in 25 seconds", n)
		}
	})
}

func TestSubmit_EndsWithItsContext(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		hole := w.honest("hole")
		hole.submit = func(context.Context, []byte) error { return nil }
		full := w.honest("full")
		full.submit = func(context.Context, []byte) error { return wire.Errorf(wire.Exhausted, "full") }
		for name, src := range map[string]*source{"taken and dropped": hole, "never taken": full} {
			start := time.Now()
			_, err := w.client(src).Submit(within(t, 7*time.Second+time.Millisecond), w.renewal(), nil)
			if wire.CodeOf(err) != wire.Unavailable || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "may still be taken") {
				t.Errorf("%s: %v", name, err)
			}
			expect(t, name+": waited", time.Since(start), 7*time.Second+time.Millisecond)
		}
	})
}

func TestSubmit_RefusesWhatCannotBeAnOp(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	src := w.honest("first")
	good := w.Sign(w.alice, namesvc.OpRenew, namesvc.Renewal{})
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	for name, op := range map[string][]byte{"nothing": nil, "cut": good[:20], "a wrong signature": bad, "too large": make([]byte, 5000)} {
		_, err := w.client(src).Submit(t.Context(), op, nil)
		var reject *lightclient.RejectError
		if !errors.As(err, &reject) {
			t.Errorf("%s: %v", name, err)
		}
	}
	expect(t, "offers", src.offered.Load(), 0)
	_, err := w.client(sourceOnly{src}).Submit(t.Context(), good, nil)
	if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "no source takes ops") {
		t.Errorf("nobody takes ops: %v", err)
	}
}

type sourceOnly struct{ lightclient.Source }

// With a wrong pin nothing will ever be proven: that is said at once. A source
// that gives nonsense later on, among true answers, is outlasted.
func TestSubmit_TellsAWrongPinFromAPassingFault(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		pin := w.Pin(1)
		pin.Hash[0] ^= 1
		c, err := lightclient.New(lightclient.Config{Pin: pin, Sources: []lightclient.Source{w.honest("first")}})
		w.do(err)
		_, err = c.Submit(t.Context(), w.renewal(), nil)
		if wire.CodeOf(err) != wire.Invalid || !errors.Is(err, bundle.ErrOrigin) {
			t.Errorf("a wrong pin: %v", err)
		}
		time.Sleep(3 * time.Second)

		src := w.honest("first")
		op := w.renewal()
		src.submit = func(ctx context.Context, op []byte) error {
			if src.offered.Load() == 1 {
				return nil
			}
			return src.Node.Submit(ctx, op)
		}
		src.lie = func(ctx context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
			if n := src.asked.Load(); 2 <= n && n <= 9 {
				return []byte("<html>"), nil
			}
			return src.Node.Bundle(ctx, r)
		}
		p, err := w.client(src).Submit(t.Context(), op, nil)
		w.isIn(op, p, err)
	})
}

// A source that answers at once with the head before must not make its asker
// spin.
func TestSubmit_DoesNotSpinOnReplays(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		src := w.honest("first")
		src.submit = func(context.Context, []byte) error { return nil }
		stuck := w.Height()
		src.lie = func(_ context.Context, r lightclient.Request, _ bundle.Bundle) ([]byte, error) {
			b, err := w.BundleAt(stuck, r)
			return b.Encode(), err
		}
		_, err := w.client(src).Submit(within(t, 10*time.Second+time.Millisecond), w.renewal(), nil)
		expect(t, "kind", wire.CodeOf(err), wire.Unavailable)
		if n := src.asked.Load() + src.offered.Load(); n > 40 {
			t.Errorf("%d requests in 10 seconds", n)
		}
	})
}

func TestSubmit_EndsWhenTrustHasExpired(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		c, err := lightclient.New(lightclient.Config{Pin: w.Pin(1), Sources: []lightclient.Source{w.honest("first")},
			Now: func() time.Time { return time.Now().Add(15 * 24 * time.Hour) }})
		w.do(err)
		_, err = c.Submit(t.Context(), w.renewal(), nil)
		if !errors.Is(err, verify.ErrExpired) || !strings.Contains(err.Error(), "start from a newer pin") {
			t.Errorf("got %v", err)
		}
	})
}

// TestSubmit_FindsACommitThatATicketPaysFor: its id is not its hash. What the
// ticket is checked against is proven too.
func TestSubmit_FindsACommitThatATicketPaysFor(t *testing.T) {
	live(t, func(t *testing.T, w *liveWorld) {
		c := w.client(w.honest("first"))
		mint := namescript.NewMint("harbor")
		harbor := w.harbor
		if _, _, _, err := c.Sponsor(t.Context(), harbor.ID, 0); wire.CodeOf(err) != wire.NotFound {
			t.Fatalf("it sponsors already: %v", err)
		}
		declared := w.Sign(harbor, namesvc.OpSponsor, namesvc.Sponsorship{Key: mint.Key()})
		p, err := c.Submit(t.Context(), declared, w.report)
		w.isIn(declared, p, err)
		_, s, _, err := c.Sponsor(t.Context(), harbor.ID, 0)
		if err != nil || !bytes.Equal(s.Key, mint.Key()) {
			t.Fatalf("the leaf is %+v, %v", s, err)
		}

		info, err := c.Chain(t.Context())
		w.do(err)
		work, register := w.Registration(fakechain.NewActor("bob", namesvc.Person), "bobby", nil)
		tx, _ := namesvc.Parse(work)
		commit := *tx.Commit
		commit.Checkpoint, commit.Payment = info.Checkpoint.Number, ticket.Blind
		sig, err := mint.Ticket(ticket.Challenge(commit.Chain, commit.Hash, info.Checkpoint.Digest))
		w.do(err)
		commit.Proof = ticket.BlindProof(harbor.ID, sig)
		op := namesvc.EncodeCommit(commit)
		p, err = c.Submit(t.Context(), op, w.report)
		w.isIn(op, p, err)
		p, err = c.Submit(t.Context(), register, w.report)
		w.isIn(register, p, err)
	})
}
