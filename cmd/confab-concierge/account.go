package main

import (
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// confabHome returns the folder of confab's, where accounts are.
func confabHome(c *command.Call) (string, error) {
	if dir := c.String("confab"); dir != "" {
		return dir, nil
	}
	if dir := c.Getenv("CONFAB_HOME"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", wire.Errorf(wire.Invalid, "where are confab's accounts? %w; name the folder with --confab or CONFAB_HOME", err)
	}
	return filepath.Join(dir, "confab"), nil
}

// owner is the service's own account, opened.
type owner struct {
	ring    *keyring.Ring
	account keyring.Account
	keys    keyring.Keys
	phrase  *key.Phrase // of an account that was made now, unattended
}

// openOwner opens the service's account, and makes it if there is none. It is one
// of confab's: the concierge itself never needs it.
func openOwner(c *command.Call, h namesvc.Handle) (_ *owner, err error) {
	home, err := confabHome(c)
	if err != nil {
		return nil, err
	}
	ring, err := keyring.Open(filepath.Join(home, "accounts"))
	if err != nil {
		return nil, err
	}
	o := &owner{ring: ring}
	defer func() {
		if err != nil {
			ring.Close()
		}
	}()
	name := c.String("account")
	if name == "" {
		name = string(h)
	}
	o.account, err = ring.Load(name)
	fresh := wire.CodeOf(err) == wire.NotFound && !c.IsSet("account")
	switch {
	case fresh:
		return o, o.make(c, name)
	case err != nil:
		return nil, err
	case o.account.Kind != namesvc.Service:
		return nil, wire.Errorf(wire.Invalid, "account %q is of kind %v: a concierge is a service; name another account with --account", name, o.account.Kind)
	}
	pass, err := passphrase(c, name, false)
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	o.keys, err = o.account.Unlock(pass)
	return o, err
}

// make makes an account of kind service. Its phrase is shown once, and stored
// nowhere.
func (o *owner) make(c *command.Call, name string) error {
	person := c.Person() != nil
	unattended, given := c.Bool("unattended"), c.Bool("phrase-stdin")
	switch {
	case unattended && given:
		return c.Usagef("--unattended makes a phrase and --phrase-stdin takes one: use one of them")
	case !unattended && !given && !person:
		return c.Usagef("there is no terminal to show the recovery phrase of a new account on: use a terminal, or --unattended or --phrase-stdin, or --account NAME for an account that is there")
	}
	c.Say("making account %s for the service", name)
	pass, err := passphrase(c, name, true)
	if err != nil {
		return err
	}
	defer clear(pass)
	var phrase key.Phrase
	if given {
		b, rerr := io.ReadAll(io.LimitReader(c.Stdin, 1025)) // a byte more than a phrase may have
		defer clear(b)
		if rerr != nil {
			return wire.Errorf(wire.Invalid, "read the phrase from stdin: %w", rerr)
		}
		phrase, err = key.ParsePhrase(string(b))
	} else {
		phrase, err = key.NewPhrase(rand.Reader)
	}
	if err != nil {
		return wire.Errorf(wire.Invalid, "%w", err)
	}
	if unattended {
		o.phrase = &phrase
	} else if !given {
		if err := confirmPhrase(c, phrase); err != nil {
			return err
		}
	}
	opt := keyring.Options{Name: name, Created: time.Now()}
	o.account, err = keyring.New(rand.Reader, phrase, namesvc.Service, opt, keyring.Protect(pass, keyring.DefaultCost()))
	if err != nil {
		return err
	}
	o.keys, err = o.account.Unlock(pass)
	return err
}
