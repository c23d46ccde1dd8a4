package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// deviceYears is how long a device key lives unless it is extended.
const deviceYears = 1

func handleRegister(e *env) command.Verb {
	return command.Verb{
		Name:  "register",
		Args:  "HANDLE",
		Short: "register a handle for your account",
		Long: `Registers a handle. It costs no money: your machine does some work, then
commits to the handle without showing it, then reveals it. The command ends
when the result is proven, and can be stopped and given again at any time: it
goes on where it was.

A service can pay instead, with a ticket that it signs without seeing what
for: then no work is needed, and shorter handles can be had. Name it with
--sponsor, and give the code with --invite if it asks for one. The concierge
that you choose pays by itself if it does so for everybody.`,
		Examples: []string{
			"confab handle register alice",
			"confab handle register --concierge @harbor --passphrase-file pass.txt alice",
			"confab handle register --sponsor @harbor --invite abcd-efgh-jkmn-pqrs-tuvw-xyz2 alice",
		},
		Flags: append(append(append([]cli.Flag{
			&cli.StringFlag{Name: "concierge", Usage: "choose `HANDLE` as concierge at once"},
		}, sponsorFlags()...), serviceFlags()...), accountFlag(), networkFlag(), passphraseFlag(), phraseFlag()),
		Run: e.with(registerHandle),
	}
}

func registerHandle(c *call) error {
	h, err := parseHandle(c.Args().First())
	if err != nil {
		return err
	}
	a, err := c.act()
	if err != nil {
		return err
	}
	resumed, err := c.resume(a, h)
	if err == nil && !resumed {
		err = c.register(a, h)
	}
	if err != nil {
		return err
	}
	r, err := a.names.Client.Resolve(c.Ctx(), h, 0)
	if err != nil {
		return err
	}
	v := viewHandle(r.Meaning)
	v.proven(r.Proof)
	if len(v.Concierges) == 0 && v.Service == nil {
		c.Say("%v is yours until %s; choose a concierge to keep it longer: confab handle set-concierge CONCIERGE", h, v.Expires.Format(time.DateOnly))
	}
	return c.Print(v, v.write)
}

// register makes a registration and sees it through.
func (c *call) register(a *acting, h namesvc.Handle) error {
	plan, err := c.plan(a, h)
	if err != nil {
		return err
	}
	by, err := c.patron(a)
	if err != nil {
		return err
	}
	if by == nil {
		return c.registerBy(a, h, plan)
	}
	if by.own {
		c.Say("%v pays for it with a ticket: no work is needed", by.handle)
	}
	sponsor := by.sponsor()
	plan.Sponsor = &sponsor
	err = c.registerBy(a, h, plan)
	if why := by.instead(err); why != nil {
		c.Say("%v did not pay after all (%v); working instead", by.handle, why)
		plan.Sponsor = nil
		return c.registerBy(a, h, plan)
	}
	return by.advise(h, err)
}

// registerBy makes a registration that is paid for as the plan says.
func (c *call) registerBy(a *acting, h namesvc.Handle, plan agent.Plan) error {
	sent := false
	w := c.watch(fmt.Sprintf("registering %v", h))
	_, err := a.names.Register(w.ctx, plan, func(p agent.Prepared) error {
		sent = true
		return c.begin(a, p)
	}, w.report)
	if err = c.ended(a, h, w.done(err)); err == nil && !sent {
		c.Say("%v is yours already", h)
	}
	return err
}

// resume takes up a registration of the handle that was interrupted. It reports
// whether there was one that came to its end.
func (c *call) resume(a *acting, h namesvc.Handle) (bool, error) {
	r, err := c.readAccounts()
	if err != nil {
		return false, err
	}
	tasks, err := r.Tasks(a.account.ID)
	if err != nil {
		return false, err
	}
	for _, t := range tasks {
		if !registers(t, a.network, h) || len(t.Commit) == 0 {
			continue
		}
		c.Say("going on with the registration that began at %s", unix(t.Started).Format(time.RFC3339))
		if given := c.firstRecord(); given != "" {
			c.Say("--%s counts as it was given then; %s", given, afterwards(given))
		}
		w := c.watch(fmt.Sprintf("registering %v", h))
		p, whole, err := c.unpaid(a, agent.Prepared{Handle: h, Account: a.account.ID, Register: t.Op, Commit: t.Commit}, w)
		if err != nil || !whole {
			return false, w.done(err)
		}
		_, err = a.names.Resume(w.ctx, p, w.report)
		err = c.ended(a, h, w.done(err))
		if errors.Is(err, agent.ErrOver) {
			c.Say("%v (%v); beginning anew", agent.ErrOver, err)
			return false, nil
		}
		return err == nil, err
	}
	return false, nil
}

// ended strikes a registration out that is done or can never be, and says of
// others how to go on.
func (c *call) ended(a *acting, h namesvc.Handle, err error) error {
	switch {
	case err == nil, errors.Is(err, agent.ErrOver), refused(err):
		// What is left in the journal by mistake does no harm: next time it
		// turns out to be done.
		if ferr := c.forget(a, h); ferr != nil {
			c.Say("the journal of account %s was not cleaned up: %v", a.account.Name, ferr)
		}
	case wire.CodeOf(err) == wire.Unavailable, errors.Is(err, command.ErrStopped):
		return fmt.Errorf("%w; the same command goes on where it was", err)
	}
	return err
}

// plan says what is to be registered.
func (c *call) plan(a *acting, h namesvc.Handle) (agent.Plan, error) {
	p := agent.Plan{Handle: h, Account: a.account.ID, Devices: []agent.Member{{
		Device: a.keys.Device, Scopes: namesvc.AllScopes, Expires: c.now().AddDate(deviceYears, 0, 0),
	}}}
	e, _, err := a.names.Client.Account(c.Ctx(), a.account.ID, 0)
	if given := c.firstRecord(); given != "" && err == nil {
		if _, held := e.Holds(h); !held {
			return p, c.Usagef("--%s is for an account's first registration, and account %s is on the chain already: leave it out; %s", given, a.account.Name, afterwards(given))
		}
		c.Say("--%s is not used: account %s is on the chain already; %s", given, a.account.Name, afterwards(given))
	}
	if wire.CodeOf(err) == wire.NotFound {
		// Not on the chain yet: its genesis op says what its root keys are.
		if p.Genesis, err = namesvc.DecodeGenesis(a.account.Genesis); err != nil {
			return p, err
		}
		e.Roots = p.Genesis.Roots
	}
	if err != nil {
		return p, err
	}
	if p.Root, err = c.root(a, e); err != nil {
		return p, err
	}
	if text := c.String("concierge"); text != "" {
		con, err := c.concierge(a.names.Client, text, 0, nil)
		if err != nil {
			return p, err
		}
		p.Records = &namesvc.Records{Concierges: []namesvc.Concierge{con}}
	}
	if c.firstSet(serviceFlagNames[:]...) != "" {
		if p.Records == nil {
			p.Records = &namesvc.Records{}
		}
		p.Records.Service = &namesvc.Endpoint{}
		if err := c.endpoint(p.Records.Service); err != nil {
			return p, err
		}
		if err := isService(a.account.Kind, a.account.Name); err != nil {
			return p, err
		}
	}
	return p, nil
}

// firstSet returns the first of these flags that is on the line, or "".
func (c *call) firstSet(flags ...string) string {
	for _, name := range flags {
		if c.IsSet(name) {
			return name
		}
	}
	return ""
}

// firstRecord returns the first flag on the line that only an account's first
// registration can carry, or "".
func (c *call) firstRecord() string {
	return c.firstSet(append([]string{"concierge"}, serviceFlagNames[:]...)...)
}

// afterwards says how to change what a flag says at the first registration.
func afterwards(flag string) string {
	if flag == "concierge" {
		return "confab handle set-concierge chooses a concierge"
	}
	return "confab handle set-service changes a service's endpoint"
}

// begin writes a registration down before it is sent.
func (c *call) begin(a *acting, p agent.Prepared) error {
	r, err := c.soonAccounts()
	if err != nil {
		return err
	}
	defer r.Close()
	t := keyring.Task{Network: a.network, Op: p.Register, Commit: p.Commit, Started: uint64(c.now().Unix())}
	// The same op again has its ticket now, which no crash may lose.
	if err := r.Update(a.account.ID, t); wire.CodeOf(err) != wire.NotFound {
		return err
	}
	// An older attempt at this handle is over. If a crash comes between the two,
	// only work is lost.
	if err := forget(r, a, p.Handle); err != nil {
		return err
	}
	return r.Begin(a.account.ID, t)
}

// forget strikes the registrations of a handle out of the journal.
func (c *call) forget(a *acting, h namesvc.Handle) error {
	r, err := c.soonAccounts()
	if err != nil {
		return err
	}
	defer r.Close()
	return forget(r, a, h)
}

func forget(r *keyring.Ring, a *acting, h namesvc.Handle) error {
	tasks, err := r.Tasks(a.account.ID)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if registers(t, a.network, h) {
			if err := r.Finish(a.account.ID, t.ID()); err != nil {
				return err
			}
		}
	}
	return nil
}

// registers reports whether a task registers the handle on the network.
func registers(t keyring.Task, network string, h namesvc.Handle) bool {
	body, ok := t.Registration()
	return ok && t.Network == network && body.Handle == h
}
