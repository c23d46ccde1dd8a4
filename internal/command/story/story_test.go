package story_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/internal/command/story"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hello": func() {
		fmt.Println("hello     world\nbye       world")
		fmt.Fprintln(os.Stderr, "one\ntwo")
		if len(os.Args) > 1 {
			os.Exit(7)
		}
	}})
}

func TestStories(t *testing.T) {
	story.Run(t, testscript.Params{Dir: "testdata"})
}

// TestSeen_FailsOnWhatWasNotSeen runs stories that are not true.
func TestSeen_FailsOnWhatWasNotSeen(t *testing.T) {
	for name, text := range map[string]string{
		"wrong order":      "$ hello\n> bye world\n> hello world\n",
		"twice":            "$ hello\n> one\n> one\n",
		"part of a line":   "$ hello\n> hello\n",
		"not there":        "$ hello\n> three\n",
		"seen after all":   "$ hello\n! > two\n",
		"fails":            "$ hello x\n",
		"does not fail":    "! $ hello\n",
		"another status":   "! $ hello x\nstatus 8\n",
		"no such program":  "! $ nobody\n",
		"dots are no wild": "$ hello\n> hello.world\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "story.txtar")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if !fails(path) {
				t.Error("the story passed")
			}
		})
	}
}

// fails runs one script outside of this test and reports whether it failed.
func fails(path string) bool {
	t := &observed{}
	t.Run("", func(testscript.T) { testscript.RunT(t, story.Params(testscript.Params{Files: []string{path}})) })
	return t.failed
}

// observed is a test whose failure is expected.
type observed struct{ failed bool }

func (t *observed) Skip(...any)   { runtime.Goexit() }
func (t *observed) Fatal(...any)  { t.FailNow() }
func (t *observed) FailNow()      { t.failed = true; runtime.Goexit() }
func (t *observed) Parallel()     {}
func (t *observed) Log(...any)    {}
func (t *observed) Verbose() bool { return false }

// Run runs f to its end, which Goexit may be.
func (t *observed) Run(_ string, f func(testscript.T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(t)
	}()
	<-done
}

func TestPattern_HasOneWildcard(t *testing.T) {
	for _, c := range []struct {
		text, line string
		want       bool
	}{
		{"a b", "a b", true}, {"a b", "a bc", false}, {"a…", "a bc", true}, {"…c", "a bc", true},
		{"a…c", "abcd", false}, {"a.c", "abc", false}, {"…", "", true},
	} {
		if got := story.Pattern(c.text).MatchString(c.line); got != c.want {
			t.Errorf("%q matches %q: %v", c.text, c.line, got)
		}
	}
}

func TestCheckExcerpts_FindsWhatIsQuoted(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a-story.txtar": "# begin\n$ hello\n> hello world\n",
		"doc.md":        "Words.\n\nFrom [a story](docs/stories/a-story.txtar):\n\n```sh\n$ hello\n> hello world\n```\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := story.CheckExcerpts(t, filepath.Join(dir, "doc.md"), dir); len(got) != 1 || got[0] != "a-story.txtar" {
		t.Errorf("it found %q", got)
	}
}
