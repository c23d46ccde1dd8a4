package namescript_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
)

func TestParse_RefusesWhatWouldNotMeanWhatItSays(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown step":         {"sell alice @alice => ok", "no step"},
		"too few words":        {"release alice => ok", "takes 2 to 2 words"},
		"too many words":       {"renew alice bob => ok", "takes 1 to 1 words"},
		"unknown option":       {"renew alice via=d1 => ok", "no option via="},
		"missing outcome":      {"renew alice", "outcome"},
		"outcome of a block":   {"block => ok", "outcome"},
		"empty outcome":        {"renew alice =>", "arrow"},
		"unknown parameter":    {"params min_handel=3", "no parameter"},
		"no number":            {"params reveal=many", "neither a number"},
		"bad parameter":        {"params reveal=1", "reveal is 1"},
		"late parameter":       {"block\nparams reveal=5", "top"},
		"late live":            {"block\nlive", "top"},
		"time when live":       {"live\ntime +1d", "steer time"},
		"block time when live": {"live\nblock +5s", "steer time"},
		"two ops when live":    {"live\nrenew alice => ok\nrenew alice => ok", "one op a block"},
		"counters when live":   {"live\nmeter => commits=1", "cannot know"},
	} {
		_, err := namescript.Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something about %q", name, err, c.want)
		}
	}
}

// TestRun_TellsEveryOutcomeThatDiffers: a script that says something else must
// fail, line by line.
func TestRun_TellsEveryOutcomeThatDiffers(t *testing.T) {
	text := `
actor alice person
actor bob person
register alice @alice => handle-taken
register bob @alice => ok
resolve @alice => bob active
entry alice => seq=2 handles=@alice
handle @alice => owner=bob
meter => commits=7
root => 00
`[1:]
	s, err := namescript.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	law, err := namescript.NewLaw(s.Params)
	if err != nil {
		t.Fatal(err)
	}
	result, err := namescript.Run(s, law)
	var m *namescript.Mismatch
	if !errors.As(err, &m) || m.Line.Number != 3 || m.Got != "ok" {
		t.Fatalf("%v", err)
	}
	if got := strings.Count(err.Error(), "want "); got != 7 {
		t.Errorf("%d mismatches, want 7:\n%v", got, err)
	}
	if result.Codes[namesvc.HandleTaken] != 1 || result.Codes[namesvc.Accepted] != 3 {
		t.Errorf("codes: %v", result.Codes)
	}
	fixed, err := namescript.Parse(s.WithRoots(result.Roots))
	if err != nil {
		t.Fatal(err)
	}
	law, err = namescript.NewLaw(s.Params)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := namescript.Run(fixed, law); strings.Count(err.Error(), "want ") != 6 {
		t.Errorf("with the root put right: %v", err)
	}
}

func TestRun_StopsWhereALineMakesNoSense(t *testing.T) {
	for name, text := range map[string]string{
		"stranger":            "renew alice => ok",
		"twice on stage":      "actor alice person\nactor alice person",
		"no such kind":        "actor alice robot",
		"nothing prepared":    "reveal alice => ok",
		"nothing named":       "replay it => ok",
		"question in between": "actor alice person\ncommit alice @alice => ok\nresolve @alice => not-found",
		"left over":           "actor alice person\ncommit alice @alice => ok",
		"unknown fact":        "actor alice person\nregister alice @alice => ok\nentry alice => colour=red",
		"flip out of range":   "actor alice person\ncommit alice @alice flip=9999 => ok",
	} {
		s, err := namescript.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		law, err := namescript.NewLaw(s.Params)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := namescript.Run(s, law); err == nil {
			t.Errorf("%s: the run went through", name)
		}
	}
}

// TestRun_MakesTheSameBytesAgain: keys, salts and work grow from names.
func TestRun_MakesTheSameBytesAgain(t *testing.T) {
	roots := map[[32]byte]bool{}
	for range 2 {
		s, err := namescript.Parse("params work_bits=3\nactor alice person\nregister alice @alice device=d1 => ok")
		if err != nil {
			t.Fatal(err)
		}
		law, err := namescript.NewLaw(s.Params)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := namescript.Run(s, law); err != nil {
			t.Fatal(err)
		}
		roots[law.Root()] = true
	}
	if len(roots) != 1 {
		t.Error("two runs gave two states")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("live\nparams reveal=20\nactor alice person\nregister alice @alice => ok\nroot => 00\n")
	f.Add("commit a @b device=d1/message,renew/30d # x\nblock x3 +5s")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := namescript.Parse(text)
		if err == nil && s.WithRoots(nil) != text {
			t.Error("the text is another")
		}
	})
}
