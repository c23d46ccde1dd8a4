package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
)

var update = commandtest.UpdateFlag()

// TestProgram_KeepsTheRules also holds the text of all help. After a change:
// go test ./cmd/confab-dev -run TestProgram -update
func TestProgram_KeepsTheRules(t *testing.T) {
	commandtest.Check(t, newProgram, "testdata/help.txt", *update)
}

// output is what a program writes, for others to wait for.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	close(o.more)
	o.more = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// until waits for a text, or for the end.
func (o *output) until(text string, end <-chan int) bool {
	for {
		o.mu.Lock()
		seen, more := strings.Contains(o.text.String(), text), o.more
		o.mu.Unlock()
		if seen {
			return true
		}
		select {
		case <-more:
		case status := <-end:
			fmt.Fprintf(o, "\nit ended with status %d", status)
			return false
		}
	}
}

// running is a confab-dev.
type running struct {
	t              *testing.T
	stdout, stderr output
	stop           context.CancelFunc
	end            chan int
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t: t, stop: stop, end: make(chan int, 1)}
	r.stdout.more, r.stderr.more = make(chan struct{}), make(chan struct{})
	w := command.World{Stdin: strings.NewReader(""), Stdout: &r.stdout, Stderr: &r.stderr, Getenv: func(string) string { return "" }}
	go func() {
		r.end <- newProgram(w).Run(ctx, append([]string{"confab-dev", "--query", "127.0.0.1:0"}, args...))
	}()
	t.Cleanup(stop)
	return r
}

// ready waits until it says that it is.
func (r *running) ready(sign string) *running {
	r.t.Helper()
	if !r.stdout.until(sign, r.end) {
		r.t.Fatalf("it did not get ready:\n%s%s", r.stdout.String(), r.stderr.String())
	}
	return r
}

// interrupt is Ctrl-C.
func (r *running) interrupt() {
	r.t.Helper()
	r.stop()
	if status := <-r.end; status != 0 {
		r.t.Errorf("status %d\n%s", status, r.stderr.String())
	}
}

// refused runs a confab-dev that must end by itself.
func refused(t *testing.T, status int, words string, args ...string) {
	t.Helper()
	r := start(t, args...)
	if got := <-r.end; got != status || !strings.Contains(r.stderr.String(), words) {
		t.Errorf("%q: status %d, want %d with %q:\n%s%s", args, got, status, words, r.stdout.String(), r.stderr.String())
	}
}

// TestDev_WhatItPrintsWorksWhenTyped types what it prints, in shells, as it is;
// only the terminals are missing, so that accounts are made unattended and the
// passphrase comes from a file.
func TestDev_WhatItPrintsWorksWhenTyped(t *testing.T) {
	t.Chdir("../..")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	began := time.Now()
	r := start(t).ready("Ctrl-C here stops the network, and Alice's and Bob's agents.\n")
	took := time.Since(began)
	t.Logf("ready after %v", took.Round(10*time.Millisecond))
	if took > 30*time.Second { // ten are the promise, on a quiet machine
		t.Errorf("it was ready after %v", took)
	}
	for line := range strings.Lines(r.stdout.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 && !strings.Contains(line, tmp) {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	began = time.Now()
	said := shells(t, parts(r.stdout.String()), tmp)
	t.Logf("typed in %v", time.Since(began).Round(10*time.Millisecond))
	for _, want := range []string{
		"network    dev\n", "phrase     ", "@harbor pays for it with a ticket: no work is needed\n", "handle     @alice\n", "concierge  @harbor, connected\n", "@bob              asked, no answer yet\n",
		"@alice            contact\n", "  @alice: Hello Bob  (new)\n", "  @bob: Hello Alice  (new)\n", "  @alice: Still there?  (new)\n",
		"concierge  @harbor\n", "the proof holds",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q was not said", want)
		}
	}
	if t.Failed() {
		t.Log(said)
	}
	r.interrupt()
	if left, _ := filepath.Glob(filepath.Join(tmp, "confab-*")); len(left) > 0 {
		t.Errorf("it left %q behind", left)
	}
	waitGoroutines(t)
}

// part is what one person types at once.
type part struct{ who, commands string }

// parts returns the commands in a text, the lines that are indented, with the
// first word of the line before them.
func parts(text string) []part {
	var out []part
	who := ""
	for line := range strings.Lines(text) {
		switch command, ok := strings.CutPrefix(line, "  "); {
		case ok && strings.Contains(line, "CONFAB_HOME") || ok && len(out) > 0:
			if n := len(out); n > 0 && out[n-1].who == who {
				out[n-1].commands += command
			} else {
				out = append(out, part{who, command})
			}
		case strings.TrimSpace(line) != "":
			who = strings.TrimRight(strings.Fields(line)[0], ",;:")
		}
	}
	return out
}

// shells types the parts in turn, each in the terminal of its person, and returns
// all that is seen.
func shells(t *testing.T, typed []part, tmp string) string {
	t.Helper()
	var said strings.Builder
	exports := map[string]string{}
	pass := filepath.Join(tmp, "passphrase")
	if err := os.WriteFile(pass, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, p := range typed {
		for line := range strings.Lines(p.commands) {
			if strings.HasPrefix(line, "export ") {
				exports[p.who] += line
			}
		}
		count += strings.Count(p.commands, "go run ./cmd/confab ")
		cmd := exec.CommandContext(t.Context(), "sh", "-ex")
		cmd.Stdin = strings.NewReader(exports[p.who] + strings.Replace(p.commands, "account new", "account new --unattended", 1))
		cmd.Env = append(os.Environ(), "CONFAB_PASSPHRASE_FILE="+pass)
		out, err := cmd.CombinedOutput()
		said.Write(out)
		if err != nil {
			t.Errorf("%s, typing: %v", p.who, err)
			break
		}
	}
	if count < 15 && !t.Failed() {
		t.Errorf("only %d commands were found: %q", count, typed)
	}
	return said.String()
}

// ours returns the stacks of goroutines that run or were started by our code,
// apart from tests. CometBFT leaves some of its own behind when it stops.
func ours() []string {
	b := make([]byte, 4<<20)
	var found []string
	for stack := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(stack, "confab-chat/confab/") && !strings.Contains(stack, "testing.tRunner") {
			found = append(found, stack)
		}
	}
	return found
}

// waitGoroutines waits until none of ours is left: those that were told to end
// need a moment.
func waitGoroutines(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for len(ours()) > 0 {
		if time.Now().After(deadline) {
			t.Errorf("goroutines were left:\n%s", strings.Join(ours(), "\n\n"))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestDev_StoppedAtTheStartSaysSoAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := start(t, "--validators", "1")
	if !r.stderr.until("starting 1 validators", r.end) {
		t.Fatal(r.stderr.String())
	}
	r.stop()
	if status := <-r.end; status != command.ExitStopped || !strings.HasSuffix(r.stderr.String(), "confab-dev: stopped\n") {
		t.Errorf("status %d:\n%s", status, r.stderr.String())
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "confab-dev-*")); len(left) > 0 {
		t.Errorf("it left %q behind", left)
	}
}

// facts is what it says with --json.
type facts struct {
	Chain    string
	Query    []string
	Pin      string
	PinFile  string `json:"pin_file"`
	Services []service
	Home     string
	Kept     bool
}

func (r *running) facts() (f facts) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.ready("\n").stdout.String()), &f); err != nil {
		r.t.Fatalf("%v in %q", err, r.stdout.String())
	}
	return f
}

func TestDev_KeepsTheNetworkOfItsHome(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	home := filepath.Join(t.TempDir(), "dev net")
	args := []string{"--home", home, "--validators", "1", "--pause", "100ms", "--json"}
	r := start(t, args...)
	first := r.facts()
	if !first.Kept || first.Home != home || len(first.Query) != 1 || len(first.Services) != 2 {
		t.Errorf("it says %+v", first)
	}
	t.Run("while it runs", func(t *testing.T) {
		refused(t, 17, "another confab-dev runs the network in "+home, args...)
		refused(t, 17, "does another confab-dev run? choose another address with --query", "--query", strings.TrimPrefix(first.Query[0], "http://"))
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "confab-dev-*")); len(left) > 0 {
			t.Errorf("those that were refused left %q behind", left)
		}
	})
	for _, s := range first.Services {
		answers(t, s.URL)
	}
	r.interrupt()
	t.Run("with another number of validators", func(t *testing.T) {
		refused(t, 14, "has 1 validators, and --validators asks for 2", "--home", home, "--validators", "2")
	})
	again := start(t, "--home", home, "--pause", "100ms", "--json")
	second := again.facts()
	if second.Chain != first.Chain || second.Pin != first.Pin {
		t.Errorf("another network: %+v after %+v", second, first)
	}
	for _, s := range second.Services {
		answers(t, s.URL)
	}
	if !slices.Equal(first.Services, second.Services) {
		t.Errorf("concierges have moved: %+v after %+v", second.Services, first.Services)
	}
	again.interrupt()
	// The services were not registered a second time: their accounts are those
	// of the folder, and an account registers once.
	files, err := filepath.Glob(filepath.Join(home, "services", "accounts", "*.account"))
	if err != nil || len(files) != 3 { // two services and an operator
		t.Errorf("services and operators have %d accounts (%v)", len(files), err)
	}
}

// answers checks that a concierge is there, and that a stranger's work is little.
func answers(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Get(url + "/v1/descriptor?format=json")
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	var d struct {
		WorkBits int `json:"work_bits"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != http.StatusOK || d.WorkBits != deskWorkBits {
		t.Errorf("%s answers with status %d: %+v", url, resp.StatusCode, d)
	}
}

// TestDev_AConciergeWhosePortIsTakenMoves: and its entry says so.
func TestDev_AConciergeWhosePortIsTakenMoves(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	home := filepath.Join(t.TempDir(), "net")
	args := []string{"--home", home, "--validators", "1", "--pause", "100ms", "--json"}
	r := start(t, args...)
	first := r.facts()
	r.interrupt()
	l, err := net.Listen("tcp", strings.TrimPrefix(first.Services[0].URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	again := start(t, args...)
	second := again.facts()
	if second.Services[0].URL == first.Services[0].URL || second.Services[1] != first.Services[1] {
		t.Errorf("%+v after %+v", second.Services, first.Services)
	}
	pin, err := verify.ParsePin(second.Pin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := source.NewHTTP(second.Query[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := lightclient.New(lightclient.Config{Pin: pin, Sources: []lightclient.Source{s}})
	if err != nil {
		t.Fatal(err)
	}
	found, err := client.Resolve(t.Context(), services[0], 0)
	if err != nil || !slices.Equal(found.Entry.Records.Service.URLs, []string{second.Services[0].URL}) {
		t.Errorf("the entry says %+v: %v", found.Entry.Records.Service, err)
	}
	again.interrupt()
}

func TestDev_RefusesWhatMakesNoSense(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	refused(t, 2, "--validators is 0", "--validators", "0")
	refused(t, 2, "--validators is 17", "--validators", "17")
	refused(t, 2, "--pause is -1s", "--pause", "-1s")
	refused(t, 2, "--query is \"here\"", "--query", "here")
	refused(t, 10, "log.level", "--log", "loud")
	refused(t, 17, "cannot be used", "--query", "192.0.2.1:80")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, 18, "not a directory", "--home", file)
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

func TestDev_IsInterruptedWhileItStarts(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	r := start(t)
	if !r.stderr.until("starting 4 validators", r.end) {
		t.Fatal(r.stderr.String())
	}
	r.stop()
	if status := <-r.end; status != command.ExitStopped {
		t.Errorf("status %d: %s", status, r.stderr.String())
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}
