package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

func handleDevices(e *env) command.Verb {
	return command.Verb{
		Name:  "devices",
		Args:  "[HANDLE]",
		Short: "list an account's devices, or change your own",
		Long: `Lists devices and root keys. For your own account it also changes them:
--revoke removes a device for good, --extend gives this machine's device
another year, --join adds this machine's device (and its lower root key)
after confab account restore, for which the recovery phrase is asked. If the
other machines are lost or stolen, --join --only removes their keys in the
same go.

A device can leave, and extend itself before it expires, on its own; all else
takes a root key.`,
		Examples: []string{
			"confab handle devices alice",
			"confab handle devices --revoke 5f3a",
			"confab handle devices --join --only --phrase-stdin",
		},
		Flags: readFlags(
			&cli.StringFlag{Name: "revoke", Usage: "remove the device whose key begins with `KEY`"},
			command.Bool("extend", "let this machine's device live for another year"),
			command.Bool("join", "add this machine's device, and its root key if it keeps one"),
			command.Bool("only", "with --join: remove all other devices and lower root keys"),
			phraseFlag(), passphraseFlag(),
		),
		Run: e.with(devices),
	}
}

func devices(c *call) error {
	chosen := 0
	for _, name := range []string{"revoke", "extend", "join"} {
		if c.IsSet(name) {
			chosen++
		}
	}
	switch {
	case chosen > 1:
		return c.Usagef("one thing at a time: --revoke, --extend or --join")
	case c.Bool("only") && !c.Bool("join"):
		return c.Usagef("--only goes with --join")
	case chosen == 1 && c.Args().Present():
		return c.Usagef("you can only change your own account's devices; leave HANDLE out")
	case chosen == 1 && c.IsSet("proof"):
		return c.Usagef("--proof is for lists; give it without --revoke, --extend and --join")
	case c.IsSet("revoke"):
		return c.revoke(c.String("revoke"))
	case c.Bool("extend"):
		return c.change(namesvc.OpDevices, c.selfUntilExpired, c.extended)
	case c.Bool("join"):
		return c.join()
	}
	return c.listDevices()
}

// revoke removes the device whose key begins with a prefix. It signs with the
// device key where a device removes itself.
func (c *call) revoke(prefix string) error {
	prefix = strings.ToLower(prefix)
	return c.change(namesvc.OpDevices, func(a *acting, e namesvc.Entry) (namesvc.Signer, error) {
		if a.keys.Root == nil && !c.Bool("phrase-stdin") && strings.HasPrefix(a.keys.Device.Public().String(), prefix) {
			return a.keys.Device, nil
		}
		return c.root(a, e)
	}, func(_ *acting, _ namesvc.Entry, d namesvc.Devices, _ string) (any, error) {
		return withoutDevice(d, prefix)
	})
}

// selfUntilExpired signs with this machine's device key, or with a root key once
// the device has expired: it then has no say any more, not even about itself.
func (c *call) selfUntilExpired(a *acting, e namesvc.Entry) (namesvc.Signer, error) {
	_, d, p, err := a.names.Client.Devices(c.Ctx(), a.account.ID, 0)
	if err != nil {
		return nil, err
	}
	if dev, ok := d.Find(a.keys.Device.Public()); ok && !p.Time.Before(unix(dev.Expires)) {
		return c.root(a, e)
	}
	return a.keys.Device, nil
}

// withoutDevice returns the devices without the one whose key begins with a
// prefix.
func withoutDevice(d namesvc.Devices, prefix string) (any, error) {
	list := agent.Grants(d)
	rest := slices.DeleteFunc(slices.Clone(list), func(g namesvc.Grant) bool { return strings.HasPrefix(g.Key.String(), prefix) })
	switch len(list) - len(rest) {
	case 0:
		return nil, wire.Errorf(wire.NotFound, "no device's key begins with %q; see confab handle devices", prefix)
	case 1:
		return namesvc.DeviceList{Devices: rest}, nil
	}
	return nil, wire.Errorf(wire.Invalid, "several devices' keys begin with %q; give more of it", prefix)
}

func (c *call) extended(a *acting, _ namesvc.Entry, d namesvc.Devices, _ string) (any, error) {
	list := agent.Grants(d)
	for i := range list {
		if list[i].Key == a.keys.Device.Public() {
			// At least a second longer, or a device that has just joined could
			// not be extended in the same second.
			list[i].Expires = max(uint64(c.now().AddDate(deviceYears, 0, 0).Unix()), list[i].Expires+1)
			return namesvc.DeviceList{Devices: list}, nil
		}
	}
	return nil, errNotMember()
}

func errNotMember() error {
	return wire.Errorf(wire.NotFound, "this machine's device is not one of the account's; add it with confab handle devices --join")
}

// join adds this machine's keys to an account that was restored from its phrase:
// first the device, then the lower root key if one is kept here. What is there
// already is left alone, so that it can be given again.
func (c *call) join() error {
	a, err := c.act()
	if err != nil {
		return err
	}
	e, d, _, err := a.names.Client.Devices(c.Ctx(), a.account.ID, 0)
	if err != nil {
		return notYet(err, a.account)
	}
	only := c.Bool("only")
	_, member := d.Find(a.keys.Device.Public())
	root := a.keys.Root == nil || slices.Contains(e.Roots, a.keys.Root.Public())
	changeDevices := !member || only && len(d.List) > 1
	changeRoots := !root || only && len(e.Roots) > 1 && !slices.Equal(e.Roots, c.rootsWith(a, e))
	if !changeDevices && !changeRoots {
		c.Say("this machine's keys are the account's already")
		return c.printOwn(a)
	}
	signer, err := c.rootOfPhrase(a, e)
	if err != nil {
		return err
	}
	by := func(*acting, namesvc.Entry) (namesvc.Signer, error) { return signer, nil }
	if changeDevices {
		if err := c.apply(a, namesvc.OpDevices, by, c.withDevice); err != nil {
			return err
		}
	}
	if changeRoots {
		err := c.apply(a, namesvc.OpRoots, by, func(a *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
			return namesvc.RootList{Roots: c.rootsWith(a, e), NextRoot: e.NextRoot}, nil
		})
		if err != nil {
			return fmt.Errorf("the device has joined, but not the root key: %w", err)
		}
	}
	return c.printOwn(a)
}

// withDevice returns the devices with this machine's, and without the others if
// that is wanted.
func (c *call) withDevice(a *acting, _ namesvc.Entry, d namesvc.Devices, chain string) (any, error) {
	me := a.keys.Device.Public()
	var list []namesvc.Grant
	for _, g := range agent.Grants(d) {
		if g.Key == me || !c.Bool("only") {
			list = append(list, g)
		}
	}
	if _, ok := d.Find(me); !ok {
		m := agent.Member{Device: a.keys.Device, Scopes: namesvc.AllScopes, Expires: c.now().AddDate(deviceYears, 0, 0)}
		list = append(list, agent.Join(chain, d, m))
	}
	return namesvc.DeviceList{Devices: list}, nil
}

// rootsWith returns the account's root keys with this machine's below the
// others, and without the other lower ones if that is wanted. If there are as
// many as there may be, the oldest lower one makes room: it is that of the
// machine that was left longest ago.
func (c *call) rootsWith(a *acting, e namesvc.Entry) []key.Public {
	roots := slices.Clone(e.Roots)
	if c.Bool("only") {
		roots = roots[:1]
	}
	if a.keys.Root == nil || slices.Contains(roots, a.keys.Root.Public()) {
		return roots
	}
	if len(roots) >= namesvc.MaxRoots {
		roots = slices.Delete(roots, 1, 2)
	}
	return append(roots, a.keys.Root.Public())
}

// deviceView is a device as --json shows it.
type deviceView struct {
	Key     string    `json:"key"`
	Scopes  []string  `json:"scopes"`
	Added   time.Time `json:"added"`
	Expires time.Time `json:"expires"`
	Here    bool      `json:"here"` // it is this machine's
}

// rootView is a root key as --json shows it, the strongest first.
type rootView struct {
	Key  string `json:"key"`
	Here bool   `json:"here"`
}

// devicesView is an account's keys as --json shows them.
type devicesView struct {
	Account string       `json:"account"`
	Seq     uint64       `json:"device_sequence"`
	Devices []deviceView `json:"devices"`
	Roots   []rootView   `json:"roots"`
	proofView
}

func (c *call) listDevices() error {
	r, err := c.reading()
	if err != nil {
		return err
	}
	var id namesvc.AccountID
	if r.own != nil {
		id = r.own.ID
	} else if id, err = c.someone(r.client); err != nil {
		return r.keep(c, lightclient.Proof{}, err)
	}
	e, d, p, err := r.client.Devices(c.Ctx(), id, r.maxAge)
	if err = r.keep(c, p, err); err != nil {
		if r.own != nil {
			err = notYet(err, *r.own)
		}
		return err
	}
	v := viewDevices(e, d)
	v.proofView = viewProof(p)
	v.File = r.proof
	if a, err := c.here(id); err == nil {
		v.mark(a)
	}
	return c.Print(v, v.write)
}

// here returns the account of this id if it is on this machine.
func (c *call) here(id namesvc.AccountID) (keyring.Account, error) {
	r, err := c.readAccounts()
	if err != nil {
		return keyring.Account{}, err
	}
	return r.Load(id.String())
}

func viewDevices(e namesvc.Entry, d namesvc.Devices) devicesView {
	v := devicesView{Account: e.Account.String(), Seq: d.Seq, Devices: []deviceView{}}
	for _, dev := range d.List {
		v.Devices = append(v.Devices, deviceView{
			Key: dev.Key.String(), Scopes: strings.Split(dev.Scopes.String(), ","), Added: unix(dev.Added), Expires: unix(dev.Expires),
		})
	}
	for _, k := range e.Roots {
		v.Roots = append(v.Roots, rootView{Key: k.String()})
	}
	return v
}

// mark marks the keys that this machine has.
func (v *devicesView) mark(a keyring.Account) {
	for i := range v.Devices {
		v.Devices[i].Here = v.Devices[i].Key == a.Device.String()
	}
	for i := range v.Roots {
		v.Roots[i].Here = v.Roots[i].Key == a.Root.String()
	}
}

func (v devicesView) write(w io.Writer) {
	command.Row(w, "account", v.Account)
	v.writeKeys(w)
	v.proofView.write(w)
}

func (v devicesView) writeKeys(w io.Writer) {
	all := namesvc.AllScopes.String()
	for _, d := range v.Devices {
		text := fmt.Sprintf("%.16s…  until %s", d.Key, d.Expires.Format(time.DateOnly))
		if scopes := strings.Join(d.Scopes, ","); scopes != all {
			text += "  may only " + scopes
		}
		command.Row(w, "device", text+here(d.Here))
	}
	for i, r := range v.Roots {
		text := fmt.Sprintf("%.16s…", r.Key)
		if i == 0 {
			text += "  of the recovery phrase"
		}
		command.Row(w, "root", text+here(r.Here))
	}
}

func here(is bool) string {
	if is {
		return "  this machine"
	}
	return ""
}
