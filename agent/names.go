package agent

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Names changes accounts on one chain.
type Names struct {
	Client *lightclient.Client
	Rand   io.Reader // for salts
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
	Asking     Step = 7 // the sponsor is asked for a ticket
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

// attempts bounds how often something is signed anew because the chain moved on
// in the meantime. Each time takes an unlucky moment, so that more than a few
// in a row are a source that lies.
const attempts = 5

// changes is the same for a change, which costs no work to make again. Each
// other program of the same person's may come first, and its op is in the way
// before it can be proven and so be seen: two attempts for each of eight.
const changes = 16

// Change signs one op of an account that is on the chain and returns when it is
// proven. body is what belongs to the kind; it is made from the account's
// proven entry and devices, so that nothing is overwritten unseen, and made
// again if another op of the account comes first.
func (n *Names) Change(ctx context.Context, id namesvc.AccountID, by namesvc.Signer, kind namesvc.OpKind,
	body func(e namesvc.Entry, d namesvc.Devices, chain string) (any, error), report Report) (lightclient.Proof, error) {
	if report == nil {
		report = func(Progress) {}
	}
	for attempt := 1; ; attempt++ {
		op, err := n.sign(ctx, id, by, kind, body)
		if err != nil {
			return lightclient.Proof{}, err
		}
		proof, err := n.Client.Submit(ctx, op, stage(Sending, report))
		switch {
		case err == nil:
			report(Progress{Step: Done, Height: proof.Height, Source: proof.Source})
			return proof, nil
		case !outrun(err) || attempt == changes:
			return lightclient.Proof{}, err
		}
		if err := pause(ctx); err != nil {
			return lightclient.Proof{}, err
		}
	}
}

// sign makes an op that follows the account's newest one.
func (n *Names) sign(ctx context.Context, id namesvc.AccountID, by namesvc.Signer, kind namesvc.OpKind,
	body func(e namesvc.Entry, d namesvc.Devices, chain string) (any, error)) ([]byte, error) {
	info, err := n.Client.Chain(ctx)
	if err != nil {
		return nil, err
	}
	e, d, _, err := n.Client.Devices(ctx, id, 0)
	if err != nil {
		return nil, err
	}
	b, err := body(e, d, info.Params.Chain)
	if err != nil {
		return nil, err
	}
	return namesvc.SignOp(namesvc.Op{
		Kind: kind, Chain: info.Params.Chain, Account: id, Seq: e.Seq + 1, Prev: e.LastOp,
		Expires: info.Proof.Height + info.Params.MaxExpiry/2,
	}, b, by), nil
}

// outrun reports whether an op was refused only because the chain moved on after
// it was made: made again, it may be taken.
func outrun(err error) bool {
	var reject *lightclient.RejectError
	if errors.As(err, &reject) {
		switch reject.Code {
		case namesvc.StaleCheckpoint, namesvc.NotEnoughWork, namesvc.Expired, namesvc.CommitTooOld,
			namesvc.WrongSequence, namesvc.WrongPrevious:
			return true
		}
		return false
	}
	// Another op took its place. That the chain contradicts itself is something
	// else.
	return wire.CodeOf(err) == wire.Conflict && !errors.Is(err, verify.ErrConflict)
}

// retryPause is about a block.
const retryPause = 500 * time.Millisecond

func pause(ctx context.Context) error {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return wire.Errorf(wire.Unavailable, "stopped while waiting for the next block: %w", ctx.Err())
	}
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

func grant(chain string, id namesvc.AccountID, seq uint64, m Member) namesvc.Grant {
	g := namesvc.Grant{Key: m.Device.Public(), Scopes: m.Scopes, Expires: uint64(m.Expires.Unix())}
	sig := m.Device.SignConsent(namesvc.Consent(chain, id, seq, g.Key, g.Scopes, g.Expires))
	g.Consent = sig[:]
	return g
}
