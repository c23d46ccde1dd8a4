package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
)

// TestConflict_IsKeptPrintedAndRefused: validators sign two chains from one block
// on, and two sources show one each. Nothing is believed from then on: the evidence
// is in a file, which anyone who has the pin can check, and the network is refused
// from then on, without asking anybody.
func TestConflict_IsKeptPrintedAndRefused(t *testing.T) {
	w := newWorld(t)
	main := fakechain.New(fakechain.Spec{Start: time.Now().Add(-time.Minute)})
	if err := main.Register(fakechain.NewActor("alice", namesvc.Person), "alice", nil); err != nil {
		t.Fatal(err)
	}
	main.Skip(20)
	fork := main.Fork()
	var asked atomic.Int64
	honest, other := servesChain(t, main, &asked), servesChain(t, fork, &asked)
	pin := main.Pin(1).String()
	w.run("net add --pin " + pin + " --source " + honest + " --source " + other + " some").ok()
	w.run("handle show @alice").ok()

	main.Skip(5)
	fork.Skip(5)
	said := w.run("handle show @alice").fails(14, fmt.Sprintf("the validators of %s signed two blocks at height %d", main.ID(), main.Height()), honest, other, "the evidence is kept in")
	kept, err := filepath.Glob(w.path("home/networks/some/*.evidence"))
	if err != nil || len(kept) != 1 || !strings.Contains(said.stderr, kept[0]) {
		t.Fatalf("kept: %v, %v; it said %s", kept, err, said.stderr)
	}
	checked := w.run("proof evidence --pin " + pin + " " + kept[0]).ok()
	for from, c := range map[string]*fakechain.Chain{honest: main, other: fork} {
		if hash := c.Trust(c.Height()).Hash; !checked.shows("header", fmt.Sprintf("%x, from %s", hash, from)) {
			t.Errorf("the block of %s is not shown:\n%s", from, checked.stdout)
		}
	}
	before := asked.Load()
	for _, line := range []string{"handle show @alice", "handle show --json @alice", "proof save --out FILE/x @alice"} {
		w.run(line).fails(14, "signed two blocks", kept[0])
	}
	if asked.Load() != before {
		t.Error("a network that contradicted itself is asked again")
	}
}

// servesChain returns the address of a source that tells what a made-up chain says.
func servesChain(t *testing.T, c *fakechain.Chain, asked *atomic.Int64) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		q, number := r.URL.Query(), map[string]uint64{}
		for _, name := range []string{"at", "after", "known", "pin"} {
			number[name], _ = strconv.ParseUint(q.Get(name), 10, 64)
		}
		b, err := fakechain.Node{Chain: c}.Bundle(r.Context(), lightclient.Request{
			Handle: namesvc.Handle(q.Get("handle")), Chain: q.Has("chain"), Devices: q.Has("devices"), Serving: q.Has("serving"),
			At: number["at"], After: number["after"], Known: number["known"], Pin: number["pin"],
		})
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Write(b)
	}))
	t.Cleanup(web.Close)
	return web.URL
}
