package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Names changes accounts on one chain.
type Names struct {
	Client *lightclient.Client
	Rand   io.Reader
	Now    func() time.Time
}

// Step is how far something has come, for people who wait.
type Step uint8

// The steps of a registration; a change has only Sending to Done.
const (
	Working    Step = 1 // memory-hard work; Tries and Expected are set
	Committing Step = 2 // the commit is on its way
	Revealing  Step = 3 // the registration is on its way
	Sending    Step = 4 // an op is on its way
	Waiting    Step = 5 // a block went by; Height is set
	Done       Step = 6 // proven at Height
)

// Progress is told to whoever waits.
type Progress struct {
	Step     Step
	Tries    uint64 // of the work so far
	Expected uint64 // tries that are needed on average
	Height   uint64 // newest proven height
	Source   string
}

// Report takes progress. It is called from several goroutines, one at a time.
type Report func(Progress)

// Member is a device that joins an account.
type Member struct {
	Device  key.Device
	Scopes  namesvc.Scopes
	Expires time.Time
}

// Plan is a registration to be made. For an account that is on the chain already
// it adds a handle, and Genesis, Devices and Records are not used.
type Plan struct {
	Handle  namesvc.Handle // empty for an account without a handle
	Account namesvc.AccountID
	Genesis namesvc.Genesis
	Root    namesvc.Signer // one of the account's root keys
	Devices []Member
	Records *namesvc.Records
}

// Prepared is a registration that is signed and paid for: everything that is
// needed to finish it, and nothing secret. Keep it until it is done.
type Prepared struct {
	_        struct{} `cbor:",toarray"`
	Handle   namesvc.Handle
	Account  namesvc.AccountID
	Register []byte
	Commit   []byte
}

// Register registers an account, with or without a handle: it works, commits,
// reveals, and returns when the result is proven. save is called with what must
// be kept before anything is sent, so that Resume can finish after a crash.
//
// Errors are the law's (*lightclient.RejectError), or of kind Exists if the
// handle is taken, NotFound if it is confusable with a taken one.
func (n *Names) Register(ctx context.Context, p Plan, save func(Prepared) error, report Report) (lightclient.Proof, error) {
	if report == nil {
		report = func(Progress) {}
	}
	if err := n.free(ctx, p.Handle); err != nil {
		return lightclient.Proof{}, err
	}
	for {
		info, err := n.Client.Chain(ctx)
		if err != nil {
			return lightclient.Proof{}, err
		}
		if l := int(info.Params.MinHandle); p.Handle != "" && len(p.Handle) < l {
			return lightclient.Proof{}, wire.Errorf(wire.Invalid, "%v has %d characters; this chain registers handles of at least %d", p.Handle, len(p.Handle), l)
		}
		ready, err := n.prepare(ctx, p, info, report)
		if err != nil {
			return lightclient.Proof{}, err
		}
		if save != nil {
			if err := save(ready); err != nil {
				return lightclient.Proof{}, fmt.Errorf("keep the registration: %w", err)
			}
		}
		proof, err := n.Resume(ctx, ready, report)
		var reject *lightclient.RejectError
		if errors.As(err, &reject) && (reject.Code == namesvc.StaleCheckpoint || reject.Code == namesvc.NotEnoughWork) {
			continue // the chain moved on while we worked; work again
		}
		return proof, err
	}
}

// free reports why a handle cannot be registered, as far as the state tells.
func (n *Names) free(ctx context.Context, h namesvc.Handle) error {
	if h == "" {
		return nil
	}
	r, err := n.Client.Resolve(ctx, h, 0)
	var missing *namesvc.NotFoundError
	switch {
	case err == nil:
		return wire.Errorf(wire.Exists, "%v is taken (account %.8s…)", h, r.Entry.Account.String())
	case errors.As(err, &missing):
		return nil // the law knows whether a retired one has rested long enough
	}
	return err
}

// prepare signs the registration and pays for it.
func (n *Names) prepare(ctx context.Context, p Plan, info lightclient.ChainInfo, report Report) (Prepared, error) {
	id := p.Account
	body := namesvc.Registration{Handle: p.Handle}
	op := namesvc.Op{Kind: namesvc.OpRegister, Chain: info.Params.Chain, Account: id, Seq: 1, Prev: id}
	e, _, err := n.Client.Account(ctx, id, 0)
	switch {
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
	// Both ops live as long as a commit may wait for its reveal.
	op.Expires = info.Proof.Height + min(info.Params.Reveal, info.Params.MaxExpiry)
	register := namesvc.SignOp(op, body, p.Root)
	if len(register) > namesvc.MaxOp {
		return Prepared{}, wire.Errorf(wire.Invalid, "register: the op has %d bytes, at most %d are allowed; register with fewer records and set them after", len(register), namesvc.MaxOp)
	}
	commit := namesvc.Commit{
		Chain: info.Params.Chain, Expires: info.Proof.Height + info.Params.Reveal, Hash: namesvc.CommitHash(register),
		Checkpoint: info.Checkpoint.Number, Payment: ticket.Work,
	}
	proof, err := work(ctx, info, commit.Hash, report)
	if err != nil {
		return Prepared{}, err
	}
	commit.Proof = proof
	return Prepared{Handle: p.Handle, Account: id, Register: register, Commit: namesvc.EncodeCommit(commit)}, nil
}

func grant(chain string, id namesvc.AccountID, seq uint64, m Member) namesvc.Grant {
	g := namesvc.Grant{Key: m.Device.Public(), Scopes: m.Scopes, Expires: uint64(m.Expires.Unix())}
	sig := m.Device.SignConsent(namesvc.Consent(chain, id, seq, g.Key, g.Scopes, g.Expires))
	g.Consent = sig[:]
	return g
}

// work finds the nonce that pays for a commit, on all cores.
func work(ctx context.Context, info lightclient.ChainInfo, commit [32]byte, report Report) ([]byte, error) {
	bits := namesvc.RequiredBits(info.Params, info.Meter, uint64(info.Proof.Time.Unix()))
	challenge := ticket.Challenge(info.Params.Chain, commit, info.Checkpoint.Digest)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		nonce uint64
		err   error
	}
	workers := runtime.GOMAXPROCS(0)
	results := make(chan result, workers)
	tried := make(chan struct{}, workers)
	for w := range workers {
		go func() {
			nonce, err := ticket.Solve(ctx, challenge, bits, info.Params.WorkKiB, uint64(w), uint64(workers), func() {
				select {
				case tried <- struct{}{}:
				case <-ctx.Done():
				}
			})
			results <- result{nonce, err}
		}()
	}
	p := Progress{Step: Working, Expected: 1 << bits, Height: info.Proof.Height}
	report(p)
	for {
		select {
		case <-tried:
			p.Tries++
			report(p)
		case r := <-results:
			if r.err != nil {
				return nil, wire.Errorf(wire.Unavailable, "the work was interrupted: %w", r.err)
			}
			report(p)
			return ticket.Nonce(r.nonce), nil
		}
	}
}

// Resume finishes a registration that Register prepared, wherever it stopped.
func (n *Names) Resume(ctx context.Context, p Prepared, report Report) (lightclient.Proof, error) {
	if report == nil {
		report = func(Progress) {}
	}
	// If the registration is on the chain already there is nothing to do; its
	// commit may be long gone.
	if e, proof, err := n.Client.Account(ctx, p.Account, 0); err == nil {
		if tx, fault := namesvc.Parse(p.Register); fault == nil && e.Seq == tx.Op.Seq && e.LastOp == tx.ID {
			report(Progress{Step: Done, Height: proof.Height, Source: proof.Source})
			return proof, nil
		}
	} else if wire.CodeOf(err) != wire.NotFound {
		return lightclient.Proof{}, err
	}
	if _, err := n.Client.Submit(ctx, p.Commit, stage(Committing, report)); err != nil && !already(err) {
		return lightclient.Proof{}, err
	}
	proof, err := n.Client.Submit(ctx, p.Register, stage(Revealing, report))
	if err != nil {
		return lightclient.Proof{}, err
	}
	report(Progress{Step: Done, Height: proof.Height, Source: proof.Source})
	return proof, nil
}

// already reports whether a commit was refused because it stands.
func already(err error) bool {
	var r *lightclient.RejectError
	return errors.As(err, &r) && r.Code == namesvc.CommitExists
}

// stage translates the light client's progress.
func stage(s Step, report Report) func(lightclient.Progress) {
	return func(p lightclient.Progress) {
		switch p.Stage {
		case lightclient.Sent:
			report(Progress{Step: s, Height: p.Height, Source: p.Source})
		case lightclient.Waited:
			report(Progress{Step: Waiting, Height: p.Height})
		}
	}
}

// Change signs one op of an account that is on the chain and returns when it is
// proven. body is what belongs to the kind; it is made from the account's
// proven entry and devices, so that nothing is overwritten unseen.
func (n *Names) Change(ctx context.Context, id namesvc.AccountID, by namesvc.Signer, kind namesvc.OpKind,
	body func(e namesvc.Entry, d namesvc.Devices, chain string) (any, error), report Report) (lightclient.Proof, error) {
	if report == nil {
		report = func(Progress) {}
	}
	info, err := n.Client.Chain(ctx)
	if err != nil {
		return lightclient.Proof{}, err
	}
	e, d, _, err := n.Client.Devices(ctx, id, 0)
	if err != nil {
		return lightclient.Proof{}, err
	}
	b, err := body(e, d, info.Params.Chain)
	if err != nil {
		return lightclient.Proof{}, err
	}
	op := namesvc.SignOp(namesvc.Op{
		Kind: kind, Chain: info.Params.Chain, Account: id, Seq: e.Seq + 1, Prev: e.LastOp,
		Expires: info.Proof.Height + info.Params.MaxExpiry/2,
	}, b, by)
	proof, err := n.Client.Submit(ctx, op, stage(Sending, report))
	if err != nil {
		return lightclient.Proof{}, err
	}
	report(Progress{Step: Done, Height: proof.Height, Source: proof.Source})
	return proof, nil
}

// Grants returns a device list as an op carries it, to be changed and signed.
func Grants(d namesvc.Devices) []namesvc.Grant {
	var out []namesvc.Grant
	for _, dev := range d.List {
		out = append(out, namesvc.Grant{Key: dev.Key, Scopes: dev.Scopes, Expires: dev.Expires})
	}
	return out
}

// Join returns the grant by which a device joins an account whose devices are d.
func Join(chain string, d namesvc.Devices, m Member) namesvc.Grant {
	return grant(chain, d.Account, d.Seq+1, m)
}
