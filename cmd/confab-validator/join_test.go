package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/internal/command/story"
)

func TestStories_OfJoining(t *testing.T) {
	story.Run(t, testscript.Params{
		Files: []string{"../../docs/stories/join-a-network.txtar", "testdata/join_refused.txtar"},
		Setup: func(e *testscript.Env) error {
			if err := setup(e); err != nil {
				return err
			}
			e.Setenv("PORT1", e.Getenv("PORT"))
			e.Setenv("QUERY1", e.Getenv("QUERY"))
			return setup(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await, "take": take, "until": until, "hurry": hurryAndKeep,
		},
	})
}

// hurryAndKeep also has the validator keep enough snapshots for somebody to find
// one and fetch it while blocks come this fast.
func hurryAndKeep(ts *testscript.TestScript, neg bool, args []string) {
	hurry(ts, neg, args)
	path := ts.MkAbs(filepath.Join(args[0], "validator.toml"))
	b, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, []byte(strings.Replace(string(b), "keep = 2", "keep = 10", 1)), 0o600))
}
