package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/blindsign/blindrsa"
	"golang.org/x/crypto/chacha20"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Sponsor is somebody who pays for a registration with a blind ticket
// (SPEC-sponsors), so that no work is needed. He learns neither the handle nor
// the account nor the commit.
type Sponsor struct {
	Account namesvc.AccountID
	// Sign has the sponsor sign a blinded challenge. modulus is the public key for
	// which it was blinded, as the chain proves it. The same request may come
	// again after an interruption.
	Sign func(ctx context.Context, modulus, blinded []byte) ([]byte, error)
}

// SponsorError says that a sponsor's ticket could not be had or is not taken.
// The registration may still be paid for with work, unless Short is set: then the
// handle is too short for that.
type SponsorError struct {
	Err   error
	Short bool
}

func (e *SponsorError) Error() string { return "sponsor: " + e.Err.Error() }

// Unwrap returns the cause, which has the error's kind.
func (e *SponsorError) Unwrap() error { return e.Err }

// request is what a registration keeps while it waits for its ticket, in the
// place of the commit's payment: with it the very same request can be made
// again, so that no invitation is used up twice, and its answer be unblinded.
// The seed is a secret from the sponsor: he could tell by it whose ticket it was.
type request struct {
	sponsor namesvc.AccountID
	digest  [32]byte // of the commit's checkpoint
	seed    [32]byte // of the salt and the blinding, for each key its own
}

// tagBlinding: the randomness of a request for one key. Were it the same for two,
// a sponsor that changes its key while a request waits could tell by the two which
// commit it was for.
const tagBlinding wire.Tag = "confab/ticket-blinding/1\n"

// requestSize is that of an encoded request: no payment has this size.
const requestSize = 96

func (r request) encode() []byte {
	return bytes.Join([][]byte{r.sponsor[:], r.digest[:], r.seed[:]}, nil)
}

// asked returns the request that a commit carries, if it waits for its ticket.
func asked(c *namesvc.Commit) (request, bool) {
	if c.Payment != ticket.Blind || len(c.Proof) != requestSize {
		return request{}, false
	}
	return request{namesvc.AccountID(c.Proof[:32]), [32]byte(c.Proof[32:64]), [32]byte(c.Proof[64:])}, true
}

// Asks returns the sponsor whose ticket a prepared registration waits for, and
// false if it waits for none: then everything is there to finish it.
func (p Prepared) Asks() (namesvc.AccountID, bool) {
	c, err := p.commit()
	if err != nil {
		return namesvc.AccountID{}, false
	}
	r, waits := asked(c)
	return r.sponsor, waits
}

func (p Prepared) commit() (*namesvc.Commit, error) {
	tx, fault := namesvc.Parse(p.Commit)
	if fault != nil || tx.Commit == nil {
		return nil, wire.Errorf(wire.Invalid, "resume registration: its commit is none")
	}
	return tx.Commit, nil
}

// sponsorKey returns the key of a sponsor's tickets, as the chain proves it. Who
// cannot pay now is found out here, before an invitation is used up.
func (n *Names) sponsorKey(ctx context.Context, id namesvc.AccountID) ([]byte, error) {
	_, s, proof, err := n.Client.Sponsor(ctx, id, 0)
	switch {
	case err != nil:
		return nil, err
	case len(s.Key) == 0:
		return nil, wire.Errorf(wire.NotFound, "account %v sponsors nobody any more", id)
	case s.Left(uint64(proof.Time.Unix())) == 0:
		return nil, wire.Errorf(wire.Exhausted, "it has paid for the %d registrations that the chain takes from it in a day; tomorrow there are more", s.Quota)
	}
	return s.Key, nil
}

// ask puts a request for a ticket in the place of the commit's payment.
func (n *Names) ask(info lightclient.ChainInfo, by namesvc.AccountID) ([]byte, error) {
	r := request{sponsor: by, digest: info.Checkpoint.Digest}
	if _, err := io.ReadFull(n.Rand, r.seed[:]); err != nil {
		return nil, fmt.Errorf("register: read randomness: %w", err)
	}
	return r.encode(), nil
}

// Pay gets the ticket that a prepared registration waits for, checks it, and
// returns the registration with it. Keep that in the place of the one before: a
// ticket that is lost is not given again for long. Errors are *SponsorError.
func (n *Names) Pay(ctx context.Context, p Prepared, by Sponsor) (Prepared, error) {
	c, err := p.commit()
	if err != nil {
		return p, err
	}
	r, waits := asked(c)
	switch {
	case !waits:
		return p, nil
	case r.sponsor != by.Account:
		return p, wire.Errorf(wire.Invalid, "register: the ticket was asked of account %v", r.sponsor)
	}
	if err := n.inTime(ctx, p, c); err != nil {
		return p, err
	}
	key, err := n.sponsorKey(ctx, by.Account)
	if err != nil {
		return p, &SponsorError{Err: err}
	}
	sig, err := r.obtain(ctx, key, ticket.Challenge(c.Chain, c.Hash, r.digest), by)
	if err != nil {
		return p, &SponsorError{Err: err}
	}
	paid := *c
	paid.Proof = ticket.BlindProof(by.Account, sig)
	p.Commit = namesvc.EncodeCommit(paid)
	return p, nil
}

// inTime returns an error that wraps ErrOver if a ticket would come too late: its
// invitation is better used for the next attempt.
func (n *Names) inTime(ctx context.Context, p Prepared, c *namesvc.Commit) error {
	tx, fault := namesvc.Parse(p.Register)
	if fault != nil || tx.Op == nil {
		return wire.Errorf(wire.Invalid, "resume registration: it is no op")
	}
	info, err := n.Client.Chain(ctx)
	switch {
	case err != nil:
		return err
	case tx.Op.Expires < info.Proof.Height+spare, c.Checkpoint+1 < info.Checkpoint.Number:
		return &overError{wire.Errorf(wire.Stale, "too much time went by since it was prepared")}
	}
	return nil
}

// spare is how many blocks a registration should have left when its ticket is
// asked for: enough for its commit and its reveal.
const spare = 30

// obtain blinds the challenge, has it signed, and unblinds.
func (r request) obtain(ctx context.Context, modulus []byte, challenge [32]byte, by Sponsor) ([]byte, error) {
	k, err := ticket.PublicKey(modulus)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%w", err)
	}
	client, err := blindrsa.NewClient(blindrsa.SHA384PSSDeterministic, k)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "blind the challenge: %w", err)
	}
	random, err := newStream(tagBlinding.Sum(r.seed[:], modulus))
	if err != nil {
		return nil, err
	}
	blinded, state, err := client.Blind(random, challenge[:])
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "blind the challenge: %w", err)
	}
	signed, err := by.Sign(ctx, modulus, blinded)
	if err != nil {
		return nil, err
	}
	sig, err := client.Finalize(state, signed)
	if err != nil || ticket.VerifyBlind(modulus, challenge, sig) != nil {
		return nil, wire.Errorf(wire.Unavailable, "what it gave is no signature of its key")
	}
	return sig, nil
}

// newStream returns the randomness that grows from a seed, for one blinding: the
// salt and the blinding factor. It is the same each time, so that the request is.
func newStream(seed [32]byte) (io.Reader, error) {
	c, err := chacha20.NewUnauthenticatedCipher(seed[:], make([]byte, chacha20.NonceSize))
	if err != nil {
		return nil, fmt.Errorf("blind the challenge: %w", err)
	}
	return stream{c}, nil
}

type stream struct{ c *chacha20.Cipher }

// Read implements io.Reader. It never fails.
func (s stream) Read(b []byte) (int, error) {
	clear(b)
	s.c.XORKeyStream(b, b)
	return len(b), nil
}

// sponsored gives an error about a ticket its place: the law refuses it, or the
// sponsor has nothing left. Neither gets better with the same commit.
func sponsored(err error) error {
	for _, code := range []namesvc.RejectCode{namesvc.UnknownSponsor, namesvc.SponsorSpent, namesvc.BadTicket} {
		if rejected(err, code) {
			return &SponsorError{Err: &overError{err}}
		}
	}
	return err
}

// short marks an error about a sponsor if work could not take its place.
func short(err error, p namesvc.Params, h namesvc.Handle) error {
	var s *SponsorError
	if errors.As(err, &s) {
		s.Short = h != "" && len(h) < int(p.MinHandle)
	}
	return err
}
