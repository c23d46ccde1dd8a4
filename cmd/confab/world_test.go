package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
)

// world is a machine with one person and nothing else, in which command lines
// are run.
type world struct {
	t      *testing.T
	dir    string // with the home folder and files
	stdin  string
	vars   map[string]string
	person *fakePerson // nil if nobody can be asked
	stdout io.Writer   // instead of what said returns
	dice   io.Reader   // nil for real randomness
	clock  func() time.Time
}

func newWorld(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir(), vars: map[string]string{}, dice: &dice{}, clock: func() time.Time { return time.Unix(1_800_000_000, 0) }}
}

// dice is randomness that is the same in each run.
type dice struct {
	n    uint64
	rest []byte
}

func (d *dice) Read(p []byte) (int, error) {
	for i := range p {
		if len(d.rest) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("cmd/confab"), d.n))
			d.n, d.rest = d.n+1, h[:]
		}
		p[i], d.rest = d.rest[0], d.rest[1:]
	}
	return len(p), nil
}

// said is what a command line gave.
type said struct {
	t              *testing.T
	line           string
	status         int
	stdout, stderr string
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) accounts() keyring.Reader { return keyring.Read(w.path("home/accounts")) }

func (w *world) env(stdout, stderr *bytes.Buffer) *env {
	e := &env{
		world: command.World{
			Stdin: strings.NewReader(w.stdin), Stdout: stdout, Stderr: stderr,
			Getenv: func(name string) string { return w.vars[name] },
		},
		columns:   func() int { return 60 },
		configDir: func() (string, error) { return w.path("config"), nil },
		now:       w.clock,
		rand:      w.dice,
		cost:      keyring.Cost{Passes: 1, MemoryKiB: 64, Threads: 1},
		patience:  patience,
	}
	if w.dice == nil {
		e.rand = rand.Reader
	}
	if w.stdout != nil {
		e.world.Stdout = w.stdout
	}
	if w.person != nil {
		w.person.screen = stderr
		e.person, e.world.StderrTerminal = w.person, true
	}
	return e
}

// run runs a command line, in which FILE/x is the file x of this world.
func (w *world) run(line string) said {
	w.t.Helper()
	if w.vars["CONFAB_HOME"] == "" {
		w.vars["CONFAB_HOME"] = w.path("home")
	}
	args := strings.Fields(strings.ReplaceAll(line, "FILE/", w.dir+"/"))
	var stdout, stderr bytes.Buffer
	status := newProgram(w.env(&stdout, &stderr)).Run(context.Background(), append([]string{"confab"}, args...))
	if w.person != nil {
		w.person.done(w.t, line)
	}
	return said{t: w.t, line: line, status: status, stdout: stdout.String(), stderr: stderr.String()}
}

func (w *world) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// account makes an account with the passphrase of FILE/pass and returns its
// phrase.
func (w *world) account(name string) string {
	w.t.Helper()
	w.write("pass", "correct horse\n")
	var v accountView
	w.run("account new --unattended --json --passphrase-file FILE/pass --name " + name).ok().decode(&v)
	return v.Phrase
}

func (s said) ok() said {
	s.t.Helper()
	if s.status != 0 {
		s.t.Fatalf("confab %s: status %d\n%s%s", s.line, s.status, s.stdout, s.stderr)
	}
	return s
}

// fails checks status and words of a refusal, and that it gave no result.
func (s said) fails(status int, words ...string) said {
	s.t.Helper()
	if s.status != status {
		s.t.Errorf("confab %s: status %d, want %d\n%s", s.line, s.status, status, s.stderr)
	}
	if s.stdout != "" {
		s.t.Errorf("confab %s: failed and printed %q", s.line, s.stdout)
	}
	for _, word := range words {
		if !strings.Contains(s.stderr, word) {
			s.t.Errorf("confab %s: said %q, not %q", s.line, s.stderr, word)
		}
	}
	return s
}

// shows reports whether the result has this row.
func (s said) shows(name, value string) bool {
	for line := range strings.Lines(s.stdout) {
		if strings.Join(strings.Fields(line), " ") == name+" "+value {
			return true
		}
	}
	return false
}

func (s said) decode(v any) {
	s.t.Helper()
	if strings.Count(s.stdout, "\n") != 1 {
		s.t.Errorf("confab %s: not one line: %q", s.line, s.stdout)
	}
	dec := json.NewDecoder(strings.NewReader(s.stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		s.t.Fatalf("confab %s: %v in %q", s.line, err, s.stdout)
	}
}

// fakePerson answers questions. An answer that begins with "word?" is the word
// of the phrase that the question asks for, as last seen on the screen.
type fakePerson struct {
	answers []string
	screen  *bytes.Buffer
	asked   []string // prompts
	shown   []bool   // whether the answer would be seen
}

// Answers with a meaning.
const (
	askedWord = "word?"
	stops     = "^C"
)

var (
	shownWord   = regexp.MustCompile(`(?m)(\d+)  (?:\x1b\[1m)?([a-z]+) `)
	wordRequest = regexp.MustCompile(`^word (\d+): $`)
)

func (p *fakePerson) ask(_ context.Context, prompt string) (string, error) {
	return p.answer(prompt, true)
}

func (p *fakePerson) askHidden(_ context.Context, prompt string) (string, error) {
	return p.answer(prompt, false)
}

func (p *fakePerson) answer(prompt string, shown bool) (string, error) {
	p.asked, p.shown = append(p.asked, prompt), append(p.shown, shown)
	if len(p.answers) == 0 {
		return "", io.ErrUnexpectedEOF
	}
	a := p.answers[0]
	p.answers = p.answers[1:]
	switch a {
	case stops:
		return "", command.ErrStopped
	case askedWord:
		m := wordRequest.FindStringSubmatch(prompt)
		if m == nil {
			return "", io.ErrUnexpectedEOF
		}
		return p.words()[m[1]], nil
	}
	return a, nil
}

// words returns the phrase on the screen by its numbers.
func (p *fakePerson) words() map[string]string {
	words := map[string]string{}
	for _, m := range shownWord.FindAllStringSubmatch(p.screen.String(), -1) {
		words[m[1]] = m[2]
	}
	return words
}

func (p *fakePerson) done(t *testing.T, line string) {
	t.Helper()
	if len(p.answers) != 0 {
		t.Errorf("confab %s: %d answers were not asked for: %q", line, len(p.answers), p.asked)
	}
}
