package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	sys "golang.org/x/sys/unix"

	"github.com/confab-chat/confab/internal/command"
)

// openPTY returns both ends of a new pseudo-terminal: the keyboard and screen,
// and what a program sees.
func openPTY(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|sys.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	n, err := sys.IoctlGetInt(fd, sys.TIOCGPTN)
	if err == nil {
		err = sys.IoctlSetPointerInt(fd, sys.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|sys.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return screen, program
}

// watcher remembers all that a screen showed.
type watcher struct {
	mu   sync.Mutex
	more *sync.Cond
	seen bytes.Buffer
}

func watchScreen(screen *os.File) *watcher {
	w := &watcher{}
	w.more = sync.NewCond(&w.mu)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := screen.Read(b)
			w.mu.Lock()
			w.seen.Write(b[:n])
			w.more.Broadcast()
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

// until waits for a text beyond the first skip bytes and returns all seen.
func (w *watcher) until(skip int, text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.seen.Len() < skip || !strings.Contains(w.seen.String()[skip:], text) {
		w.more.Wait()
	}
	return w.seen.String()
}

func flags(t *testing.T, f *os.File) uint32 {
	t.Helper()
	s, err := sys.IoctlGetTermios(int(f.Fd()), sys.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag
}

// TestTTY_MakesAnAccountWithoutShowingThePassphrase is a person at a real
// terminal, from the first question to the result.
func TestTTY_MakesAnAccountWithoutShowingThePassphrase(t *testing.T) {
	screen, program := openPTY(t)
	before := flags(t, program)
	seen := watchScreen(screen)
	w := newWorld(t)
	w.vars["CONFAB_HOME"] = w.path("home")
	var stdout, stderr bytes.Buffer
	e := w.env(&stdout, &stderr)
	e.world.Stdin, e.world.Stderr, e.world.StderrTerminal = program, program, true
	e.person = newTTY(program, program)
	status := make(chan int, 1)
	go func() { status <- newProgram(e).Run(context.Background(), []string{"confab", "account", "new"}) }()
	at := 0
	typeAt := func(prompt, text string) {
		all := seen.until(at, prompt)
		at = len(all)
		if _, err := screen.WriteString(text + "\r"); err != nil {
			t.Error(err)
		}
	}
	typeAt("passphrase for the keys on this machine: ", "correct hx\x7forse") // with a slip
	typeAt("the same again: ", "correct horse")
	typeAt("press enter", "")
	for range 2 {
		all := seen.until(at, "word ")
		rest := all[strings.LastIndex(all, "word "):]
		for !strings.Contains(rest, ": ") {
			all = seen.until(len(all), "")
			rest = all[strings.LastIndex(all, "word "):]
		}
		number := strings.TrimSuffix(strings.TrimPrefix(strings.SplitAfter(rest, ": ")[0], "word "), ": ")
		person := fakePerson{screen: bytes.NewBufferString(all)}
		at = len(all)
		if _, err := screen.WriteString(person.words()[number] + "\r"); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-status; got != 0 {
		t.Fatalf("status %d\n%s", got, seen.until(0, ""))
	}
	if !w.opens("me", "correct horse") {
		t.Error("the passphrase is not what was typed")
	}
	program.WriteString("the end")
	if all := seen.until(0, "the end"); strings.Contains(all, "correct h") {
		t.Errorf("the passphrase was shown:\n%s", all)
	}
	if flags(t, program) != before {
		t.Error("the terminal is not as it was")
	}
	if result := (said{stdout: stdout.String()}); !result.shows("name", "me") {
		t.Errorf("stdout is %q", result.stdout)
	}
}

func TestTTY_IsPutRightWhenTheQuestionIsStopped(t *testing.T) {
	for name, key := range map[string]string{"Ctrl-C": "half an answer\x03", "Ctrl-D": "\x04"} {
		screen, program := openPTY(t)
		before := flags(t, program)
		if before&sys.ECHO == 0 {
			t.Fatal("the terminal does not echo to begin with")
		}
		seen := watchScreen(screen)
		person := newTTY(program, program)
		for _, ask := range []func(context.Context, string) (string, error){person.ask, person.askHidden} {
			at := len(seen.until(0, ""))
			done := make(chan error, 1)
			go func() { _, err := ask(t.Context(), "question: "); done <- err }()
			seen.until(at, "question: ")
			if flags(t, program)&sys.ECHO != 0 {
				t.Errorf("%s: the terminal echoes while the question is open", name)
			}
			if _, err := screen.WriteString(key); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, command.ErrStopped) {
				t.Errorf("%s: error %v", name, err)
			}
			if flags(t, program) != before {
				t.Errorf("%s: the terminal is not as it was", name)
			}
		}
		at := len(seen.until(0, ""))
		answer := make(chan string, 1)
		go func() { text, _ := person.ask(t.Context(), "again: "); answer <- text }()
		seen.until(at, "again: ")
		if _, err := screen.WriteString("whole\r"); err != nil {
			t.Fatal(err)
		}
		if text := <-answer; text != "whole" {
			t.Errorf("%s: the next answer is %q", name, text)
		}
	}
}

// TestTTY_ASignalEndsTheQuestionAndTakesThePhraseOffTheScreen is kill, or a
// machine that shuts down, while the phrase is shown: what it says must not stay
// for whoever comes next, and the terminal must be usable.
func TestTTY_ASignalEndsTheQuestionAndTakesThePhraseOffTheScreen(t *testing.T) {
	screen, program := openPTY(t)
	before := flags(t, program)
	seen := watchScreen(screen)
	w := newWorld(t)
	w.write("pass", "correct horse\n")
	w.vars["CONFAB_HOME"] = w.path("home")
	var stdout, stderr bytes.Buffer
	e := w.env(&stdout, &stderr)
	e.world.Stdin, e.world.Stderr, e.world.StderrTerminal = program, program, true
	person := newTTY(program, program)
	e.person = person
	ctx, signal := context.WithCancel(t.Context())
	status := make(chan int, 1)
	go func() {
		status <- newProgram(e).Run(ctx, []string{"confab", "account", "new", "--passphrase-file", w.path("pass")})
	}()
	seen.until(0, "press enter")
	signal()
	if got := <-status; got != command.ExitStopped {
		t.Errorf("status %d", got)
	}
	program.WriteString("the end")
	all := seen.until(0, "the end")
	if shown, left := strings.LastIndex(all, "12  "), strings.LastIndex(all, firstScreen); shown < 0 || left < shown {
		t.Errorf("the phrase stays on the screen:\n%q", all)
	}
	if flags(t, program) != before {
		t.Error("the terminal is not as it was")
	}
	if _, err := person.ask(ctx, "more: "); !errors.Is(err, command.ErrStopped) {
		t.Errorf("a question after the end: %v", err)
	}
	w.wantAccounts()
}
