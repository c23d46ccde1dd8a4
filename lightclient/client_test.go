package lightclient_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestClient_AnswersFromThePinAndSaysHowSureItIs(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	c := w.client(w.honest("first"), w.honest("second"), w.honest("third"))
	r, err := c.Resolve(t.Context(), "alice", 0)
	w.isAlice(r, err)
	expect(t, "source", r.Source, "first")
	expect(t, "agree", r.Agree, "[second]")
	expect(t, "notes", r.Notes, "[]")
	expect(t, "assurance", r.Assurance, bundle.Committed)
	expect(t, "pin", r.Pin, w.Pin(1))
	expect(t, "height", r.Height, w.Height())
	expect(t, "age", r.Age, time.Second/2)
	if _, err := bundle.Verify(r.Bundle, bundle.Trust{Pin: w.Pin(1), Rules: verify.DefaultRules()}, w.Now()); err != nil {
		t.Errorf("the proof that came with the first answer: %v", err)
	}

	e, d, p, err := c.Devices(t.Context(), w.alice.ID, 0)
	w.do(err)
	expect(t, "account", e.Account, w.alice.ID)
	expect(t, "devices", len(d.List), 1)
	expect(t, "source", p.Source, "first")
	info, err := c.Chain(t.Context())
	w.do(err)
	expect(t, "chain", info.Params.Chain, w.ID())
	expect(t, "pin", c.Pin(), w.Pin(1))
}

func TestClient_ProvesThatSomethingIsNotThere(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	c := w.client(w.honest("first"))
	nobody := fakechain.NewActor("nobody", namesvc.Person)

	_, err := c.Resolve(t.Context(), "nobody", 0)
	var answer *lightclient.AnswerError
	var missing *namesvc.NotFoundError
	if !errors.As(err, &answer) || !errors.As(err, &missing) || wire.CodeOf(err) != wire.NotFound {
		t.Fatalf("handle: %v", err)
	}
	expect(t, "proven at", answer.Proof.Height, w.Height())

	_, err = c.Resolve(t.Context(), "a1ice", 0)
	var alike *namesvc.ConfusableError
	if !errors.As(err, &alike) || alike.Owner != "alice" {
		t.Errorf("look-alike: %v", err)
	}
	if _, _, err = c.Account(t.Context(), nobody.ID, 0); !errors.As(err, &answer) || wire.CodeOf(err) != wire.NotFound {
		t.Errorf("account: %v", err)
	}
	if _, d, _, err := c.Devices(t.Context(), nobody.ID, 0); !errors.As(err, &answer) || wire.CodeOf(err) != wire.NotFound || len(d.List) != 0 {
		t.Errorf("devices: %v", err)
	}
}

// Defect 1 of the direct peer's directory (research 01 §2): "stale proof
// accepted". A genuine old answer, from before @alice left her concierge, is
// replayed.
func TestRegression_StaleProofAccepted(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	old, err := w.Bundle(lightclient.Request{Handle: "alice", Serving: true, Pin: 1})
	w.do(err)
	replay := w.lying("replay", func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) { return old.Encode(), nil })
	w.isAlice(ask(w.client(replay), t.Context())) // while it is fresh

	kappa := fakechain.NewActor("kappa", namesvc.Service)
	w.do(w.Register(kappa, "kappa", kappa.Concierge("https://kappa.example")))
	w.do(w.Next(w.Sign(w.alice, namesvc.OpRecords, *fakechain.ServedBy(kappa))))
	w.Skip(59)

	_, err = ask(w.client(replay), t.Context())
	if wire.CodeOf(err) != wire.Stale || !errors.Is(err, bundle.ErrStale) {
		t.Errorf("alone: %v", err)
	}
	r, err := ask(w.client(replay, w.honest("honest")), t.Context())
	w.do(err)
	expect(t, "concierge", r.Entry.Records.Concierges[0].Account, kappa.ID)
	expect(t, "source", r.Source, "honest")
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "too old") {
		t.Errorf("notes: %q", r.Notes)
	}
}

// Defect 2 of the same: "sync cost grows with time". There, a first lookup reads
// every header since genesis.
func TestRegression_SyncCostGrowsWithTime(t *testing.T) {
	cost := func(age int) (bytes, questions int64) {
		w := newWorld(t, fakechain.Spec{})
		w.Skip(age)
		first, second := w.honest("first"), w.honest("second")
		c := w.client(first, second)
		w.isAlice(ask(c, t.Context()))
		bytes, questions = first.given.Load()+second.given.Load(), first.asked.Load()+second.asked.Load()
		w.isAlice(ask(c, t.Context()))
		t.Logf("after %d blocks: %d bytes in %d questions, then %d more bytes", age, bytes, questions,
			first.given.Load()+second.given.Load()-bytes)
		return bytes, questions
	}
	young, _ := cost(1)
	old, questions := cost(1000)
	if questions != 2 {
		t.Errorf("a first lookup and its confirmation take %d questions", questions)
	}
	// The state has grown by its checkpoints: three proofs may be deeper.
	if old > young+3*5*32 {
		t.Errorf("the first lookup takes %d bytes on a chain of 1000 blocks, %d on a young one", old, young)
	}
	if old > 100_000 {
		t.Errorf("the first lookup takes %d bytes, at most 100,000 are allowed", old)
	}
}

func TestClient_HoldsAnswersToTheAgeThatTheCallerAllows(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	late := func(by time.Duration) *lightclient.Client {
		c, err := lightclient.New(lightclient.Config{Pin: w.Pin(1), Sources: []lightclient.Source{w.honest("first")},
			Now: func() time.Time { return w.Now().Add(by) }})
		w.do(err)
		return c
	}
	for _, test := range []struct {
		late, maxAge time.Duration
		ok           bool
	}{
		{59 * time.Second, 0, true}, {60 * time.Second, 0, false}, // 0 is a minute
		{59 * time.Second, -1, true}, {60 * time.Second, -1, false}, // and so is nonsense, which must not mean "any"
		{60 * time.Second, time.Hour, true}, {2 * time.Hour, time.Hour, false},
		{13 * 24 * time.Hour, 100 * 24 * time.Hour, true},
	} {
		_, err := late(test.late).Resolve(t.Context(), "alice", test.maxAge)
		if (err == nil) != test.ok || (err != nil && wire.CodeOf(err) != wire.Stale) {
			t.Errorf("%v late, %v allowed: %v", test.late, test.maxAge, err)
		}
	}
	_, err := late(15*24*time.Hour).Resolve(t.Context(), "alice", 100*24*time.Hour)
	if !errors.Is(err, verify.ErrExpired) || !strings.Contains(err.Error(), "start from a newer pin") {
		t.Errorf("after the trusting period: %v", err)
	}
	_, err = late(-time.Minute).Resolve(t.Context(), "alice", 0)
	if !errors.Is(err, verify.ErrFuture) || wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("with a slow clock: %v", err)
	}
}

// A pin may grow old if the client has been here in between.
func TestClient_OutlivesItsPin(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	store := &lightclient.MemStore{}
	w.isAlice(ask(w.keeping(store, w.honest("first")), t.Context()))
	for range 3 {
		w.Cut(w.Now().Add(10 * 24 * time.Hour))
		w.Skip(1)
		w.isAlice(ask(w.keeping(store, w.honest("first")), t.Context()))
	}
	if _, err := ask(w.client(w.honest("first")), t.Context()); !errors.Is(err, verify.ErrExpired) {
		t.Errorf("without memory: %v", err)
	}
	if _, err := w.keeping(store, w.honest("first")).Portable(t.Context(), "alice", false); !errors.Is(err, verify.ErrExpired) {
		t.Errorf("a proof for somebody with the pin alone: %v", err)
	}
}

func TestClient_PortableProofsBeginAtThePin(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	w.SetValidators(fakechain.Equal(1, 4))
	w.Skip(2)
	c := w.client(w.honest("first"), w.honest("second"))
	w.isAlice(ask(c, t.Context()))
	w.Skip(1)
	r, err := ask(c, t.Context())
	w.isAlice(r, err)
	if b, err := bundle.Decode(r.Bundle); err != nil || b.Origin != nil {
		t.Errorf("a client that knows the validators got them again, %v", err)
	}
	r, err = c.Portable(t.Context(), "alice", true)
	w.isAlice(r, err)
	expect(t, "agree", r.Agree, "[second]")
	v, err := bundle.Verify(r.Bundle, bundle.Trust{Pin: w.Pin(1), Rules: verify.DefaultRules()}, w.Now())
	w.do(err)
	if d, err := v.Devices(w.alice.ID); err != nil || len(d.List) != 1 {
		t.Errorf("devices: %v, %v", d, err)
	}
}

func TestNew_RefusesWhatCannotWork(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	_, err := lightclient.New(lightclient.Config{Pin: w.Pin(1)})
	if wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), "no source") {
		t.Errorf("no source: %v", err)
	}
	// It would confirm itself, and the answer would say that two agree.
	_, err = lightclient.New(lightclient.Config{Pin: w.Pin(1), Sources: []lightclient.Source{w.honest("a"), w.honest("b"), w.honest("a")}})
	if wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), "a is listed twice") {
		t.Errorf("a source twice: %v", err)
	}
}

func TestClient_ServesManyAtOnce(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	c := w.client(w.failing("broken", errors.New("broken")), w.honest("first"), w.honest("second"))
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			for range 6 {
				switch i % 4 {
				case 0:
					if _, err := c.Chain(t.Context()); err != nil {
						t.Error(err)
					}
				case 1:
					if _, _, err := c.Account(t.Context(), w.harbor.ID, 0); err != nil {
						t.Error(err)
					}
				case 2:
					w.Skip(1)
				default:
					if r, err := c.Resolve(t.Context(), "alice", 0); err != nil || r.Entry.Account != w.alice.ID {
						t.Errorf("%+v, %v", r, err)
					}
				}
			}
		})
	}
	done.Wait()
	r, err := ask(c, t.Context())
	w.isAlice(r, err)
	expect(t, "height", r.Height, w.Height())
}

// What is verified only moves on: a later answer of an older head is no reason
// to go back.
func TestClient_TrustOnlyRollsForward(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	store := &spyStore{}
	behind := w.Height() - 1
	slow := w.lying("slow", func(_ context.Context, r lightclient.Request, truth bundle.Bundle) ([]byte, error) {
		if r.At > 0 {
			return truth.Encode(), nil
		}
		b, err := w.BundleAt(behind, r)
		return b.Encode(), err
	})
	w.isAlice(ask(w.keeping(store, w.honest("first")), t.Context()))
	r, err := ask(w.keeping(store, slow), t.Context())
	w.isAlice(r, err)
	expect(t, "height", r.Height, behind)
	expect(t, "notes", r.Notes, "[slow answered with height 6, although 7 is known]")
	expect(t, "kept", store.saved, []uint64{w.Height()})

	// With a source that is up to date, its answer is taken.
	r, err = ask(w.keeping(store, slow, w.honest("first")), t.Context())
	w.isAlice(r, err)
	expect(t, "height", r.Height, w.Height())
	expect(t, "source", r.Source, "first")
	expect(t, "agree", r.Agree, "[slow]") // it does know the head, after all
	if !slices.IsSorted(store.saved) {
		t.Errorf("kept: %v", store.saved)
	}
}

// spyStore is a MemStore that remembers what it was given.
type spyStore struct {
	lightclient.MemStore
	saved []uint64
	err   error
}

func (s *spyStore) Save(pin verify.Pin, t verify.Trust) error {
	s.saved = append(s.saved, t.Height)
	if s.err != nil {
		return s.err
	}
	return s.MemStore.Save(pin, t)
}

func TestClient_AnswersEvenIfItCannotRemember(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	store := &spyStore{err: errors.New("the disk is full")}
	c := w.keeping(store, w.honest("first"))
	r, err := ask(c, t.Context())
	w.isAlice(r, err)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "the disk is full") {
		t.Errorf("notes: %q", r.Notes)
	}
	w.Skip(1)
	r, err = ask(c, t.Context())
	w.isAlice(r, err)
	if b, err := bundle.Decode(r.Bundle); err != nil || b.Origin != nil {
		t.Errorf("this client has forgotten what it verified, %v", err)
	}
}

// A person who stops a program wants to read that, and not that nobody answered.
func TestResolve_SaysWhetherTheTimeWasOverOrTheAskerStopped(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	c := w.client(w.silent("mute"))
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := ask(c, stopped); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stopped before an answer came") {
		t.Errorf("stopped: %v", err)
	}
	over, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	if _, err := ask(c, over); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("over: %v", err)
	}
}
