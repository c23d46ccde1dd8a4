package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command/story"
	"github.com/confab-chat/confab/namesvc"
)

// office is a concierge of the network: a real one, which can be switched off.
type office struct {
	home   string
	config host.Config

	mu   sync.Mutex
	host *host.Host // nil while it is off
}

// concierge registers a concierge and starts it.
func (n *network) concierge(t *testing.T, h namesvc.Handle) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := host.DefaultConfig()
	c.Handle, c.Listen = string(h), l.Addr().String()
	c.Chain = host.Chain{Pin: n.pin.String(), Sources: n.URLs()}
	c.Limits.WorkBits = 4
	l.Close()
	o := &office{home: filepath.Join(t.TempDir(), string(h)), config: c}
	k, err := host.Init(o.home, c)
	if err != nil {
		t.Fatal(err)
	}
	n.world(t, "service").run(fmt.Sprintf("handle register --role concierge --url http://%s --server-key %v %s", c.Listen, k, string(h))).ok()
	if err := o.on(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.concierges[h.String()] = o
	t.Cleanup(func() {
		if err := o.off(); err != nil {
			t.Error(err)
		}
	})
}

func (o *office) on(ctx context.Context) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.host == nil {
		o.host, err = host.Open(ctx, o.home, o.config, slog.New(slog.DiscardHandler))
	}
	return err
}

func (o *office) off() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.host == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := o.host.Close(ctx)
	o.host = nil
	return err
}

// machine switches a concierge off and on: machine @pier off.
func (n *network) machine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: machine @concierge on|off")
	}
	o := n.concierges[args[0]]
	if o == nil {
		ts.Fatalf("%s is no concierge of this network", args[0])
	}
	if args[1] == "off" {
		ts.Check(o.off())
		return
	}
	ts.Check(o.on(context.Background()))
}

// person is what a story has told elsewhere: somebody with a folder of that name,
// an account, a handle and a running agent. person nora @harbor.
func (n *network) person(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: person name @concierge")
	}
	ts.Setenv("CONFAB_HOME", ts.MkAbs(args[0]))
	for _, line := range []string{
		"net add --source " + ts.Getenv("SOURCE") + " --pin dev.pin dev",
		"account new --unattended",
		"handle register --concierge " + args[1] + " " + args[0],
		"agent run --background",
	} {
		ts.Check(ts.Exec("confab", strings.Fields(line)...))
		if m := regexp.MustCompile("phrase +(.*)").FindStringSubmatch(ts.ReadFile("stdout")); m != nil {
			ts.Check(os.WriteFile(ts.MkAbs(args[0]+".phrase"), []byte(m[1]+"\n"), 0o600))
		}
	}
}

// device gives somebody a second device with a folder of its own, as
// link-a-device.txtar tells, and sets $DEVICE to the begin of its key: device
// wanda phone.
func (n *network) device(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: device person name")
	}
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(ts.ReadFile("stdout"))
		if m == nil {
			ts.Fatalf("nothing matches %s", pattern)
		}
		return m[1]
	}
	confab := func(home, line string) {
		ts.Setenv("CONFAB_HOME", ts.MkAbs(home))
		ts.Check(ts.Exec("confab", strings.Fields(line)...))
	}
	confab(args[0], "device link")
	code := find("code +(.*)")
	confab(args[1], "net add --source "+ts.Getenv("SOURCE")+" --pin dev.pin dev")
	confab(args[1], "device join --wait 0s --device-name "+args[1]+" @"+args[0]+" "+code)
	key := find("device +([0-9a-f]{16})")
	ts.Setenv("DEVICE", key)
	confab(args[0], "device accept --wait 1m "+key)
	confab(args[1], "agent run --background")
}

// friends has two people of a story become contacts: friends nora otto. They are
// named by their folders.
func (n *network) friends(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: friends one other")
	}
	handles := [2]string{}
	for i, dir := range args {
		ts.Setenv("CONFAB_HOME", ts.MkAbs(dir))
		ts.Check(ts.Exec("confab", "agent", "status", "--json"))
		var self chat.Self
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &self))
		handles[i] = self.Handle
	}
	ts.Setenv("CONFAB_HOME", ts.MkAbs(args[0]))
	ts.Check(ts.Exec("confab", "contact", "add", handles[1]))
	ts.Setenv("CONFAB_HOME", ts.MkAbs(args[1]))
	ts.Check(ts.Exec("confab", "contact", "accept", "--wait", "1m", handles[0]))
	// Once something was read on both sides, both have the session.
	ts.Check(ts.Exec("confab", "chat", "send", handles[0], "Hello."))
	ts.Setenv("CONFAB_HOME", ts.MkAbs(args[0]))
	ts.Check(ts.Exec("confab", "chat", "read", "--wait", "1m", handles[1]))
}

// await runs a program until it writes a line: await 'text' program arguments. In
// the text, … stands for anything.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await text program arguments")
	}
	pattern := story.Pattern(args[0])
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		// A program that fails may succeed the next time.
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			ts.Logf("%v", err)
		}
		for line := range strings.Lines(ts.ReadFile("stdout")) {
			if pattern.MatchString(strings.Join(strings.Fields(line), " ")) {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no such line was seen")
		}
	}
}

// stopAgents ends the agents that a story has left running.
func stopAgents(t *testing.T, dir string) {
	homes, err := filepath.Glob(filepath.Join(dir, "*", "agents", "*"))
	if err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, home := range homes {
		c := localapi.NewClient(home)
		if c.Stop(ctx) != nil {
			continue // it had ended
		}
		for ctx.Err() == nil {
			if _, err := c.Status(ctx); err != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
