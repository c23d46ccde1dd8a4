package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc/wire"
)

// sitting is somebody at a terminal who registers a concierge.
type sitting struct {
	*commandtest.PTY
	confab string // the folder with accounts
	world  command.World
	home   string
	stdout bytes.Buffer
}

func sit(t *testing.T) *sitting {
	w := &town{Chain: fakechain.New(fakechain.Spec{Start: time.Now().Add(-time.Minute)})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, 200*time.Millisecond)
	}()
	source := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() { cancel(); <-done; source.Close() })
	s := &sitting{PTY: commandtest.OpenPTY(t), confab: filepath.Join(t.TempDir(), "confab"), home: filepath.Join(t.TempDir(), "c")}
	s.world = command.World{
		Stdin: s.Program, Stdout: &s.stdout, Stderr: s.Program, StderrTerminal: true,
		Getenv: func(name string) string { return map[string]string{"CONFAB_HOME": s.confab}[name] },
	}
	if status := newProgram(s.world).Run(t.Context(), []string{"confab-concierge", "init", "--home", s.home, "--handle", "@harbor", "--pin", w.Pin(1).String(), "--source", source.URL}); status != 0 {
		t.Fatalf("init: status %d", status)
	}
	s.stdout.Reset()
	return s
}

// register begins, and returns where its exit status will be.
func (s *sitting) register(ctx context.Context) <-chan int {
	status := make(chan int, 1)
	go func() {
		status <- newProgram(s.world).Run(ctx, []string{"confab-concierge", "register", "--home", s.home})
	}()
	return status
}

func (s *sitting) answer(prompt, text string) {
	s.Until(prompt)
	s.Type(text + "\r")
}

// words returns the phrase that the screen shows.
func (s *sitting) words() map[string]string {
	words := map[string]string{}
	for _, line := range strings.Split(s.Until("press enter"), "\n") {
		if f := strings.Fields(line); len(f) == 2 && len(f[0]) <= 2 && strings.Trim(f[0], "0123456789") == "" {
			words[f[0]] = f[1]
		}
	}
	return words
}

// asked waits for a question about a word and returns its number.
func (s *sitting) asked() string {
	s.Until("word ")
	all := s.Until(": ")
	return strings.TrimSuffix(all[strings.LastIndex(all, "word ")+len("word "):], ": ")
}

// TestTTY_RegistersWithoutShowingThePassphrase is an operator at a real terminal, from
// the first question to the result.
func TestTTY_RegistersWithoutShowingThePassphrase(t *testing.T) {
	s := sit(t)
	before := s.Modes()
	status := s.register(t.Context())
	s.answer("passphrase of harbor: ", "correct hx\x7forse") // with a slip
	s.answer("the same again: ", "correct horse")
	words := s.words()
	if len(words) != 12 {
		t.Fatalf("the phrase has %d words", len(words))
	}
	s.Type("\r")
	for range 2 {
		s.Type(strings.ToUpper(words[s.asked()]) + " \r")
	}
	if got := <-status; got != 0 {
		t.Fatalf("status %d\n%s", got, s.Until(""))
	}
	s.Program.WriteString("the end")
	if all := s.Until("the end"); strings.Contains(all, "correct ho") || strings.Contains(s.stdout.String(), words["1"]) {
		t.Errorf("a secret was shown:\n%s", all)
	}
	if s.Modes() != before {
		t.Error("the terminal is not as it was")
	}
	if !strings.Contains(s.stdout.String(), "@harbor") && !strings.Contains(s.stdout.String(), "harbor") {
		t.Errorf("the result is %q", s.stdout.String())
	}
	ring, err := keyring.Open(filepath.Join(s.confab, "accounts"))
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	a, err := ring.Load("harbor")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Unlock([]byte("correct horse")); err != nil {
		t.Errorf("the passphrase is not what was typed: %v", err)
	}
}

// What is not confirmed, or stopped, leaves no account, no phrase on the screen, and
// the terminal as it was.
func TestTTY_RegisterLeavesNothingWhenItIsNotConfirmed(t *testing.T) {
	for name, end := range map[string]struct {
		do     func(s *sitting, kill context.CancelFunc)
		status int
	}{
		"two passphrases": {func(s *sitting, _ context.CancelFunc) {
			s.answer("passphrase of harbor: ", "correct horse")
			s.answer("the same again: ", "correct house")
		}, 10},
		"Ctrl-C at a passphrase": {func(s *sitting, _ context.CancelFunc) {
			s.Until("passphrase of harbor: ")
			s.Type("corr\x03")
		}, command.ExitStopped},
		"another word": {func(s *sitting, _ context.CancelFunc) {
			s.answer("passphrase of harbor: ", "correct horse")
			s.answer("the same again: ", "correct horse")
			s.answer("press enter", "")
			s.asked()
			s.Type("zebra-like\r")
		}, 10},
		"a signal while the phrase is shown": {func(s *sitting, kill context.CancelFunc) {
			s.answer("passphrase of harbor: ", "correct horse")
			s.answer("the same again: ", "correct horse")
			s.Until("press enter")
			kill()
		}, command.ExitStopped},
	} {
		t.Run(name, func(t *testing.T) {
			s := sit(t)
			before := s.Modes()
			if before&unix.ECHO == 0 {
				t.Fatal("the terminal does not echo to begin with")
			}
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			status := s.register(ctx)
			end.do(s, kill)
			if got := <-status; got != end.status {
				t.Errorf("status %d", got)
			}
			s.Program.WriteString("the end")
			all := s.Until("the end")
			if shown, left := strings.LastIndex(all, "12  "), strings.LastIndex(all, firstScreen); shown >= 0 && left < shown {
				t.Errorf("the phrase stays on the screen:\n%q", all)
			}
			if strings.Contains(all, "correct ho") {
				t.Errorf("the passphrase was shown:\n%q", all)
			}
			if s.Modes() != before {
				t.Error("the terminal is not as it was")
			}
			ring, err := keyring.Open(filepath.Join(s.confab, "accounts"))
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			if _, err := ring.Load("harbor"); wire.CodeOf(err) != wire.NotFound {
				t.Errorf("an account was made: %v", err)
			}
		})
	}
}
