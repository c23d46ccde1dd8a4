package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// patronTime is how long one URL of a sponsor may take to answer.
const patronTime = 10 * time.Second

// patron is who is to pay for a registration.
type patron struct {
	handle  namesvc.Handle
	service concierge.Service
	urls    []string
	code    *concierge.Invitation // nil without one
	own     bool                  // nobody named him: he is the concierge, and open to all
}

func sponsorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "sponsor", Usage: "have the service `HANDLE` pay, so that no work is needed"},
		&cli.StringFlag{Name: "invite", Usage: "the sponsor's invitation `CODE`"},
	}
}

// patron returns who is to pay, nil if nobody: whom --sponsor names, or the
// concierge, if it pays for anybody.
func (c *call) patron(a *acting) (*patron, error) {
	name, own := c.String("sponsor"), false
	if name == "" {
		name = c.String("concierge")
		own = !c.IsSet("invite")
	}
	switch {
	case name == "" && c.IsSet("invite"):
		return nil, c.Usagef("--invite is missing whose invitation it is: name the service with --sponsor")
	case name == "":
		return nil, nil
	}
	p := &patron{own: own}
	if text := c.String("invite"); text != "" {
		code, err := concierge.ParseInvitation(text)
		if err != nil {
			return nil, err
		}
		p.code = &code
	}
	var err error
	if p.handle, err = parseHandle(name); err != nil {
		return nil, err
	}
	r, err := a.names.Client.Resolve(c.Ctx(), p.handle, 0)
	if err != nil {
		return nil, err
	}
	if s := r.Entry.Records.Service; s != nil {
		p.urls = s.URLs
	}
	if p.service, err = concierge.ServiceOf(a.names.Client.Pin().ChainID, r.Entry); err != nil || len(p.urls) == 0 {
		if own {
			return nil, nil
		}
		return nil, wire.Errorf(wire.Invalid, "%v says of no URL at which it could be asked to sponsor", p.handle)
	}
	if own && !c.opensToAll(a, p) {
		return nil, nil
	}
	return p, nil
}

// opensToAll reports whether a concierge pays for anybody now. Whom the chain lets
// pay for nothing is not asked.
func (c *call) opensToAll(a *acting, p *patron) bool {
	_, s, proof, err := a.names.Client.Sponsor(c.Ctx(), p.service.Account, 0)
	if err != nil || s.Left(uint64(proof.Time.Unix())) == 0 {
		return false
	}
	var d concierge.Descriptor
	err = p.each(c.Ctx(), func(ctx context.Context, at *concierge.Client) (err error) {
		d, err = at.Describe(ctx)
		return err
	})
	return err == nil && d.Sponsors == concierge.SponsorsAnybody
}

// each does something at the first URL that answers.
func (p *patron) each(ctx context.Context, do func(context.Context, *concierge.Client) error) error {
	var failures []error
	for _, u := range p.urls {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, patronTime)
			defer cancel()
			at, err := concierge.Dial(ctx, u, p.service, nil)
			if err != nil {
				return err
			}
			defer at.Close()
			return do(ctx, at)
		}()
		if err == nil || wire.CodeOf(err) != wire.Unavailable {
			return err
		}
		failures = append(failures, err)
	}
	return wire.Errorf(wire.Unavailable, "%v does not answer: %w", p.handle, errors.Join(failures...))
}

// sponsor is the patron as a registration needs him.
func (p *patron) sponsor() agent.Sponsor {
	return agent.Sponsor{Account: p.service.Account, Sign: func(ctx context.Context, modulus, blinded []byte) (signed []byte, err error) {
		err = p.each(ctx, func(ctx context.Context, at *concierge.Client) (err error) {
			signed, err = at.Ticket(ctx, modulus, blinded, p.code)
			return err
		})
		return signed, err
	}}
}

// advise says what to do about a sponsor that did not pay.
func (p *patron) advise(h namesvc.Handle, err error) error {
	var failed *agent.SponsorError
	switch {
	case p == nil || !errors.As(err, &failed):
		return err
	case failed.Short:
		return fmt.Errorf("%w; %v is too short to be registered by work: ask another sponsor, or choose a longer one", err, h)
	}
	return fmt.Errorf("%w; to work instead, leave --sponsor out", err)
}

// refused reports whether a sponsor has said no, so that nothing waits for him any
// more. One who does not answer, or only nonsense, may have signed already.
func refused(err error) bool {
	var failed *agent.SponsorError
	if !errors.As(err, &failed) {
		return false
	}
	code := wire.CodeOf(failed.Err)
	return code != wire.Unavailable && code != wire.Internal
}

// instead returns why a patron whom nobody named did not pay, if work can take his
// place.
func (p *patron) instead(err error) error {
	var failed *agent.SponsorError
	if p != nil && p.own && errors.As(err, &failed) && !failed.Short {
		return failed.Err
	}
	return nil
}

// unpaid goes on with a registration that waits for its ticket. It returns the
// registration with the ticket, or with false if it is given up: then everything
// begins anew.
func (c *call) unpaid(a *acting, p agent.Prepared, w *watch) (agent.Prepared, bool, error) {
	asked, waits := p.Asks()
	if !waits {
		return p, true, nil
	}
	by, err := c.patron(a)
	if err != nil {
		return p, false, err
	}
	if by == nil || by.service.Account != asked {
		c.Say("it waited for a ticket of another sponsor, and is given up; beginning anew")
		return p, false, c.forget(a, p.Handle)
	}
	w.report(agent.Progress{Step: agent.Asking})
	paid, err := a.names.Pay(w.ctx, p, by.sponsor())
	switch {
	case errors.Is(err, agent.ErrOver), by.instead(err) != nil:
		c.Say("it waited for a ticket, and is given up (%v); beginning anew", err)
		return p, false, c.forget(a, p.Handle)
	case err != nil:
		return p, false, by.advise(p.Handle, c.ended(a, p.Handle, err))
	}
	return paid, true, c.begin(a, paid)
}
