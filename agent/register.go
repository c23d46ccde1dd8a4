package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Plan is a registration to be made. For an account that is on the chain already
// it adds a handle, and Genesis, Devices and Records are not used.
type Plan struct {
	Handle  namesvc.Handle // empty for an account without a handle
	Account namesvc.AccountID
	Genesis namesvc.Genesis
	Root    namesvc.Signer // one of the account's root keys
	Devices []Member
	Records *namesvc.Records
	Sponsor *Sponsor // who pays, or nil to work
}

// Prepared is a registration that is signed, and paid for or about to be:
// everything that is needed to finish it. Keep it until it is done. While it waits
// for a sponsor's ticket it holds what is to be kept from the sponsor; otherwise
// nothing in it is secret.
type Prepared struct {
	Handle   namesvc.Handle
	Account  namesvc.AccountID
	Register []byte // exact bytes of the signed op
	Commit   []byte // exact bytes of the commit that announces it; see Asks
}

// ErrOver says that a prepared registration can never be finished: its time ran
// out, or the chain moved on. Forget it and register anew. The error around it
// says why and keeps its kind.
var ErrOver = errors.New("it can no longer be finished")

// Register registers an account, with or without a handle: it works or has its
// sponsor pay, commits, reveals, and returns when the result is proven. save is
// called with what must be kept before anything is sent, so that Resume can finish
// after a crash; with a sponsor it is called twice, before he is asked and when
// the ticket is there, for the same op. A handle that the account holds already is
// fine, and nothing is done.
//
// Errors are the law's (*lightclient.RejectError), or of kind Exists if the
// handle is taken or looks like one that is, or *SponsorError.
func (n *Names) Register(ctx context.Context, p Plan, save func(Prepared) error, report Report) (lightclient.Proof, error) {
	if report == nil {
		report = func(Progress) {}
	}
	for attempt := 1; ; attempt++ {
		held, proof, err := n.free(ctx, p)
		switch {
		case wire.CodeOf(err) == wire.Exists && attempt > 1:
			return proof, &overError{err} // what was saved is lost too
		case err != nil || held:
			return proof, err
		}
		info, err := n.Client.Chain(ctx)
		if err != nil {
			return lightclient.Proof{}, err
		}
		if err := longEnough(p, info.Params); err != nil {
			return lightclient.Proof{}, err
		}
		ready, err := n.prepare(ctx, p, info, report)
		if err != nil {
			return lightclient.Proof{}, short(err, info.Params, p.Handle)
		}
		if err := keep(save, ready); err != nil {
			return lightclient.Proof{}, err
		}
		if p.Sponsor != nil {
			report(Progress{Step: Asking, Height: info.Proof.Height})
			if ready, err = n.Pay(ctx, ready, *p.Sponsor); err != nil {
				return lightclient.Proof{}, short(err, info.Params, p.Handle)
			}
			if err := keep(save, ready); err != nil {
				return lightclient.Proof{}, err
			}
		}
		proof, err = n.Resume(ctx, ready, report)
		// The chain may have moved on while we worked. Look, and work again. A
		// ticket is not got a second time for nothing, so there is one attempt.
		lost := rejected(err, namesvc.HandleTaken) || rejected(err, namesvc.AccountExists)
		if !outrun(err) && !lost || attempt == attempts || p.Sponsor != nil {
			return proof, short(err, info.Params, p.Handle)
		}
		if err := pause(ctx); err != nil {
			return lightclient.Proof{}, err
		}
	}
}

func keep(save func(Prepared) error, p Prepared) error {
	if save == nil {
		return nil
	}
	if err := save(p); err != nil {
		return fmt.Errorf("keep the registration: %w", err)
	}
	return nil
}

// longEnough reports that the chain registers no handle as short as the plan's.
func longEnough(p Plan, limits namesvc.Params) error {
	least, work, n := int(limits.MinSponsored), int(limits.MinHandle), len(p.Handle)
	switch {
	case n == 0 || n >= work || n >= least && p.Sponsor != nil:
		return nil
	case n >= least:
		return wire.Errorf(wire.Invalid, "%v has %d characters; this chain registers handles of at least %d, and shorter ones with a sponsor's ticket", p.Handle, n, work)
	case p.Sponsor != nil:
		return wire.Errorf(wire.Invalid, "%v has %d characters; this chain registers handles of at least %d, also with a sponsor's ticket", p.Handle, n, least)
	}
	return wire.Errorf(wire.Invalid, "%v has %d characters; this chain registers handles of at least %d", p.Handle, n, work)
}

// free reports why a handle cannot be registered, as far as the state tells, and
// whether there is nothing to do: the account holds it already, or is on the
// chain already if it is to have none.
func (n *Names) free(ctx context.Context, p Plan) (held bool, proof lightclient.Proof, err error) {
	h := p.Handle
	if h == "" {
		_, proof, err = n.Client.Account(ctx, p.Account, 0)
		if wire.CodeOf(err) == wire.NotFound {
			return false, proof, nil
		}
		return err == nil, proof, err
	}
	r, err := n.Client.Resolve(ctx, h, 0)
	var missing *namesvc.NotFoundError
	var alike *namesvc.ConfusableError
	switch {
	case err == nil && r.Entry.Account == p.Account:
		return true, r.Proof, nil
	case err == nil:
		err = wire.Errorf(wire.Exists, "%v is taken (by account %.8s…)", h, r.Entry.Account.String())
	case errors.As(err, &missing):
		err = nil // the law knows whether a retired one has rested long enough
	case errors.As(err, &alike):
		err = wire.Errorf(wire.Exists, "%v cannot be registered: it looks like %v, which is taken", h, alike.Owner)
	}
	return false, proof, err
}

// prepare signs the registration and pays for it.
func (n *Names) prepare(ctx context.Context, p Plan, info lightclient.ChainInfo, report Report) (Prepared, error) {
	id := p.Account
	body := namesvc.Registration{Handle: p.Handle}
	op := namesvc.Op{Kind: namesvc.OpRegister, Chain: info.Params.Chain, Account: id, Seq: 1, Prev: id}
	e, _, err := n.Client.Account(ctx, id, 0)
	switch {
	case err == nil && len(e.Handles) >= namesvc.MaxHandles: // before the work, which would be lost
		return Prepared{}, wire.Errorf(wire.Exhausted, "the account has all the handles it may have: %d; release one first", namesvc.MaxHandles)
	case err == nil:
		op.Seq, op.Prev = e.Seq+1, e.LastOp
	case wire.CodeOf(err) == wire.NotFound:
		body.Genesis, body.Records = p.Genesis.Encode(), p.Records
		for _, m := range p.Devices {
			body.Devices = append(body.Devices, grant(info.Params.Chain, id, 1, m))
		}
	default:
		return Prepared{}, err
	}
	if _, err := io.ReadFull(n.Rand, body.Salt[:]); err != nil {
		return Prepared{}, fmt.Errorf("register: read randomness: %w", err)
	}
	// On a busy day the work may take long, and the op is signed before it.
	op.Expires = info.Proof.Height + within(info.Params.MaxExpiry)
	register := namesvc.SignOp(op, body, p.Root)
	if len(register) > namesvc.MaxOp {
		return Prepared{}, wire.Errorf(wire.Invalid, "register: the op has %d bytes, at most %d are allowed; register with fewer records and set them after", len(register), namesvc.MaxOp)
	}
	commit := namesvc.Commit{
		Chain: info.Params.Chain, Hash: namesvc.CommitHash(register),
		Checkpoint: info.Checkpoint.Number,
	}
	if p.Sponsor != nil {
		if _, err := n.sponsorKey(ctx, p.Sponsor.Account); err != nil {
			return Prepared{}, &SponsorError{Err: err}
		}
		commit.Payment = ticket.Blind
		commit.Proof, err = n.ask(info, p.Sponsor.Account)
	} else {
		commit.Payment = ticket.Work
		commit.Proof, err = work(ctx, info, commit.Hash, report)
	}
	if err != nil {
		return Prepared{}, err
	}
	// The commit's own window opens now, not when the work began.
	if info, err = n.Client.Chain(ctx); err != nil {
		return Prepared{}, err
	}
	commit.Expires = info.Proof.Height + within(info.Params.Reveal)
	return Prepared{Handle: p.Handle, Account: id, Register: register, Commit: namesvc.EncodeCommit(commit)}, nil
}

// within returns an expiry that is allowed also by a validator that is a few
// blocks behind the head it is counted from.
func within(limit uint64) uint64 { return limit - min(limit/10, 10) }

// Resume finishes a registration that Register prepared, wherever it stopped. One
// that waits for a ticket goes through Pay first. The error wraps ErrOver if it
// can never be finished.
func (n *Names) Resume(ctx context.Context, p Prepared, report Report) (lightclient.Proof, error) {
	if report == nil {
		report = func(Progress) {}
	}
	proof, done, err := n.registered(ctx, p)
	if err != nil {
		return lightclient.Proof{}, err
	}
	if !done {
		commit, err := n.window(ctx, p)
		if err != nil {
			return lightclient.Proof{}, err
		}
		if _, err := n.Client.Submit(ctx, commit, stage(Committing, report)); err != nil && !rejected(err, namesvc.CommitExists) {
			return lightclient.Proof{}, sponsored(over(err))
		}
		if proof, err = n.reveal(ctx, p, report); err != nil {
			return lightclient.Proof{}, over(err)
		}
	}
	report(Progress{Step: Done, Height: proof.Height, Source: proof.Source})
	return proof, nil
}

// window returns the commit to be sent. Nobody signs a commit, so that of one that
// a ticket pays for can begin its time anew: work can be done again, and a ticket
// should not be lost because an outage was longer than a commit may wait.
func (n *Names) window(ctx context.Context, p Prepared) ([]byte, error) {
	c, err := p.commit()
	if err != nil {
		return nil, err
	}
	if _, waits := asked(c); waits {
		return nil, wire.Errorf(wire.Invalid, "resume registration: its ticket is not there yet")
	}
	if c.Payment != ticket.Blind {
		return p.Commit, nil
	}
	info, err := n.Client.Chain(ctx)
	if err != nil {
		return nil, err
	}
	again := *c
	again.Expires = max(c.Expires, info.Proof.Height+within(info.Params.Reveal))
	return namesvc.EncodeCommit(again), nil
}

// registered reports whether the registration is on the chain already. Its
// commit may be long gone then, and the account may have moved on.
func (n *Names) registered(ctx context.Context, p Prepared) (lightclient.Proof, bool, error) {
	tx, fault := namesvc.Parse(p.Register)
	if fault != nil || tx.Op == nil {
		return lightclient.Proof{}, false, wire.Errorf(wire.Invalid, "resume registration: it is no op")
	}
	e, proof, err := n.Client.Account(ctx, p.Account, 0)
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return lightclient.Proof{}, false, nil
	case err != nil:
		return lightclient.Proof{}, false, err
	case e.Seq <= tx.Op.Seq:
		return proof, e.Seq == tx.Op.Seq && e.LastOp == tx.ID, nil
	}
	events, err := n.Client.History(ctx, e)
	return proof, err == nil && events[tx.Op.Seq-1].ID == tx.ID, err
}

// reveal submits the registration whose commit is proven. A source that is a few
// blocks behind does not know of the commit yet; it is given time.
func (n *Names) reveal(ctx context.Context, p Prepared, report Report) (lightclient.Proof, error) {
	for attempt := 1; ; attempt++ {
		proof, err := n.Client.Submit(ctx, p.Register, stage(Revealing, report))
		if !rejected(err, namesvc.NoCommit) && !rejected(err, namesvc.CommitTooYoung) || attempt == attempts {
			return proof, err
		}
		if err := pause(ctx); err != nil {
			return lightclient.Proof{}, err
		}
	}
}

// over adds ErrOver to an error after which only a new registration can help.
func over(err error) error {
	var reject *lightclient.RejectError
	switch {
	case errors.Is(err, verify.ErrConflict), errors.Is(err, verify.ErrExpired), errors.Is(err, bundle.ErrStale):
		return err // that is about the chain or its sources
	case errors.As(err, &reject) && !reject.Code.Kind().Retry(),
		wire.CodeOf(err) == wire.Stale, wire.CodeOf(err) == wire.Conflict:
		return &overError{err}
	}
	return err
}

// overError is an error with ErrOver beside it.
type overError struct{ error }

// Unwrap returns the cause, which has the error's kind, and ErrOver.
func (e *overError) Unwrap() []error { return []error{e.error, ErrOver} }

func rejected(err error, code namesvc.RejectCode) bool {
	var r *lightclient.RejectError
	return errors.As(err, &r) && r.Code == code
}
