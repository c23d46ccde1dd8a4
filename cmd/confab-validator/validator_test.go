package main

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/internal/command/story"
)

var update = commandtest.UpdateFlag()

// TestMain gives stories the program: in them, confab-validator is this test
// binary.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"confab-validator": main})
}

// TestProgram_KeepsTheRules also holds the text of all help. After a change:
// go test ./cmd/confab-validator -run TestProgram -update
func TestProgram_KeepsTheRules(t *testing.T) {
	commandtest.Check(t, newProgram, "testdata/help.txt", *update)
}

func TestStories(t *testing.T) {
	story.Run(t, testscript.Params{
		Files: []string{"../../docs/stories/run-a-validator.txtar", "testdata/refused.txtar"},
		Setup: setup,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"await": await, "take": take},
	})
}

// setup gives a story two free ports, and in $FILES the address of a server that
// is no validator.
func setup(e *testscript.Env) error {
	files := httptest.NewServer(http.NotFoundHandler())
	e.Defer(files.Close)
	e.Setenv("FILES", files.Listener.Addr().String())
	for _, name := range []string{"PORT", "QUERY"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // only when both are found
		e.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return nil
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

func TestReadme_QuotesTheStory(t *testing.T) {
	if !slices.Contains(story.CheckExcerpts(t, "../../README.md", "../../docs/stories"), "run-a-validator.txtar") {
		t.Error("README does not quote run-a-validator.txtar")
	}
}
