package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
)

// sponsor registers a concierge that pays for registrations, declares its key, and
// starts it.
func (n *network) sponsor(t *testing.T, h namesvc.Handle, open bool) *office {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := host.DefaultConfig()
	c.Handle, c.Listen = string(h), l.Addr().String()
	c.Chain = host.Chain{Pin: n.pin.String(), Sources: n.URLs()}
	c.Sponsor.On, c.Sponsor.Open, c.Sponsor.PerNetwork = true, open, 2
	l.Close()
	o := &office{home: filepath.Join(t.TempDir(), string(h)), config: c}
	k, err := host.Init(o.home, c)
	if err != nil {
		t.Fatal(err)
	}
	tickets, err := host.MakeSponsorKey(o.home)
	if err != nil {
		t.Fatal(err)
	}
	w := n.world(t, "service")
	w.run(fmt.Sprintf("handle register --role concierge --url http://%s --server-key %v %s", c.Listen, k, h.String()[1:])).ok()
	keys, err := w.load("me").Unlock([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := lightclient.New(lightclient.Config{Pin: n.pin, Sources: n.Sources()})
	if err != nil {
		t.Fatal(err)
	}
	names := agent.Names{Client: client, Rand: rand.Reader}
	if _, err := names.Change(t.Context(), w.load("me").ID, *keys.Root, namesvc.OpSponsor, func(namesvc.Entry, namesvc.Devices, string) (any, error) {
		return namesvc.Sponsorship{Key: concierge.SponsorModulus(tickets)}, nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.on(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.concierges[h.String()] = o
	t.Cleanup(func() {
		if err := o.off(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// invite has a sponsor make an invitation code, as its operator does with
// confab-concierge sponsor invite, and sets $CODE to it: invite @beacon.
func (n *network) invite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: invite @concierge")
	}
	o := n.concierges[args[0]]
	if o == nil {
		ts.Fatalf("%s is no concierge of this network", args[0])
	}
	codes, err := host.Invite(context.Background(), o.home, 1, time.Hour)
	ts.Check(err)
	ts.Setenv("CODE", codes[0])
}
