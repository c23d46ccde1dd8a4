package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func handleCommand(e *env) *cli.Command {
	return e.noun("handle", "handles: yours to register and change, everyone's to look up",
		handleRegister(), handleShow(), handleSetConcierge(), handleSetProfile(), handleDevices(),
		handleRenew(), handleRelease(), handleCancel(), handleRotate(), handleHistory())
}

// proofFlag is that of commands that read.
func proofFlag() cli.Flag {
	return &cli.StringFlag{Name: "proof", Usage: "write the proof of the answer to `FILE`, for others to verify"}
}

// handleView is an answer about a handle as --json shows it.
type handleView struct {
	Handle     string          `json:"handle"`
	Account    string          `json:"account"`
	Kind       string          `json:"kind"`
	Generation uint32          `json:"generation"`
	Lease      uint32          `json:"lease_generation"`
	Status     string          `json:"status"`
	Expires    time.Time       `json:"expires"`
	Handles    []string        `json:"handles"`
	Concierges []conciergeView `json:"concierges"`
	Profile    string          `json:"profile,omitempty"`
	Avatar     string          `json:"avatar,omitempty"`
	Service    *serviceView    `json:"service,omitempty"`
	Sequence   uint64          `json:"sequence"`
	DeviceSeq  uint64          `json:"device_sequence"`
	Pending    *pendingView    `json:"pending,omitempty"`
	proofView

	concierges []namesvc.Concierge
}

// proofView says how an answer is known.
type proofView struct {
	Height     uint64    `json:"height"`
	Time       time.Time `json:"time"`
	AgeSeconds int64     `json:"age_seconds"`
	Assurance  string    `json:"assurance"`
	Source     string    `json:"source,omitempty"`
	Agree      []string  `json:"agree,omitempty"`
	Notes      []string  `json:"notes,omitempty"`
	Pin        string    `json:"pin"`
	File       string    `json:"file,omitempty"`
}

type conciergeView struct {
	Handle     string `json:"handle,omitempty"`
	Account    string `json:"account"`
	Generation uint32 `json:"generation"`
	Gone       bool   `json:"gone,omitempty"` // the service is not what was chosen any more
}

type serviceView struct {
	Roles   string   `json:"roles"`
	URLs    []string `json:"urls"`
	Peers   []string `json:"peers"`
	Key     string   `json:"key"`
	Consent bool     `json:"consent"`
}

type pendingView struct {
	Kind      string    `json:"kind"`
	Handle    string    `json:"handle"`
	Op        string    `json:"op"`
	Effective time.Time `json:"effective"`
}

func unix(s uint64) time.Time { return time.Unix(int64(s), 0).UTC() }

func viewProof(p lightclient.Proof) proofView {
	return proofView{
		Height: p.Height, Time: p.Time.UTC(), AgeSeconds: int64(p.Age / time.Second), Assurance: p.Assurance.String(),
		Source: p.Source, Agree: p.Agree, Notes: p.Notes, Pin: p.Pin.String(),
	}
}

// proven completes the view with how it is known.
func (v *handleView) proven(p lightclient.Proof) {
	v.proofView = viewProof(p)
	v.nameConcierges(v.concierges, p.Serving)
}

// viewHandle describes an entry; h is empty for an account without a handle.
func viewHandle(m namesvc.Meaning) handleView {
	e := m.Entry
	v := handleView{
		Account: e.Account.String(), Kind: e.Kind.String(), Generation: e.Generation, Lease: m.Generation,
		Status: m.Status.String(), Expires: unix(e.Expires), Sequence: e.Seq, DeviceSeq: e.DeviceSeq,
		Profile: hex.EncodeToString(e.Records.Profile), Avatar: hex.EncodeToString(e.Records.Avatar),
		Handles: []string{}, Concierges: []conciergeView{},
	}
	if m.Handle != "" {
		v.Handle = m.Handle.String()
	}
	for _, l := range e.Handles {
		v.Handles = append(v.Handles, l.Handle.String())
	}
	v.concierges = e.Records.Concierges
	for _, c := range e.Records.Concierges {
		v.Concierges = append(v.Concierges, conciergeView{Account: c.Account.String(), Generation: c.Generation})
	}
	if s := e.Records.Service; s != nil {
		v.Service = &serviceView{Roles: s.Roles.String(), URLs: s.URLs, Peers: s.Peers, Key: s.Key.String(), Consent: s.Consent}
	}
	if p := e.Pending; p != nil {
		v.Pending = &pendingView{Kind: p.Kind.String(), Handle: p.Handle.String(), Op: hex.EncodeToString(p.Op[:]), Effective: unix(p.Effective)}
	}
	return v
}

func (v handleView) write(w io.Writer) {
	row(w, "handle", v.Handle)
	row(w, "account", v.Account)
	row(w, "kind", v.Kind)
	row(w, "status", fmt.Sprintf("%s until %s", v.Status, v.Expires.Format(time.DateOnly)))
	for _, h := range v.Handles {
		if h != v.Handle {
			row(w, "also", h)
		}
	}
	for _, c := range v.Concierges {
		text := c.Handle
		if text == "" {
			text = "account " + c.Account
		}
		if c.Gone {
			text += " (gone: it is not the service that was chosen; choose another)"
		}
		row(w, "concierge", text)
	}
	if len(v.Concierges) == 0 && v.Service == nil {
		row(w, "concierge", "none yet")
	}
	if v.Service != nil {
		row(w, "service", v.Service.Roles)
		for _, u := range v.Service.URLs {
			row(w, "url", u)
		}
		for _, p := range v.Service.Peers {
			row(w, "peer", p)
		}
		row(w, "key", v.Service.Key)
	}
	if v.Profile != "" {
		row(w, "profile", "sha256 "+v.Profile)
	}
	if v.Avatar != "" {
		row(w, "avatar", "sha256 "+v.Avatar)
	}
	if v.Pending != nil {
		row(w, "pending", fmt.Sprintf("%s of %s on %s; undo it with confab handle cancel", v.Pending.Kind, v.Pending.Handle, v.Pending.Effective.Format(time.RFC3339)))
	}
	v.proofView.write(w)
}

func (v proofView) write(w io.Writer) {
	if v.Height == 0 {
		return
	}
	row(w, "proven", fmt.Sprintf("at height %d, %d s old", v.Height, v.AgeSeconds))
	writeProof(w, v.Assurance, v.Agree, v.Notes)
	row(w, "pin", v.Pin)
	if v.File != "" {
		row(w, "file", v.File)
	}
}

// parseHandle reads a handle from the command line.
func parseHandle(text string) (namesvc.Handle, error) {
	h, err := namesvc.ParseHandle(text)
	if err != nil {
		return "", wire.Errorf(wire.Invalid, "%w", err)
	}
	return h, nil
}

func handleShow() verb {
	return verb{
		name:  "show",
		args:  "[HANDLE]",
		short: "look a handle up, verified",
		long: `Says what a handle means, proven from your network's pin. Without HANDLE it shows
your own account. The exit status is 12 if the handle is proven not to exist.`,
		examples: []string{"confab handle show alice", "confab handle show --json --proof alice.bundle @alice"},
		flags: []cli.Flag{
			networkFlag(), accountFlag(), proofFlag(),
			&cli.DurationFlag{Name: "max-age", Value: lightclient.DefaultMaxAge, Usage: "how old the answer may be"},
		},
		run: func(c *call) error {
			_, client, err := c.network("")
			if err != nil {
				return err
			}
			var v handleView
			var p lightclient.Proof
			if text := c.Args().First(); text != "" {
				h, err := parseHandle(text)
				if err != nil {
					return err
				}
				r, err := client.Resolve(c.Context.Context, h, c.Duration("max-age"))
				if err != nil {
					return err
				}
				v, p = viewHandle(r.Meaning), r.Proof
			} else {
				a, err := c.localAccount()
				if err != nil {
					return err
				}
				e, proof, err := client.Account(c.Context.Context, a.ID, c.Duration("max-age"))
				if wire.CodeOf(err) == wire.NotFound {
					return wire.Errorf(wire.NotFound, "account %s is not on the chain yet: confab handle register HANDLE", a.Name)
				}
				if err != nil {
					return err
				}
				v, p = viewHandle(own(e)), proof
			}
			v.proven(p)
			if path := c.String("proof"); path != "" {
				if err := writeNew(path, p.Bundle); err != nil {
					return err
				}
				v.File = path
			}
			return c.print(v, v.write)
		},
	}
}

// own is what an entry means to its owner, who asks by account.
func own(e namesvc.Entry) namesvc.Meaning {
	m := namesvc.Meaning{Entry: e, Handle: e.Primary(), Status: namesvc.Active}
	if l, ok := e.Holds(m.Handle); ok {
		m.Generation = l.Generation
	}
	return m
}

// nameConcierges adds to the view what people know the concierges by: their
// handles. serving returns a concierge's proven entry.
func (v *handleView) nameConcierges(list []namesvc.Concierge, serving func(namesvc.Concierge) (namesvc.Entry, error)) {
	for i, c := range list {
		e, err := serving(c)
		if err != nil {
			continue // the account id is shown instead
		}
		if h := e.Primary(); h != "" {
			v.Concierges[i].Handle = h.String()
		}
		s := e.Records.Service
		v.Concierges[i].Gone = e.Generation != c.Generation || s == nil || s.Roles&namesvc.RoleConcierge == 0
	}
}

// localAccount returns the account to act for.
func (c *call) localAccount() (keyring.Account, error) {
	r, err := c.readAccounts()
	if err != nil {
		return keyring.Account{}, err
	}
	return c.account(r, "")
}

// acting is an account with its keys and its network.
type acting struct {
	account keyring.Account
	keys    keyring.Keys
	network string
	names   agent.Names
}

// act opens the account to act for: it asks for the passphrase.
func (c *call) act() (*acting, error) {
	a, err := c.localAccount()
	if err != nil {
		return nil, err
	}
	n, client, err := c.network("")
	if err != nil {
		return nil, err
	}
	passphrase, err := c.passphrase("passphrase-file", "passphrase of "+a.Name)
	defer clear(passphrase)
	if err != nil {
		return nil, err
	}
	keys, err := a.Unlock(passphrase)
	if err != nil {
		return nil, err
	}
	return &acting{account: a, keys: keys, network: n.Name, names: agent.Names{Client: client, Rand: c.rand, Now: c.now}}, nil
}

// root returns the root key to sign with: the lower one that is kept here if the
// entry lists it, unless --phrase-stdin is given; else that of the phrase, which
// is asked for.
func (c *call) root(a *acting, e namesvc.Entry) (namesvc.Signer, error) {
	if k := a.keys.Root; k != nil && !c.Bool("phrase-stdin") && slices.Contains(e.Roots, k.Public()) {
		return *k, nil
	}
	if !c.Bool("phrase-stdin") && c.person == nil {
		return nil, wire.Errorf(wire.Unauthorized, "this needs a root key, and none that the account lists is kept here: use --phrase-stdin with the recovery phrase")
	}
	p, err := c.phrase()
	if err != nil {
		return nil, err
	}
	root, _, err := keyring.FindRoot(p, e.Roots[0])
	return root, err
}

// reporter shows progress: one line that changes on a terminal, a line for each
// step elsewhere, nothing with --json.
func (c *call) reporter() agent.Report {
	if c.given("json") {
		return nil
	}
	var last agent.Step
	var tries uint64
	var shown time.Time
	began := c.now()
	line := func(text string, final bool) {
		switch {
		case !c.stderrTerminal:
			fmt.Fprintln(c.stderr, text)
		case final:
			fmt.Fprintf(c.stderr, "\r\x1b[K%s\n", text)
		default:
			fmt.Fprintf(c.stderr, "\r\x1b[K%s", text)
		}
	}
	return func(p agent.Progress) {
		fresh := p.Step != last
		last = p.Step
		switch p.Step {
		case agent.Working:
			// Work reports hundreds of times a second; eyes want a few.
			if !fresh && (!c.stderrTerminal || c.now().Sub(shown) < 200*time.Millisecond) {
				return
			}
			shown, tries = c.now(), p.Tries
			line(fmt.Sprintf("work      %d tries, about %d are needed", p.Tries, p.Expected), false)
		case agent.Committing:
			if c.stderrTerminal && tries > 0 {
				line(fmt.Sprintf("work      done, %d tries", tries), true)
			}
			line("commit    sent: the handle is still secret", false)
		case agent.Revealing:
			line("reveal    sent: the registration is public", false)
		case agent.Sending:
			line("op        sent to "+p.Source, false)
		case agent.Waiting:
			if c.stderrTerminal {
				line(fmt.Sprintf("block     %d", p.Height), false)
			}
		case agent.Done:
			line(fmt.Sprintf("proof     at height %d, after %v", p.Height, c.now().Sub(began).Round(100*time.Millisecond)), true)
		}
	}
}

// splitList splits what is joined by commas.
func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > int64(limit) {
		return nil, wire.Errorf(wire.Invalid, "%s has %d bytes, at most %d are allowed", path, info.Size(), limit)
	}
	return readFile(path, limit)
}

// findAccount looks up, verified, the account that holds a handle.
func findAccount(c *call, handle string) (keyring.Identity, error) {
	h, err := parseHandle(handle)
	if err != nil {
		return keyring.Identity{}, err
	}
	_, client, err := c.network("")
	if err != nil {
		return keyring.Identity{}, err
	}
	r, err := client.Resolve(c.Context.Context, h, 0)
	if err != nil {
		return keyring.Identity{}, err
	}
	return keyring.Identity{Account: r.Entry.Account, Kind: r.Entry.Kind, Root: r.Entry.Roots[0]}, nil
}
