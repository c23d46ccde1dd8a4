package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func deviceJoin(e *env) command.Verb {
	return command.Verb{
		Name: "join", Args: "HANDLE CODE", Short: "make this machine a device of your account",
		Long: `Makes a device key here and asks your other device, which showed CODE (confab
device link), to add it. Shows the key, for you to compare there, and waits
until the chain lists it; then confab agent run brings your conversations.
No root key comes here: for changes of keys use the other device, or the
recovery phrase.`,
		Examples: []string{"confab device join @alice ABCD-EFGH-JKMN-PQRS"},
		Flags: []cli.Flag{
			nameFlag(firstName),
			&cli.StringFlag{Name: "device-name", Usage: "call this device `NAME` where it asks (the machine's name otherwise)"},
			&cli.DurationFlag{Name: "wait", Value: linkTime, DefaultText: "10m", Usage: "wait at most this `TIME` until it is added; 0 does not wait"},
			networkFlag(), passphraseFlag(),
		},
		Run: e.with(joinDevice),
	}
}

// linkTime is how long a code is good.
const linkTime = 10 * time.Minute

func joinDevice(c *call) error {
	_, client, err := c.network("")
	if err != nil {
		return err
	}
	id, err := c.findAccount(c.Args().First())
	if err != nil {
		return err
	}
	name := c.String("device-name")
	if name == "" {
		if name, err = os.Hostname(); err != nil || name == "" {
			name = "a device"
		}
	}
	a, keys, err := c.newDevice(id)
	if err != nil {
		return err
	}
	err = chat.AskToJoin(c.Ctx(), chat.Joining{
		Client: client, Account: id.Account, Code: c.Args().Get(1), Device: keys.Device, Name: name, Now: c.now, Rand: c.rand,
	})
	if err != nil {
		return err
	}
	c.Say("on your other device: confab device accept %.16s", a.Device)
	listed, err := c.untilListed(client, a)
	if err != nil {
		return err
	}
	if listed {
		c.Say("this machine is a device of %s now; next: confab agent run", shownLine(c.Args().First()))
	}
	return c.Print(struct {
		Account namesvc.AccountID `json:"account"`
		Device  string            `json:"device"`
		Listed  bool              `json:"listed"`
	}{a.ID, a.Device.String(), listed}, func(w io.Writer) {
		command.Row(w, "account", a.ID.String())
		command.Row(w, "device", a.Device.String())
	})
}

// newDevice makes a device key for an account, or takes the one that an earlier
// try left here.
func (c *call) newDevice(id keyring.Identity) (keyring.Account, keyring.Keys, error) {
	r, err := c.openAccounts()
	if err != nil {
		return keyring.Account{}, keyring.Keys{}, err
	}
	defer r.Close()
	a, err := r.Load(id.Account.String())
	there := err == nil
	name := a.Name
	if !there {
		if name, err = c.freeName(r.Reader, firstName); err != nil {
			return a, keyring.Keys{}, err
		}
	}
	ask := c.newPassphrase
	if there {
		ask = c.passphrase
	}
	passphrase, err := ask("passphrase-file", "passphrase for the keys on this machine")
	defer clear(passphrase)
	if err != nil {
		return a, keyring.Keys{}, err
	}
	if !there {
		a, err = keyring.Join(c.rand, id, keyring.Options{Name: name, Created: c.now()}, keyring.Protect(passphrase, c.cost))
		if err == nil {
			err = r.Add(a)
		}
		if err != nil {
			return a, keyring.Keys{}, err
		}
	}
	keys, err := a.Unlock(passphrase)
	return a, keys, err
}

// untilListed waits until the chain lists this machine's device, and reports
// whether it does.
func (c *call) untilListed(client *lightclient.Client, a keyring.Account) (bool, error) {
	for until := time.Now().Add(c.Duration("wait")); ; {
		_, d, _, err := client.Devices(c.Ctx(), a.ID, 0)
		if err != nil && !wire.CodeOf(err).Retry() {
			return false, err
		}
		if _, ok := d.Find(a.Device); ok {
			return true, nil
		}
		if c.Duration("wait") <= 0 {
			return false, nil
		}
		if time.Now().After(until) {
			return false, wire.Errorf(wire.Unavailable, "this machine was not added within %v; its key stays here, so that confab device join can be tried again", c.Duration("wait"))
		}
		if err := wait(c.Ctx(), time.Second); err != nil {
			return false, fmt.Errorf("wait to be added: %w", command.ErrStopped)
		}
	}
}
