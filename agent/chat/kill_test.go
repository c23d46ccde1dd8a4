package chat

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
)

// TestMain is an agent of its own if it is told to be one, for tests that kill it.
func TestMain(m *testing.M) {
	if os.Getenv("CONFAB_TEST_AGENT") != "" {
		if err := beAgent(os.Getenv("CONFAB_TEST_AGENT"), os.Getenv("CONFAB_TEST_HOME"), os.Getenv("CONFAB_TEST_CHAIN")); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beAgent runs an agent that says to whom what its standard input tells, and
// prints "said" and the text once it is accepted.
func beAgent(name, home, chain string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	far := &farChain{url: chain}
	if err := far.look(); err != nil {
		return err
	}
	go func() {
		for far.look() == nil { // else the test is over
			time.Sleep(50 * time.Millisecond)
		}
		os.Exit(1)
	}()
	client, err := lightclient.New(lightclient.Config{Pin: fakechain.New(fakechain.Spec{}).Pin(1), Sources: []lightclient.Source{far}, Now: far.Now})
	if err != nil {
		return err
	}
	actor := fakechain.NewActor(name, namesvc.Person)
	a, err := Open(ctx, Options{
		Home: home, Client: client, Account: actor.ID, Keys: keyring.Keys{Device: actor.Device}, Every: 2 * time.Second, Now: far.Now,
	})
	if err != nil {
		return err
	}
	go a.Run(ctx)
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		who, text, _ := strings.Cut(lines.Text(), " ")
		if _, err := a.Send(ctx, who, Draft{Text: text}); err != nil {
			return err
		}
		fmt.Println("said", text)
	}
	return nil
}

// farChain is the chain of another process.
type farChain struct {
	url string
	now atomic.Int64
}

// look asks how late it is.
func (c *farChain) look() error {
	res, err := http.Get(c.url + "/now")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	c.now.Store(n)
	return err
}

func (c *farChain) Now() time.Time { return time.UnixMilli(c.now.Load()) }

func (c *farChain) Name() string { return "far" }

func (c *farChain) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/bundle", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("far chain: %s", res.Status)
	}
	return io.ReadAll(res.Body)
}

// served serves the world's chain to other processes.
func (w *world) served() string {
	mux := http.NewServeMux()
	mux.HandleFunc("/now", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, w.Now().UnixMilli()) })
	mux.HandleFunc("/bundle", func(rw http.ResponseWriter, q *http.Request) {
		var r lightclient.Request
		if err := json.NewDecoder(q.Body).Decode(&r); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		b, err := fakechain.Node{Chain: w.Chain, Label: "node"}.Bundle(q.Context(), r)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		rw.Write(b)
	})
	s := httptest.NewServer(mux)
	w.Cleanup(s.Close)
	return s.URL
}

// process is an agent in a process of its own.
type process struct {
	w     *world
	d     *device // as it was before
	chain string
	to    string

	mu       sync.Mutex
	cmd      *exec.Cmd
	accepted []string
	asked    int
}

// live runs the agent and has it speak, until it is killed.
func (p *process) live(ready chan<- struct{}) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CONFAB_TEST_AGENT="+p.d.p.name, "CONFAB_TEST_HOME="+p.d.home, "CONFAB_TEST_CHAIN="+p.chain)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	p.w.must(err)
	out, err := cmd.StdoutPipe()
	p.w.must(err)
	p.w.must(cmd.Start())
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	defer cmd.Wait()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		what, text, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "ready":
			close(ready)
		case "said":
			p.accepted = append(p.accepted, text)
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		case "error":
			p.w.Errorf("%s: %s", p.d.p.name, text)
			return
		}
		p.asked++
		fmt.Fprintf(in, "@%s %d\n", p.to, p.asked)
	}
}

// kill ends the process as a machine that loses power does.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd.Process.Kill()
}

// TestKill_LosesNothingThatWasAccepted kills the agents of two people, who write
// to each other, at random moments. CONFAB_LONG makes it longer.
func TestKill_LosesNothingThatWasAccepted(t *testing.T) {
	w := newWorld(t)
	kills := 3 // of each
	if os.Getenv("CONFAB_LONG") != "" {
		kills = 60
	}
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	alice.stop()
	bob.stop()
	url := w.served()
	both := []*process{{w: w, d: alice, chain: url, to: "bob"}, {w: w, d: bob, chain: url, to: "alice"}}
	var wg sync.WaitGroup
	for _, p := range both {
		wg.Go(func() {
			for range kills {
				ready, over := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(over)
					p.live(ready)
				}()
				select {
				case <-ready:
					time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
					p.kill()
				case <-over:
				}
				<-over
			}
		})
	}
	wg.Wait()
	alice, bob = alice.p.start(alice.key, alice.home), bob.p.start(bob.key, bob.home)
	for i, d := range []*device{alice, bob} {
		p, other := both[i], []*device{bob, alice}[i]
		said := func(at, by *device, from string) (out []int) {
			for _, s := range at.sees(by) {
				if text, ok := strings.CutPrefix(s, from); ok {
					n, err := strconv.Atoi(text)
					w.must(err)
					out = append(out, n)
				}
			}
			return out
		}
		var own, theirs []int
		w.until(p.to+" has all that "+p.d.p.name+" said", func() bool {
			own, theirs = said(d, other, "you: "), said(other, d, "@"+p.d.p.name+": ")
			return slices.Equal(own, theirs)
		})
		for k := 1; k < len(own); k++ {
			if own[k] <= own[k-1] {
				t.Errorf("%s said %v", p.d.p.name, own)
				break
			}
		}
		for _, text := range p.accepted {
			if n, _ := strconv.Atoi(text); !slices.Contains(own, n) {
				t.Errorf("%s: message %d was accepted and is lost", p.d.p.name, n)
			}
		}
		if len(own) > p.asked || len(p.accepted) < kills {
			t.Errorf("%s: %d messages, %d of them accepted, of %d", p.d.p.name, len(own), len(p.accepted), p.asked)
		}
		t.Logf("%s said %d in %d lives, of which %d were accepted", p.d.p.name, p.asked, kills, len(p.accepted))
	}
}
