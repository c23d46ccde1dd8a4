package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// changeFlags are those of commands that change the account.
func changeFlags(more ...cli.Flag) []cli.Flag {
	return append(more, accountFlag(), networkFlag(), passphraseFlag())
}

// signing says who signs an op of an account, bodying what the op says.
type (
	signing func(*acting, namesvc.Entry) (namesvc.Signer, error)
	bodying func(a *acting, e namesvc.Entry, d namesvc.Devices, chain string) (any, error)
)

// change signs an op of one's own account, waits for its proof, and prints the
// entry that results.
func (c *call) change(kind namesvc.OpKind, by signing, body bodying) error {
	a, err := c.act()
	if err != nil {
		return err
	}
	if err := c.apply(a, kind, by, body); err != nil {
		return err
	}
	return c.printOwn(a)
}

// apply signs an op of an account and waits for its proof.
func (c *call) apply(a *acting, kind namesvc.OpKind, by signing, body bodying) error {
	ctx := c.Context.Context
	e, _, err := a.names.Client.Account(ctx, a.account.ID, 0)
	if wire.CodeOf(err) == wire.NotFound {
		return wire.Errorf(wire.NotFound, "account %s is not on the chain yet: confab handle register HANDLE", a.account.Name)
	}
	if err != nil {
		return err
	}
	signer, err := by(a, e)
	if err != nil {
		return err
	}
	_, err = a.names.Change(ctx, a.account.ID, signer, kind, func(e namesvc.Entry, d namesvc.Devices, chain string) (any, error) {
		return body(a, e, d, chain)
	}, c.reporter())
	return err
}

// printOwn prints one's own entry as it is proven now.
func (c *call) printOwn(a *acting) error {
	e, p, err := a.names.Client.Account(c.Context.Context, a.account.ID, 0)
	if err != nil {
		return err
	}
	v := viewHandle(own(e))
	v.proven(p)
	return c.print(v, v.write)
}

func byDevice(a *acting, _ namesvc.Entry) (namesvc.Signer, error) { return a.keys.Device, nil }

func handleSetConcierge() verb {
	return verb{
		name:  "set-concierge",
		args:  "[CONCIERGE] [SECOND] [THIRD]",
		short: "choose who keeps your messages while you are away",
		long: `Points your entry at one to three concierges, the first to be tried first. Those
chosen before are replaced: this is how one leaves a concierge. Nobody is asked,
least of all the one that is left. --none chooses nobody.`,
		examples: []string{
			"confab handle set-concierge @harbor",
			"confab handle set-concierge @lantern @harbor",
			"confab handle set-concierge --acceptance 5f3a… @private",
		},
		flags: changeFlags(
			&cli.BoolFlag{Name: "none", Usage: "choose nobody"},
			&cli.StringFlag{Name: "acceptance", Usage: "the signature by which the first one accepts you, in `HEX`, if it asks for that"},
		),
		run: func(c *call) error {
			args := c.Args().Slice()
			if c.Bool("none") == (len(args) > 0) {
				return usagef("confab handle set-concierge: whom? Name one to three concierges, or --none")
			}
			acceptance, err := hex.DecodeString(c.String("acceptance"))
			if err != nil || (len(acceptance) != 0 && len(acceptance) != key.SignatureSize) {
				return usagef("--acceptance: it must be %d hexadecimal digits", 2*key.SignatureSize)
			}
			return c.change(namesvc.OpRecords, byDevice, func(a *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
				r := e.Records
				r.Concierges = nil
				for i, text := range args {
					accepted := acceptance
					if i > 0 {
						accepted = nil
					}
					con, err := c.concierge(a.names.Client, text, uint8(i), accepted)
					if err != nil {
						return nil, err
					}
					r.Concierges = append(r.Concierges, con)
				}
				return r, nil
			})
		},
	}
}

// concierge looks up a concierge by its handle.
func (c *call) concierge(client *lightclient.Client, text string, priority uint8, acceptance []byte) (namesvc.Concierge, error) {
	h, err := parseHandle(text)
	if err != nil {
		return namesvc.Concierge{}, err
	}
	r, err := client.Resolve(c.Context.Context, h, 0)
	if err != nil {
		return namesvc.Concierge{}, err
	}
	s := r.Entry.Records.Service
	switch {
	case s == nil || s.Roles&namesvc.RoleConcierge == 0:
		return namesvc.Concierge{}, wire.Errorf(wire.Invalid, "%v is a %v and no concierge", h, r.Entry.Kind)
	case s.Consent && len(acceptance) == 0:
		return namesvc.Concierge{}, wire.Errorf(wire.Unauthorized, "%v serves only accounts that it has accepted; ask it for an acceptance and give that with --acceptance", h)
	}
	return namesvc.Concierge{Account: r.Entry.Account, Generation: r.Entry.Generation, Priority: priority, Acceptance: acceptance}, nil
}

func handleSetProfile() verb {
	return verb{
		name:  "set-profile",
		short: "say how you want to be shown",
		long: `Makes a profile document and puts its hash into your entry, so that nobody can
show another one as yours. The document itself is kept in confab's folder and
given out by your concierge. What is not given stays as it was; --clear takes all
of it back.`,
		examples: []string{
			`confab handle set-profile --display-name "Alice Example" --about "likes tea"`,
			"confab handle set-profile --avatar me.png",
			"confab handle set-profile --aka https://alice.example",
		},
		flags: changeFlags(
			&cli.StringFlag{Name: "display-name", Usage: "your `NAME`, in any script"},
			&cli.StringFlag{Name: "about", Usage: "a few `WORDS` about you"},
			&cli.StringFlag{Name: "avatar", Usage: "a picture `FILE`"},
			&cli.StringSliceFlag{Name: "aka", Usage: "another name of yours, a `URI`; repeat for more; replaces those from before"},
			&cli.BoolFlag{Name: "clear", Usage: "take profile, avatar and other names back"},
		),
		run: setProfile,
	}
}

func setProfile(c *call) error {
	if !c.Bool("clear") && !c.IsSet("display-name") && !c.IsSet("about") && !c.IsSet("avatar") && !c.IsSet("aka") {
		return usagef("confab handle set-profile: what? Give --display-name, --about, --avatar, --aka or --clear")
	}
	home, err := c.home()
	if err != nil {
		return err
	}
	return c.change(namesvc.OpRecords, byDevice, func(a *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
		r := e.Records
		if c.Bool("clear") {
			r.Profile, r.Avatar, r.AlsoKnownAs = nil, nil, nil
			return r, nil
		}
		dir := filepath.Join(home, "profiles", a.account.ID.String())
		if c.IsSet("display-name") || c.IsSet("about") {
			hash, err := c.profile(dir, r.Profile)
			if err != nil {
				return nil, err
			}
			r.Profile = hash
		}
		if path := c.String("avatar"); path != "" {
			b, err := readBounded(path, agent.MaxAvatar)
			if err != nil {
				return nil, err
			}
			if err := keep(dir, "avatar", b); err != nil {
				return nil, err
			}
			hash := sha256.Sum256(b)
			r.Avatar = hash[:]
		}
		if c.IsSet("aka") {
			r.AlsoKnownAs = c.StringSlice("aka")
		}
		return r, nil
	})
}

// profile makes the new profile document from the old one and the flags, keeps
// it, and returns its hash.
func (c *call) profile(dir string, old []byte) ([]byte, error) {
	p := agent.Profile{Version: 1}
	if len(old) == sha256.Size {
		// What is not given stays, if the document is still here.
		if b, err := os.ReadFile(filepath.Join(dir, "profile")); err == nil {
			if known, err := agent.DecodeProfile(b, [32]byte(old)); err == nil {
				p = known
			}
		}
	}
	if c.IsSet("display-name") {
		p.Name = c.String("display-name")
	}
	if c.IsSet("about") {
		p.About = c.String("about")
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	hash := p.Hash()
	return hash[:], keep(dir, "profile", p.Encode())
}

// keep writes a document beside the account.
func keep(dir, name string, b []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return lightclient.WriteFile(filepath.Join(dir, name), b)
}

func handleRenew() verb {
	return verb{
		name:  "renew",
		short: "show that your account is in use",
		long: `Renews the lease of your handles. Every change does the same, so this is for quiet
times.`,
		examples: []string{"confab handle renew"},
		flags:    changeFlags(),
		run: func(c *call) error {
			return c.change(namesvc.OpRenew, byDevice, func(*acting, namesvc.Entry, namesvc.Devices, string) (any, error) {
				return namesvc.Renewal{}, nil
			})
		},
	}
}

func handleRelease() verb {
	return verb{
		name:  "release",
		args:  "HANDLE",
		short: "give a handle back",
		long: `Gives a handle back. It rests for a year, and then others can register it. Signed
by the root key kept on this machine it takes effect after 72 hours, in which the
recovery phrase can undo it (confab handle cancel); signed with the phrase itself
(--phrase-stdin) at once. --yes is needed, because there is no way back.`,
		examples: []string{"confab handle release --yes alice", "confab handle release --yes --phrase-stdin alice"},
		flags:    changeFlags(phraseFlag(), &cli.BoolFlag{Name: "yes", Usage: "yes, give it back"}),
		run: func(c *call) error {
			h, err := parseHandle(c.Args().First())
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				return usagef("confab handle release: nobody can get %v back for you afterwards; say --yes if you mean it", h)
			}
			return c.change(namesvc.OpRelease, c.root, func(*acting, namesvc.Entry, namesvc.Devices, string) (any, error) {
				return namesvc.Release{Handle: h}, nil
			})
		},
	}
}

func handleCancel() verb {
	return verb{
		name:  "cancel",
		short: "undo a change that is waiting",
		long: `Undoes the change that your entry shows as pending. It takes a higher root key
than the one that signed the change: the recovery phrase.`,
		examples: []string{"confab handle cancel --phrase-stdin"},
		flags:    changeFlags(phraseFlag()),
		run: func(c *call) error {
			return c.change(namesvc.OpCancel, c.root, func(_ *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
				if e.Pending == nil {
					return nil, wire.Errorf(wire.NotFound, "nothing is waiting to take effect")
				}
				return namesvc.Cancel{Op: e.Pending.Op}, nil
			})
		},
	}
}

func handleHistory() verb {
	return verb{
		name:  "history",
		args:  "[HANDLE]",
		short: "list all that an account ever signed, complete and verified",
		long: `Lists an account's ops. The list is complete and true: it is hashed and compared
with what the account's proven entry says. Without HANDLE it is your own.`,
		examples: []string{"confab handle history alice", "confab handle history --json"},
		flags:    []cli.Flag{networkFlag(), accountFlag()},
		run: func(c *call) error {
			_, client, err := c.network("")
			if err != nil {
				return err
			}
			ctx := c.Context.Context
			var e namesvc.Entry
			if text := c.Args().First(); text != "" {
				h, err := parseHandle(text)
				if err != nil {
					return err
				}
				r, err := client.Resolve(ctx, h, 0)
				if err != nil {
					return err
				}
				e = r.Entry
			} else {
				a, err := c.localAccount()
				if err != nil {
					return err
				}
				if e, _, err = client.Account(ctx, a.ID, 0); err != nil {
					return err
				}
			}
			events, err := client.History(ctx, e)
			if err != nil {
				return err
			}
			return c.printHistory(e, events)
		},
	}
}

func (c *call) printHistory(e namesvc.Entry, events []lightclient.Event) error {
	type eventView struct {
		Seq    uint64    `json:"seq"`
		Kind   string    `json:"kind"`
		Height uint64    `json:"height"`
		Time   time.Time `json:"time"`
		Signer string    `json:"signer"`
		ID     string    `json:"id"`
	}
	views := []eventView{}
	for _, ev := range events {
		views = append(views, eventView{ev.Seq, ev.Tx.Kind().String(), ev.Height, unix(ev.Time), ev.Tx.Op.Signer.String(), ev.ID.String()})
	}
	return c.print(struct {
		Account string      `json:"account"`
		Ops     []eventView `json:"ops"`
	}{e.Account.String(), views}, func(w io.Writer) {
		row(w, "account", e.Account.String())
		for _, v := range views {
			fmt.Fprintf(w, "%5d  %s  height %-8d %-9s by %.16s…\n", v.Seq, v.Time.Format(time.RFC3339), v.Height, v.Kind, v.Signer)
		}
	})
}

func handleDevices() verb {
	return verb{
		name:  "devices",
		args:  "[HANDLE]",
		short: "list an account's devices, or change your own",
		long: `Lists devices. For your own account it also changes them: --revoke removes one for
good, --extend gives this machine's device another year, --join adds this
machine's device (and its lower root key) after confab account restore, for which
the recovery phrase is asked.

A device can leave, and extend itself, on its own; all else takes a root key.`,
		examples: []string{
			"confab handle devices alice",
			"confab handle devices --revoke 5f3a",
			"confab handle devices --join --phrase-stdin",
		},
		flags: changeFlags(
			&cli.StringFlag{Name: "revoke", Usage: "remove the device whose key begins with `KEY`"},
			&cli.BoolFlag{Name: "extend", Usage: "let this machine's device live for another year"},
			&cli.BoolFlag{Name: "join", Usage: "add this machine's device, and its root key if it keeps one"},
			phraseFlag(),
		),
		run: devices,
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
		return usagef("confab handle devices: one thing at a time: --revoke, --extend or --join")
	case chosen == 1 && c.Args().Present():
		return usagef("confab handle devices: you can only change your own account's devices; leave HANDLE out")
	case c.IsSet("revoke"):
		return c.change(namesvc.OpDevices, c.rootOrSelf, c.withoutDevice)
	case c.IsSet("extend"):
		return c.change(namesvc.OpDevices, byDevice, c.extended)
	case c.IsSet("join"):
		return c.join()
	}
	return c.listDevices()
}

// rootOrSelf signs with the device key where a device removes itself.
func (c *call) rootOrSelf(a *acting, e namesvc.Entry) (namesvc.Signer, error) {
	if a.keys.Root == nil && !c.Bool("phrase-stdin") && strings.HasPrefix(a.keys.Device.Public().String(), c.String("revoke")) {
		return a.keys.Device, nil
	}
	return c.root(a, e)
}

func (c *call) withoutDevice(_ *acting, _ namesvc.Entry, d namesvc.Devices, _ string) (any, error) {
	prefix := strings.ToLower(c.String("revoke"))
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
			list[i].Expires = uint64(c.now().AddDate(deviceYears, 0, 0).Unix())
			return namesvc.DeviceList{Devices: list}, nil
		}
	}
	return nil, wire.Errorf(wire.NotFound, "this machine's device is not one of the account's; add it with --join")
}

// join adds this machine's keys to an account that was restored from its phrase:
// first the device, then the lower root key if one is kept here.
func (c *call) join() error {
	a, err := c.act()
	if err != nil {
		return err
	}
	var root namesvc.Signer // asked for once
	once := func(a *acting, e namesvc.Entry) (_ namesvc.Signer, err error) {
		if root == nil {
			root, err = c.root(a, e)
		}
		return root, err
	}
	if err := c.apply(a, namesvc.OpDevices, once, c.withDevice); err != nil {
		return err
	}
	if a.keys.Root != nil {
		if err := c.apply(a, namesvc.OpRoots, once, withRoot); err != nil {
			return fmt.Errorf("the device has joined, but not the root key: %w", err)
		}
	}
	return c.printOwn(a)
}

func (c *call) withDevice(a *acting, _ namesvc.Entry, d namesvc.Devices, chain string) (any, error) {
	if _, ok := d.Find(a.keys.Device.Public()); ok {
		return nil, wire.Errorf(wire.Exists, "this machine's device is one of the account's already")
	}
	m := agent.Member{Device: a.keys.Device, Scopes: namesvc.AllScopes, Expires: c.now().AddDate(deviceYears, 0, 0)}
	return namesvc.DeviceList{Devices: append(agent.Grants(d), agent.Join(chain, d, m))}, nil
}

// withRoot puts this machine's lower root key below those that are there. If
// there are as many as there may be, the lowest makes room: it is that of the
// machine that was lost longest ago.
func withRoot(a *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
	roots := e.Roots
	if len(roots) >= namesvc.MaxRoots {
		roots = roots[:namesvc.MaxRoots-1]
	}
	return namesvc.RootList{Roots: append(slices.Clone(roots), a.keys.Root.Public()), NextRoot: e.NextRoot}, nil
}

func handleRotate() verb {
	return verb{
		name:  "rotate",
		short: "replace the first root key by its successor",
		long: `Replaces root key 0 by the one that was announced beforehand, and announces the
next. Both come from the same recovery phrase, which stays as it is. Do this if
the root key may have been seen, for instance by a program you do not trust any
more; if the phrase itself may have been seen, it does not help.`,
		examples: []string{"confab handle rotate --phrase-stdin"},
		flags:    changeFlags(phraseFlag()),
		run: func(c *call) error {
			phrase, err := c.phrase()
			if err != nil {
				return err
			}
			var n uint32 // of the root key that is to come
			return c.change(namesvc.OpRoots, func(_ *acting, e namesvc.Entry) (namesvc.Signer, error) {
				_, now, err := keyring.FindRoot(phrase, e.Roots[0])
				n = now + 1
				return phrase.Root(n), err
			}, func(_ *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
				roots := slices.Clone(e.Roots)
				roots[0] = phrase.Root(n).Public()
				next := phrase.Root(n + 1).Public().NextHash()
				return namesvc.RootList{Roots: roots, NextRoot: next[:]}, nil
			})
		},
	}
}

func (c *call) listDevices() error {
	_, client, err := c.network("")
	if err != nil {
		return err
	}
	ctx := c.Context.Context
	var id namesvc.AccountID
	if text := c.Args().First(); text != "" {
		h, err := parseHandle(text)
		if err != nil {
			return err
		}
		r, err := client.Resolve(ctx, h, 0)
		if err != nil {
			return err
		}
		id = r.Entry.Account
	} else {
		a, err := c.localAccount()
		if err != nil {
			return err
		}
		id = a.ID
	}
	_, d, proof, err := client.Devices(ctx, id, 0)
	if err != nil {
		return err
	}
	type deviceView struct {
		Key     string    `json:"key"`
		Scopes  []string  `json:"scopes"`
		Added   time.Time `json:"added"`
		Expires time.Time `json:"expires"`
	}
	views := []deviceView{}
	for _, dev := range d.List {
		views = append(views, deviceView{dev.Key.String(), splitList(dev.Scopes.String()), unix(dev.Added), unix(dev.Expires)})
	}
	pv := viewProof(proof)
	return c.print(struct {
		Account string       `json:"account"`
		Seq     uint64       `json:"device_sequence"`
		Devices []deviceView `json:"devices"`
		proofView
	}{id.String(), d.Seq, views, pv}, func(w io.Writer) {
		row(w, "account", id.String())
		for _, v := range views {
			row(w, "device", fmt.Sprintf("%s  until %s  %s", v.Key, v.Expires.Format(time.DateOnly), strings.Join(v.Scopes, ",")))
		}
		pv.write(w)
	})
}
