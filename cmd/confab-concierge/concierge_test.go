package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/internal/command/story"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/stream"
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
		Files: []string{"testdata/run-a-concierge.txtar", "testdata/refused.txtar"}, Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await, "take": take, "register": register, "mail": mail,
		},
	})
}

// town is the chain of a story, with people on it.
type town struct {
	mu            sync.Mutex
	chain         *fakechain.Chain
	harbor, alice *fakechain.Actor
	queue         concierge.Seed
}

type townKey struct{}

// cut cuts a block of now.
func (w *town) cut(ops ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.chain.Cut(time.Now(), ops...) {
		if r.Code != namesvc.Accepted {
			return errors.New(r.Detail)
		}
	}
	return nil
}

func (w *town) register(a *fakechain.Actor, h namesvc.Handle, r *namesvc.Records) error {
	commit, register := w.chain.Registration(a, h, r)
	return errors.Join(w.cut(commit), w.cut(register), w.cut())
}

// setup gives a story a chain that lives, at $SOURCE, and a free port.
func setup(e *testscript.Env) error {
	w := &town{
		chain:  fakechain.New(fakechain.Spec{Start: time.Now().Add(-time.Minute)}),
		harbor: fakechain.NewActor("harbor", namesvc.Service), alice: fakechain.NewActor("alice", namesvc.Person),
	}
	rand.Read(w.queue[:])
	e.Values[townKey{}] = w
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(300 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				w.cut()
			}
		}
	}()
	source := httptest.NewServer(http.HandlerFunc(w.bundle))
	e.Defer(func() { cancel(); <-done; source.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e.Setenv("PORT", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	pin := w.chain.Pin(1)
	e.Setenv("PIN", pin.String())
	e.Setenv("SOURCE", source.URL)
	return l.Close()
}

// bundle serves what a validator does, as far as a concierge asks.
func (w *town) bundle(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	ask := lightclient.Request{
		Handle: namesvc.Handle(q.Get("handle")), Chain: q.Has("chain"), Devices: q.Has("devices"), Serving: q.Has("serving"),
		Known: number(q, "known"), Pin: number(q, "pin"), At: number(q, "at"),
	}
	if id, err := namesvc.ParseAccountID(q.Get("account")); err == nil {
		ask.Account = &id
	}
	b, err := w.chain.Bundle(ask)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	rw.Header().Set("Content-Type", "application/cbor")
	rw.Write(b.Encode())
}

func number(q url.Values, name string) uint64 {
	n, _ := strconv.ParseUint(q.Get(name), 10, 64)
	return n
}

// register puts the concierge with this server key on the chain, and alice, whom
// it serves.
func register(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(townKey{}).(*town)
	k, err := key.ParsePublic(args[0])
	ts.Check(err)
	ts.Check(w.register(w.harbor, "harbor", &namesvc.Records{Service: &namesvc.Endpoint{
		URLs: []string{"http://127.0.0.1:" + ts.Getenv("PORT")}, Roles: namesvc.RoleConcierge, Key: k,
	}}))
	ts.Check(w.register(w.alice, "alice", fakechain.ServedBy(w.harbor)))
}

// mail send TEXT writes to alice's queue as a stranger who has its address; mail
// read TEXT… has alice read, and expects just this.
func mail(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(townKey{}).(*town)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	e, _ := w.chain.Entry(w.harbor.ID)
	want, err := concierge.ServiceOf(w.chain.ID(), e)
	ts.Check(err)
	at := e.Records.Service.URLs[0]
	alice, err := concierge.Dial(ctx, at, want, &concierge.Identity{Account: w.alice.ID, Device: w.alice.Device})
	ts.Check(err)
	defer alice.Close()
	q, err := alice.CreateQueue(ctx, w.queue, stream.Settings{})
	ts.Check(err)
	if args[0] == "send" {
		guest, err := concierge.Dial(ctx, at, want, nil)
		ts.Check(err)
		defer guest.Close()
		var m stream.MessageID
		rand.Read(m[:])
		to := concierge.OwnerOf(w.alice.ID, 1).Address(w.queue)
		_, err = stream.Append(ctx, guest, stream.ID(to), stream.Message{ID: m, Body: []byte(args[1])})
		ts.Check(err)
		return
	}
	page, err := alice.Range(ctx, q.ID, 0, stream.MaxPage)
	ts.Check(err)
	var got []string
	for _, m := range page.Entries {
		got = append(got, string(m.Body))
	}
	if strings.Join(got, " ") != strings.Join(args[1:], " ") {
		ts.Fatalf("alice reads %q", got)
	}
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
