package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/command/story"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// TestMain gives stories the program: in them, confab is this test binary.
func TestMain(m *testing.M) {
	// Stories spend their time waiting for blocks, not computing: more of them
	// than there are cores can run at once.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"confab": func() {
		e := systemEnv()
		// Stories have no secrets to protect, and many passphrases.
		e.cost = keyring.Cost{Passes: 1, MemoryKiB: 64, Threads: 1}
		if wrong := os.Getenv("STORY_CLOCK"); wrong != "" {
			d, err := time.ParseDuration(wrong)
			if err != nil {
				panic(err)
			}
			e.now = func() time.Time { return time.Now().Add(d) }
		}
		command.Main(newProgram(e))
	}})
}

// network is a network of four validators with two services on it, shared by
// all that is tested on one.
type network struct {
	*testnet.Network
	pin        verify.Pin
	concierges map[string]*office
}

func startNetwork(t *testing.T) *network {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := testnet.Start(ctx, testnet.Spec{Dir: t.TempDir(), Pause: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	pin, err := n.Pin()
	if err != nil {
		t.Fatal(err)
	}
	return &network{n, pin, map[string]*office{}}
}

// world is a machine that knows the network and has an account.
func (n *network) world(t *testing.T, kind string) *world {
	w := newWorld(t)
	w.clock, w.dice = time.Now, nil
	w.write("pass", "correct horse\n")
	w.vars["CONFAB_PASSPHRASE_FILE"] = w.path("pass")
	w.run("net add --source " + n.URLs()[0] + " --pin " + n.pin.String() + " dev").ok()
	w.run("account new --unattended --kind " + kind).ok()
	return w
}

// stories are those of docs/stories that are about people.
var stories = []string{
	"register-a-handle", "first-contact", "meet-in-person", "conversation-over-an-outage", "switch-concierge", "link-a-device", "lose-a-device", "restore-from-phrase",
	"sponsor-a-friend",
}

// TestOnANetwork is all that needs one.
func TestOnANetwork(t *testing.T) {
	began := time.Now()
	n := startNetwork(t)
	t.Logf("the network was ready after %v", time.Since(began).Round(time.Millisecond))
	for _, h := range []namesvc.Handle{"harbor", "lantern", "pier"} {
		n.concierge(t, h)
	}
	n.sponsor(t, "beacon", false)
	n.sponsor(t, "quayside", true)
	t.Run("stories", func(t *testing.T) {
		var files []string
		for _, name := range stories {
			files = append(files, "../../docs/stories/"+name+".txtar")
		}
		n.stories(t, files...)
	})
	t.Run("scripts", func(t *testing.T) {
		scripts, err := filepath.Glob("testdata/*.txtar")
		if err != nil || len(scripts) == 0 {
			t.Fatalf("no scripts: %v", err)
		}
		n.stories(t, scripts...)
	})
	t.Run("two at once", n.twoAtOnce)
	t.Run("an expired device", n.expiredDevice)
}

// expiredDevice is a machine that was not used for a year: it cannot speak for
// itself any more, and its root key brings it back.
func (n *network) expiredDevice(t *testing.T) {
	w := n.world(t, "person")
	w.run("handle register --concierge @harbor expired_1").ok()
	keys, err := w.load("me").Unlock([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := lightclient.New(lightclient.Config{Pin: n.pin, Sources: n.Sources()})
	if err != nil {
		t.Fatal(err)
	}
	names := agent.Names{Client: client, Rand: rand.Reader}
	var until time.Time
	_, err = names.Change(t.Context(), w.load("me").ID, *keys.Root, namesvc.OpDevices, func(_ namesvc.Entry, d namesvc.Devices, _ string) (any, error) {
		list := agent.Grants(d)
		until = time.Now().Add(3 * time.Second)
		list[0].Expires = uint64(until.Unix())
		return namesvc.DeviceList{Devices: list}, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for chain := (time.Time{}); chain.Before(until); {
		p, err := client.Chain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		chain = p.Proof.Time
	}
	w.run("handle renew").fails(11, "the device key has expired")
	w.run("handle devices --extend").ok()
	w.run("handle renew").ok()
}

// twoAtOnce runs two programs for one person, and two persons for one handle.
func (n *network) twoAtOnce(t *testing.T) {
	both := func(a, b *world, first, second string) (said, said) {
		ends := make(chan said)
		go func() { ends <- a.run(first) }()
		s := b.run(second)
		return <-ends, s
	}
	w := n.world(t, "person")
	t.Run("the same registration", func(t *testing.T) {
		for i, s := range pair(both(w, w, "handle register both_1", "handle register both_1")) {
			if s.status != 0 || !s.shows("handle", "@both_1") {
				t.Errorf("program %d: status %d\n%s%s", i, s.status, s.stdout, s.stderr)
			}
		}
	})
	t.Run("two changes", func(t *testing.T) {
		for i, s := range pair(both(w, w, "handle set-concierge @harbor", "handle set-profile --display-name B")) {
			if s.status != 0 {
				t.Errorf("program %d: status %d\n%s%s", i, s.status, s.stdout, s.stderr)
			}
		}
		if s := w.run("handle show").ok(); !s.shows("concierge", "@harbor") || !s.shows("name", "B") {
			t.Errorf("one change undid the other:\n%s", s.stdout)
		}
	})
	t.Run("two persons", func(t *testing.T) {
		a, b := n.world(t, "person"), n.world(t, "person")
		one, two := both(a, b, "handle register both_2", "handle register both_2")
		if two.status == 0 {
			one, two = two, one
		}
		if one.status != 0 || two.status != 13 || !strings.Contains(two.stderr, "@both_2 is taken") || two.stdout != "" {
			t.Errorf("%d and %d\n%s%s\n%s%s", one.status, two.status, one.stdout, one.stderr, two.stdout, two.stderr)
		}
		for _, w := range []*world{a, b} {
			if left, _ := filepath.Glob(w.path("home/accounts/*.journal")); len(left) > 0 {
				t.Errorf("a journal is left: %q", left)
			}
		}
	})
}

func pair(a, b said) []said { return []said{a, b} }

// stories runs scripts, each in a home of its own.
func (n *network) stories(t *testing.T, files ...string) {
	story.Run(t, testscript.Params{
		Files: files,
		Setup: func(e *testscript.Env) error { return n.setup(t, e) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"flip": flip, "cut": cut, "gate": gateCommand, "take": take,
			"person": n.person, "friends": n.friends, "device": n.device, "machine": n.machine, "await": await,
			"invite": n.invite,
		},
	})
}

// setup gives a story its home and the addresses of what there is. $GATE is a
// source that can be made to lose registrations, $NOBODY one that is down, $FILES
// serves the story's files over HTTP, and $PINHASH is the hash of its dev.pin.
func (n *network) setup(t *testing.T, e *testscript.Env) error {
	text := n.pin.String() + "\n"
	if err := os.WriteFile(filepath.Join(e.WorkDir, "dev.pin"), []byte(text), 0o600); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(text))
	target, err := url.Parse(n.URLs()[0])
	if err != nil {
		return err
	}
	g := &gate{next: httputil.NewSingleHostReverseProxy(target), ends: make(chan struct{})}
	gated, files, nobody := httptest.NewServer(g), httptest.NewServer(http.FileServer(http.Dir(e.WorkDir))), httptest.NewServer(nil)
	nobody.Close()
	e.Defer(func() {
		stopAgents(t, e.WorkDir)
		close(g.ends)
		gated.Close()
		files.Close()
	})
	e.Values[gateKey{}] = g
	wrong := n.pin
	wrong.Hash[0] ^= 1
	for name, value := range map[string]string{
		"WRONGPIN": wrong.String(),
		"SOURCE":   n.URLs()[0], "SOURCE2": n.URLs()[1], "GATE": gated.URL, "NOBODY": nobody.URL, "FILES": files.URL,
		"PIN": n.pin.String(), "PINHASH": hex.EncodeToString(sum[:]), "CONFAB_HOME": filepath.Join(e.WorkDir, "home"),
	} {
		e.Setenv(name, value)
	}
	return nil
}

// flip copies a file with one bit in its middle changed.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip file copy")
	}
	b := []byte(ts.ReadFile(args[0]))
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

// cut copies the first half of a file.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut file copy")
	}
	b := []byte(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b[:len(b)/2], 0o600))
}

// take sets a variable to what the last program wrote where the pattern has its
// parentheses.
func take(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: take VARIABLE pattern")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("nothing matches")
	}
	ts.Setenv(args[0], m[1])
}

// gate passes everything on, and can be told to hold registrations back.
type gate struct {
	next http.Handler
	ends chan struct{}

	mu   sync.Mutex
	held chan struct{} // closed when a registration is held; nil while all pass
}

type gateKey struct{}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		b, err := io.ReadAll(io.LimitReader(r.Body, namesvc.MaxOp+1))
		if err != nil {
			return
		}
		tx, _ := namesvc.Parse(b)
		g.mu.Lock()
		held := g.held
		g.mu.Unlock()
		if held != nil && tx != nil && tx.Kind() == namesvc.OpRegister {
			close(held)
			select { // until whoever asked is gone
			case <-r.Context().Done():
			case <-g.ends:
			}
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	g.next.ServeHTTP(w, r)
}

// gateCommand is "gate hold", "gate await" and "gate pass".
func gateCommand(ts *testscript.TestScript, neg bool, args []string) {
	g := ts.Value(gateKey{}).(*gate)
	g.mu.Lock()
	held := g.held
	switch strings.Join(args, " ") {
	case "hold":
		g.held = make(chan struct{})
	case "pass":
		g.held = nil
	case "await":
	default:
		ts.Fatalf("usage: gate hold|await|pass")
	}
	g.mu.Unlock()
	if args[0] == "await" {
		select {
		case <-held:
		case <-time.After(30 * time.Second):
			ts.Fatalf("no registration came")
		}
	}
}

// TestReadme_QuotesTheStories also runs if the network does not.
func TestReadme_QuotesTheStories(t *testing.T) {
	quoted := story.CheckExcerpts(t, "../../README.md", "../../docs/stories")
	for _, want := range []string{"register-a-handle.txtar", "first-contact.txtar", "switch-concierge.txtar"} {
		found := false
		for _, name := range quoted {
			found = found || name == want
		}
		if !found {
			t.Errorf("README does not quote %s", want)
		}
	}
}
