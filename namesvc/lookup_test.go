package namesvc_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc"
)

// leafOf is the leaf that goes with entry's handle.
func leafOf() namesvc.HandleLeaf {
	return namesvc.HandleLeaf{Version: 1, Account: seed32(1), Generation: 1, Handle: "alice", Registered: 100}
}

func TestInterpret_StatusFollowsTheClock(t *testing.T) {
	leaf, e := leafOf(), entry()
	for now, want := range map[uint64]namesvc.Status{100: namesvc.Active, 299: namesvc.Active, 300: namesvc.Dormant, 399: namesvc.Dormant} {
		m, err := namesvc.Interpret("alice", &leaf, &e, now)
		if err != nil || m.Status != want || m.Handle != "alice" || m.Generation != 1 || m.Entry.Account != e.Account {
			t.Errorf("at %d: %v, %v", now, m.Status, err)
		}
	}
}

func TestInterpret_SaysWhyAHandleMeansNothing(t *testing.T) {
	leaf, e := leafOf(), entry()
	released := leaf
	released.Released = 150
	pending := e
	pending.Pending = &namesvc.Pending{Kind: namesvc.OpRelease, Rank: 1, Effective: 250, Handle: "alice"}
	for name, c := range map[string]struct {
		h       namesvc.Handle
		leaf    *namesvc.HandleLeaf
		owner   *namesvc.Entry
		now     uint64
		retired bool
		last    uint32
	}{
		"absent":                 {"alice", nil, nil, 200, false, 0},
		"lapsed":                 {"alice", &leaf, &e, 400, true, 1},
		"released":               {"alice", &released, &e, 200, true, 1},
		"pending is over":        {"alice", &leaf, &pending, 250, true, 1},
		"looks like a lapsed":    {"a1ice", &leaf, &e, 400, false, 1},
		"looks like a given-up":  {"al_ice", &released, &e, 200, false, 1},
		"released before lapsed": {"alice", &released, &e, 4000, true, 1},
	} {
		_, err := namesvc.Interpret(c.h, c.leaf, c.owner, c.now)
		var missing *namesvc.NotFoundError
		if !errors.As(err, &missing) || missing.Handle != c.h || missing.Retired != c.retired || missing.Last != c.last {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := namesvc.Interpret("alice", &leaf, &pending, 249); err != nil {
		t.Errorf("pending: %v", err)
	}
}

// TestInterpret_NeverResolvesALookAlike: the error names the owner's spelling.
func TestInterpret_NeverResolvesALookAlike(t *testing.T) {
	leaf, e := leafOf(), entry()
	for _, h := range []namesvc.Handle{"a1ice", "al_ice", "aiice", "allce"} {
		_, err := namesvc.Interpret(h, &leaf, &e, 200)
		var alike *namesvc.ConfusableError
		if !errors.As(err, &alike) || alike.Asked != h || alike.Owner != "alice" || !strings.Contains(err.Error(), "@alice") {
			t.Errorf("%v: %v", h, err)
		}
	}
}

// TestInterpret_RefusesWhatDoesNotBelongTogether: sources may mix proofs.
func TestInterpret_RefusesWhatDoesNotBelongTogether(t *testing.T) {
	leaf, e := leafOf(), entry()
	other := leaf
	other.Handle = "bobby"
	stranger := e
	stranger.Account = seed32(2)
	emptied := e
	emptied.Handles = nil
	older := e
	older.Handles = []namesvc.Lease{{Handle: "alice", Generation: 2}}
	for name, c := range map[string]struct {
		leaf  *namesvc.HandleLeaf
		owner *namesvc.Entry
	}{
		"leaf of another handle": {&other, &e}, "no entry": {&leaf, nil}, "entry of another": {&leaf, &stranger},
		"entry without the handle": {&leaf, &emptied}, "entry with another generation": {&leaf, &older},
	} {
		_, err := namesvc.Interpret("alice", c.leaf, c.owner, 200)
		var missing *namesvc.NotFoundError
		var alike *namesvc.ConfusableError
		if err == nil || errors.As(err, &missing) || errors.As(err, &alike) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
