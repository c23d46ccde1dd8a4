package mls_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// TestScenarios_InFilesOfYours plays the passive-client runs in the files that
// CONFAB_MLS_SCENARIOS names, a pattern such as 'runs/*.json', and counts
// what passed in each suite.
func TestScenarios_InFilesOfYours(t *testing.T) {
	pattern := os.Getenv("CONFAB_MLS_SCENARIOS")
	if pattern == "" {
		pattern = "../../docs/vectors/mls_scenarios.json"
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is named by %s: %v", pattern, err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list, err := mls.ParseScenarios(data)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		passed, unsupported, commits := 0, 0, 0
		for i := range list {
			switch err := list[i].Run(); {
			case errors.Is(err, mls.ErrUnsupported):
				unsupported++
			case err != nil:
				t.Errorf("%s, run %d, suite %d: %v", path, i, list[i].CipherSuite, err)
			default:
				passed++
				commits += len(list[i].Epochs)
			}
		}
		t.Logf("%s: %d runs with %d commits passed, %d of other suites", filepath.Base(path), passed, commits, unsupported)
		if passed == 0 {
			t.Errorf("%s: no run was of a supported suite", path)
		}
	}
}
