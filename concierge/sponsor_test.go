package concierge

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// sponsoring is a world whose concierge sponsors.
type sponsoring struct {
	*world
	key *rsa.PrivateKey
}

func newSponsoring(t *testing.T) *sponsoring {
	t.Helper()
	return &sponsoring{newWorld(t, cheap()), namescript.NewMint("harbor").Private()}
}

// open starts a concierge that sponsors so, and returns a guest's connection to it.
func (s *sponsoring) open(issue byte, how Sponsorship) (*Server, *Client) {
	s.Helper()
	how.Key = s.key
	chain, err := lightclient.New(lightclient.Config{Pin: s.Pin(1), Sources: []lightclient.Source{source{fakechain.Node{Chain: s.Chain, Label: "node"}, s.world}}, Now: s.now})
	s.must(err)
	server, err := New(Options{
		Service: s.service(), Key: s.harbor.Server, Chain: chain, Store: s.store, Issue: [16]byte{issue}, Limits: cheap(), Now: s.now, Local: true, Sponsor: &how,
	})
	s.must(err)
	ts := httptest.NewUnstartedServer(server.Handler())
	ts.EnableHTTP2 = false
	ts.StartTLS()
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Close(ctx)
		ts.Close()
	})
	c, err := Dial(s.Context(), ts.URL, s.service(), nil)
	s.must(err)
	s.Cleanup(func() { c.Close() })
	return server, c
}

// blinding is a challenge that was blinded.
type blinding struct {
	client    blindrsa.Client
	challenge [32]byte
	blinded   []byte
	state     blindrsa.State
}

func (s *sponsoring) blind(n byte) blinding {
	s.Helper()
	b := blinding{challenge: ticket.Challenge("confab-fake", [32]byte{n}, [32]byte{2})}
	var err error
	b.client, err = blindrsa.NewClient(blindrsa.SHA384PSSDeterministic, &s.key.PublicKey)
	s.must(err)
	b.blinded, b.state, err = b.client.Blind(rand.Reader, b.challenge[:])
	s.must(err)
	return b
}

// holds fails the test unless what was signed is a ticket once it is unblinded.
func (s *sponsoring) holds(b blinding, signed []byte) {
	s.Helper()
	sig, err := b.client.Finalize(b.state, signed)
	s.must(err)
	s.must(ticket.VerifyBlind(SponsorModulus(s.key), b.challenge, sig))
}

func (s *sponsoring) invite(server *Server, n int) []Invitation {
	s.Helper()
	codes, err := server.Invite(s.Context(), n, time.Hour)
	s.must(err)
	return codes
}

func TestSponsor_AnInvitationIsGoodForOneTicket(t *testing.T) {
	s := newSponsoring(t)
	server, c := s.open(1, Sponsorship{Daily: 10})
	codes := s.invite(server, 2)
	modulus := SponsorModulus(s.key)
	first, second := s.blind(1), s.blind(2)
	signed, err := c.Ticket(t.Context(), modulus, first.blinded, &codes[0])
	s.must(err)
	s.holds(first, signed)
	// The answer was lost: the same request has the same answer, and costs nothing.
	again, err := c.Ticket(t.Context(), modulus, first.blinded, &codes[0])
	if err != nil || !bytes.Equal(again, signed) {
		t.Errorf("again: %v", err)
	}
	if _, err := c.Ticket(t.Context(), modulus, second.blinded, &codes[0]); wire.CodeOf(err) != wire.Exists {
		t.Errorf("spent twice: %v", err)
	}
	if _, err := c.Ticket(t.Context(), modulus, second.blinded, nil); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("without a code: %v", err)
	}
	if st, err := server.SponsorStatus(t.Context()); err != nil || st != (SponsorStatus{Daily: 10, Issued: 1, Waiting: 1}) {
		t.Errorf("%+v, %v", st, err)
	}

	// Another process on the same store, or this one after a crash, knows it.
	other, oc := s.open(1, Sponsorship{Daily: 10})
	if _, err := oc.Ticket(t.Context(), modulus, second.blinded, &codes[0]); wire.CodeOf(err) != wire.Exists {
		t.Errorf("spent twice at another process: %v", err)
	}
	signed, err = oc.Ticket(t.Context(), modulus, second.blinded, &codes[1])
	s.must(err)
	s.holds(second, signed)
	if st, err := other.SponsorStatus(t.Context()); err != nil || st.Issued != 2 || st.Waiting != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	// A restored store has forgotten what was spent since, so codes are void there.
	later := s.invite(server, 1)
	_, rc := s.open(2, Sponsorship{Daily: 10})
	if _, err := rc.Ticket(t.Context(), modulus, second.blinded, &later[0]); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("after a restore: %v", err)
	}
}

func TestSponsor_OfTwoAtOnceOneGetsIt(t *testing.T) {
	s := newSponsoring(t)
	server, a := s.open(1, Sponsorship{Daily: 10})
	_, b := s.open(1, Sponsorship{Daily: 10})
	code := s.invite(server, 1)[0]
	blinds := []blinding{s.blind(1), s.blind(2), s.blind(3), s.blind(4)}
	errs := make([]error, len(blinds))
	var wait sync.WaitGroup
	for i, x := range blinds {
		wait.Go(func() { _, errs[i] = []*Client{a, b}[i%2].Ticket(t.Context(), SponsorModulus(s.key), x.blinded, &code) })
	}
	wait.Wait()
	got := 0
	for _, err := range errs {
		if err == nil {
			got++
		} else if wire.CodeOf(err) != wire.Exists {
			t.Error(err)
		}
	}
	if got != 1 {
		t.Errorf("%d tickets for one code", got)
	}
}

func TestSponsor_GivesSoManyADayAndToOneNetwork(t *testing.T) {
	s := newSponsoring(t)
	server, c := s.open(1, Sponsorship{Daily: 4, Open: true, PerNetwork: 2})
	modulus := SponsorModulus(s.key)
	if d, err := c.Describe(t.Context()); err != nil || d.Sponsors != SponsorsAnybody {
		t.Errorf("described as %d, %v", d.Sponsors, err)
	}
	for i := range 2 {
		b := s.blind(byte(i))
		signed, err := c.Ticket(t.Context(), modulus, b.blinded, nil)
		s.must(err)
		s.holds(b, signed)
	}
	if _, err := c.Ticket(t.Context(), modulus, s.blind(9).blinded, nil); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("a third of one network: %v", err)
	}
	// Codes are not counted for their network, but all for the day.
	codes, err := server.Invite(t.Context(), 3, 48*time.Hour)
	s.must(err)
	for i := range 2 {
		_, err := c.Ticket(t.Context(), modulus, s.blind(9).blinded, &codes[i])
		s.must(err)
	}
	last := s.blind(7)
	if _, err := c.Ticket(t.Context(), modulus, last.blinded, &codes[2]); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("a fifth of the day: %v", err)
	}
	// The refused one has not spent its code, which is good on the next day.
	s.late.Add(int64(24 * time.Hour))
	signed, err := c.Ticket(t.Context(), modulus, last.blinded, &codes[2])
	s.must(err)
	s.holds(last, signed)
}

func TestSponsor_RefusesWhatItDidNotInvite(t *testing.T) {
	s := newSponsoring(t)
	server, c := s.open(1, Sponsorship{Daily: 10})
	code, b := s.invite(server, 1)[0], s.blind(1)
	modulus := SponsorModulus(s.key)
	request := func(change func(*TicketRequest)) TicketRequest {
		r := TicketRequest{Key: sha256.Sum256(modulus), Blinded: bytes.Clone(b.blinded)}
		r.invite(s.ID(), s.harbor.ID, code)
		change(&r)
		return r
	}
	network := [32]byte{1}
	for name, x := range map[string]struct {
		change func(*TicketRequest)
		want   wire.Code
	}{
		"another blinded": {func(r *TicketRequest) { r.Blinded[200] ^= 1 }, wire.Unauthorized},
		"another key":     {func(r *TicketRequest) { r.Key[0] ^= 1; r.invite(s.ID(), s.harbor.ID, code) }, wire.Conflict},
		"another chain":   {func(r *TicketRequest) { r.invite("elsewhere", s.harbor.ID, code) }, wire.Unauthorized},
		"another sponsor": {func(r *TicketRequest) { r.invite(s.ID(), s.alice.ID, code) }, wire.Unauthorized},
		"another code":    {func(r *TicketRequest) { r.invite(s.ID(), s.harbor.ID, Invitation{1}) }, wire.Unauthorized},
		"no signature":    {func(r *TicketRequest) { r.Signature = nil }, wire.Unauthorized},
		"no code":         {func(r *TicketRequest) { r.Invitation, r.Signature = nil, nil }, wire.Unauthorized},
		"a short one":     {func(r *TicketRequest) { r.Blinded = r.Blinded[1:]; r.invite(s.ID(), s.harbor.ID, code) }, wire.Invalid},
		"too large a number": {func(r *TicketRequest) {
			r.Blinded = bytes.Repeat([]byte{0xff}, 256)
			r.invite(s.ID(), s.harbor.ID, code)
		}, wire.Invalid},
		"the modulus": {func(r *TicketRequest) { r.Blinded = modulus; r.invite(s.ID(), s.harbor.ID, code) }, wire.Invalid},
	} {
		if _, err := server.ticket(t.Context(), network, request(x.change)); wire.CodeOf(err) != x.want {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	if st, err := server.SponsorStatus(t.Context()); err != nil || st.Issued != 0 || st.Waiting != 1 {
		t.Errorf("what was refused has left a trace: %+v, %v", st, err)
	}
	if _, err := server.ticket(t.Context(), network, request(func(*TicketRequest) {})); err != nil {
		t.Errorf("the good one: %v", err)
	}
	// A code whose time is over is unknown.
	code = s.invite(server, 1)[0]
	s.late.Add(int64(time.Hour))
	if _, err := c.Ticket(t.Context(), modulus, s.blind(2).blinded, &code); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("an hour later: %v", err)
	}
	for name, err := range map[string]error{
		"none":       func() error { _, err := server.Invite(t.Context(), 0, time.Hour); return err }(),
		"too many":   func() error { _, err := server.Invite(t.Context(), maxInvitations+1, time.Hour); return err }(),
		"too short":  func() error { _, err := server.Invite(t.Context(), 1, time.Second); return err }(),
		"for ever":   func() error { _, err := server.Invite(t.Context(), 1, 10*MaxInvitationLife); return err }(),
		"no sponsor": func() error { _, err := s.server.Invite(t.Context(), 1, time.Hour); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: invited", name)
		}
	}
	if _, err := s.connect(nil).Ticket(t.Context(), modulus, b.blinded, nil); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("one that sponsors nobody: %v", err)
	}
}

// TestSponsor_ItsStoreHoldsNoCode: who steals the store can neither ask for tickets
// nor say who got one.
func TestSponsor_ItsStoreHoldsNoCode(t *testing.T) {
	s := newSponsoring(t)
	server, c := s.open(1, Sponsorship{Daily: 10})
	codes, b := s.invite(server, 2), s.blind(1)
	signed, err := c.Ticket(t.Context(), SponsorModulus(s.key), b.blinded, &codes[0])
	s.must(err)
	secrets := map[string][]byte{"blinded": b.blinded, "signed": signed}
	for _, x := range codes {
		seed := x.key().Seed()
		secrets["code"], secrets["text"], secrets["seed"] = x[:], []byte(x.Code()), seed[:]
		if strings.Contains(s.log.String(), x.Code()) {
			t.Error("a code is in the log")
		}
		s.must(filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			file, err := os.ReadFile(path)
			for what, secret := range secrets {
				if bytes.Contains(file, secret) {
					t.Errorf("%s holds %s", d.Name(), what)
				}
			}
			return err
		}))
	}
}

func TestGrants_FitIntoOneEntry(t *testing.T) {
	g := grants{Version: 1, Day: 1 << 62, Issued: 1 << 62}
	for i := range maxInvitations {
		g.Waiting = append(g.Waiting, waiting{Key: key.Public{byte(i)}, Until: 1 << 62, Spent: make([]byte, 32)})
	}
	if n := len(wire.Encode(g)); n > stream.MaxBody {
		t.Errorf("%d bytes", n)
	}
	if err := g.add([]key.Public{{}}, time.Now()); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("one more: %v", err)
	}
}

func TestInvitation_ReadsBackHoweverItIsTyped(t *testing.T) {
	i, err := NewInvitation(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{i.Code(), strings.ToUpper(i.Code()), strings.ReplaceAll(i.Code(), "-", ""), " " + strings.ReplaceAll(i.Code(), "-", " ") + " "} {
		if got, err := ParseInvitation(text); err != nil || got != i {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", i.Code()[1:], i.Code() + "a", strings.Repeat("l", 24), strings.Repeat("é", 12), strings.Repeat("\n", 24), strings.Repeat("a", 1000)} {
		if _, err := ParseInvitation(text); wire.CodeOf(err) != wire.Invalid || strings.Contains(err.Error(), "lll") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if i.String() != "invitation" {
		t.Error("a code prints itself")
	}
}

func FuzzParseInvitation(f *testing.F) {
	f.Add("abcd-efgh-jkmn-pqrs-tuvw-xyz2")
	f.Add(strings.Repeat("\n", 24))
	f.Fuzz(func(t *testing.T, text string) {
		i, err := ParseInvitation(text)
		if err != nil {
			return
		}
		if again, err := ParseInvitation(i.Code()); err != nil || again != i {
			t.Errorf("%q reads as %q", text, i.Code())
		}
	})
}

// FuzzTicketRequest: whatever comes, it is refused unless an invitation signed it.
func FuzzTicketRequest(f *testing.F) {
	code := Invitation{1}
	r := TicketRequest{Blinded: make([]byte, 256)}
	f.Add(wire.Encode(r))
	r.invite("chain", [32]byte{2}, code)
	f.Add(wire.Encode(r))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q TicketRequest
		if wire.Decode(b, &q, maxOnce) != nil {
			return
		}
		if !bytes.Equal(wire.Encode(q), b) {
			t.Error("it does not encode back")
		}
		k, invited, err := q.check("chain", [32]byte{2})
		if err == nil && invited && k != code.key().Public() && len(q.Signature) != key.SignatureSize {
			t.Error("invited by nobody")
		}
	})
}

// BenchmarkSponsor_Sign is what a ticket costs its sponsor, but for the disk.
func BenchmarkSponsor_Sign(b *testing.B) {
	key := namescript.NewMint("harbor").Private()
	signer := blindrsa.NewSigner(key)
	client, err := blindrsa.NewClient(blindrsa.SHA384PSSDeterministic, &key.PublicKey)
	if err != nil {
		b.Fatal(err)
	}
	blinded, _, err := client.Blind(rand.Reader, make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := signer.BlindSign(blinded); err != nil {
			b.Fatal(err)
		}
	}
}
