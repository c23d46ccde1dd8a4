package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/internal/command/story"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/streamtest"
)

var update = commandtest.UpdateFlag()

// TestMain gives stories the program: in them, confab-concierge is this test
// binary.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"confab-concierge": main})
}

// TestProgram_KeepsTheRules also holds the text of all help. After a change:
// go test ./cmd/confab-concierge -run TestProgram -update
func TestProgram_KeepsTheRules(t *testing.T) {
	commandtest.Check(t, newProgram, "testdata/help.txt", *update)
}

func TestStories(t *testing.T) {
	story.Run(t, testscript.Params{
		Files: []string{"../../docs/stories/run-a-concierge.txtar", "testdata/refused.txtar", "testdata/forward.txtar", "testdata/sponsor.txtar"}, Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await, "take": take, "person": person, "move": move, "mail": mail, "replace": replace,
		},
	})
}

// Two processes with one Redis are one concierge.
func TestStories_WithRedis(t *testing.T) {
	redis, loose := streamtest.StartRedis(t), streamtest.StartRedis(t, "--appendfsync", "everysec")
	story.Run(t, testscript.Params{
		Files: []string{"testdata/redis.txtar"},
		Setup: func(e *testscript.Env) error {
			e.Setenv("REDIS", redis.URL)
			e.Setenv("LOOSE", loose.URL)
			return setup(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "person": person, "mail": mail},
	})
}

// town is the chain of a story, with people on it.
type town struct {
	*fakechain.Chain
	client *lightclient.Client
	people map[string]*resident
}

// resident is a person and the queue that she has, wherever she is served.
type resident struct {
	*fakechain.Actor
	queue concierge.Seed
}

type townKey struct{}

// setup gives a story a chain that lives, at $SOURCE, a folder of confab's and
// free ports.
func setup(e *testscript.Env) error {
	w := &town{Chain: fakechain.New(fakechain.Spec{Start: time.Now().Add(-time.Minute)}), people: map[string]*resident{}}
	var err error
	w.client, err = lightclient.New(lightclient.Config{Pin: w.Pin(1), Sources: []lightclient.Source{fakechain.Node{Chain: w.Chain, Label: "node"}}})
	if err != nil {
		return err
	}
	e.Values[townKey{}] = w
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, 200*time.Millisecond)
	}()
	source := httptest.NewServer(http.HandlerFunc(w.serve))
	e.Defer(func() { cancel(); <-done; source.Close() })
	for _, name := range []string{"PORT", "PORT2"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		e.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	pin := w.Pin(1)
	e.Setenv("PIN", pin.String())
	e.Setenv("SOURCE", source.URL)
	e.Setenv("CONFAB_HOME", filepath.Join(e.WorkDir, "confab"))
	dir := networks.Dir{Path: filepath.Join(e.WorkDir, "networks")}
	return dir.Add(networks.Network{Name: "dev", Pin: pin, Sources: []string{source.URL}})
}

// serve serves what a validator does, as far as an operator and a concierge ask.
func (w *town) serve(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		op, err := io.ReadAll(io.LimitReader(r.Body, namesvc.MaxOp+1))
		if err == nil {
			err = fakechain.Node{Chain: w.Chain}.Submit(r.Context(), op)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
		}
		return
	}
	q := r.URL.Query()
	ask := lightclient.Request{
		Handle: namesvc.Handle(q.Get("handle")), Chain: q.Has("chain"), Devices: q.Has("devices"), Serving: q.Has("serving"), Sponsor: q.Has("sponsor"),
		Known: number(q, "known"), Pin: number(q, "pin"), At: number(q, "at"), After: number(q, "after"),
	}
	if id, err := namesvc.ParseAccountID(q.Get("account")); err == nil {
		ask.Account = &id
	}
	if b, err := hex.DecodeString(q.Get("commit")); err == nil && len(b) == 32 {
		ask.Commit = (*[32]byte)(b)
	}
	b, err := fakechain.Node{Chain: w.Chain}.Bundle(r.Context(), ask)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	rw.Header().Set("Content-Type", "application/cbor")
	rw.Write(b)
}

func number(q url.Values, name string) uint64 {
	n, _ := strconv.ParseUint(q.Get(name), 10, 64)
	return n
}

// service returns the concierge that a handle is, and where it is.
func (w *town) service(ctx context.Context, handle string) (concierge.Service, string, error) {
	r, err := w.client.Resolve(ctx, namesvc.Handle(handle), 0)
	if err != nil {
		return concierge.Service{}, "", err
	}
	s, err := concierge.ServiceOf(w.ID(), r.Entry)
	if err != nil {
		return s, "", err
	}
	return s, r.Entry.Records.Service.URLs[0], nil
}

// replace FILE OLD NEW changes the one place of a file that has a text.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	if strings.Count(text, args[1]) != 1 {
		ts.Fatalf("%s has %q %d times", args[0], args[1], strings.Count(text, args[1]))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}

// person NAME CONCIERGE puts a person on the chain, who is served there.
func person(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(townKey{}).(*town)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	p := &resident{Actor: fakechain.NewActor(args[0], namesvc.Person)}
	rand.Read(p.queue[:])
	w.people[args[0]] = p
	s, _, err := w.service(ctx, args[1])
	ts.Check(err)
	commit, register := w.Registration(p.Actor, namesvc.Handle(args[0]), servedBy(s))
	for _, op := range [][]byte{commit, register} {
		for _, r := range w.Cut(time.Now(), op) {
			if r.Code != namesvc.Accepted {
				ts.Fatalf("%s", r.Detail)
			}
		}
	}
	w.Cut(time.Now())
}

func servedBy(s concierge.Service) *namesvc.Records {
	return &namesvc.Records{Concierges: []namesvc.Concierge{{Account: s.Account, Generation: s.Generation}}}
}

// move NAME CONCIERGE has a person name another concierge.
func move(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(townKey{}).(*town)
	s, _, err := w.service(context.Background(), args[1])
	ts.Check(err)
	for _, r := range w.Cut(time.Now(), w.Sign(w.people[args[0]].Actor, namesvc.OpRecords, *servedBy(s))) {
		if r.Code != namesvc.Accepted {
			ts.Fatalf("%s", r.Detail)
		}
	}
	w.Cut(time.Now())
}

// mail make NAME CONCIERGE gives a person her queue there. mail send NAME
// CONCIERGE TEXT… writes to it as a stranger who has its address. mail read NAME
// CONCIERGE TEXT… has her read it until just this is there. mail forward NAME OLD
// NEW has her ask the old one to forward, until it does. mail push NAME CONCIERGE
// OTHER TEXT has her follow her queue at one process while a stranger writes at
// the other. CONCIERGE is a handle, and :PORT if it is not where its entry says.
func mail(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(townKey{}).(*town)
	verb, who, rest := args[0], w.people[args[1]], args[3:]
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dial := func(to string, id *concierge.Identity) *concierge.Client {
		handle, port, elsewhere := strings.Cut(to, ":")
		want, at, err := w.service(ctx, handle)
		ts.Check(err)
		if elsewhere {
			at = "http://127.0.0.1:" + port
		}
		c, err := concierge.Dial(ctx, at, want, id)
		ts.Check(err)
		return c
	}
	id := &concierge.Identity{Account: who.ID, Device: who.Device}
	if verb == "send" {
		id = nil
	}
	c := dial(args[2], id)
	defer c.Close()
	send := func(c *concierge.Client, a concierge.Address, text string) {
		var m stream.MessageID
		rand.Read(m[:])
		_, err := stream.Append(ctx, c, stream.ID(a), stream.Message{ID: m, Body: []byte(text)})
		ts.Check(err)
	}
	var err error
	address := concierge.OwnerOf(who.ID, 1).Address(who.queue)
	switch verb {
	case "make":
		_, err = c.CreateQueue(ctx, who.queue, stream.Settings{})
	case "send":
		for _, text := range rest {
			send(c, address, text)
		}
	case "push":
		head, herr := c.Head(ctx, address.Queue())
		ts.Check(herr)
		sub, serr := c.Subscribe(ctx, address.Queue(), head.Head.Seq, nil)
		ts.Check(serr)
		guest := dial(rest[0], nil)
		defer guest.Close()
		send(guest, address, rest[1])
		page, perr := sub.Next(ctx)
		if ts.Check(perr); len(page.Entries) != 1 || string(page.Entries[0].Body) != rest[1] {
			ts.Fatalf("%s is pushed %v", args[1], page)
		}
	case "read":
		var got []string
		for strings.Join(got, " ") != strings.Join(rest, " ") {
			if ctx.Err() != nil {
				ts.Fatalf("%s reads %q", args[1], got)
			}
			time.Sleep(20 * time.Millisecond)
			page, err := c.Range(ctx, address.Queue(), 0, stream.MaxPage)
			if ctx.Err() == nil {
				ts.Check(err)
			}
			got = nil
			for _, m := range page.Entries {
				got = append(got, string(m.Body))
			}
		}
	case "forward":
		to, _, serr := w.service(ctx, rest[0])
		ts.Check(serr)
		order := concierge.ForwardOrder{To: to.Account, Until: time.Now().Add(time.Hour), Addresses: []concierge.Address{address}}
		for {
			if _, err = c.Forward(ctx, order); wire.CodeOf(err) != wire.Unavailable || ctx.Err() != nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	ts.Check(err)
}

// await runs a program until it succeeds.
func await(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		var exit *exec.ExitError
		switch {
		case err == nil:
			return
		case !errors.As(err, &exit) || time.Now().After(deadline):
			ts.Fatalf("%s: %v", strings.Join(args, " "), err)
		}
	}
}

// take sets a variable to what the last program wrote where the pattern has its
// parentheses.
func take(ts *testscript.TestScript, neg bool, args []string) {
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("nothing matches")
	}
	ts.Setenv(args[0], m[1])
}
