package namesvc_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
)

var update = flag.Bool("update", false, "rewrite vectors, and the roots in scripts")

// TestScripts_OnTheBareLaw runs every name script on the law itself.
func TestScripts_OnTheBareLaw(t *testing.T) {
	codes := map[namesvc.RejectCode]int{}
	for _, path := range scripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			for code, n := range runScript(t, path) {
				codes[code] += n
			}
		})
	}
	if t.Failed() {
		return
	}
	for code := namesvc.Accepted; ; code++ {
		if strings.HasPrefix(code.String(), "reject-") {
			break
		}
		// No receipt ever says this: a program that does not know the rules
		// stops before the block. See TestApplyBlock_RefusesRulesItDoesNotKnow.
		if codes[code] == 0 && code != namesvc.UnknownRules {
			t.Errorf("no script reaches the code %v", code)
		}
	}
}

func scripts(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	return paths
}

func runScript(t *testing.T, path string) map[namesvc.RejectCode]int {
	t.Helper()
	s := parseScript(t, path)
	if *update {
		result, _ := namescript.Run(s, newLaw(t, s.Params, s.Founders...))
		if err := os.WriteFile(path, []byte(s.WithRoots(result.Roots)), 0o644); err != nil {
			t.Fatal(err)
		}
		s = parseScript(t, path)
	}
	result, err := namescript.Run(s, newLaw(t, s.Params, s.Founders...))
	if err != nil {
		t.Error(err)
	}
	return result.Codes
}

func parseScript(t *testing.T, path string) namescript.Script {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := namescript.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newLaw(t testing.TB, p namesvc.Params, founders ...namescript.Founder) *namescript.Law {
	t.Helper()
	law, err := namescript.NewLaw(p, founders...)
	if err != nil {
		t.Fatal(err)
	}
	return law
}
