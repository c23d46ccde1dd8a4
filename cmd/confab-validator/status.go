package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

// fresh is how old the newest block of a healthy chain may be: light clients
// refuse older answers by default.
const fresh = time.Minute

func statusVerb() command.Verb {
	return command.Verb{
		Name:  "status",
		Short: "say who this validator is and how it does",
		Long: `Prints the validator's keys and addresses and, if it runs, where its chain
stands, whether it takes part, a pin to hand to those who trust you, and from
which height on it keeps history.

The exit status is 0 if it runs and its newest block is less than a minute
old, 17 if it does not answer or has no block yet, and 15 if its newest block
is older.`,
		Examples: []string{"confab-validator status", "confab-validator status --json --home v0"},
		Run:      status,
	}
}

// report is what init and status print.
type report struct {
	Home    string `json:"home"`
	Chain   string `json:"chain,omitempty"`
	Key     string `json:"key"`
	Address string `json:"address"`
	PeerID  string `json:"peer_id"`

	Operator string `json:"operator,omitempty"` // of init, for a founder

	Running    *bool  `json:"running,omitempty"` // of status
	Height     uint64 `json:"height,omitempty"`
	AgeSeconds int64  `json:"age_seconds,omitempty"`
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	Validators int    `json:"validators,omitempty"`
	Query      string `json:"query,omitempty"`
	Pin        string `json:"pin,omitempty"` // of the newest block, to be handed on

	More *node.Report `json:"report,omitempty"` // of one that runs on this machine
}

func describe(id node.Identity, home string) report {
	return report{Home: home, Key: hex.EncodeToString(id.Key[:]), Address: "0x" + hex.EncodeToString(id.Address[:]), PeerID: id.PeerID}
}

func (r report) write(w io.Writer) {
	command.Row(w, "home", r.Home)
	if r.Chain != "" {
		command.Row(w, "chain", r.Chain)
	}
	command.Row(w, "key", r.Key)
	command.Row(w, "address", r.Address)
	command.Row(w, "peer id", r.PeerID)
	if r.Operator != "" {
		command.Row(w, "operator", r.Operator)
	}
	switch {
	case r.Running == nil:
	case !*r.Running:
		command.Row(w, "state", "not running")
	default:
		command.Row(w, "state", "running")
		command.Row(w, "query", r.Query)
		if r.Height == 0 {
			command.Row(w, "height", "no block yet")
			return
		}
		command.Row(w, "height", fmt.Sprintf("%d, %v old", r.Height, time.Duration(r.AgeSeconds)*time.Second))
		command.Row(w, "pin", r.Pin)
		if r.More == nil {
			command.Row(w, "checkpoint", strconv.FormatUint(r.Checkpoint, 10))
			command.Row(w, "validators", strconv.Itoa(r.Validators))
			return
		}
		writeMore(w, *r.More)
	}
}

// writeMore writes what only the validator itself knows.
func writeMore(w io.Writer, m node.Report) {
	part := "a full node: it follows and does not vote"
	switch {
	case m.CatchingUp:
		part = "catching up: it does not vote yet"
	case m.Power > 0 && m.Signed:
		part = fmt.Sprintf("power %d of %d; it signed the newest block", m.Power, m.TotalPower)
	case m.Power > 0:
		part = fmt.Sprintf("power %d of %d; it did not sign the newest block", m.Power, m.TotalPower)
	}
	command.Row(w, "takes part", part)
	command.Row(w, "checkpoint", fmt.Sprintf("%d, sealed up to %d", m.Checkpoint, m.Sealed))
	command.Row(w, "validators", strconv.Itoa(m.Validators))
	command.Row(w, "peers", strconv.Itoa(m.Peers))
	command.Row(w, "waiting", fmt.Sprintf("%d ops", m.Waiting))
	history := "all"
	if m.HistoryFrom > 1 {
		history = fmt.Sprintf("from height %d: it joined by a snapshot, older ops are kept by others", m.HistoryFrom)
	}
	command.Row(w, "history", history)
	snapshots := "none yet"
	if len(m.Snapshots) > 0 {
		snapshots = strings.Trim(fmt.Sprint(m.Snapshots), "[]")
	}
	command.Row(w, "snapshots", snapshots)
	command.Row(w, "disk", fmt.Sprintf("%.1f MB", float64(m.DiskBytes)/1e6))
}

// answer is what the validator's API says of itself.
type answer struct {
	Chain      string
	Height     uint64
	Time       int64
	Hash       string
	Checkpoint uint64
	Validators int
}

func status(c *command.Call) error {
	home := c.Setting("home")
	config, err := node.LoadConfig(home)
	if err != nil {
		return err
	}
	id, err := node.LoadIdentity(home)
	if err != nil {
		return err
	}
	out := describe(id, home)
	out.Query = "http://" + config.Query.Listen
	a, problem := ask(c.Ctx(), out.Query+"/v1/status")
	running := problem == nil
	out.Running = &running
	if running {
		out.Chain, out.Height, out.Checkpoint, out.Validators = a.Chain, a.Height, a.Checkpoint, a.Validators
		if a.Height > 0 {
			out.AgeSeconds = max(0, time.Now().Unix()-a.Time)
			out.Pin = fmt.Sprintf("%s:%d:%s", a.Chain, a.Height, a.Hash)
		}
		if more, err := node.AskReport(c.Ctx(), home); err == nil {
			out.More = &more
		}
	}
	if err := c.Print(out, out.write); err != nil {
		return err
	}
	switch {
	case problem != nil:
		return wire.Errorf(wire.Unavailable, "the validator does not answer at %s (%w); start it with: %s", out.Query, problem, typed(c, "run"))
	case out.Height == 0:
		return wire.Errorf(wire.Unavailable, "the validator runs and has no block yet: its chain begins when those who hold two thirds of its power run and have found one another")
	case out.AgeSeconds > int64(fresh/time.Second):
		return wire.Errorf(wire.Stale, "the newest block is %v old: the validator is catching up, or too few of the others run, or a clock is wrong; its log says more",
			time.Duration(out.AgeSeconds)*time.Second)
	}
	return nil
}

// maxAnswer bounds the status that is read.
const maxAnswer = 64 << 10

// ask asks the validator's own API.
func ask(ctx context.Context, address string) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // what was asked is known
	}
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return a, err
	}
	if res.StatusCode != http.StatusOK {
		return a, errors.New(res.Status)
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, errors.New("something else than a validator answers")
	}
	return a, nil
}
