package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A desk is one service's concierge: its folder, where it answers, and the
// server when it runs.
type desk struct {
	handle namesvc.Handle
	home   string
	config host.Config
	key    key.Public
	host   *host.Host

	tickets []byte // modulus of its key for tickets, nil if it gives none
}

// The concierges of a network for trying things cost little: a knock takes some
// hundredths of a second, where a real one's takes a second.
const deskWorkBits = 4

// deskTickets is how many registrations each of them pays for in a day: all that
// namesvc.DevParams let it.
const deskTickets = 1000

// openDesks makes the services' folders ready, with the ports that they had the
// last time if they are free. The concierges do not run yet: what they are has to
// be on the chain before.
func (d *devnet) openDesks() ([]*desk, error) {
	var out []*desk
	for _, h := range services {
		desk := &desk{handle: h, home: filepath.Join(d.dir, string(h))}
		if err := desk.prepare(d); err != nil {
			return nil, fmt.Errorf("prepare concierge %v: %w", h, err)
		}
		out = append(out, desk)
	}
	return out, nil
}

func (s *desk) prepare(d *devnet) (err error) {
	path := filepath.Join(s.home, host.ConfigFile)
	c, err := host.LoadConfig(s.home)
	fresh := wire.CodeOf(err) == wire.NotFound
	if fresh {
		c, err = host.DefaultConfig(), nil
		c.Handle, c.Listen = string(s.handle), "127.0.0.1:0"
		c.Limits.WorkBits, c.Log.Level = deskWorkBits, "warn"
		// Everybody here is of one network, and shall see how it is without work.
		c.Sponsor = host.Sponsor{On: true, Open: true, Daily: deskTickets, PerNetwork: deskTickets}
	}
	if err != nil {
		return err
	}
	if c.Listen, err = freeAddress(c.Listen); err != nil {
		return err
	}
	c.Chain = host.Chain{Pin: d.pin.String(), Sources: d.running.URLs()}
	if fresh {
		if s.key, err = host.Init(s.home, c); err != nil {
			return err
		}
		k, err := host.MakeSponsorKey(s.home)
		if err != nil {
			return err
		}
		s.tickets = concierge.SponsorModulus(k)
	} else {
		if err := os.WriteFile(path, c.Encode(), 0o600); err != nil {
			return err
		}
		if s.key, err = host.ServerKey(s.home); err != nil {
			return err
		}
		if k, err := host.SponsorKey(s.home); err == nil && c.Sponsor.On {
			s.tickets = concierge.SponsorModulus(k)
		}
	}
	s.config = c
	return nil
}

// freeAddress returns the address if nobody listens on it, else another one of
// the same host.
func freeAddress(want string) (string, error) {
	name, _, err := net.SplitHostPort(want)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", want)
	if err != nil {
		l, err = net.Listen("tcp", net.JoinHostPort(name, "0"))
	}
	if err != nil {
		return "", wire.Errorf(wire.Unavailable, "find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (s *desk) url() string { return "http://" + s.config.Listen }

// endpoint is what the service's entry says of the concierge.
func (s *desk) endpoint() *namesvc.Endpoint {
	return &namesvc.Endpoint{Roles: namesvc.RoleConcierge, Key: s.key, URLs: []string{s.url()}}
}

// sameEndpoint reports whether clients that read one find the same as with the
// other.
func sameEndpoint(a, b *namesvc.Endpoint) bool {
	return a != nil && b != nil && a.Roles == b.Roles && a.Key == b.Key && slices.Equal(a.URLs, b.URLs)
}

// openHosts starts the concierges, which are on the chain by now.
func (d *devnet) openHosts(ctx context.Context, desks []*desk, logger *slog.Logger) error {
	for _, s := range desks {
		var err error
		if s.host, err = host.Open(ctx, s.home, s.config, logger.With("concierge", s.handle.String())); err != nil {
			return fmt.Errorf("start concierge %v: %w", s.handle, err)
		}
	}
	return nil
}

// goodbye is how long clients may take to hear that their concierge stops.
const goodbye = 2 * time.Second

// closeHosts stops the concierges that run.
func closeHosts(desks []*desk) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	for _, s := range desks {
		if s.host != nil {
			s.host.Close(ctx)
		}
	}
}

// stopAgents ends the agents of those who live in the network's folder, as the
// tour has them do: without the network they are of no use.
func (d *devnet) stopAgents() {
	homes, err := filepath.Glob(filepath.Join(d.dir, "*", "agents", "*"))
	if err != nil {
		return // of a folder whose name is a pattern; they end by hand
	}
	ctx, cancel := context.WithTimeout(context.Background(), agentsTime)
	defer cancel()
	for _, home := range homes {
		c := localapi.NewClient(home)
		for err := c.Stop(ctx); err == nil && ctx.Err() == nil; _, err = c.Status(ctx) {
			time.Sleep(20 * time.Millisecond)
		}
		c.Close()
	}
}

// agentsTime is how long agents may take to end.
const agentsTime = 5 * time.Second
