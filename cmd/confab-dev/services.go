package main

import (
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

// offered is an account to be registered with its handle and roles.
type offered struct {
	account keyring.Account
	roles   namesvc.Roles
}

// registered returns the accounts that are to be on the chain: the services, and
// the operators, unless the network was founded without them.
func (d *devnet) registered(ring *keyring.Ring, operators []keyring.Account) ([]offered, error) {
	var out []offered
	for _, h := range services {
		a, err := account(ring, h)
		if err != nil {
			return nil, err
		}
		out = append(out, offered{a, namesvc.RoleConcierge})
	}
	for _, v := range d.running.GenesisValidators() {
		for _, a := range operators {
			if a.ID == v.Operator {
				out = append(out, offered{a, namesvc.RoleValidator})
			}
		}
	}
	return out, nil
}

// serve makes sure that all services and operators are registered and stay so.
func (d *devnet) serve(ctx context.Context, ring *keyring.Ring, operators []keyring.Account) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	client, err := lightclient.New(lightclient.Config{Pin: d.pin, Sources: d.running.Sources()})
	if err != nil {
		return err
	}
	// Together, since each waits for blocks most of the time.
	all, err := d.registered(ring, operators)
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

// serveOne registers one service, unless a kept network has it already, and then
// renews its lease in good time.
func serveOne(ctx context.Context, client *lightclient.Client, o offered) error {
	a, h := o.account, namesvc.Handle(o.account.Name)
	keys, err := a.Unlock([]byte(servicePassphrase))
	if err != nil {
		return err
	}
	names := agent.Names{Client: client, Rand: rand.Reader}
	r, err := client.Resolve(ctx, h, 0)
	if err == nil && r.Entry.Account == a.ID {
		if time.Until(time.Unix(int64(r.Entry.Expires), 0)) > renewBefore {
			return nil
		}
		_, err = names.Change(ctx, a.ID, keys.Device, namesvc.OpRenew, func(namesvc.Entry, namesvc.Devices, string) (any, error) {
			return namesvc.Renewal{}, nil
		}, nil)
		return err
	}
	genesis, err := namesvc.DecodeGenesis(a.Genesis)
	if err != nil {
		return err
	}
	server, err := key.NewServer(rand.Reader)
	if err != nil {
		return err
	}
	_, err = names.Register(ctx, agent.Plan{
		Handle: h, Account: a.ID, Genesis: genesis, Root: *keys.Root,
		Devices: []agent.Member{{Device: keys.Device, Scopes: namesvc.AllScopes, Expires: time.Now().AddDate(1, 0, 0)}},
		Records: &namesvc.Records{Service: &namesvc.Endpoint{Roles: o.roles, Key: server.Public()}},
	}, nil, nil)
	return err
}
