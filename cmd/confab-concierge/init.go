package main

import (
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient/networks"
)

func initVerb() command.Verb {
	d := host.DefaultConfig()
	return command.Verb{
		Name:  "init",
		Short: "make a concierge's folder: key and configuration",
		Long: `Makes a new server key and a commented configuration. Nobody is asked and
nothing is sent: register puts the concierge on the chain.

Names are verified by a pin and asked of sources: those of a network that
confab knows (confab net add), or --pin and --source. Without --certificate
or --domain the concierge listens on loopback only.`,
		Examples: []string{
			"confab-concierge init --handle @harbor --network main --listen 0.0.0.0:443 --domain harbor.example",
			"confab-concierge init --handle @harbor --pin my-chain:1:9f3c… --source http://127.0.0.1:7780",
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "handle", Usage: "the service's `HANDLE`"},
			&cli.StringSliceFlag{Name: "url", Usage: "clients find the concierge at this `URL`; repeat for more; what --domain or --listen says otherwise"},
			&cli.StringFlag{Name: "network", Usage: "pin and sources of the network `NAME` of confab's, or of a FILE as confab net add writes it"},
			confabFlag(),
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
	if !c.IsSet("handle") {
		return c.Usagef("--handle is missing")
	}
	chain, err := whichChain(c)
	if err != nil {
		return err
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
	config.Chain = chain
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
	config.URLs = c.StringSlice("url")
	if len(config.URLs) == 0 {
		at := config.Listen
		if config.TLS.Mode == host.ACME {
			at = config.TLS.Domains[0]
		}
		config.URLs = []string{scheme + "://" + at}
	}
	home := c.Setting("home")
	k, err := host.Init(home, config)
	if err != nil {
		return err
	}
	c.Say("next: %s, then %s", typed(c, "register"), typed(c, "run"))
	out := report{Home: home, Handle: "@" + config.Handle, ServerKey: k.String()}
	return c.Print(out, out.write)
}

// whichChain returns the chain that the line names.
func whichChain(c *command.Call) (host.Chain, error) {
	name := c.String("network")
	if name == "" {
		for _, flag := range []string{"pin", "source"} {
			if !c.IsSet(flag) {
				return host.Chain{}, c.Usagef("--%s is missing; or name a network that confab knows with --network", flag)
			}
		}
		return host.Chain{Pin: c.String("pin"), Sources: c.StringSlice("source")}, nil
	}
	if c.IsSet("pin") || c.IsSet("source") {
		return host.Chain{}, c.Usagef("--network has the pin and the sources: leave out --pin and --source")
	}
	var dir networks.Dir
	if folder, base := filepath.Split(name); folder != "" || filepath.Ext(base) != "" {
		dir.Path, name = filepath.Clean(folder), strings.TrimSuffix(base, filepath.Ext(base))
	} else {
		home, err := confabHome(c)
		if err != nil {
			return host.Chain{}, err
		}
		dir.Path = filepath.Join(home, "networks")
	}
	n, err := dir.Load(name)
	if err != nil {
		return host.Chain{}, err
	}
	return host.Chain{Pin: n.Pin.String(), Sources: n.Sources}, nil
}
