package remote_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/remote"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// live is a network of one validator that has a few checkpoints.
type live struct {
	*testnet.Network
	t   *testing.T
	ctx context.Context
}

const interval = 5

func begin(t *testing.T) live {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := namesvc.DevParams(testnet.NewChainID())
	p.Checkpoint = interval
	n, err := testnet.Start(ctx, testnet.Spec{Dir: t.TempDir(), Validators: 1, Params: p, Pause: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	if err := n.WaitHeight(ctx, 3*interval+2); err != nil {
		t.Fatal(err)
	}
	return live{n, t, ctx}
}

// pin returns a pin of a height.
func (l live) pin(height uint64) verify.Pin {
	l.t.Helper()
	head, _, err := l.Nodes[0].Query.Heads.Head(height)
	if err != nil {
		l.t.Fatal(err)
	}
	return verify.Pin{ChainID: l.Chain, Height: height, Hash: head.Header.Hash()}
}

func (l live) remote(pin verify.Pin, urls ...string) *remote.Network {
	l.t.Helper()
	n, err := remote.New(pin, urls, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// liar passes requests on to the validator, and changes answers whose path has a
// prefix.
func (l live) liar(prefix string, change func([]byte) []byte) string {
	l.t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res, err := http.Get(l.URLs()[0] + r.URL.String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		if strings.HasPrefix(r.URL.String(), prefix) && res.StatusCode == http.StatusOK {
			b = change(b)
		}
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		w.Write(b)
	}))
	l.t.Cleanup(s.Close)
	return s.URL
}

func TestHead_IsVerifiedBeforeAndAfterThePin(t *testing.T) {
	l := begin(t)
	pin := l.pin(3*interval + 1)
	n := l.remote(pin, l.URLs()[0])
	newest, err := n.Newest(l.ctx)
	if err != nil || newest < pin.Height {
		t.Fatal(newest, err)
	}
	// The pin itself, older heights down to the first checkpoint, and one that is
	// to come.
	for _, h := range []uint64{pin.Height, newest + 3, 2*interval + 1, 2*interval + 2, 2 * interval, interval + 1, interval, pin.Height - 1} {
		got, set, err := n.Head(l.ctx, h)
		if err != nil {
			t.Fatalf("height %d: %v", h, err)
		}
		want, _, err := l.Nodes[0].Query.Heads.Head(h)
		if err != nil || got.Header != want.Header || got.Check(set) != nil {
			t.Errorf("height %d: %+v, %v", h, got.Header, err)
		}
	}
	if _, _, err := n.Head(l.ctx, interval-1); wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), "older pin") {
		t.Errorf("before the first checkpoint: %v", err)
	}
	short, cancel := context.WithTimeout(l.ctx, 300*time.Millisecond)
	defer cancel()
	if _, _, err := n.Head(short, newest+1_000_000); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("far ahead: %v", err)
	}
}

func TestNetwork_TellsWhatOneMustKnowToJoin(t *testing.T) {
	l := begin(t)
	n := l.remote(l.pin(2), l.URLs()[0])
	b, err := n.Genesis(l.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if doc, err := cmttypes.GenesisDocFromJSON(b); err != nil || doc.ChainID != l.Chain {
		t.Errorf("genesis: %v", err)
	}
	if peers, err := n.Peers(l.ctx); err != nil || !slices.Equal(peers, []string{l.Nodes[0].PeerAddr()}) {
		t.Errorf("peers %v, %v; want %v", peers, err, l.Nodes[0].PeerAddr())
	}
	if turns, err := n.Turns(l.ctx, 9); err != nil || len(turns) != 1 {
		t.Errorf("turns %v, %v", turns, err)
	}
	e, err := n.Export(l.ctx, 0)
	if err != nil || e.From != 1 || len(e.Rows) == 0 {
		t.Errorf("export: %d rows from %d, %v", len(e.Rows), e.From, err)
	}
	for { // sealed within a block or two
		s, err := n.Seals(l.ctx, 2)
		if err == nil && s.Height > 2*interval {
			break
		}
		if wire.CodeOf(err) != wire.NotFound || l.ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Seals(l.ctx, 1000); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("seals to come: %v", err)
	}
}

// TestNetwork_ALiarIsFoundOut: what is false is refused with the liar's address,
// and another source is asked.
func TestNetwork_ALiarIsFoundOut(t *testing.T) {
	l := begin(t)
	pin := l.pin(3*interval + 1)
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-20] ^= 1; return b }
	back := func(n *remote.Network) error { _, _, err := n.Head(l.ctx, interval+1); return err }
	turns := func(n *remote.Network) error { _, err := n.Turns(l.ctx, 2*interval); return err }
	export := func(n *remote.Network) error { _, err := n.Export(l.ctx, 0); return err }
	peers := func(n *remote.Network) error { _, err := n.Peers(l.ctx); return err }
	genesis := func(n *remote.Network) error { _, err := n.Genesis(l.ctx); return err }
	newest := func(n *remote.Network) error { _, err := n.Newest(l.ctx); return err }
	for name, tc := range map[string]struct {
		prefix string
		change func([]byte) []byte
		ask    func(*remote.Network) error
	}{
		"head touched":        {"/v1/bundle", flip, newest},
		"head cut":            {"/v1/bundle", func(b []byte) []byte { return b[:len(b)/2] }, newest},
		"checkpoint touched":  {"/v1/bundle?checkpoint", flip, back},
		"checkpoint's record": {"/v1/checkpoints/", func(b []byte) []byte { return changed(b, func(s *query.Sealed) { s.Checkpoint.BlockHash[0] ^= 1 }) }, back},
		"another checkpoint":  {"/v1/checkpoints/", func(b []byte) []byte { return changed(b, func(s *query.Sealed) { s.Checkpoint.Number++ }) }, back},
		"turns of others":     {"/v1/validators", func(b []byte) []byte { return changed(b, func(t *query.Turns) { t.Height++ }) }, turns},
		"turns too many": {"/v1/validators", func(b []byte) []byte {
			return changed(b, func(t *query.Turns) { t.Priorities = append(t.Priorities, 1) })
		}, turns},
		"turns too large":   {"/v1/validators", func(b []byte) []byte { return make([]byte, 1<<20) }, turns},
		"rows garbage":      {"/v1/export", func(b []byte) []byte { return []byte("garbage") }, export},
		"rows too large":    {"/v1/export", func(b []byte) []byte { return make([]byte, 20<<20) }, export},
		"no peers":          {"/v1/peers", func(b []byte) []byte { return changed(b, func(p *query.Peers) { p.Peers = []string{"x", "@", ""} }) }, peers},
		"genesis too large": {"/v1/genesis", func(b []byte) []byte { return make([]byte, 1<<20) }, genesis},
	} {
		t.Run(name, func(t *testing.T) {
			liar := l.liar(tc.prefix, tc.change)
			err := tc.ask(l.remote(pin, liar))
			if err == nil || !strings.Contains(err.Error(), liar) && name != "no peers" {
				t.Errorf("alone: %v", err)
			}
			if err := tc.ask(l.remote(pin, liar, l.URLs()[0])); err != nil {
				t.Errorf("with an honest one: %v", err)
			}
		})
	}
	// Turns are in no header: two sources must agree.
	liar := l.liar("/v1/validators", func(b []byte) []byte { return changed(b, func(t *query.Turns) { t.Priorities[0]++ }) })
	if err := turns(l.remote(pin, liar, l.URLs()[0])); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("sources that differ in turns: %v", err)
	}
}

func changed[T any](b []byte, change func(*T)) []byte {
	var v T
	if err := wire.Decode(b, &v, 1<<20); err != nil {
		panic(err)
	}
	change(&v)
	return wire.Encode(v)
}

func TestPeers_AnOpenHostIsTheSources(t *testing.T) {
	l := begin(t)
	id := strings.Repeat("ab", 20)
	open := l.liar("/v1/peers", func(b []byte) []byte {
		return changed(b, func(p *query.Peers) { p.Peers = []string{id + "@0.0.0.0:26656", id + "@[::]:1", id + "@10.0.0.1:2"} })
	})
	got, err := l.remote(l.pin(2), open).Peers(l.ctx)
	if want := []string{id + "@127.0.0.1:26656", id + "@127.0.0.1:1", id + "@10.0.0.1:2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestNew_RefusesWhatCannotWork(t *testing.T) {
	pin := verify.Pin{ChainID: "some-chain", Height: 1}
	many := make([]string, remote.MaxSources+1)
	for name, urls := range map[string][]string{"none": nil, "twice": {"http://a", "http://a/"}, "no URL": {"a:b:c"}, "too many": many} {
		if _, err := remote.New(pin, urls, nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := begin(t)
	wrong := l.pin(3)
	wrong.Hash[0] ^= 1
	if _, err := l.remote(wrong, l.URLs()[0]).Newest(l.ctx); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("a pin of another header: %v", err)
	}
}
