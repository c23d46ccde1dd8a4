package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
)

func statusVerb() command.Verb {
	return command.Verb{
		Name:  "status",
		Short: "say who this concierge is and how it does",
		Long: `Prints the concierge's handle and server key and, if it runs, where it
listens, how many clients are connected, and the newest head of the chain
that it knows.

The exit status is 0 if it runs, and 17 if it does not.`,
		Examples: []string{"confab-concierge status", "confab-concierge status --json --home c1"},
		Run:      status,
	}
}

// report is what init and status print.
type report struct {
	Home      string       `json:"home"`
	Handle    string       `json:"handle"`
	ServerKey string       `json:"server_key"`
	Running   *bool        `json:"running,omitempty"`
	Status    *host.Status `json:"status,omitempty"`
}

func (r report) write(w io.Writer) {
	command.Row(w, "home", r.Home)
	command.Row(w, "handle", r.Handle)
	command.Row(w, "server key", r.ServerKey)
	switch {
	case r.Running == nil:
	case r.Status == nil:
		command.Row(w, "state", "not running")
	default:
		command.Row(w, "state", "running")
		command.Row(w, "account", r.Status.Service)
		command.Row(w, "chain", r.Status.Chain)
		command.Row(w, "listen", r.Status.Listen)
		command.Row(w, "connections", strconv.Itoa(r.Status.Connections))
		command.Row(w, "height", height(*r.Status))
	}
}

func height(s host.Status) string {
	if s.Height == 0 {
		return "the chain has not answered yet"
	}
	return fmt.Sprintf("%d, %v old", s.Height, time.Duration(s.AgeSeconds)*time.Second)
}

func status(c *command.Call) error {
	home := c.Setting("home")
	config, err := host.LoadConfig(home)
	if err != nil {
		return err
	}
	k, err := host.ServerKey(home)
	if err != nil {
		return err
	}
	out := report{Home: home, Handle: "@" + config.Handle, ServerKey: k.String(), Running: new(bool)}
	s, failed := host.AskStatus(c.Ctx(), home)
	if failed == nil {
		*out.Running, out.Status = true, &s
	}
	if err := c.Print(out, out.write); err != nil {
		return err
	}
	return failed
}
