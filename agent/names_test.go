package agent_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// world is a chain, and a source between it and whoever asks.
type world struct {
	t     *testing.T
	chain *fakechain.Chain
	relay *relay
	names agent.Names
}

func newWorld(t *testing.T, change ...func(*namesvc.Params)) *world {
	t.Helper()
	p := namesvc.DevParams("confab-fake")
	p.WorkBits, p.WorkKiB = 0, 8
	for _, c := range change {
		c(&p)
	}
	w := &world{t: t, chain: fakechain.New(fakechain.Spec{Params: p, Start: time.Now().Add(-time.Minute)})}
	w.relay = &relay{Node: fakechain.Node{Chain: w.chain, Label: "relay"}}
	client, err := lightclient.New(lightclient.Config{Pin: w.chain.Pin(1), Sources: []lightclient.Source{w.relay}})
	if err != nil {
		t.Fatal(err)
	}
	w.names = agent.Names{Client: client, Rand: rand.Reader}
	return w
}

// relay passes ops on to the chain, unless refuse has something against it. A
// block is cut when somebody waits for it, so that the chain is as slow as the
// machine that the test runs on.
type relay struct {
	fakechain.Node

	mu     sync.Mutex
	pool   [][]byte
	taken  []namesvc.OpKind // what was passed on, commits as 0
	refuse func(tx *namesvc.Tx) error
}

// Bundle implements lightclient.Source.
func (r *relay) Bundle(ctx context.Context, q lightclient.Request) ([]byte, error) {
	if q.After > 0 {
		r.grow(q.After + 1)
	}
	return r.Node.Bundle(ctx, q)
}

// grow cuts blocks up to a height, the first with all ops that wait.
func (r *relay) grow(height uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for newest := r.Chain.Height(); newest < height; newest++ {
		head, _ := r.Chain.Head(newest)
		at := time.Now()
		if least := head.Header.Time.Std().Add(time.Millisecond); at.Before(least) {
			at = least
		}
		r.Chain.Cut(at, r.pool...)
		r.pool = nil
	}
}

// Submit implements lightclient.Submitter.
func (r *relay) Submit(ctx context.Context, op []byte) error {
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		return fault
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		if err := r.refuse(tx); err != nil {
			return err
		}
	}
	kind := namesvc.OpKind(0)
	if tx.Op != nil {
		kind = tx.Op.Kind
	}
	r.taken = append(r.taken, kind)
	if err := r.Node.Submit(ctx, op); err != nil { // only asks the law: nothing else runs this chain
		return err
	}
	r.pool = append(r.pool, op)
	return nil
}

func (r *relay) sent() []namesvc.OpKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}

// refuseTimes refuses what is meant with a code, n times.
func (r *relay) refuseTimes(n int, meant func(*namesvc.Tx) bool, code namesvc.RejectCode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = func(tx *namesvc.Tx) error {
		if n == 0 || !meant(tx) {
			return nil
		}
		n--
		return &lightclient.RejectError{Code: code, Text: "refused by the test"}
	}
}

func isCommit(tx *namesvc.Tx) bool   { return tx.Commit != nil }
func isRegister(tx *namesvc.Tx) bool { return tx.Op != nil && tx.Op.Kind == namesvc.OpRegister }

// person has keys and no account yet.
type person struct {
	root    key.Root
	device  key.Device
	genesis namesvc.Genesis
}

func newPerson(t *testing.T) *person {
	t.Helper()
	var p person
	var err error
	if p.root, err = key.NewRoot(rand.Reader); err == nil {
		p.device, err = key.NewDevice(rand.Reader)
	}
	if err == nil {
		p.genesis, err = namesvc.NewGenesis(rand.Reader, namesvc.Person, [32]byte{}, p.root.Public())
	}
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

func (p *person) plan(h namesvc.Handle) agent.Plan {
	return agent.Plan{
		Handle: h, Account: p.genesis.Account(), Genesis: p.genesis, Root: p.root,
		Devices: []agent.Member{{Device: p.device, Scopes: namesvc.AllScopes, Expires: time.Now().AddDate(1, 0, 0)}},
	}
}

// wait lets n blocks go by.
func (w *world) wait(n uint64) { w.relay.grow(w.chain.Height() + n) }

func (w *world) register(p *person, h namesvc.Handle) error {
	_, err := w.names.Register(w.t.Context(), p.plan(h), nil, nil)
	return err
}

// entry returns the person's entry.
func (w *world) entry(p *person) namesvc.Entry {
	w.t.Helper()
	e, _, err := w.names.Client.Account(w.t.Context(), p.genesis.Account(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func TestRegister_TellsEachStepAndEndsWithAProof(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	var steps []agent.Step
	var saved []agent.Prepared
	proof, err := w.names.Register(t.Context(), p.plan("alice"), func(r agent.Prepared) error {
		if len(w.relay.sent()) > 0 {
			t.Error("something was sent before it was saved")
		}
		saved = append(saved, r)
		return nil
	}, func(g agent.Progress) {
		if len(steps) == 0 || steps[len(steps)-1] != g.Step {
			steps = append(steps, g.Step)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	steps = slices.DeleteFunc(steps, func(s agent.Step) bool { return s == agent.Waiting })
	if want := []agent.Step{agent.Working, agent.Committing, agent.Revealing, agent.Done}; !slices.Equal(steps, want) {
		t.Errorf("the steps were %v, want %v", steps, want)
	}
	if len(saved) != 1 || saved[0].Handle != "alice" || saved[0].Account != p.genesis.Account() {
		t.Errorf("saved was %+v", saved)
	}
	e := w.entry(p)
	if proof.Height == 0 || e.Primary() != "alice" || e.Seq != 1 || e.DeviceSeq != 1 {
		t.Errorf("proof at %d of %+v", proof.Height, e)
	}
}

func TestRegister_SaysWhyAHandleCannotBeHad(t *testing.T) {
	w, p, q := newWorld(t, func(p *namesvc.Params) { p.MinHandle = 4 }), newPerson(t), newPerson(t)
	if err := w.register(p, "alice"); err != nil {
		t.Fatal(err)
	}
	before := len(w.relay.sent())
	for h, want := range map[namesvc.Handle]struct {
		code wire.Code
		text string
	}{
		"alice":  {wire.Exists, "@alice is taken (by account " + p.genesis.Account().String()[:8] + "…)"},
		"al1ce":  {wire.Exists, "@al1ce cannot be registered: it looks like @alice, which is taken"},
		"al_ice": {wire.Exists, "@al_ice cannot be registered: it looks like @alice, which is taken"},
		"bob":    {wire.Invalid, "@bob has 3 characters; this chain registers handles of at least 4, and shorter ones with a sponsor's ticket"},
	} {
		if err := w.register(q, h); wire.CodeOf(err) != want.code || err.Error() != want.text {
			t.Errorf("%v: %v (%v), want %q (%v)", h, err, wire.CodeOf(err), want.text, want.code)
		}
	}
	if err := w.register(p, "alice"); err != nil {
		t.Errorf("one's own handle again: %v", err)
	}
	if n := len(w.relay.sent()) - before; n != 0 {
		t.Errorf("%d ops were sent in vain", n)
	}
}

func TestRegister_WithoutAHandleAndThenWithTwo(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	for i, h := range []namesvc.Handle{"", "", "alice", "alicia"} {
		if err := w.register(p, h); err != nil {
			t.Fatalf("%q, the %d.: %v", h, i, err)
		}
	}
	e := w.entry(p)
	if len(e.Handles) != 2 || e.Primary() != "alice" || e.Seq != 3 {
		t.Errorf("the entry is %+v", e)
	}
}

// The law refuses a fourth handle only at the end, when the work is done.
func TestRegister_DoesNotWorkForMoreHandlesThanThereMayBe(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	for _, h := range []namesvc.Handle{"alice", "alicia", "alison"} {
		if err := w.register(p, h); err != nil {
			t.Fatal(err)
		}
	}
	before := len(w.relay.sent())
	worked := false
	_, err := w.names.Register(t.Context(), p.plan("alina"), nil, func(g agent.Progress) { worked = worked || g.Step == agent.Working })
	if wire.CodeOf(err) != wire.Exhausted || worked || len(w.relay.sent()) != before {
		t.Errorf("worked: %v, %d ops sent, error %v", worked, len(w.relay.sent())-before, err)
	}
}

// TestRegister_WorksAgainIfTheChainMovedOn makes the work stale by the law: so
// many checkpoints pass before the commit is sent.
func TestRegister_WorksAgainIfTheChainMovedOn(t *testing.T) {
	w, p := newWorld(t, func(p *namesvc.Params) { p.Checkpoint = 20 }), newPerson(t)
	saves := 0
	_, err := w.names.Register(t.Context(), p.plan("alice"), func(agent.Prepared) error {
		if saves++; saves == 1 {
			w.wait(80)
		}
		return nil
	}, nil)
	if err != nil || saves != 2 || w.entry(p).Primary() != "alice" {
		t.Errorf("after %d times of work: %v", saves, err)
	}
}

func TestRegister_GivesUpOnASourceThatNeverAgrees(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	w.relay.refuseTimes(1000, isCommit, namesvc.StaleCheckpoint)
	saves := 0
	_, err := w.names.Register(t.Context(), p.plan("alice"), func(agent.Prepared) error { saves++; return nil }, nil)
	if wire.CodeOf(err) != wire.Stale || !errors.Is(err, agent.ErrOver) || saves < 2 || saves > 10 {
		t.Errorf("after %d times of work: %v", saves, err)
	}
}

func TestRegister_WaitsForASourceThatIsBehind(t *testing.T) {
	for _, code := range []namesvc.RejectCode{namesvc.NoCommit, namesvc.CommitTooYoung} {
		w, p := newWorld(t), newPerson(t)
		w.relay.refuseTimes(1, isRegister, code)
		if err := w.register(p, "alice"); err != nil {
			t.Errorf("%v: %v", code, err)
		}
	}
}

func TestRegister_SendsNothingThatIsNotSaved(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	full := wire.Errorf(wire.Exhausted, "the disk is full")
	_, err := w.names.Register(t.Context(), p.plan("alice"), func(agent.Prepared) error { return full }, nil)
	if !errors.Is(err, full) || wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("the error is %v", err)
	}
	if sent := w.relay.sent(); len(sent) > 0 {
		t.Errorf("%v was sent", sent)
	}
}

// TestRegister_LastsAsLongAsItMayAndIsTakenByThoseWhoAreBehind: the work for a
// registration may take long, and a validator a few blocks behind must not
// find an expiry too far ahead.
func TestRegister_LastsAsLongAsItMayAndIsTakenByThoseWhoAreBehind(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	params := namesvc.DevParams("confab-fake")
	var saved agent.Prepared
	newest := uint64(0)
	_, err := w.names.Register(t.Context(), p.plan("alice"), func(g agent.Prepared) error {
		saved, newest = g, w.chain.Height()
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	register, fault := namesvc.Parse(saved.Register)
	commit, other := namesvc.Parse(saved.Commit)
	if fault != nil || other != nil {
		t.Fatal(fault, other)
	}
	for name, x := range map[string]struct{ expires, most uint64 }{
		"register": {register.Op.Expires, params.MaxExpiry}, "commit": {commit.Commit.Expires, params.Reveal},
	} {
		if ahead := x.expires - newest; ahead > x.most-min(3, x.most/10) || ahead < x.most*8/10 {
			t.Errorf("%s expires %d blocks ahead, %d are allowed", name, ahead, x.most)
		}
	}
}

func TestRegister_IsStoppedAtWork(t *testing.T) {
	w, p := newWorld(t, func(p *namesvc.Params) { p.WorkBits = 40 }), newPerson(t)
	ctx, stop := context.WithCancel(t.Context())
	_, err := w.names.Register(ctx, p.plan("alice"), func(agent.Prepared) error {
		t.Error("work of 40 bits was done")
		return nil
	}, func(g agent.Progress) {
		if g.Tries > 3 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) || wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("the error is %v", err)
	}
}

// TestResume_FinishesWhatACrashInterrupted crashes at each step, as far as a
// program can see the steps, and takes the registration up from what was saved.
func TestResume_FinishesWhatACrashInterrupted(t *testing.T) {
	crash := errors.New("crash")
	for name, at := range map[string]func(g agent.Progress, sent []namesvc.OpKind) bool{
		"saved, nothing sent":  nil,
		"commit sent":          func(g agent.Progress, _ []namesvc.OpKind) bool { return g.Step == agent.Committing },
		"commit in a block":    func(g agent.Progress, sent []namesvc.OpKind) bool { return g.Step == agent.Waiting && len(sent) == 1 },
		"registration sent":    func(g agent.Progress, _ []namesvc.OpKind) bool { return g.Step == agent.Revealing },
		"registration waiting": func(g agent.Progress, sent []namesvc.OpKind) bool { return g.Step == agent.Waiting && len(sent) == 2 },
		"done":                 func(g agent.Progress, _ []namesvc.OpKind) bool { return g.Step == agent.Done },
	} {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(t), newPerson(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var saved agent.Prepared
			_, err := w.names.Register(ctx, p.plan("alice"), func(r agent.Prepared) error {
				saved = r
				if at == nil {
					return crash
				}
				return nil
			}, func(g agent.Progress) {
				if at != nil && at(g, w.relay.sent()) {
					stop()
				}
			})
			if err == nil && name != "done" && name != "registration waiting" {
				t.Fatal("it did not crash")
			}
			if _, err := w.names.Resume(t.Context(), saved, nil); err != nil {
				t.Fatal(err)
			}
			if e := w.entry(p); e.Primary() != "alice" || e.Seq != 1 {
				t.Errorf("the entry is %+v", e)
			}
			// Once more is nothing to do, also if the account moved on.
			before := len(w.relay.sent())
			if _, err := w.names.Resume(t.Context(), saved, nil); err != nil || len(w.relay.sent()) != before {
				t.Errorf("again: %v, %v sent", err, w.relay.sent()[before:])
			}
			if err := w.register(p, "alicia"); err != nil {
				t.Fatal(err)
			}
			before = len(w.relay.sent())
			if _, err := w.names.Resume(t.Context(), saved, nil); err != nil || len(w.relay.sent()) != before {
				t.Errorf("after another op: %v, %v sent", err, w.relay.sent()[before:])
			}
		})
	}
}

// TestResume_SaysWhenItIsOver takes up registrations that can never be finished.
func TestResume_SaysWhenItIsOver(t *testing.T) {
	crash := errors.New("crash")
	for name, c := range map[string]struct {
		code wire.Code
		// between is what happens before the registration is taken up.
		between func(t *testing.T, w *world, p *person)
	}{
		"its time ran out": {wire.Stale, func(_ *testing.T, w *world, _ *person) { w.wait(201) }},
		"somebody was faster": {wire.Exists, func(t *testing.T, w *world, _ *person) {
			if err := w.register(newPerson(t), "alice"); err != nil {
				t.Fatal(err)
			}
		}},
		"the account did something else": {wire.Conflict, func(t *testing.T, w *world, p *person) {
			if err := w.register(p, "another"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(t, func(p *namesvc.Params) { p.Reveal, p.MaxExpiry = 200, 200 }), newPerson(t)
			if err := w.register(p, "first"); err != nil {
				t.Fatal(err)
			}
			var saved agent.Prepared
			_, err := w.names.Register(t.Context(), p.plan("alice"), func(r agent.Prepared) error { saved = r; return crash }, nil)
			if !errors.Is(err, crash) {
				t.Fatal(err)
			}
			c.between(t, w, p)
			if _, err := w.names.Resume(t.Context(), saved, nil); !errors.Is(err, agent.ErrOver) || wire.CodeOf(err) != c.code {
				t.Errorf("the error is %v, of kind %v, want %v", err, wire.CodeOf(err), c.code)
			}
		})
	}
}

func TestResume_RefusesWhatIsNoRegistration(t *testing.T) {
	w := newWorld(t)
	if _, err := w.names.Resume(t.Context(), agent.Prepared{Register: []byte("x"), Commit: []byte("y")}, nil); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("the error is %v", err)
	}
}

func TestResume_IsNotOverWhenTheNetworkIsAway(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	w.relay.mu.Lock()
	w.relay.refuse = func(*namesvc.Tx) error { return wire.Errorf(wire.Unavailable, "away") }
	w.relay.mu.Unlock()
	_, err := w.names.Register(ctx, p.plan("alice"), nil, nil)
	if wire.CodeOf(err) != wire.Unavailable || errors.Is(err, agent.ErrOver) {
		t.Errorf("the error is %v", err)
	}
}

// TestChange_MakesBothOfTwoAtOnce has two programs change one account.
func TestChange_MakesBothOfTwoAtOnce(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	if err := w.register(p, "alice"); err != nil {
		t.Fatal(err)
	}
	add := func(aka string) error {
		_, err := w.names.Change(t.Context(), p.genesis.Account(), p.device, namesvc.OpRecords,
			func(e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
				r := e.Records
				r.AlsoKnownAs = append(slices.Clone(r.AlsoKnownAs), aka)
				return r, nil
			}, nil)
		return err
	}
	errs := make(chan error)
	for _, aka := range []string{"https://a.example", "https://b.example", "https://c.example"} {
		go func() { errs <- add(aka) }()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if e := w.entry(p); len(e.Records.AlsoKnownAs) != 3 || e.Seq != 4 {
		t.Errorf("of three changes %q are there, at sequence %d", e.Records.AlsoKnownAs, e.Seq)
	}
}

// TestChange_SignsAgainIfAnotherOpIsWaiting has a source refuse an op because
// another one of the account waits for its block, which no proof shows yet.
func TestChange_SignsAgainIfAnotherOpIsWaiting(t *testing.T) {
	for code, times := range map[namesvc.RejectCode]int{namesvc.WrongSequence: 1, namesvc.WrongPrevious: 9, namesvc.Expired: 1} {
		w, p := newWorld(t), newPerson(t)
		if err := w.register(p, "alice"); err != nil {
			t.Fatal(err)
		}
		w.relay.refuseTimes(times, func(tx *namesvc.Tx) bool { return tx.Op != nil }, code)
		made := 0
		_, err := w.names.Change(t.Context(), p.genesis.Account(), p.device, namesvc.OpRecords,
			func(e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
				made++
				r := e.Records
				r.AlsoKnownAs = []string{"https://a.example"}
				return r, nil
			}, nil)
		if err != nil || made != times+1 || w.entry(p).Seq != 2 {
			t.Errorf("%v: made %d times: %v", code, made, err)
		}
	}
}

func TestChange_PassesOnWhatIsWrong(t *testing.T) {
	w, p, q := newWorld(t), newPerson(t), newPerson(t)
	renew := func(namesvc.Entry, namesvc.Devices, string) (any, error) { return namesvc.Renewal{}, nil }
	if _, err := w.names.Change(t.Context(), p.genesis.Account(), p.device, namesvc.OpRenew, renew, nil); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("an account that is on no chain: %v", err)
	}
	if err := w.register(p, "alice"); err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	_, err := w.names.Change(t.Context(), p.genesis.Account(), p.device, namesvc.OpRenew,
		func(namesvc.Entry, namesvc.Devices, string) (any, error) { return nil, no }, nil)
	if !errors.Is(err, no) {
		t.Errorf("the body's error became %v", err)
	}
	_, err = w.names.Change(t.Context(), p.genesis.Account(), q.device, namesvc.OpRenew, renew, nil)
	var reject *lightclient.RejectError
	if !errors.As(err, &reject) || wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a stranger's device: %v", err)
	}
	if e := w.entry(p); e.Seq != 1 {
		t.Errorf("something was changed: %+v", e)
	}
	ctx, stop := context.WithCancel(t.Context())
	_, err = w.names.Change(ctx, p.genesis.Account(), p.device, namesvc.OpDevices,
		func(_ namesvc.Entry, d namesvc.Devices, _ string) (any, error) {
			stop()
			return namesvc.DeviceList{Devices: agent.Grants(d)}, nil
		}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestJoin_AddsADeviceThatAgrees(t *testing.T) {
	w, p := newWorld(t), newPerson(t)
	if err := w.register(p, "alice"); err != nil {
		t.Fatal(err)
	}
	second, err := key.NewDevice(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.names.Change(t.Context(), p.genesis.Account(), p.root, namesvc.OpDevices,
		func(_ namesvc.Entry, d namesvc.Devices, chain string) (any, error) {
			m := agent.Member{Device: second, Scopes: namesvc.AllScopes, Expires: time.Now().AddDate(1, 0, 0)}
			return namesvc.DeviceList{Devices: append(agent.Grants(d), agent.Join(chain, d, m))}, nil
		}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, d, _, err := w.names.Client.Devices(t.Context(), p.genesis.Account(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []key.Public{p.device.Public(), second.Public()} {
		if _, ok := d.Find(k); !ok {
			t.Errorf("device %v is missing", k)
		}
	}
}
