package concierge

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Sponsorship says how a concierge pays for registrations.
type Sponsorship struct {
	// Key is what the service's account has declared on the chain (SPEC-sponsors):
	// 2048 bits, exponent 65537.
	Key *rsa.PrivateKey
	// Daily is how many tickets are given in a day at most, whatever the chain
	// would allow.
	Daily uint64
	// Open gives a ticket to anybody, PerNetwork in a day to one network; otherwise
	// each takes an invitation code.
	Open       bool
	PerNetwork int
}

// CheckSponsorKey returns why a key is none for tickets, if it is none.
func CheckSponsorKey(k *rsa.PrivateKey) error {
	if k.N.BitLen() != 8*ticket.KeySize || k.E != tokenExponent {
		return wire.Errorf(wire.Invalid, "key for tickets has %d bits and exponent %d: it must have %d and %d", k.N.BitLen(), k.E, 8*ticket.KeySize, tokenExponent)
	}
	return nil
}

// SponsorModulus returns the public half of a key for tickets, as a sponsor op
// declares it.
func SponsorModulus(k *rsa.PrivateKey) []byte { return k.N.FillBytes(make([]byte, ticket.KeySize)) }

// What the descriptor says about sponsoring.
const (
	SponsorsNobody  = 0
	SponsorsInvited = 1 // who has an invitation code
	SponsorsAnybody = 2
)

// sponsor signs tickets.
type sponsor struct {
	Sponsorship
	id       [32]byte // SHA-256 of the modulus
	networks *buckets // tickets for who has no code

	mu sync.Mutex // held while a ticket is made: one core at most is spent on them
}

// newSponsor returns nil for a concierge that sponsors nobody.
func newSponsor(o *Sponsorship) (*sponsor, error) {
	if o == nil {
		return nil, nil
	}
	if err := CheckSponsorKey(o.Key); err != nil {
		return nil, err
	}
	each := float64(max(o.PerNetwork, 1))
	return &sponsor{
		Sponsorship: *o, id: sha256.Sum256(SponsorModulus(o.Key)), networks: newBuckets(each/(24*60*60), each),
	}, nil
}

func (p *sponsor) how() uint64 {
	switch {
	case p == nil:
		return SponsorsNobody
	case p.Open:
		return SponsorsAnybody
	}
	return SponsorsInvited
}

// ticket serves POST /v1/ticket. That a code is spent, and the day's count, are
// durable before anything is signed; which commit it is for is never known.
func (s *Server) ticket(ctx context.Context, network [32]byte, r TicketRequest) (t Ticket, err error) {
	p := s.sponsor
	defer func() {
		result := "issued"
		if err != nil {
			result = wire.CodeOf(err).String()
		}
		s.figures.tickets.WithLabelValues(result).Inc()
	}()
	now := s.now()
	if !s.strangers.take(network, 1, now) {
		return t, wire.Errorf(wire.Exhausted, "too many strangers from your network: try again in a minute")
	}
	k, invited, err := r.check(s.me.Chain, s.me.Account)
	switch {
	case err != nil:
		return t, err
	case r.Key != p.id:
		return t, wire.Errorf(wire.Conflict, "this sponsor signs with another key than the chain said: ask the chain again")
	case new(big.Int).SetBytes(r.Blinded).Cmp(p.Key.N) >= 0:
		return t, wire.Errorf(wire.Invalid, "blinded challenge is none: it is not below the key's modulus")
	case !invited && !p.Open:
		return t, wire.Errorf(wire.Unauthorized, "this sponsor asks for an invitation code")
	case !invited && !p.networks.take(network, 1, now):
		return t, wire.Errorf(wire.Exhausted, "your network has had the %d tickets that it gets here in a day: try again tomorrow", p.PerNetwork)
	}
	code := &k
	if !invited {
		code = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := s.changeGrants(ctx, func(g *grants) error {
		_, err := g.spend(code, sha256.Sum256(r.Blinded), now, p.Daily)
		return err
	}); err != nil {
		return t, err
	}
	if t.Signed, err = blindrsa.NewSigner(p.Key).BlindSign(r.Blinded); err != nil {
		return t, fmt.Errorf("sign a ticket: %w", err)
	}
	return t, nil
}

// grantsStream is where codes and the count are. After a restore there is
// another: codes of the backup may have been spent since.
func (s *Server) grantsStream() stream.ID {
	return TagKept.Sum([]byte{keptGrants}, s.issue[:], s.me.Account[:])
}

// changeGrants changes what is kept of tickets, durably, unless nothing changes.
func (s *Server) changeGrants(ctx context.Context, change func(*grants) error) error {
	store, id := s.store, s.grantsStream()
	for range maxTries {
		body, head, err := newest(ctx, store, id)
		if errors.Is(err, stream.ErrNotFound) {
			if err := store.Configure(ctx, id, stream.Settings{}); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		g := grants{Version: 1}
		if body != nil {
			if err := wire.Decode(body, &g, stream.MaxBody); err != nil {
				return fmt.Errorf("read what was sponsored: %w", err)
			}
		}
		g.tidy(s.now())
		if err := change(&g); err != nil {
			return err
		}
		after := wire.Encode(g)
		if bytes.Equal(body, after) {
			return nil
		}
		var moved *stream.HeadError
		if _, err = replace(ctx, store, id, head, newMessageID(), after); !errors.As(err, &moved) {
			return err
		}
	}
	return errBusy
}

// errNoSponsor says that a concierge sponsors nobody.
var errNoSponsor error = wire.Errorf(wire.NotFound, "this concierge sponsors nobody: set sponsor.on in concierge.toml")

// Invite makes codes that are good for life, each for one ticket, and returns
// them. They are kept nowhere but as public keys.
func (s *Server) Invite(ctx context.Context, count int, life time.Duration) ([]Invitation, error) {
	switch {
	case s.sponsor == nil:
		return nil, errNoSponsor
	case count < 1 || count > maxInvitations:
		return nil, wire.Errorf(wire.Invalid, "%d invitations: 1 to %d can be made at once", count, maxInvitations)
	case life < time.Minute || life > MaxInvitationLife:
		return nil, wire.Errorf(wire.Invalid, "invitations for %v: they can be good for 1m to %v", life, MaxInvitationLife)
	}
	out, keys := make([]Invitation, count), make([]key.Public, count)
	for i := range out {
		var err error
		if out[i], err = NewInvitation(s.rand); err != nil {
			return nil, fmt.Errorf("make an invitation: %w", err)
		}
		keys[i] = out[i].key().Public()
	}
	until := s.now().Add(life)
	return out, s.changeGrants(ctx, func(g *grants) error { return g.add(keys, until) })
}

// SponsorStatus is how a sponsor stands.
type SponsorStatus struct {
	Open    bool   `json:"open"`
	Daily   uint64 `json:"daily"`   // tickets a day at most
	Issued  uint64 `json:"issued"`  // today
	Waiting int    `json:"waiting"` // codes that nobody has used
}

// SponsorStatus says how many tickets were given today, and how many codes wait.
func (s *Server) SponsorStatus(ctx context.Context) (SponsorStatus, error) {
	if s.sponsor == nil {
		return SponsorStatus{}, errNoSponsor
	}
	out := SponsorStatus{Open: s.sponsor.Open, Daily: s.sponsor.Daily}
	err := s.changeGrants(ctx, func(g *grants) error {
		out.Issued, out.Waiting = g.Issued, g.unused()
		return nil
	})
	return out, err
}

// mountSponsor serves tickets.
func (s *Server) mountSponsor(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/ticket", func(w http.ResponseWriter, r *http.Request) {
		once(s, w, r, func(q TicketRequest) (any, error) {
			if s.sponsor == nil {
				return nil, wire.Errorf(wire.NotFound, "this concierge sponsors nobody")
			}
			return s.ticket(r.Context(), keyOf(remoteHost(r)), q)
		})
	})
}
