package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Years and days of what a registration gives: the device key lives for a year,
// as confab's, and a lease that has less than renewBefore left is renewed.
const (
	deviceYears = 1
	renewBefore = 90 * 24 * time.Hour
)

func registerVerb() command.Verb {
	return command.Verb{
		Name:  "register",
		Short: "put this concierge on the chain",
		Long: `Makes the service's entry on the chain say what this folder says: its
handle, its URLs, the server key. The handle is registered if it is free,
which costs no money and a little work, and its lease is renewed. It is safe
to repeat, and goes on where it was interrupted.

--url changes the URLs here and there. --new-key makes a new server key and
takes it into use once the entry has it; then start the concierge again.

The service has an account of its own, in confab's folder, under the handle's
name; it is made if there is none. The concierge itself never needs it. Its
recovery phrase is shown once, on the terminal, and stored nowhere. Without a
terminal, --unattended prints the phrase, once, on a line before the result,
and --phrase-stdin reads one; both need --passphrase-file.`,
		Examples: []string{
			"confab-concierge register",
			"confab-concierge register --unattended --passphrase-file pass.txt --json",
			"confab-concierge register --url https://mail.example",
			"confab-concierge register --new-key",
		},
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "url", Usage: "clients find the concierge at this `URL`; repeat for more"},
			command.Bool("new-key", "make a new server key"),
			&cli.StringFlag{Name: "account", Usage: "use the account `NAME` in confab's folder; the handle's name otherwise"},
			confabFlag(),
			command.Bool("unattended", "ask nothing, and print the phrase of a new account with the result"),
			command.Bool("phrase-stdin", "read the recovery phrase of a new account from stdin"),
			&cli.StringFlag{Name: "passphrase-file", Usage: "read the account's passphrase from `FILE`, one line (CONFAB_PASSPHRASE_FILE)"},
		},
		Run: register,
	}
}

func confabFlag() cli.Flag {
	return &cli.StringFlag{Name: "confab", Usage: "confab's `FOLDER`, with accounts and networks (CONFAB_HOME)"}
}

// registered is what register prints.
type registered struct {
	Handle    string   `json:"handle"`
	Account   string   `json:"account"`
	URLs      []string `json:"urls"`
	ServerKey string   `json:"server_key"`
	Expires   string   `json:"expires"`
	Height    uint64   `json:"height"` // at which it is proven
}

func (r registered) write(w io.Writer) {
	command.Row(w, "handle", r.Handle)
	command.Row(w, "account", r.Account)
	for _, u := range r.URLs {
		command.Row(w, "url", u)
	}
	command.Row(w, "server key", r.ServerKey)
	command.Row(w, "expires", r.Expires)
	command.Row(w, "proven", "at height "+strconv.FormatUint(r.Height, 10))
}

// desk is a concierge's folder and the chain that it belongs to.
type desk struct {
	c      *command.Call
	home   string
	config host.Config
	handle namesvc.Handle
	pin    verify.Pin
	client *lightclient.Client
	names  agent.Names
}

func openDesk(c *command.Call) (*desk, error) {
	d := &desk{c: c, home: c.Setting("home")}
	var err error
	if c.IsSet("url") {
		if err := host.SetURLs(d.home, c.StringSlice("url")); err != nil {
			return nil, err
		}
	}
	if d.config, err = host.LoadConfig(d.home); err != nil {
		return nil, err
	}
	if len(d.config.URLs) == 0 {
		return nil, wire.Errorf(wire.Invalid, "where do clients find this concierge? Say so with --url https://…")
	}
	if d.handle, err = namesvc.ParseHandle(d.config.Handle); err != nil {
		return nil, err
	}
	if d.pin, err = verify.ParsePin(d.config.Chain.Pin); err != nil {
		return nil, err
	}
	d.client, err = networks.Probe(networks.Network{Name: "concierge", Pin: d.pin, Sources: d.config.Chain.Sources})
	d.names = agent.Names{Client: d.client, Rand: rand.Reader}
	return d, err
}

func register(c *command.Call) error {
	d, err := openDesk(c)
	if err != nil {
		return err
	}
	if err := d.free(); err != nil {
		return err
	}
	o, err := openOwner(c, d.handle)
	if err != nil {
		return err
	}
	defer o.ring.Close()
	if o.phrase != nil {
		// The phrase first: the other way round, a full disk or a closed pipe would
		// leave an account whose phrase nobody ever saw.
		if err := c.Print(map[string]string{"phrase": o.phrase.Reveal()}, func(w io.Writer) { command.Row(w, "phrase", o.phrase.Reveal()) }); err != nil {
			return err
		}
	}
	if _, err := o.ring.Load(o.account.ID.String()); wire.CodeOf(err) == wire.NotFound {
		if err := o.ring.Add(o.account); err != nil {
			return err
		}
	}
	k, err := d.key()
	if err != nil {
		return err
	}
	if err := d.publish(o, k); err != nil {
		return err
	}
	if next, err := host.NextKey(d.home, false); err != nil {
		return err
	} else if next == k {
		if err := host.TakeNextKey(d.home); err != nil {
			return err
		}
		c.Say("the new server key is in use from the next start on: stop the concierge and run it again")
	}
	return d.show(o.account.ID)
}

// free says at once if somebody else has the handle, before an account is made.
func (d *desk) free() error {
	r, err := d.client.Resolve(d.c.Ctx(), d.handle, 0)
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return nil
	case err != nil:
		return err
	case r.Entry.Kind != namesvc.Service:
		return wire.Errorf(wire.Exists, "%v is taken by a %v: choose another handle for the service, in %s", d.handle, r.Entry.Kind, host.ConfigFile)
	}
	return nil
}

// key returns the server key that the entry is to have.
func (d *desk) key() (key.Public, error) {
	k, err := host.NextKey(d.home, d.c.Bool("new-key"))
	if err != nil || k != (key.Public{}) {
		return k, err // also what an interruption left
	}
	return host.ServerKey(d.home)
}

// publish makes the entry say what the folder says.
func (d *desk) publish(o *owner, k key.Public) error {
	endpoint := &namesvc.Endpoint{URLs: d.config.URLs, Roles: namesvc.RoleConcierge, Key: k}
	r, err := d.client.Resolve(d.c.Ctx(), d.handle, 0)
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return d.begin(o, endpoint)
	case err != nil:
		return err
	case r.Entry.Account != o.account.ID:
		return wire.Errorf(wire.Exists, "%v is account %v and not %q, which is %v: use --account, or choose another handle", d.handle, r.Entry.Account, o.account.Name, o.account.ID)
	}
	if !host.Same(r.Entry.Records.Service, d.config, k) {
		if err := d.change(o, namesvc.OpRecords, func(e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
			next := e.Records
			service := *endpoint
			if old := next.Service; old != nil {
				service.Peers, service.Consent, service.Roles = old.Peers, old.Consent, old.Roles|namesvc.RoleConcierge
			}
			next.Service = &service
			return next, nil
		}); err != nil {
			return err
		}
	}
	if time.Until(time.Unix(int64(r.Entry.Expires), 0)) > renewBefore {
		return nil
	}
	return d.change(o, namesvc.OpRenew, func(namesvc.Entry, namesvc.Devices, string) (any, error) { return namesvc.Renewal{}, nil })
}

// begin registers the handle, or goes on with a registration that was
// interrupted.
func (d *desk) begin(o *owner, endpoint *namesvc.Endpoint) error {
	network := "concierge-" + d.pin.ChainID
	if keyring.CheckName(network) != nil {
		network = "concierge"
	}
	if done, err := d.resume(o, network); done || err != nil {
		return err
	}
	if o.keys.Root == nil {
		return wire.Errorf(wire.Unauthorized, "account %q keeps no root key on this machine, which registering needs: use confab handle register --role concierge", o.account.Name)
	}
	genesis, err := namesvc.DecodeGenesis(o.account.Genesis)
	if err != nil {
		return wire.Errorf(wire.Invalid, "account %q: its file has no genesis op, which the chain wants to see; use the machine that it was made on", o.account.Name)
	}
	plan := agent.Plan{
		Handle: d.handle, Account: o.account.ID, Genesis: genesis, Root: *o.keys.Root,
		Devices: []agent.Member{{Device: o.keys.Device, Scopes: namesvc.AllScopes, Expires: time.Now().AddDate(deviceYears, 0, 0)}},
		Records: &namesvc.Records{Service: endpoint},
	}
	report, close := d.progress()
	defer close()
	var begun keyring.Task
	_, err = d.names.Register(d.c.Ctx(), plan, func(p agent.Prepared) error {
		if begun.Op != nil {
			if err := o.ring.Finish(o.account.ID, begun.ID()); err != nil {
				return err
			}
		}
		begun = keyring.Task{Network: network, Op: p.Register, Commit: p.Commit, Started: uint64(time.Now().Unix())}
		return o.ring.Begin(o.account.ID, begun)
	}, report)
	return d.ended(o, begun, err)
}

// resume takes up a registration that was interrupted, if there is one.
func (d *desk) resume(o *owner, network string) (done bool, err error) {
	tasks, err := o.ring.Tasks(o.account.ID)
	if err != nil {
		return false, err
	}
	for _, t := range tasks {
		body, ok := t.Registration()
		if !ok || t.Network != network || body.Handle != d.handle || len(t.Commit) == 0 {
			continue
		}
		d.c.Say("going on with the registration that began at %s", time.Unix(int64(t.Started), 0).UTC().Format(time.RFC3339))
		report, close := d.progress()
		_, err := d.names.Resume(d.c.Ctx(), agent.Prepared{Handle: d.handle, Account: o.account.ID, Register: t.Op, Commit: t.Commit}, report)
		close()
		if err = d.ended(o, t, err); errors.Is(err, agent.ErrOver) {
			d.c.Say("%v; beginning anew", err)
			continue
		}
		return err == nil, err
	}
	return false, nil
}

// ended strikes a registration out that is done or can never be.
func (d *desk) ended(o *owner, t keyring.Task, err error) error {
	switch {
	case (err == nil || errors.Is(err, agent.ErrOver)) && t.Op != nil:
		return errors.Join(err, o.ring.Finish(o.account.ID, t.ID()))
	case wire.CodeOf(err) == wire.Unavailable, errors.Is(err, context.Canceled):
		return fmt.Errorf("%w; the same command goes on where it was", err)
	}
	return err
}

// change signs one op of the service's account and waits for its proof.
func (d *desk) change(o *owner, kind namesvc.OpKind, body func(namesvc.Entry, namesvc.Devices, string) (any, error)) error {
	report, close := d.progress()
	defer close()
	_, err := d.names.Change(d.c.Ctx(), o.account.ID, o.keys.Device, kind, body, report)
	return err
}

// progress shows what is waited for.
func (d *desk) progress() (agent.Report, func()) {
	p := d.c.Progress()
	return func(s agent.Progress) {
		switch s.Step {
		case agent.Working:
			p.Count(time.Now(), "working for %v: %d tries of about %d", d.handle, s.Tries, s.Expected)
		case agent.Committing:
			p.Step("commit sent: the handle is still secret")
		case agent.Revealing:
			p.Step("reveal sent: the registration is public now")
		case agent.Sending:
			p.Step("op sent to %s", s.Source)
		case agent.Waiting:
			p.Step("waiting for a block after %d", s.Height)
		}
	}, p.Close
}

// show prints what is proven now.
func (d *desk) show(id namesvc.AccountID) error {
	r, err := d.client.Resolve(d.c.Ctx(), d.handle, 0)
	if err != nil {
		return err
	}
	if r.Entry.Account != id || r.Entry.Records.Service == nil {
		return wire.Errorf(wire.Conflict, "%v is not what was registered: see confab handle show @%s", d.handle, d.handle)
	}
	s := r.Entry.Records.Service
	d.c.Say("next: %s", typed(d.c, "run"))
	out := registered{
		Handle: d.handle.String(), Account: id.String(), URLs: s.URLs, ServerKey: s.Key.String(),
		Expires: time.Unix(int64(r.Entry.Expires), 0).UTC().Format(time.DateOnly), Height: r.Proof.Height,
	}
	return d.c.Print(out, out.write)
}
