package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// operatorFlags are those of commands that act as a validator's operator. The
// account is one of confab's, and need not be on the validator's machine.
func operatorFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "account", Usage: "the operator's account, its `NAME` in confab's folder (CONFAB_ACCOUNT; the chosen or only one otherwise)"},
		confabFlag(),
		&cli.StringFlag{Name: "passphrase-file", Usage: "read the account's passphrase from `FILE`, one line (CONFAB_PASSPHRASE_FILE)"},
		networkFlag(),
	)
}

func confabFlag() cli.Flag {
	return &cli.StringFlag{Name: "confab", Usage: "confab's `FOLDER`, with accounts and networks (CONFAB_HOME)"}
}

func networkFlag() cli.Flag {
	return &cli.StringFlag{Name: "network", Usage: "ask the network `NAME` of confab's; the validator in --home otherwise"}
}

// confabHome returns the folder of confab's.
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

// operatorAccount returns the account that the line, or CONFAB_ACCOUNT, names, or
// the chosen or only one.
func operatorAccount(c *command.Call, name string) (keyring.Account, error) {
	home, err := confabHome(c)
	if err != nil {
		return keyring.Account{}, err
	}
	r := keyring.Read(filepath.Join(home, "accounts"))
	if name == "" {
		name = c.Getenv("CONFAB_ACCOUNT")
	}
	var a keyring.Account
	if name == "" {
		a, err = r.Default()
	} else {
		a, err = r.Load(name)
	}
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return a, wire.Errorf(wire.NotFound, "%w (in %s); make one with confab account new --kind service", err, home)
	case err != nil:
		return a, err
	case a.Kind != namesvc.Service:
		return a, wire.Errorf(wire.Invalid, "account %q is of kind %v: validators are operated by accounts of kind service; make one with confab account new --kind service", a.Name, a.Kind)
	}
	return a, nil
}

// operator is somebody who acts for a validator.
type operator struct {
	c       *command.Call
	account keyring.Account
	root    namesvc.Signer
	client  *lightclient.Client
	names   agent.Names
}

// openOperator opens the operator's account and the network.
func openOperator(c *command.Call) (*operator, error) {
	a, err := operatorAccount(c, c.String("account"))
	if err != nil {
		return nil, err
	}
	if a.Root.IsZero() {
		return nil, wire.Errorf(wire.Unauthorized, "account %q keeps no root key on this machine, and a device key cannot act for a validator: restore it with a root key", a.Name)
	}
	client, err := client(c)
	if err != nil {
		return nil, err
	}
	pass, err := passphrase(c, a.Name)
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	keys, err := a.Unlock(pass)
	if err != nil {
		return nil, err
	}
	return &operator{c: c, account: a, root: *keys.Root, client: client, names: agent.Names{Client: client, Rand: rand.Reader}}, nil
}

// client returns a light client of the network that is named, or of the
// validator's own: that one is believed, as it is the operator's.
func client(c *command.Call) (*lightclient.Client, error) {
	if name := c.String("network"); name != "" {
		home, err := confabHome(c)
		if err != nil {
			return nil, err
		}
		dir := networks.Dir{Path: filepath.Join(home, "networks")}
		n, err := dir.Load(name)
		if err != nil {
			return nil, err
		}
		return dir.Client(n)
	}
	address, err := own(c)
	if err != nil {
		return nil, err
	}
	var pin verify.Pin
	if err := fetch(c.Ctx(), address+"/v1/pin", &pin, verify.MaxPinSize); err != nil {
		return nil, wire.Errorf(wire.Unavailable, "the validator does not answer at %s (%w); start it with: %s, or name another network with --network", address, err, typed(c, "run"))
	}
	return networks.Probe(networks.Network{Name: "own", Pin: pin, Sources: []string{address}})
}

// own returns the address of the validator in --home.
func own(c *command.Call) (string, error) {
	config, err := node.LoadConfig(c.Setting("home"))
	if err != nil {
		return "", fmt.Errorf("%w; without a validator here, name a network of confab's with --network", err)
	}
	return "http://" + config.Query.Listen, nil
}

// fetch gets a value from a validator's API.
func fetch(ctx context.Context, address string, into any, limit int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/cbor")
	res, err := http.DefaultClient.Do(req)
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // what was asked is known
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, int64(limit)+1))
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return errors.New(res.Status)
	}
	return wire.Decode(b, into, limit)
}

// passphrase returns that of the account: from a file, or from the terminal. The
// caller wipes it.
func passphrase(c *command.Call, name string) ([]byte, error) {
	path := c.String("passphrase-file")
	if path == "" {
		path = c.Getenv("CONFAB_PASSPHRASE_FILE")
	}
	if path == "" {
		return askPassphrase(c, name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, wire.Errorf(wire.NotFound, "read the passphrase: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, keyring.MaxPassphrase+3))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "read the passphrase: %w", err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(line) == 0 || len(line) > keyring.MaxPassphrase || bytes.ContainsAny(line, "\r\n") {
		clear(b)
		return nil, wire.Errorf(wire.Invalid, "%s should hold the passphrase on one line and nothing else", path)
	}
	return line, nil
}

// askPassphrase asks whoever is at the terminal. What is typed is not shown.
func askPassphrase(c *command.Call, name string) ([]byte, error) {
	in, ok := c.Stdin.(*os.File)
	if !ok || !c.StderrTerminal || !term.IsTerminal(int(in.Fd())) {
		return nil, c.Usagef("there is no terminal to ask for the passphrase on: use --passphrase-file FILE")
	}
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask for the passphrase: %w", err)
	}
	fmt.Fprintf(c.Stderr, "passphrase of %s: ", name)
	type answer struct {
		text []byte
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- answer{text, err}
	}()
	select {
	case a := <-typed:
		fmt.Fprintln(c.Stderr)
		return a.text, a.err
	case <-c.Ctx().Done():
		term.Restore(fd, before)
		fmt.Fprintln(c.Stderr)
		return nil, command.ErrStopped
	}
}

// change signs one op of the operator's account and waits for its proof.
func (o *operator) change(kind namesvc.OpKind, body func(chain string) (any, error)) (lightclient.Proof, error) {
	p := o.c.Progress()
	defer p.Close()
	proof, err := o.names.Change(o.c.Ctx(), o.account.ID, o.root, kind,
		func(_ namesvc.Entry, _ namesvc.Devices, chain string) (any, error) { return body(chain) },
		func(s agent.Progress) {
			switch s.Step {
			case agent.Sending:
				p.Step("sending to %s", s.Source)
			case agent.Waiting:
				p.Step("waiting for a block after %d", s.Height)
			}
		})
	var refused *lightclient.RejectError
	switch {
	case wire.CodeOf(err) == wire.NotFound && !errors.As(err, &refused):
		return proof, wire.Errorf(wire.NotFound, "account %q is not on the chain yet: %s", o.account.Name, typed(o.c, "vote enrol"))
	case errors.As(err, &refused) && refused.Code == namesvc.BadOffer && strings.Contains(refused.Text, "nothing changes"):
		return proof, errNothingChanges
	}
	return proof, err
}

// errNothingChanges is the law's refusal of an offer that stands already.
var errNothingChanges = errors.New("nothing changes")

// subject returns the account that the line's argument names: see accountNamed.
func (o *operator) subject(text string) (namesvc.AccountID, error) {
	return accountNamed(o.c, text, func() (*lightclient.Client, error) { return o.client, nil })
}

// accountNamed returns the account of an id, or of a handle, for which it needs a
// light client.
func accountNamed(c *command.Call, text string, client func() (*lightclient.Client, error)) (namesvc.AccountID, error) {
	if id, err := namesvc.ParseAccountID(text); err == nil {
		return id, nil
	}
	if !strings.HasPrefix(text, "@") {
		return namesvc.AccountID{}, wire.Errorf(wire.Invalid, "%.80q is neither an account id of 64 digits nor a handle that begins with @", text)
	}
	h, err := namesvc.ParseHandle(text)
	if err != nil {
		return namesvc.AccountID{}, wire.Errorf(wire.Invalid, "%w", err)
	}
	from, err := client()
	if err != nil {
		return namesvc.AccountID{}, err
	}
	r, err := from.Resolve(c.Ctx(), h, 0)
	if err != nil {
		return namesvc.AccountID{}, err
	}
	return r.Entry.Account, nil
}

// votes asks a validator who decides and who votes for what, and returns its
// address too.
func votes(c *command.Call) (v query.Votes, address string, err error) {
	if address, err = voteSource(c); err != nil {
		return v, "", err
	}
	if err := fetch(c.Ctx(), address+"/v1/votes", &v, query.MaxVotes); err != nil {
		return v, address, wire.Errorf(wire.Unavailable, "%s does not say how the votes stand: %w", address, err)
	}
	return v, address, nil
}

func voteSource(c *command.Call) (string, error) {
	name := c.String("network")
	if name == "" {
		return own(c)
	}
	home, err := confabHome(c)
	if err != nil {
		return "", err
	}
	n, err := networks.Dir{Path: filepath.Join(home, "networks")}.Load(name)
	if err != nil {
		return "", err
	}
	return n.Sources[0], nil
}
