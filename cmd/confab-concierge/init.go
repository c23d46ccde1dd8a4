package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
)

func initVerb() command.Verb {
	d := host.DefaultConfig()
	return command.Verb{
		Name:  "init",
		Short: "make a concierge's folder: key and configuration",
		Long: `Makes a new server key and a commented configuration, and says how to
register the service's handle with that key. The service's own account stays
with you: the concierge never has it.

Without --certificate or --domain the concierge listens on loopback only.`,
		Examples: []string{
			"confab-concierge init --handle @harbor --pin my-chain:1:9f3c… --source http://127.0.0.1:7780",
			"confab-concierge init --handle @harbor --pin … --source … --listen 0.0.0.0:443 --domain harbor.example",
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "handle", Usage: "the service's `HANDLE`"},
			&cli.StringFlag{Name: "pin", Usage: "what names are verified by, a `PIN`: chain:height:hash"},
			&cli.StringSliceFlag{Name: "source", Usage: "a validator's query `URL`; repeat for more"},
			&cli.StringFlag{Name: "listen", Value: d.Listen, Usage: "`HOST:PORT` for clients"},
			&cli.StringFlag{Name: "metrics", Usage: "`HOST:PORT` for Prometheus"},
			&cli.StringFlag{Name: "certificate", Usage: "a certificate's `FILE`, which may be signed by itself"},
			&cli.StringFlag{Name: "certificate-key", Usage: "its key's `FILE`"},
			&cli.StringSliceFlag{Name: "domain", Usage: "get a certificate for this `DOMAIN` from Let's Encrypt; repeat for more"},
			&cli.StringFlag{Name: "redis", Usage: "keep messages in the Redis at this `URL`"},
		},
		Run: initHome,
	}
}

func initHome(c *command.Call) error {
	for _, name := range []string{"handle", "pin", "source"} {
		if !c.IsSet(name) {
			return c.Usagef("--%s is missing", name)
		}
	}
	if c.IsSet("certificate") != c.IsSet("certificate-key") {
		return c.Usagef("--certificate and --certificate-key go together")
	}
	if c.IsSet("certificate") && c.IsSet("domain") {
		return c.Usagef("--certificate is your own and --domain gets one: give one of them")
	}
	config := host.DefaultConfig()
	config.Handle = strings.TrimPrefix(c.String("handle"), "@")
	config.Listen, config.Metrics.Listen = c.String("listen"), c.String("metrics")
	config.Chain = host.Chain{Pin: c.String("pin"), Sources: c.StringSlice("source")}
	config.Store.Redis = c.String("redis")
	scheme := "http"
	switch {
	case c.IsSet("certificate"):
		config.TLS = host.TLS{Mode: host.Files, Certificate: c.String("certificate"), Key: c.String("certificate-key")}
		scheme = "https"
	case c.IsSet("domain"):
		config.TLS = host.TLS{Mode: host.ACME, Domains: c.StringSlice("domain")}
		scheme = "https"
	}
	home := c.Setting("home")
	k, err := host.Init(home, config)
	if err != nil {
		return err
	}
	at := config.Listen
	if config.TLS.Mode == host.ACME {
		at = config.TLS.Domains[0]
	}
	c.Say("register the service, from your own account of kind service:")
	c.Say("  confab handle register --role concierge --url %s://%s --server-key %v %s", scheme, at, k, config.Handle)
	c.Say("next: %s", typed(c, "run"))
	out := report{Home: home, Handle: "@" + config.Handle, ServerKey: k.String()}
	return c.Print(out, out.write)
}
