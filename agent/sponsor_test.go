package agent_test

import (
	"bytes"
	"context"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// patron is a service that sponsors, and what it was asked.
type patron struct {
	*fakechain.Actor
	w     *world
	mint  *namescript.Mint
	asked [][]byte
	err   error // what it answers, if not nil
	spoil func([]byte)
}

func newPatron(w *world) *patron {
	w.t.Helper()
	p := &patron{Actor: fakechain.NewActor("harbor", namesvc.Service), w: w, mint: namescript.NewMint("harbor")}
	if err := w.chain.Register(p.Actor, "harbor_mail", p.Concierge("https://harbor.example")); err != nil {
		w.t.Fatal(err)
	}
	p.declare(p.mint.Key())
	return p
}

func (p *patron) declare(key []byte) {
	p.w.t.Helper()
	if err := p.w.chain.Next(p.w.chain.Sign(p.Actor, namesvc.OpSponsor, namesvc.Sponsorship{Key: key})); err != nil {
		p.w.t.Fatal(err)
	}
	p.w.wait(1)
}

func (p *patron) sponsor() *agent.Sponsor {
	return &agent.Sponsor{Account: p.ID, Sign: func(_ context.Context, modulus, blinded []byte) ([]byte, error) {
		p.asked = append(p.asked, bytes.Clone(blinded))
		if p.err != nil {
			return nil, p.err
		}
		if !bytes.Equal(modulus, p.mint.Key()) {
			p.w.t.Error("it was blinded for another key than the chain's")
		}
		signed, err := blindrsa.NewSigner(p.mint.Private()).BlindSign(blinded)
		if p.spoil != nil {
			p.spoil(signed)
		}
		return signed, err
	}}
}

func (p *patron) plan(q *person, h namesvc.Handle) agent.Plan {
	plan := q.plan(h)
	plan.Sponsor = p.sponsor()
	return plan
}

// newSponsoredWorld is a chain on which short handles need a ticket, and a sponsor.
func newSponsoredWorld(t *testing.T, change ...func(*namesvc.Params)) (*world, *patron) {
	t.Helper()
	w := newWorld(t, append([]func(*namesvc.Params){func(p *namesvc.Params) { p.MinHandle, p.MinSponsored = 8, 5 }}, change...)...)
	return w, newPatron(w)
}

func TestSponsor_PaysForAShortHandleWithoutWork(t *testing.T) {
	w, p := newSponsoredWorld(t)
	q := newPerson(t)
	var steps []agent.Step
	var saved []agent.Prepared
	_, err := w.names.Register(t.Context(), p.plan(q, "alice"), func(r agent.Prepared) error {
		if len(w.relay.sent()) > 0 || len(saved) == 0 && len(p.asked) > 0 {
			t.Error("something was sent before it was saved")
		}
		saved = append(saved, r)
		return nil
	}, func(g agent.Progress) {
		if g.Step != agent.Waiting && !slices.Contains(steps, g.Step) {
			steps = append(steps, g.Step)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []agent.Step{agent.Asking, agent.Committing, agent.Revealing, agent.Done}; !slices.Equal(steps, want) {
		t.Errorf("the steps were %v, want %v", steps, want)
	}
	if len(saved) != 2 || len(p.asked) != 1 || !bytes.Equal(saved[0].Register, saved[1].Register) {
		t.Fatalf("saved %d times, asked %d times", len(saved), len(p.asked))
	}
	if id, waits := saved[0].Asks(); !waits || id != p.ID {
		t.Errorf("the first waits for %v, %v", id, waits)
	}
	if _, waits := saved[1].Asks(); waits {
		t.Error("the second still waits")
	}
	if w.entry(q).Primary() != "alice" {
		t.Errorf("the entry is %+v", w.entry(q))
	}
	// What the sponsor has seen is in nothing that the chain has.
	tx, _ := namesvc.Parse(saved[1].Commit)
	_, sig, _ := ticket.SplitBlind(tx.Commit.Proof)
	if bytes.Contains(saved[1].Commit, p.asked[0][:16]) || bytes.Equal(sig, p.asked[0]) {
		t.Error("the ticket shows what was signed")
	}
}

// TestSponsor_AnInterruptionAsksTheSameAgain: else an invitation would be used up
// and the ticket lost.
func TestSponsor_AnInterruptionAsksTheSameAgain(t *testing.T) {
	w, p := newSponsoredWorld(t)
	q := newPerson(t)
	var kept agent.Prepared
	p.err = wire.Errorf(wire.Unavailable, "the answer is lost")
	_, err := w.names.Register(t.Context(), p.plan(q, "alice"), func(r agent.Prepared) error { kept = r; return nil }, nil)
	var failed *agent.SponsorError
	if !errors.As(err, &failed) || wire.CodeOf(err) != wire.Unavailable || errors.Is(err, agent.ErrOver) || !failed.Short {
		t.Fatalf("%v", err)
	}
	if _, err := w.names.Resume(t.Context(), kept, nil); wire.CodeOf(err) != wire.Invalid || len(w.relay.sent()) > 0 {
		t.Errorf("without its ticket: %v", err)
	}
	p.err = nil
	paid, err := w.names.Pay(t.Context(), kept, *p.sponsor())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.asked) != 2 || !bytes.Equal(p.asked[0], p.asked[1]) {
		t.Error("another ticket was asked for")
	}
	again, err := w.names.Pay(t.Context(), paid, *p.sponsor())
	if err != nil || len(p.asked) != 2 || !bytes.Equal(again.Commit, paid.Commit) {
		t.Errorf("a ticket that is there is asked for again: %v", err)
	}
	if _, err := w.names.Resume(t.Context(), paid, nil); err != nil {
		t.Fatal(err)
	}
	if w.entry(q).Primary() != "alice" {
		t.Errorf("the entry is %+v", w.entry(q))
	}
}

func TestSponsor_ATicketOutlivesItsCommitsWindow(t *testing.T) {
	w, p := newSponsoredWorld(t, func(p *namesvc.Params) { p.Reveal, p.Checkpoint = 120, 1000 })
	q := newPerson(t)
	var kept agent.Prepared
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if _, err := w.names.Register(ctx, p.plan(q, "alice"), func(r agent.Prepared) error {
		if _, waits := r.Asks(); !waits {
			kept = r
			stop()
		}
		return nil
	}, nil); wire.CodeOf(err) != wire.Unavailable {
		t.Fatal(err)
	}
	w.wait(150)
	if _, err := w.names.Resume(t.Context(), kept, nil); err != nil {
		t.Fatal(err)
	}
	if w.entry(q).Primary() != "alice" || len(p.asked) != 1 {
		t.Errorf("asked %d times", len(p.asked))
	}
}

// TestSponsor_WhoCannotPayIsNotAsked, so that no invitation is used up.
func TestSponsor_WhoCannotPayIsNotAsked(t *testing.T) {
	w, p := newSponsoredWorld(t, func(p *namesvc.Params) { p.SponsorDaily = 1 })
	first, second := newPerson(t), newPerson(t)
	if _, err := w.names.Register(t.Context(), p.plan(first, "alice"), nil, nil); err != nil {
		t.Fatal(err)
	}
	check := func(what string, h namesvc.Handle, want wire.Code, isShort bool) {
		t.Helper()
		before := len(p.asked)
		_, err := w.names.Register(t.Context(), p.plan(second, h), nil, nil)
		var failed *agent.SponsorError
		if !errors.As(err, &failed) || wire.CodeOf(err) != want || failed.Short != isShort || len(p.asked) != before {
			t.Errorf("%s: %v (%v)", what, err, wire.CodeOf(err))
		}
	}
	check("its day is over", "bobby", wire.Exhausted, true)
	check("its day is over", "bobby_long", wire.Exhausted, false)
	p.declare(nil)
	check("it has withdrawn", "bobby", wire.NotFound, true)
	stranger := fakechain.NewActor("stranger", namesvc.Person)
	if err := w.chain.Register(stranger, "stranger", nil); err != nil {
		t.Fatal(err)
	}
	w.wait(1)
	p.Actor = stranger
	check("it never was one", "bobby", wire.NotFound, true)
	if err := w.register(second, "bob"); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("too short for a ticket: %v", err)
	}
	plan := p.plan(second, "bob")
	if _, err := w.names.Register(t.Context(), plan, nil, nil); wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), "at least 5, also with a sponsor's ticket") {
		t.Errorf("too short for a ticket: %v", err)
	}
}

func TestSponsor_ItsAnswerIsCheckedBeforeAnythingIsSent(t *testing.T) {
	w, p := newSponsoredWorld(t)
	for name, spoil := range map[string]func([]byte){
		"a bit": func(b []byte) { b[7] ^= 1 }, "zero": func(b []byte) { clear(b) },
		"unsigned": func(b []byte) { copy(b, p.asked[len(p.asked)-1]) },
	} {
		p.spoil = spoil
		_, err := w.names.Register(t.Context(), p.plan(newPerson(t), "alice"), nil, nil)
		var failed *agent.SponsorError
		if !errors.As(err, &failed) || wire.CodeOf(err) != wire.Unavailable || len(w.relay.sent()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	plan := p.plan(newPerson(t), "alice")
	plan.Sponsor.Sign = func(context.Context, []byte, []byte) ([]byte, error) { return nil, nil }
	if _, err := w.names.Register(t.Context(), plan, nil, nil); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("nothing: %v", err)
	}
}

// TestSponsor_SaysWhenTheLawRefusesItsTicket: its key changed after it signed.
func TestSponsor_SaysWhenTheLawRefusesItsTicket(t *testing.T) {
	for name, c := range map[string]struct {
		key  []byte
		code namesvc.RejectCode
	}{
		"withdrawn": {nil, namesvc.UnknownSponsor}, "another key": {namescript.NewMint("quay").Key(), namesvc.BadTicket},
	} {
		w, p := newSponsoredWorld(t)
		saves := 0
		_, err := w.names.Register(t.Context(), p.plan(newPerson(t), "alice"), func(agent.Prepared) error {
			if saves++; saves == 2 {
				p.declare(c.key)
			}
			return nil
		}, nil)
		var failed *agent.SponsorError
		var no *lightclient.RejectError
		if !errors.As(err, &failed) || !errors.Is(err, agent.ErrOver) || !errors.As(err, &no) || no.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSponsor_IsAskedOnceForOneCommand: another attempt would take another
// invitation.
func TestSponsor_IsAskedOnceForOneCommand(t *testing.T) {
	w, p := newSponsoredWorld(t)
	w.relay.refuseTimes(1000, isCommit, namesvc.StaleCheckpoint)
	_, err := w.names.Register(t.Context(), p.plan(newPerson(t), "alice"), nil, nil)
	if wire.CodeOf(err) != wire.Stale || !errors.Is(err, agent.ErrOver) || len(p.asked) != 1 {
		t.Errorf("asked %d times: %v", len(p.asked), err)
	}
}

// TestSponsor_IsNotAskedForATicketThatComesTooLate, because its checkpoint or its op
// would be too old.
func TestSponsor_IsNotAskedForATicketThatComesTooLate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*namesvc.Params)
		blocks uint64
		late   bool
	}{
		"in time":    {func(p *namesvc.Params) { p.Checkpoint, p.MaxExpiry = 1000, 400 }, 300, false},
		"checkpoint": {func(p *namesvc.Params) { p.Checkpoint = 20 }, 60, true},
		"op":         {func(p *namesvc.Params) { p.Checkpoint, p.MaxExpiry = 1000, 400 }, 370, true},
	} {
		w, p := newSponsoredWorld(t, c.change)
		var kept agent.Prepared
		p.err = wire.Errorf(wire.Unavailable, "not now")
		if _, err := w.names.Register(t.Context(), p.plan(newPerson(t), "alice"), func(r agent.Prepared) error { kept = r; return nil }, nil); err == nil {
			t.Fatal("it was registered")
		}
		p.err = nil
		w.wait(c.blocks)
		_, err := w.names.Pay(t.Context(), kept, *p.sponsor())
		if c.late != (err != nil) || c.late && (!errors.Is(err, agent.ErrOver) || len(p.asked) != 1) {
			t.Errorf("%s: asked %d times, %v", name, len(p.asked), err)
		}
	}
}

// TestSponsor_AnotherKeyLearnsNothingFromTheFirst: a sponsor that says it is away,
// changes its key, and is asked again has two requests that it may compare once
// the chain shows the commit. With one blinding factor in both it would know whose
// the commit is.
func TestSponsor_AnotherKeyLearnsNothingFromTheFirst(t *testing.T) {
	w, p := newSponsoredWorld(t)
	next := namescript.NewMint("harbor", "s1")
	// Several times, because a factor that is drawn below one modulus may not be
	// below the other.
	for _, h := range []namesvc.Handle{"alice", "bobby", "carol", "daven"} {
		var kept agent.Prepared
		p.err = wire.Errorf(wire.Unavailable, "away")
		if _, err := w.names.Register(t.Context(), p.plan(newPerson(t), h), func(r agent.Prepared) error { kept = r; return nil }, nil); err == nil {
			t.Fatal("it was paid for")
		}
		p.err, p.mint, next = nil, next, p.mint
		p.declare(p.mint.Key())
		paid, err := w.names.Pay(t.Context(), kept, *p.sponsor())
		if err != nil {
			t.Fatal(err)
		}
		tx, _ := namesvc.Parse(paid.Commit)
		_, sig, _ := ticket.SplitBlind(tx.Commit.Proof)
		encoded, n := open(p.mint, sig), len(p.asked)
		if factor(p.mint, p.asked[n-1], encoded).Cmp(factor(next, p.asked[n-2], encoded)) == 0 {
			t.Error("both requests have the same salt and blinding factor")
		}
	}
}

// open returns the encoded message that a signature is of.
func open(m *namescript.Mint, sig []byte) *big.Int {
	k := m.Private()
	return new(big.Int).Exp(new(big.Int).SetBytes(sig), big.NewInt(int64(k.E)), k.N)
}

// factor returns what an encoded message was blinded with, for who has the key.
func factor(m *namescript.Mint, blinded []byte, encoded *big.Int) *big.Int {
	k := m.Private()
	r := new(big.Int).ModInverse(encoded, k.N)
	r.Mul(r, new(big.Int).SetBytes(blinded))
	return r.Exp(r.Mod(r, k.N), k.D, k.N)
}
