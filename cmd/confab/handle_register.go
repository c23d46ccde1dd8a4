package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// deviceYears is how long a device key lives unless it is extended.
const deviceYears = 1

func handleRegister() verb {
	return verb{
		name:  "register",
		args:  "HANDLE",
		short: "register a handle for your account",
		long: `Registers a handle. It costs no money: your machine does some work, then commits
to the handle without showing it, then reveals it. The command ends when the
result is proven, and can be stopped and given again at any time: it goes on
where it was.`,
		examples: []string{
			"confab handle register alice",
			"confab handle register --concierge @harbor --passphrase-file pass.txt alice",
		},
		flags: []cli.Flag{
			&cli.StringFlag{Name: "concierge", Usage: "choose `HANDLE` as concierge at once"},
			&cli.StringFlag{Name: "role", Usage: "for a service: its `ROLES`, such as concierge,hub"},
			&cli.StringSliceFlag{Name: "url", Usage: "for a service: a `URL` it answers at; repeat for more"},
			&cli.StringFlag{Name: "server-key", Usage: "for a service: the public `KEY` it proves itself with"},
			accountFlag(), networkFlag(), passphraseFlag(), phraseFlag(),
		},
		run: registerHandle,
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
	ctx := c.Context.Context
	report := c.reporter()
	resumed, err := c.resume(a, h, report)
	if err != nil {
		return err
	}
	if !resumed {
		plan, err := c.plan(a, h)
		if err != nil {
			return err
		}
		if _, err = a.names.Register(ctx, plan, c.journal(a), report); err != nil {
			return err
		}
	}
	if err := c.finish(a); err != nil {
		return err
	}
	r, err := a.names.Client.Resolve(ctx, h, 0)
	if err != nil {
		return err
	}
	v := viewHandle(r.Meaning)
	v.proven(r.Proof)
	if len(v.Concierges) == 0 && v.Service == nil {
		c.say("%v is yours until %s. choose who keeps your messages, and it stays yours: confab handle set-concierge HANDLE",
			h, v.Expires.Format(time.DateOnly))
	}
	return c.print(v, v.write)
}

// plan says what is to be registered.
func (c *call) plan(a *acting, h namesvc.Handle) (agent.Plan, error) {
	p := agent.Plan{Handle: h, Account: a.account.ID, Devices: []agent.Member{{
		Device: a.keys.Device, Scopes: namesvc.AllScopes, Expires: c.now().AddDate(deviceYears, 0, 0),
	}}}
	e, _, err := a.names.Client.Account(c.Context.Context, a.account.ID, 0)
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
	if c.IsSet("role") || c.IsSet("url") || c.IsSet("server-key") {
		s, err := c.endpoint()
		if err != nil {
			return p, err
		}
		if p.Records == nil {
			p.Records = &namesvc.Records{}
		}
		p.Records.Service = s
	}
	return p, nil
}

// endpoint reads a service's endpoint from the flags.
func (c *call) endpoint() (*namesvc.Endpoint, error) {
	roles, err := namesvc.ParseRoles(c.String("role"))
	if err != nil {
		return nil, usagef("--role: %v", err)
	}
	k, err := key.ParsePublic(c.String("server-key"))
	if err != nil {
		return nil, usagef("--server-key: %v", err)
	}
	return &namesvc.Endpoint{Roles: roles, URLs: c.StringSlice("url"), Key: k}, nil
}

// journal writes a registration down before it is sent.
func (c *call) journal(a *acting) func(agent.Prepared) error {
	return func(p agent.Prepared) error {
		r, err := c.openAccounts()
		if err != nil {
			return err
		}
		defer r.Close()
		// One registration at a time: an older attempt is over.
		if err := dropRegistrations(r, a); err != nil {
			return err
		}
		return r.Begin(a.account.ID, keyring.Task{
			Network: a.network, Op: p.Register, Commit: p.Commit, Started: uint64(c.now().Unix()),
		})
	}
}

func dropRegistrations(r *keyring.Ring, a *acting) error {
	tasks, err := r.Tasks(a.account.ID)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if _, ok := t.Registration(); ok && t.Network == a.network {
			if err := r.Finish(a.account.ID, t.ID()); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish strikes out what is proven.
func (c *call) finish(a *acting) error {
	r, err := c.openAccounts()
	if err != nil {
		return err
	}
	defer r.Close()
	return dropRegistrations(r, a)
}

// resume takes up a registration of the handle that was interrupted. It reports
// whether there was one that came to its end.
func (c *call) resume(a *acting, h namesvc.Handle, report agent.Report) (bool, error) {
	r, err := c.readAccounts()
	if err != nil {
		return false, err
	}
	tasks, err := r.Tasks(a.account.ID)
	if err != nil {
		return false, err
	}
	for _, t := range tasks {
		body, ok := t.Registration()
		if !ok || t.Network != a.network || body.Handle != h || len(t.Commit) == 0 {
			continue
		}
		c.say("going on with the registration that began on %s", unix(t.Started).Format(time.RFC3339))
		_, err := a.names.Resume(c.Context.Context, agent.Prepared{Handle: h, Account: a.account.ID, Register: t.Op, Commit: t.Commit}, report)
		if over(err) {
			c.say("it can no longer be finished (%v); beginning anew", err)
			return false, nil
		}
		return err == nil, err
	}
	return false, nil
}

// over reports whether an attempt failed in a way that a new one may not.
func over(err error) bool {
	if err == nil {
		return false
	}
	return wire.CodeOf(err) == wire.Stale || wire.CodeOf(err) == wire.Invalid
}
