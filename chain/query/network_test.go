package query_test

import (
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TestAPI_ForThoseWhoJoinAndAudit runs what a stranger's node asks.
func TestAPI_ForThoseWhoJoinAndAudit(t *testing.T) {
	w := begin(t)
	if err := w.n.WaitHeight(t.Context(), 12); err != nil { // two checkpoints, proven by heads 7 and 12
		t.Fatal(err)
	}
	for name, f := range map[string]func(*testing.T, *world){
		"ItSaysHowToJoin":          itSaysHowToJoin,
		"CheckpointsAreProven":     checkpointsAreProven,
		"TheRecordComesInPages":    theRecordComesInPages,
		"MistakesAreNamed":         networkMistakesAreNamed,
		"AServerMayKeepItToItself": aServerMayKeepItToItself,
	} {
		t.Run(name, func(t *testing.T) { f(t, w) })
	}
}

func itSaysHowToJoin(t *testing.T, w *world) {
	status, h, b := w.get(t, "GET", "/v1/genesis", "", nil)
	doc, err := cmttypes.GenesisDocFromJSON(b)
	if status != 200 || h.Get("Content-Type") != "application/json" || err != nil || doc.ChainID != w.n.Chain {
		t.Errorf("genesis: status %d, %v", status, err)
	}
	var p query.Peers
	w.decode(t, "/v1/peers", &p)
	if len(p.Peers) != 1 || p.Peers[0] != w.n.Nodes[0].PeerAddr() {
		t.Errorf("peers %v", p.Peers)
	}
	var turns query.Turns
	w.decode(t, "/v1/validators?height=3", &turns)
	_, set, err := w.server.Heads.Head(3)
	if err != nil || turns.Height != 3 || turns.Validators.Hash() != set.Hash() || len(turns.Priorities) != set.Len() {
		t.Errorf("turns %+v, %v", turns, err)
	}
}

func checkpointsAreProven(t *testing.T, w *world) {
	var sealed query.Sealed
	w.decode(t, "/v1/checkpoints/1", &sealed)
	status, _, b := w.get(t, "GET", "/v1/bundle?checkpoint=1&pin=1", "", nil)
	v, err := bundle.Verify(b, bundle.Trust{Pin: w.pin, Rules: verify.DefaultRules()}, time.Now())
	if status != 200 || err != nil {
		t.Fatal(status, err)
	}
	leaf, err := v.Leaf(namesvc.CheckpointKey(1))
	if err != nil {
		t.Fatal(err)
	}
	c, err := namesvc.DecodeCheckpoint(leaf)
	if err != nil || c.Digest != sealed.Digest {
		t.Errorf("digest %x, %v; the state has %x", sealed.Digest, err, c.Digest)
	}
}

func theRecordComesInPages(t *testing.T, w *world) {
	var e, rest query.Export
	w.decode(t, "/v1/export", &e)
	if e.From != 1 || len(e.Rows) < 3 || e.Height < e.Rows[len(e.Rows)-1].Block.Height {
		t.Fatalf("%d rows from %d up to %d", len(e.Rows), e.From, e.Height)
	}
	w.decode(t, "/v1/export?after="+strconv.Itoa(int(e.Rows[0].Block.Height)), &rest)
	if len(rest.Rows) < len(e.Rows)-1 || string(wire.Encode(rest.Rows[0])) != string(wire.Encode(e.Rows[1])) {
		t.Error("from the second row on, other rows come")
	}
	// At the end there is nothing, at once; whoever waits gets the next row.
	var none, next query.Export
	mark, _ := w.server.App.Last()
	w.decode(t, "/v1/export?after="+strconv.Itoa(int(mark.Height+1000)), &none)
	if len(none.Rows) != 0 || none.More {
		t.Errorf("beyond the end: %d rows", len(none.Rows))
	}
	w.decode(t, "/v1/export?wait=10&after="+strconv.Itoa(int(mark.Height)), &next)
	if len(next.Rows) == 0 || next.Rows[0].Block.Height <= mark.Height {
		t.Errorf("who waits gets %d rows", len(next.Rows))
	}
}

func networkMistakesAreNamed(t *testing.T, w *world) {
	for path, want := range map[string]int{
		"/v1/export?after=x": 400, "/v1/export?wait=x": 400, "/v1/validators?height=99999999": 404, "/v1/validators?height=x": 400,
		"/v1/bundle?checkpoint=1&chain": 400, "/v1/bundle?checkpoint=-1": 400,
	} {
		status, _, b := w.get(t, "GET", path, "", nil)
		var p query.Problem
		if err := wire.Decode(b, &p, 4<<10); status != want || err != nil || p.Text == "" {
			t.Errorf("%s: status %d, %v, %q", path, status, err, p.Text)
		}
	}
}

func aServerMayKeepItToItself(t *testing.T, w *world) {
	s := &query.Server{Chain: w.server.Chain, App: w.server.App, Store: w.server.Store, Heads: w.server.Heads, Logger: w.server.Logger}
	h := s.Handler()
	for _, path := range []string{"/v1/genesis", "/v1/peers", "/v1/validators?height=3"} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest("GET", path, nil))
		if r.Code != 404 {
			t.Errorf("%s: status %d", path, r.Code)
		}
	}
}
