package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// serviceFlags are those that say how a service is reached.
func serviceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "role", Usage: "for a service: its `ROLES`, joined by commas: concierge, hub, relay, validator"},
		&cli.StringSliceFlag{Name: "url", Usage: "for a service: a `URL` it answers at; repeat for more"},
		&cli.StringSliceFlag{Name: "peer", Usage: "for a service: a libp2p `ADDRESS` of it; repeat for more"},
		&cli.StringFlag{Name: "server-key", Usage: "for a service: the public `KEY` it proves itself with"},
		command.Bool("consent", "for a service: it serves only accounts that it has accepted"),
	}
}

// serviceFlagNames are the names of serviceFlags.
var serviceFlagNames = [...]string{"role", "url", "peer", "server-key", "consent"}

func handleSetService(e *env) command.Verb {
	return command.Verb{
		Name:  "set-service",
		Short: "say how your service is reached",
		Long: `Changes the endpoint in the entry of a service: roles, addresses, server key.
What is not given stays as it was; URLs or addresses that are given replace
all from before. Who chose the service as concierge need not do anything.`,
		Examples: []string{
			"confab handle set-service --url https://new.example --url https://spare.example",
			"confab handle set-service --open",
		},
		Flags: changeFlags(append(serviceFlags(), command.Bool("open", "it serves anyone"))...),
		Run:   e.with(setService),
	}
}

func setService(c *call) error {
	switch {
	case c.firstSet(serviceFlagNames[:]...) == "" && !c.Bool("open"):
		return c.Usagef("what? Give --role, --url, --peer, --server-key, --consent or --open")
	case c.Bool("consent") && c.Bool("open"):
		return c.Usagef("--consent and --open are opposites: use one of them")
	}
	return c.change(namesvc.OpRecords, byDevice, func(a *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
		if err := isService(e.Kind, a.account.Name); err != nil {
			return nil, err
		}
		var s namesvc.Endpoint
		if e.Records.Service != nil {
			s = *e.Records.Service
		}
		if err := c.endpoint(&s); err != nil {
			return nil, err
		}
		r := e.Records
		r.Service = &s
		return r, nil
	})
}

// isService returns an error unless the account may have an endpoint.
func isService(kind namesvc.Kind, name string) error {
	if kind != namesvc.Service {
		return wire.Errorf(wire.Invalid, "account %s is a %v; only a service has an endpoint: make one with confab account new --kind service", name, kind)
	}
	return nil
}

// endpoint changes an endpoint as the flags say.
func (c *call) endpoint(s *namesvc.Endpoint) error {
	var err error
	if c.IsSet("role") || s.Roles == 0 {
		if s.Roles, err = namesvc.ParseRoles(c.String("role")); err != nil {
			return c.Usagef("--role: %v", err)
		}
	}
	if c.IsSet("server-key") || s.Key.IsZero() {
		if s.Key, err = key.ParsePublic(c.String("server-key")); err != nil {
			return c.Usagef("--server-key: %v", err)
		}
	}
	if c.IsSet("url") {
		s.URLs = slices.Clone(c.StringSlice("url"))
	}
	if c.IsSet("peer") {
		s.Peers = slices.Clone(c.StringSlice("peer"))
	}
	s.Consent = (s.Consent || c.Bool("consent")) && !c.Bool("open")
	return nil
}
