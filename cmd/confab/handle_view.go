package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
)

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
	AlsoKnown  []string        `json:"also_known_as,omitempty"`
	Name       string          `json:"display_name,omitempty"` // of one's own profile, which is kept here
	About      string          `json:"about,omitempty"`
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

// viewVerified is the same for a proof that was verified offline.
func viewVerified(v *bundle.Verified) proofView {
	return proofView{
		Height: v.Trust.Height, Time: v.Time.UTC(), AgeSeconds: int64(v.Age / time.Second),
		Assurance: v.Assurance.String(), Pin: v.Pin.String(),
	}
}

// proven completes the view with how it is known.
func (v *handleView) proven(p lightclient.Proof) {
	v.proofView = viewProof(p)
	v.nameConcierges(p.Serving)
}

// viewHandle describes an entry; the handle is empty for an account without one.
func viewHandle(m namesvc.Meaning) handleView {
	e := m.Entry
	v := handleView{
		Account: e.Account.String(), Kind: e.Kind.String(), Generation: e.Generation, Lease: m.Generation,
		Status: m.Status.String(), Expires: unix(e.Expires), Sequence: e.Seq, DeviceSeq: e.DeviceSeq,
		Profile: hex.EncodeToString(e.Records.Profile), Avatar: hex.EncodeToString(e.Records.Avatar),
		AlsoKnown: e.Records.AlsoKnownAs, Handles: []string{}, Concierges: []conciergeView{},
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

// nameConcierges adds to the view what people know the concierges by: their
// handles. serving returns a concierge's proven entry.
func (v *handleView) nameConcierges(serving func(namesvc.Concierge) (namesvc.Entry, error)) {
	for i, c := range v.concierges {
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

func (v handleView) write(w io.Writer) {
	if v.Handle == "" {
		command.Row(w, "handle", "none; get one with confab handle register HANDLE")
	} else {
		command.Row(w, "handle", v.Handle)
	}
	for _, h := range v.Handles {
		if h != v.Handle {
			command.Row(w, "also", h)
		}
	}
	command.Row(w, "account", v.Account)
	command.Row(w, "kind", v.Kind)
	command.Row(w, "status", fmt.Sprintf("%s until %s", v.Status, v.Expires.Format(time.DateOnly)))
	if p := v.Pending; p != nil {
		command.Row(w, "pending", fmt.Sprintf("%s of %s on %s", p.Kind, p.Handle, p.Effective.Format(time.RFC3339)))
		command.Row(w, "", "the owner can undo it until then: confab handle cancel")
	}
	v.writeRecords(w)
	v.proofView.write(w)
}

func (v handleView) writeRecords(w io.Writer) {
	for _, r := range []struct{ name, value string }{
		{"name", v.Name}, {"about", strings.ReplaceAll(v.About, "\n", " / ")},
	} {
		if r.value != "" {
			command.Row(w, r.name, r.value)
		}
	}
	for _, r := range []struct{ name, hash string }{{"profile", v.Profile}, {"avatar", v.Avatar}} {
		if r.hash != "" {
			command.Row(w, r.name, "sha256 "+r.hash)
		}
	}
	for _, a := range v.AlsoKnown {
		command.Row(w, "aka", a+" (claimed)")
	}
	for _, c := range v.Concierges {
		text := c.Handle
		if text == "" {
			text = "account " + c.Account
		}
		if c.Gone {
			text += " (gone: it is not the service that was chosen; choose another)"
		}
		command.Row(w, "concierge", text)
	}
	if len(v.Concierges) == 0 && v.Service == nil {
		command.Row(w, "concierge", "none")
	}
	if s := v.Service; s != nil {
		command.Row(w, "service", s.Roles)
		for _, u := range s.URLs {
			command.Row(w, "url", u)
		}
		for _, p := range s.Peers {
			command.Row(w, "peer", p)
		}
		command.Row(w, "server key", s.Key)
		if s.Consent {
			command.Row(w, "serves", "only accounts that it has accepted")
		}
	}
}

func (v proofView) write(w io.Writer) {
	command.Row(w, "proven", fmt.Sprintf("at height %d, %v old", v.Height, time.Duration(v.AgeSeconds)*time.Second))
	command.Row(w, "assurance", assurance(v.Assurance))
	switch {
	case len(v.Agree) > 0:
		command.Row(w, "confirmed", "by "+strings.Join(v.Agree, ", "))
	case v.Source != "": // not offline
		command.Row(w, "confirmed", "by no second source")
	}
	for _, n := range v.Notes {
		command.Row(w, "note", n)
	}
	command.Row(w, "pin", v.Pin)
	if v.File != "" {
		command.Row(w, "file", v.File)
	}
}

// assurance says what a level means.
func assurance(level string) string {
	if level == bundle.Committed.String() {
		return level + ": over two thirds of the validators signed"
	}
	return level
}
