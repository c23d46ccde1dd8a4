package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

func deviceNoun(e *env) command.Noun {
	return command.Noun{Name: "device", Short: "the devices that read and write for you", Verbs: []command.Verb{
		deviceLink(e), deviceAccept(e), deviceJoin(e), deviceList(e), deviceRemove(e),
	}}
}

func deviceLink(e *env) command.Verb {
	return command.Verb{
		Name: "link", Short: "make a code for a new device of yours",
		Long: `Prints a code, good for ten minutes and once. On the new device type confab
device join with it; here confab device accept then adds the device, when you
have seen that both show the same key.`,
		Examples: []string{"confab device link"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			self, err := agent.Status(c.Ctx())
			if err != nil {
				return err
			}
			if err := c.canAdd(); err != nil {
				return err
			}
			i, err := agent.Link(c.Ctx())
			if err != nil {
				return err
			}
			who := self.Handle
			if who == "" {
				who = "HANDLE"
			}
			c.Say("on the new device: confab device join %s %s", who, i.Code)
			c.Say("then here: confab device accept --wait 10m KEY, with the key that it shows")
			return c.Print(i, func(w io.Writer) {
				command.Row(w, "code", i.Code)
				command.Row(w, "until", c.when(i.Until))
			})
		}),
	}
}

// canAdd refuses to begin what this machine could not end: adding a device takes a
// root key.
func (c *call) canAdd() error {
	a, err := c.localAccount()
	if err == nil && a.Root == (key.Public{}) {
		err = wire.Errorf(wire.Unauthorized, "this machine keeps no root key and can add no device: make the code on one that does, or use your recovery phrase on the new machine: confab account restore, then confab handle devices --join")
	}
	return err
}

func deviceAccept(e *env) command.Verb {
	return command.Verb{
		Name: "accept", Args: "KEY", Short: "add a new device that asks",
		Long: `Adds the device that asks with the code of confab device link and whose key
begins with KEY: read it off the new device itself. The root key kept here
signs. From the next block on it reads and writes for you, and your other
devices tell it what was said before. It gets no root key: what adds and
removes devices is kept here, and in your recovery phrase.`,
		Examples: []string{"confab device accept 5f3a9c12", "confab device accept --wait 10m 5f3a9c12"},
		Flags:    agentFlags(waitFlag("for it to ask")),
		Run:      e.asking(acceptDevice),
	}
}

// minKeyPrefix is the fewest digits by which a new device is accepted: somebody
// who got hold of the code could make a key that begins with fewer.
const minKeyPrefix = 8

func acceptDevice(c *call, agent *localapi.Client) error {
	prefix := strings.ToLower(c.Args().First())
	if len(prefix) < minKeyPrefix {
		return c.Usagef("%q is too little of the key: give %d digits at least", prefix, minKeyPrefix)
	}
	var device key.Public
	err := c.waitFor(agent, "no such device asked", func() (bool, error) {
		list, err := agent.LinkRequests(c.Ctx())
		if err != nil {
			return true, err
		}
		for _, r := range list {
			if strings.HasPrefix(r.Device.String(), prefix) {
				device = r.Device
				return true, nil
			}
		}
		return false, wire.Errorf(wire.NotFound, "no device whose key begins with %q asks; %s", prefix, asking(list))
	})
	if err != nil {
		return err
	}
	p := c.Progress()
	err = agent.LinkAccept(c.Ctx(), device, func(text string) { p.Step("%s", shownLine(text)) })
	p.Close()
	if err != nil {
		return err
	}
	c.Say("the new device keeps no root key; if this machine is lost, only your recovery phrase removes it and adds others")
	return printDevices(c, agent)
}

// asking says which devices ask.
func asking(list []chat.LinkRequest) string {
	if len(list) == 0 {
		return "none does"
	}
	var names []string
	for _, r := range list {
		names = append(names, fmt.Sprintf("%s with %.*s…", shownLine(r.Name), minKeyPrefix, r.Device))
	}
	return "these do: " + strings.Join(names, ", ")
}

func deviceList(e *env) command.Verb {
	return command.Verb{
		Name: "list", Short: "list your devices",
		Long:     "Lists what the chain says of your account's devices, with the names that you\ngave them.",
		Examples: []string{"confab device list", "confab device list --json"},
		Flags:    agentFlags(),
		Run:      e.asking(printDevices),
	}
}

func printDevices(c *call, agent *localapi.Client) error {
	list, err := agent.Devices(c.Ctx())
	if err != nil {
		return err
	}
	return c.Print(localapi.Devices{Devices: list}, func(w io.Writer) {
		for _, d := range list {
			writeDevice(w, d)
		}
	})
}

func writeDevice(w io.Writer, d chat.Device) {
	line := fmt.Sprintf("%.16s…", d.Key)
	if d.Name != "" {
		line += "  " + shownLine(d.Name)
	}
	line += "  until " + d.Expires.Format(time.DateOnly)
	if d.Scopes != namesvc.AllScopes.String() {
		line += "  may only " + d.Scopes
	}
	fmt.Fprintln(w, line+here(d.This))
}

func deviceRemove(e *env) command.Verb {
	return command.Verb{
		Name: "remove", Args: "KEY", Short: "take a device off your account for good",
		Long: `Removes the device whose key begins with KEY. The root key kept here signs,
or with --phrase-stdin that of the recovery phrase. From the next block on
the device gets no mail, and conversations go on with keys that it does not
have; what it holds already it can read.`,
		Examples: []string{"confab device remove 5f3a", "confab device remove --phrase-stdin 5f3a"},
		Flags:    changeFlags(phraseFlag()),
		Run:      e.asking(removeDevice),
	}
}

func removeDevice(c *call, agent *localapi.Client) error {
	prefix := c.Args().First()
	if c.Bool("phrase-stdin") {
		if err := c.revoke(prefix); err != nil {
			return err
		}
		agent.Wake(c.Ctx()) // an agent that does not run finds out when it does
		return nil
	}
	list, err := agent.Devices(c.Ctx())
	if err != nil {
		return err
	}
	var found []key.Public
	for _, d := range list {
		if strings.HasPrefix(d.Key.String(), strings.ToLower(prefix)) {
			found = append(found, d.Key)
		}
	}
	switch len(found) {
	case 0:
		return wire.Errorf(wire.NotFound, "no device's key begins with %q; see confab device list", prefix)
	case 1:
	default:
		return wire.Errorf(wire.Invalid, "several devices' keys begin with %q; give more of it", prefix)
	}
	p := c.Progress()
	err = agent.RemoveDevice(c.Ctx(), found[0], func(text string) { p.Step("%s", shownLine(text)) })
	p.Close()
	if err != nil {
		return err
	}
	return printDevices(c, agent)
}
