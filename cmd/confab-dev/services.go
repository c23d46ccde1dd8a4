package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// services are the handles to choose as a concierge.
var services = [2]namesvc.Handle{"harbor", "lantern"}

// servicePassphrase protects the services' accounts, which are worth nothing. The
// help tells it, so that developers can act for them.
const servicePassphrase = "confab-dev"

// openServices opens the services' accounts. The folder is a home of confab's;
// its lock keeps a second confab-dev away.
func openServices(dir string) (*keyring.Ring, error) {
	ring, err := keyring.Open(filepath.Join(dir, "services", "accounts"))
	if wire.CodeOf(err) == wire.Unavailable {
		return nil, wire.Errorf(wire.Unavailable, "another confab-dev runs the network in %s: stop it, or choose another --home", dir)
	}
	return ring, err
}

// openOperators returns the accounts that operate the validators of a network of
// this size, new ones if the folder has none.
func openOperators(ring *keyring.Ring, validators int) ([]keyring.Account, error) {
	var out []keyring.Account
	for i := range validators {
		a, err := account(ring, namesvc.Handle(fmt.Sprintf("operator%d", i)))
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// offered is an account to be registered with its handle, and how it is to be
// reached; an operator proves nothing with its server key, so it is a new one.
type offered struct {
	account  keyring.Account
	endpoint *namesvc.Endpoint // nil for an operator
	tickets  []byte            // the key to be declared for tickets, or nil
}

// registered returns the accounts that are to be on the chain: the services, and
// the operators, unless the network was founded without them.
func (d *devnet) registered(ring *keyring.Ring, operators []keyring.Account, desks []*desk) ([]offered, error) {
	var out []offered
	for _, s := range desks {
		a, err := account(ring, s.handle)
		if err != nil {
			return nil, err
		}
		out = append(out, offered{a, s.endpoint(), s.tickets})
	}
	for _, v := range d.running.GenesisValidators() {
		for _, a := range operators {
			if a.ID == v.Operator {
				out = append(out, offered{a, nil, nil})
			}
		}
	}
	return out, nil
}

// serve makes sure that all services and operators are registered and stay so.
func (d *devnet) serve(ctx context.Context, ring *keyring.Ring, operators []keyring.Account, desks []*desk) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	client, err := lightclient.New(lightclient.Config{Pin: d.pin, Sources: d.running.Sources()})
	if err != nil {
		return err
	}
	// Together, since each waits for blocks most of the time.
	all, err := d.registered(ring, operators, desks)
	if err != nil {
		return err
	}
	errs := make(chan error, len(all))
	for _, o := range all {
		go func() {
			err := serveOne(ctx, client, o)
			if err != nil {
				err = fmt.Errorf("register service @%s: %w", o.account.Name, err)
			}
			errs <- err
		}()
	}
	var first error
	for range all {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// account returns the service's account, a new one if the folder has none.
func account(ring *keyring.Ring, h namesvc.Handle) (keyring.Account, error) {
	a, err := ring.Load(string(h))
	if wire.CodeOf(err) != wire.NotFound {
		return a, err
	}
	phrase, err := key.NewPhrase(rand.Reader)
	if err != nil {
		return a, err
	}
	cost := keyring.DefaultCost()
	cost.MemoryKiB, cost.Passes = 64, 1 // the passphrase is no secret
	a, err = keyring.New(rand.Reader, phrase, namesvc.Service,
		keyring.Options{Name: string(h), Created: time.Now()}, keyring.Protect([]byte(servicePassphrase), cost))
	if err != nil {
		return a, err
	}
	return a, ring.Add(a)
}

// renewBefore is how long before its lease ends a service renews it: far more
// than a network of one's own is left running between two starts.
const renewBefore = 20 * 24 * time.Hour

// serveOne registers one service, unless a kept network has it already: then it
// corrects what its entry says and renews its lease in good time.
func serveOne(ctx context.Context, client *lightclient.Client, o offered) error {
	a, h := o.account, namesvc.Handle(o.account.Name)
	keys, err := a.Unlock([]byte(servicePassphrase))
	if err != nil {
		return err
	}
	names := agent.Names{Client: client, Rand: rand.Reader}
	r, err := client.Resolve(ctx, h, 0)
	if err == nil && r.Entry.Account == a.ID {
		if err := keep(ctx, &names, keys.Device, r.Entry, o.endpoint); err != nil {
			return err
		}
		return declare(ctx, &names, a.ID, keys.Root, o.tickets)
	}
	genesis, err := namesvc.DecodeGenesis(a.Genesis)
	if err != nil {
		return err
	}
	endpoint := o.endpoint
	if endpoint == nil {
		server, err := key.NewServer(rand.Reader)
		if err != nil {
			return err
		}
		endpoint = &namesvc.Endpoint{Roles: namesvc.RoleValidator, Key: server.Public()}
	}
	if _, err = names.Register(ctx, agent.Plan{
		Handle: h, Account: a.ID, Genesis: genesis, Root: *keys.Root,
		Devices: []agent.Member{{Device: keys.Device, Scopes: namesvc.AllScopes, Expires: time.Now().AddDate(1, 0, 0)}},
		Records: &namesvc.Records{Service: endpoint},
	}, nil, nil); err != nil {
		return err
	}
	return declare(ctx, &names, a.ID, keys.Root, o.tickets)
}

// declare puts the key of a service's tickets on the chain, unless it is there.
func declare(ctx context.Context, names *agent.Names, id namesvc.AccountID, root namesvc.Signer, tickets []byte) error {
	if tickets == nil {
		return nil
	}
	_, s, _, err := names.Client.Sponsor(ctx, id, 0)
	if err == nil && bytes.Equal(s.Key, tickets) || err != nil && wire.CodeOf(err) != wire.NotFound {
		return err
	}
	_, err = names.Change(ctx, id, root, namesvc.OpSponsor, func(namesvc.Entry, namesvc.Devices, string) (any, error) {
		return namesvc.Sponsorship{Key: tickets}, nil
	}, nil)
	return err
}

// keep brings the entry of a service that is registered up to date.
func keep(ctx context.Context, names *agent.Names, device key.Device, e namesvc.Entry, endpoint *namesvc.Endpoint) error {
	if endpoint != nil && !sameEndpoint(e.Records.Service, endpoint) {
		_, err := names.Change(ctx, e.Account, device, namesvc.OpRecords, func(e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
			r := e.Records
			r.Service = endpoint
			return r, nil
		}, nil)
		if err != nil {
			return err
		}
	}
	if time.Until(time.Unix(int64(e.Expires), 0)) > renewBefore {
		return nil
	}
	_, err := names.Change(ctx, e.Account, device, namesvc.OpRenew, func(namesvc.Entry, namesvc.Devices, string) (any, error) {
		return namesvc.Renewal{}, nil
	}, nil)
	return err
}
