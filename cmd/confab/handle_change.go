package main

import (
	"encoding/hex"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// changeFlags are those of commands that change the account.
func changeFlags(more ...cli.Flag) []cli.Flag {
	return append(more, accountFlag(), networkFlag(), passphraseFlag())
}

// acting is an account with its keys and its network.
type acting struct {
	account keyring.Account
	keys    keyring.Keys
	network string
	names   agent.Names
}

// localAccount returns the account to act for.
func (c *call) localAccount() (keyring.Account, error) {
	r, err := c.readAccounts()
	if err != nil {
		return keyring.Account{}, err
	}
	return c.account(r, "")
}

// act opens the account to act for: it asks for the passphrase.
func (c *call) act() (*acting, error) {
	a, passphrase, err := c.actAgain()
	clear(passphrase)
	return a, err
}

// actAgain is act for what opens the account once more in another process: it
// returns the passphrase too, which the caller wipes.
func (c *call) actAgain() (*acting, []byte, error) {
	a, err := c.localAccount()
	if err != nil {
		return nil, nil, err
	}
	n, client, err := c.network("")
	if err != nil {
		return nil, nil, err
	}
	passphrase, err := c.passphrase("passphrase-file", "passphrase of "+a.Name)
	if err != nil {
		clear(passphrase)
		return nil, nil, err
	}
	keys, err := a.Unlock(passphrase)
	if err != nil {
		clear(passphrase)
		return nil, nil, err
	}
	return &acting{account: a, keys: keys, network: n.Name, names: agent.Names{Client: client, Rand: c.rand}}, passphrase, nil
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
	e, _, err := a.names.Client.Account(c.Ctx(), a.account.ID, 0)
	if err != nil {
		return notYet(err, a.account)
	}
	signer, err := by(a, e)
	if err != nil {
		return err
	}
	w := c.watch("the change")
	_, err = a.names.Change(w.ctx, a.account.ID, signer, kind, func(e namesvc.Entry, d namesvc.Devices, chain string) (any, error) {
		return body(a, e, d, chain)
	}, w.report)
	return w.done(err)
}

// printOwn prints one's own entry as it is proven now.
func (c *call) printOwn(a *acting) error {
	e, p, err := a.names.Client.Account(c.Ctx(), a.account.ID, 0)
	if err != nil {
		return err
	}
	v := viewHandle(own(e, p.Time))
	v.proven(p)
	if err := c.addProfile(&v, e); err != nil {
		return err
	}
	return c.Print(v, v.write)
}

// root returns the root key to sign with: the lower one that is kept here if the
// entry lists it, unless --phrase-stdin is given; else that of the phrase, which
// is asked for.
func (c *call) root(a *acting, e namesvc.Entry) (namesvc.Signer, error) {
	if k := a.keys.Root; k != nil && !c.Bool("phrase-stdin") && slices.Contains(e.Roots, k.Public()) {
		return *k, nil
	}
	return c.rootOfPhrase(a, e)
}

// rootOfPhrase returns root key 0, from the phrase that is asked for.
func (c *call) rootOfPhrase(_ *acting, e namesvc.Entry) (namesvc.Signer, error) {
	if !c.Bool("phrase-stdin") && c.person == nil {
		return nil, wire.Errorf(wire.Unauthorized, "this takes a root key that is not kept here: use a terminal, or --phrase-stdin with the recovery phrase")
	}
	p, err := c.phrase()
	if err != nil {
		return nil, err
	}
	root, _, err := keyring.FindRoot(p, e.Roots[0])
	return root, err
}

func byDevice(a *acting, _ namesvc.Entry) (namesvc.Signer, error) { return a.keys.Device, nil }

func handleSetConcierge(e *env) command.Verb {
	return command.Verb{
		Name:  "set-concierge",
		Args:  "[CONCIERGE] [SECOND] [THIRD]",
		Short: "choose who keeps your mail while you are away",
		Long: `Points your entry at one to three concierges, the first to be tried first.
Those chosen before are replaced: this is how one leaves a concierge. Nobody
is asked, least of all the one that is left. --none chooses nobody.`,
		Examples: []string{
			"confab handle set-concierge @harbor",
			"confab handle set-concierge @lantern @harbor",
			"confab handle set-concierge --acceptance 5f3a… @private",
		},
		Flags: changeFlags(
			command.Bool("none", "choose nobody"),
			&cli.StringFlag{Name: "acceptance", Usage: "the signature by which the first one accepts you, in `HEX`, if it asks for that"},
		),
		Run: e.with(func(c *call) error {
			args := c.Args().Slice()
			if c.Bool("none") == (len(args) > 0) {
				return c.Usagef("whom? Name one to three concierges, or --none")
			}
			acceptance, err := hex.DecodeString(c.String("acceptance"))
			if err != nil || (len(acceptance) != 0 && len(acceptance) != key.SignatureSize) {
				return c.Usagef("--acceptance: it must be %d hexadecimal digits", 2*key.SignatureSize)
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
		}),
	}
}

// concierge looks up a concierge by its handle.
func (c *call) concierge(client *lightclient.Client, text string, priority uint8, acceptance []byte) (namesvc.Concierge, error) {
	h, err := parseHandle(text)
	if err != nil {
		return namesvc.Concierge{}, err
	}
	r, err := client.Resolve(c.Ctx(), h, 0)
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

func handleRenew(e *env) command.Verb {
	return command.Verb{
		Name:  "renew",
		Short: "show that your account is in use",
		Long: `Renews the lease of your handles. Every change does the same, so this is for
quiet times.`,
		Examples: []string{"confab handle renew"},
		Flags:    changeFlags(),
		Run: e.with(func(c *call) error {
			return c.change(namesvc.OpRenew, byDevice, func(*acting, namesvc.Entry, namesvc.Devices, string) (any, error) {
				return namesvc.Renewal{}, nil
			})
		}),
	}
}

func handleRelease(e *env) command.Verb {
	return command.Verb{
		Name:  "release",
		Args:  "HANDLE",
		Short: "give a handle back",
		Long: `Gives a handle back. It rests for a year, and then others can register it.
Signed by the root key kept on this machine it takes effect after 72 hours,
in which the recovery phrase can undo it (confab handle cancel); signed with
the phrase itself (--phrase-stdin) at once. --yes is needed, because there is
no way back.`,
		Examples: []string{"confab handle release --yes alice", "confab handle release --yes --phrase-stdin alice"},
		Flags:    changeFlags(phraseFlag(), command.Bool("yes", "yes, give it back")),
		Run: e.with(func(c *call) error {
			h, err := parseHandle(c.Args().First())
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				return c.Usagef("nobody can get %v back for you afterwards; say --yes if you mean it", h)
			}
			return c.change(namesvc.OpRelease, c.root, func(*acting, namesvc.Entry, namesvc.Devices, string) (any, error) {
				return namesvc.Release{Handle: h}, nil
			})
		}),
	}
}

func handleCancel(e *env) command.Verb {
	return command.Verb{
		Name:  "cancel",
		Short: "undo a change that is waiting",
		Long: `Undoes the change that your entry shows as pending. It takes a higher root
key than the one that signed the change: the recovery phrase.`,
		Examples: []string{"confab handle cancel --phrase-stdin"},
		Flags:    changeFlags(phraseFlag()),
		Run: e.with(func(c *call) error {
			return c.change(namesvc.OpCancel, c.canceller, func(_ *acting, e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
				if e.Pending == nil {
					return nil, errNothingPending()
				}
				return namesvc.Cancel{Op: e.Pending.Op}, nil
			})
		}),
	}
}

// canceller signs with what outranks the key that signed the pending change: the
// lower root kept here if it does, else the phrase's.
func (c *call) canceller(a *acting, e namesvc.Entry) (namesvc.Signer, error) {
	if e.Pending == nil {
		return nil, errNothingPending()
	}
	if k := a.keys.Root; k != nil && !c.Bool("phrase-stdin") {
		if i := slices.Index(e.Roots, k.Public()); i >= 0 && i < int(e.Pending.Rank) {
			return *k, nil
		}
	}
	return c.rootOfPhrase(a, e)
}

func errNothingPending() error {
	return wire.Errorf(wire.NotFound, "nothing is waiting to take effect")
}

func handleRotate(e *env) command.Verb {
	return command.Verb{
		Name:  "rotate",
		Short: "replace the first root key by its successor",
		Long: `Replaces root key 0 by the one that was announced beforehand, and announces
the next. Both come from the same recovery phrase, which stays as it is. Do
this if the root key may have been seen, for instance by a program you do not
trust any more; if the phrase itself may have been seen, it does not help.`,
		Examples: []string{"confab handle rotate --phrase-stdin"},
		Flags:    changeFlags(phraseFlag()),
		Run: e.with(func(c *call) error {
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
		}),
	}
}
