// Package story runs stories: txtar scripts that read like a session at a
// terminal.
//
//	# A line like this says what happens next.
//	$ confab handle show @alice
//	> handle @alice
//	> account …
//	! $ confab handle show @al_ice
//	> …did you mean @alice?
//	status 12
//
// Beside what testscript offers there are three commands. "$ line" runs a
// program, which must succeed, or fail after "!". "> text" is a line that it
// wrote, to stdout or stderr, below those that were found before; spaces count
// as one, and … stands for anything. "status n" is its exit status. Since
// testscript takes quotes and # apart, a text that has them is written with …
// instead.
//
// What it guarantees: a story that passes is one that a person could have typed;
// what README quotes of a story is in it ([CheckExcerpts]).
//
// What it must not know: which programs there are; testscript.Main brings them.
//
// Start at [Run].
package story

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Run runs scripts with the commands of stories beside those in p.
func Run(t *testing.T, p testscript.Params) { testscript.Run(t, params(p)) }

// params adds the commands of stories.
func params(p testscript.Params) testscript.Params {
	cmds := map[string]func(*testscript.TestScript, bool, []string){"$": run, ">": seen, "status": status}
	maps.Copy(cmds, p.Cmds)
	p.Cmds = cmds
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Values[stateKey{}] = &state{}
		if setup == nil {
			return nil
		}
		return setup(e)
	}
	p.RequireUniqueNames = true
	return p
}

type stateKey struct{}

// state is what a story has shown of the last program's words.
type state struct {
	status int
	texts  [2]string // stdout and stderr, to notice that another program wrote
	found  [2]int    // so many lines of each were found
}

func stateOf(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

func run(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("$ needs a program to run")
	}
	s := stateOf(ts)
	*s = state{}
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		s.status = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	switch {
	case err == nil && neg:
		ts.Fatalf("it should have failed")
	case err != nil && !neg:
		ts.Fatalf("it failed with status %d", s.status)
	}
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: status n")
	}
	if got := fmt.Sprint(stateOf(ts).status); got != args[0] {
		ts.Fatalf("its exit status was %s", got)
	}
}

func seen(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	pattern := Pattern(strings.Join(args, " "))
	match := false
	for i, name := range []string{"stdout", "stderr"} {
		text := ts.ReadFile(name)
		if text != s.texts[i] {
			s.texts[i], s.found[i] = text, 0
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for n := s.found[i]; n < len(lines) && !match; n++ {
			if pattern.MatchString(strings.Join(strings.Fields(lines[n]), " ")) {
				match = true
				if !neg {
					s.found[i] = n + 1
				}
			}
		}
	}
	switch {
	case match && neg:
		ts.Fatalf("it was seen")
	case !match && !neg:
		ts.Fatalf("no such line was seen after those before")
	}
}

// Pattern returns what matches the lines that a text with … stands for.
func Pattern(text string) *regexp.Regexp {
	parts := strings.Split(text, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
}

// CheckExcerpts checks that a document quotes its stories truly: each block of
// code that follows the line "From [name](…/name.txtar):" must be a part of
// that file, line by line. It returns the names of the stories that are quoted.
func CheckExcerpts(t *testing.T, document, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile("(?s)From \\[[^\\]]*\\]\\([^)]*?([a-z-]+\\.txtar)\\):\n\n```[a-z]*\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		story, err := os.ReadFile(filepath.Join(dir, m[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains("\n"+string(story), "\n"+m[2]) {
			t.Errorf("%s quotes what is not in %s:\n%s", document, m[1], m[2])
		}
		names = append(names, m[1])
	}
	return names
}
