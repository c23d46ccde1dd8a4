package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func handleNoun(e *env) command.Noun {
	return command.Noun{Name: "handle", Short: "handles: yours to register and change, everyone's to look up", Verbs: []command.Verb{
		handleRegister(e), handleShow(e), handleSetConcierge(e), handleSetProfile(e), handleSetService(e), handleDevices(e),
		handleRenew(e), handleRelease(e), handleCancel(e), handleRotate(e), handleHistory(e),
	}}
}

// readFlags are those of commands that read.
func readFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "proof", Usage: "write the proof of the answer to `FILE`, for others to verify"},
		&cli.DurationFlag{Name: "max-age", Value: lightclient.DefaultMaxAge, DefaultText: "1m", Usage: "the answer may be this `AGE`, such as 90s or 2h, but no older"},
		networkFlag(), accountFlag())
}

// maxAge returns the age that the answer may have.
func (c *call) maxAge() (time.Duration, error) {
	d := c.Duration("max-age")
	if d <= 0 {
		return 0, c.Usagef("--max-age must be above 0, such as 90s or 2h")
	}
	return d, nil
}

// parseHandle reads a handle from the command line.
func parseHandle(text string) (namesvc.Handle, error) {
	h, err := namesvc.ParseHandle(text)
	if err != nil {
		return "", wire.Errorf(wire.Invalid, "%w", err)
	}
	return h, nil
}

// reading is a question about a handle or, without one, about one's own account.
type reading struct {
	client *lightclient.Client
	maxAge time.Duration
	handle namesvc.Handle   // empty for one's own account
	own    *keyring.Account // nil for a handle
	proof  string           // file for the proof, or empty
}

// reading prepares the question of the command line.
func (c *call) reading() (*reading, error) {
	r := &reading{proof: c.String("proof")}
	var err error
	if text := c.Args().First(); text != "" {
		r.handle, err = parseHandle(text)
	} else {
		var a keyring.Account
		a, err = c.localAccount()
		r.own = &a
	}
	if err != nil {
		return nil, err
	}
	if r.maxAge, err = c.maxAge(); err != nil {
		return nil, err
	}
	if r.proof != "" {
		if err := free(r.proof); err != nil {
			return nil, err
		}
		// Others have the pin and not what this machine has verified since.
		r.client, err = c.newcomer()
		return r, err
	}
	_, r.client, err = c.network("")
	return r, err
}

// keep writes the proof to the file that was asked for. An answer that is not
// what was hoped for, such as that a handle does not exist, is proven too.
func (r *reading) keep(c *call, p lightclient.Proof, err error) error {
	var answer *lightclient.AnswerError
	if errors.As(err, &answer) {
		p = answer.Proof
	} else if err != nil {
		return err
	}
	if r.proof == "" {
		return err
	}
	if werr := writeNew(r.proof, p.Bundle); werr != nil {
		return werr
	}
	if err != nil {
		c.Say("that is proven; the proof is in %s", r.proof)
	}
	return err
}

// notYet rewords that one's own account is not on the chain.
func notYet(err error, a keyring.Account) error {
	if wire.CodeOf(err) == wire.NotFound {
		return wire.Errorf(wire.NotFound, "account %s is not on the chain yet; get it a handle with confab handle register HANDLE", a.Name)
	}
	return err
}

func handleShow(e *env) command.Verb {
	return command.Verb{
		Name:  "show",
		Args:  "[HANDLE]",
		Short: "look a handle up, verified",
		Long: `Says what a handle means, proven from your network's pin. Without HANDLE it
shows your own account. The exit status is 12 if the handle is proven not to
exist.`,
		Examples: []string{"confab handle show alice", "confab handle show --json --proof alice.bundle @alice"},
		Flags:    readFlags(),
		Run:      e.with(showHandle),
	}
}

func showHandle(c *call) error {
	r, err := c.reading()
	if err != nil {
		return err
	}
	var m namesvc.Meaning
	var p lightclient.Proof
	if r.own == nil {
		var found *lightclient.Resolution
		if found, err = r.client.Resolve(c.Ctx(), r.handle, r.maxAge); err == nil {
			m, p = found.Meaning, found.Proof
		}
	} else {
		var e namesvc.Entry
		if e, p, err = r.client.Account(c.Ctx(), r.own.ID, r.maxAge); err == nil {
			m = own(e, p.Time)
		}
	}
	if err = r.keep(c, p, err); err != nil {
		if r.own != nil {
			err = notYet(err, *r.own)
		}
		return err
	}
	v := viewHandle(m)
	v.proven(p)
	v.File = r.proof
	if r.own != nil {
		if err := c.addProfile(&v, m.Entry); err != nil {
			return err
		}
	}
	return c.Print(v, v.write)
}

// own is what an entry means at a time to its owner, who asks by account.
func own(e namesvc.Entry, at time.Time) namesvc.Meaning {
	m := namesvc.Meaning{Entry: e, Handle: e.Primary(), Status: namesvc.Active}
	if !at.Before(unix(e.Expires)) {
		m.Status = namesvc.Dormant
	}
	if l, ok := e.Holds(m.Handle); ok {
		m.Generation = l.Generation
	}
	return m
}

func handleHistory(e *env) command.Verb {
	return command.Verb{
		Name:  "history",
		Args:  "[HANDLE]",
		Short: "list what an account signed, complete and verified",
		Long: `Lists an account's ops. The list is complete and true: it is hashed and
compared with what the account's proven entry says. Without HANDLE it is your
own.`,
		Examples: []string{"confab handle history alice", "confab handle history --json"},
		Flags:    []cli.Flag{networkFlag(), accountFlag()},
		Run:      e.with(showHistory),
	}
}

func showHistory(c *call) error {
	_, client, err := c.network("")
	if err != nil {
		return err
	}
	id, err := c.someone(client)
	if err != nil {
		return err
	}
	e, _, err := client.Account(c.Ctx(), id, 0)
	if err != nil {
		return err
	}
	events, err := client.History(c.Ctx(), e)
	if err != nil {
		return err
	}
	return c.printHistory(e, events)
}

// someone returns the account of the handle on the line, or one's own.
func (c *call) someone(client *lightclient.Client) (namesvc.AccountID, error) {
	text := c.Args().First()
	if text == "" {
		a, err := c.localAccount()
		return a.ID, err
	}
	h, err := parseHandle(text)
	if err != nil {
		return namesvc.AccountID{}, err
	}
	r, err := client.Resolve(c.Ctx(), h, 0)
	if err != nil {
		return namesvc.AccountID{}, err
	}
	return r.Entry.Account, nil
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
	return c.Print(struct {
		Account string      `json:"account"`
		Ops     []eventView `json:"ops"`
	}{e.Account.String(), views}, func(w io.Writer) {
		command.Row(w, "account", e.Account.String())
		for _, v := range views {
			fmt.Fprintf(w, "%-10d %s  height %-8d %-9s by %.16s…\n", v.Seq, v.Time.Format(time.RFC3339), v.Height, v.Kind, v.Signer)
		}
	})
}

// findAccount looks up, verified, the account that holds a handle.
func (c *call) findAccount(handle string) (keyring.Identity, error) {
	h, err := parseHandle(handle)
	if err != nil {
		return keyring.Identity{}, err
	}
	_, client, err := c.network("")
	if err != nil {
		return keyring.Identity{}, err
	}
	r, err := client.Resolve(c.Ctx(), h, 0)
	if err != nil {
		return keyring.Identity{}, err
	}
	return keyring.Identity{Account: r.Entry.Account, Kind: r.Entry.Kind, Root: r.Entry.Roots[0]}, nil
}
