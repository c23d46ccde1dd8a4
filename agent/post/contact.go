package post

import (
	"context"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// maxRounds is how often work is done for one thing: its period may end, or its
// concierge change, while it is done.
const maxRounds = 3

// Package returns a KeyPackage of a device: as a contact, with the address of a
// queue of its account, or, if that is nil, for work, which takes about a second.
// NotFound if the concierge has none. It is not verified.
func (p *Post) Package(ctx context.Context, of message.Party, device key.Public, address *concierge.Address) (concierge.Package, error) {
	r := concierge.PackageRequest{Account: of.Account, Generation: of.Generation, Device: device}
	var got concierge.Package
	fetch := func(ctx context.Context, c *concierge.Client) error {
		b, err := c.FetchPackage(ctx, r)
		if err != nil {
			return err
		}
		if n := len(b.Body); n == 0 || n > concierge.MaxPackage {
			return wire.Errorf(wire.Invalid, "concierge gives out a key package of %d bytes", n)
		}
		got = b
		return nil
	}
	if address != nil {
		r.Address = address[:]
		err := p.with(ctx, of, func(ctx context.Context, l *line) error { return l.ask(ctx, p.times.answer, fetch) })
		return got, err
	}
	err := p.pay(ctx, of, func(string) {}, func(ctx context.Context, d concierge.Descriptor) (err error) {
		r.Work, err = concierge.WorkForPackage(ctx, d, r)
		return err
	}, fetch)
	return got, err
}

// Knock leaves a sealed first message for a party. It is paid for with a token of
// the own concierge if there is one (see [Post.Follow]) and it is taken, and
// otherwise with work, which takes about a second. progress, unless nil, is told what is done, for people.
// NotFound if the party's concierge keeps no mail for it, Exhausted if too many
// knocks wait there already. It is safe to repeat, at the price of
// more tokens or work.
func (p *Post) Knock(ctx context.Context, to message.Party, body []byte, progress func(string)) error {
	if len(body) == 0 || len(body) > concierge.MaxKnock {
		return wire.Errorf(wire.Invalid, "knock has %d bytes: 1 to %d are allowed", len(body), concierge.MaxKnock)
	}
	if progress == nil {
		progress = func(string) {}
	}
	k := concierge.Knock{Account: to.Account, Generation: to.Generation, Body: body}
	if done, err := p.knockWithToken(ctx, to, k, progress); done {
		return err
	}
	return p.pay(ctx, to, progress, func(ctx context.Context, d concierge.Descriptor) (err error) {
		k.Work, err = concierge.WorkForKnock(ctx, d, k)
		return err
	}, func(ctx context.Context, c *concierge.Client) error { return c.Knock(ctx, k) })
}

// pay does the work that a party's concierge asks for and then hands in what is
// paid for with it.
func (p *Post) pay(ctx context.Context, who message.Party, progress func(string), work func(context.Context, concierge.Descriptor) error, hand func(context.Context, *concierge.Client) error) error {
	var err error
	for range maxRounds {
		progress("asking the concierge for its price")
		var d concierge.Descriptor
		err = p.with(ctx, who, func(ctx context.Context, l *line) (err error) {
			d, err = l.describe(ctx, p.times.answer)
			return err
		})
		if err != nil {
			return err
		}
		progress("working for the concierge, about a second")
		if err := p.work(ctx, d, work); err != nil {
			return err
		}
		progress("handing it in")
		err = p.with(ctx, who, func(ctx context.Context, l *line) error {
			if s := l.office.Service; s.Account != d.Service || s.Generation != d.Generation {
				return wire.Errorf(wire.Stale, "the account has changed its concierge meanwhile: try again")
			}
			return l.ask(ctx, p.times.answer, hand)
		})
		if wire.CodeOf(err) != wire.Stale {
			return err
		}
	}
	return err
}

// describe returns a concierge's descriptor, if it is its own: work for another's
// would serve somebody else.
func (l *line) describe(ctx context.Context, within time.Duration) (d concierge.Descriptor, err error) {
	err = l.ask(ctx, within, func(ctx context.Context, c *concierge.Client) (err error) {
		d, err = c.Describe(ctx)
		return err
	})
	s := l.office.Service
	if err == nil && (d.Chain != s.Chain || d.Service != s.Account || d.Generation != s.Generation) {
		err = wire.Errorf(wire.Invalid, "concierge %v shows the price of another one", s.Account)
	}
	return d, err
}

// work does work, one piece at a time.
func (p *Post) work(ctx context.Context, d concierge.Descriptor, do func(context.Context, concierge.Descriptor) error) error {
	if d.WorkBits > 32 || d.WorkMemory > maxWorkKiB || d.WorkMemory<<d.WorkBits > maxWorkKiB {
		return wire.Errorf(wire.Exhausted, "concierge asks strangers for too much work (%d bits with %d KiB): write to the person some other way", d.WorkBits, d.WorkMemory)
	}
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	select {
	case p.working <- struct{}{}:
		defer func() { <-p.working }()
	case <-ctx.Done():
		return stopped(ctx)
	}
	if err := do(ctx, d); err != nil {
		return heard(ctx, err)
	}
	return nil
}
