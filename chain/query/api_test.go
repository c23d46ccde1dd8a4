package query_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// world is a chain of one validator with @alice on it, and what a stranger knows
// of it.
type world struct {
	n      *testnet.Network
	url    string
	server *query.Server
	pin    verify.Pin
	alice  *testnet.User
	commit [32]byte // of her registration
}

// begin starts one; it ends with the test.
func begin(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 5
	n, err := testnet.Start(ctx, testnet.Spec{Dir: t.TempDir(), Validators: 1, Params: p, Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	client, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	alice, err := testnet.NewUser(rand.Reader, n.Chain)
	if err != nil {
		t.Fatal(err)
	}
	info, err := client.Chain(ctx)
	if err != nil {
		t.Fatal(err)
	}
	commit, register, err := alice.Registration(ctx, "alice", info)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range [][]byte{commit, register} {
		if _, err := client.Submit(ctx, op, nil); err != nil {
			t.Fatal(err)
		}
	}
	announced := namesvc.Commit{Payment: ticket.Work, Hash: namesvc.CommitHash(register)}
	return &world{
		n: n, url: n.URLs()[0], server: n.Nodes[0].Query, pin: client.Pin(), alice: alice, commit: announced.ID(),
	}
}

// get asks the API and returns the status, the headers and the body.
func (w *world) get(t *testing.T, method, path, accept string, body io.Reader) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, b
}

func (w *world) decode(t *testing.T, path string, into any) {
	t.Helper()
	status, h, b := w.get(t, "GET", path, "", nil)
	if status != 200 || h.Get("Content-Type") != "application/cbor" {
		t.Fatalf("%s: status %d, %s: %q", path, status, h.Get("Content-Type"), b)
	}
	if err := wire.Decode(b, into, 1<<22); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestAPI runs all that needs a live chain on one.
func TestAPI(t *testing.T) {
	w := begin(t)
	for name, f := range map[string]func(*testing.T, *world){
		"AnswersAreCBORAndJSON":            answersAreCBORAndJSON,
		"StatusPinAndHealth":               statusPinAndHealth,
		"BundlesVerify":                    bundlesVerify,
		"EncodedIsTheBundle":               encodedIsTheBundle,
		"MistakesGetASentence":             mistakesGetASentence,
		"ErrorsReachALightClientWithKind":  errorsReachALightClientWithKind,
		"ReceiptsHistoryAndBlocks":         receiptsHistoryAndBlocks,
		"CheckpointsComeWithTheirSeals":    checkpointsComeWithTheirSeals,
		"PagesOfAnyOriginMayRead":          pagesOfAnyOriginMayRead,
		"SlowSendersHoldNobodyUp":          slowSendersHoldNobodyUp,
		"WaitingEndsWithTheBlockOrTheWait": waitingEndsWithTheBlockOrTheWait,
	} {
		t.Run(name, func(t *testing.T) { f(t, w) })
	}
	t.Run("StoppingEndsWhatWaits", func(t *testing.T) { stoppingEndsWhatWaits(t, w) })
}

func answersAreCBORAndJSON(t *testing.T, w *world) {
	paths := []string{
		"/v1/status", "/v1/pin", "/v1/bundle?handle=alice", "/v1/bundle?chain&pin=1", "/v1/blocks", "/v1/checkpoints/1",
		"/v1/accounts/" + w.alice.ID.String() + "/ops",
	}
	for _, path := range paths {
		status, h, b := w.get(t, "GET", path, "", nil)
		var any any
		if err := wire.Decode(b, &any, 1<<22); err != nil || status != 200 || h.Get("Content-Type") != "application/cbor" {
			t.Errorf("%s: status %d, %s, %v", path, status, h.Get("Content-Type"), err)
		}
		status, h, b = w.get(t, "GET", path, "text/html, application/json;q=0.9", nil)
		if status != 200 || h.Get("Content-Type") != "application/json" || !json.Valid(b) {
			t.Errorf("%s: status %d, %s: %s", path, status, h.Get("Content-Type"), b)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	_, _, b := w.get(t, "GET", "/v1/bundle?handle=alice", "application/json", nil)
	if !strings.Contains(string(b), `"about": "@alice"`) || !strings.Contains(string(b), w.alice.ID.String()) {
		t.Errorf("the bundle as JSON: %s", b)
	}
}

func statusPinAndHealth(t *testing.T, w *world) {
	var s query.Status
	w.decode(t, "/v1/status", &s)
	if s.Chain != w.n.Chain || s.Height == 0 || s.Provable < s.Height || s.Validators != 1 || s.Rules != namesvc.Rules ||
		s.Checkpoint != s.Height/5 || time.Since(time.Unix(int64(s.Time), 0)) > time.Minute {
		t.Errorf("status %+v", s)
	}
	var pin verify.Pin
	w.decode(t, "/v1/pin", &pin)
	head, _, err := w.server.Heads.Head(pin.Height)
	if err != nil || pin.ChainID != w.n.Chain || pin.Hash != head.Header.Hash() {
		t.Errorf("pin %v, %v", pin, err)
	}
	if status, _, b := w.get(t, "GET", "/healthz", "", nil); status != 200 || string(b) != "ok\n" {
		t.Errorf("health: %d %q", status, b)
	}
}

// bundlesVerify: what a stranger with a pin gets is enough, what one who knows a
// newer head gets is enough for that one, and what one without either gets
// cannot be taken for more than it is.
func bundlesVerify(t *testing.T, w *world) {
	rules := verify.DefaultRules()
	verifyAs := func(path string, known *verify.Trust) (*bundle.Verified, error) {
		_, _, b := w.get(t, "GET", path, "", nil)
		return bundle.Verify(b, bundle.Trust{Pin: w.pin, Known: known, Rules: rules, MaxAge: time.Minute}, time.Now())
	}
	first, err := verifyAs("/v1/bundle?handle=alice&devices&serving&pin=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := first.Handle("alice")
	if err != nil || m.Entry.Account != w.alice.ID {
		t.Errorf("@alice is %+v, %v", m, err)
	}
	if d, err := first.Devices(w.alice.ID); err != nil || len(d.List) != 1 {
		t.Errorf("her devices: %+v %v", d, err)
	}
	for _, path := range []string{
		"/v1/bundle?handle=alice&known=%d", "/v1/bundle?handle=alice&known=%d&pin=1", "/v1/bundle?chain&known=%d",
		"/v1/bundle?account=" + w.alice.ID.String() + "&known=%d", "/v1/bundle?commit=" + hex.EncodeToString(w.commit[:]) + "&known=%d",
		"/v1/bundle?handle=nobody&known=%d",
	} {
		path = fmt.Sprintf(path, first.Trust.Height)
		v, err := verifyAs(path, &first.Trust)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if v.Trust.Height < first.Trust.Height {
			t.Errorf("%s: proven under %d, known is %d", path, v.Trust.Height, first.Trust.Height)
		}
	}
	absent, err := verifyAs("/v1/bundle?handle=nobody&pin=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := absent.Handle("nobody"); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("@nobody: %v", err)
	}
	// A reader ahead of this server gets what its pin can verify.
	if _, err := verifyAs("/v1/bundle?handle=alice&pin=1&known=999999", nil); err != nil {
		t.Errorf("known is beyond the chain: %v", err)
	}
	// Neither pin nor known: the head with its validators, which a pin refuses.
	if _, err := verifyAs("/v1/bundle?handle=alice", nil); err == nil || wire.CodeOf(err) != wire.Invalid {
		t.Errorf("a bundle that begins nowhere: %v", err)
	}
	_, _, b := w.get(t, "GET", "/v1/bundle?handle=alice", "", nil)
	if loose, err := bundle.Decode(b); err != nil || loose.Origin != nil || len(loose.Steps) != 1 || loose.Steps[0].Validators == nil {
		t.Errorf("%+v, %v", loose, err)
	}
	// A head alone, to compare sources.
	if v, err := verifyAs("/v1/bundle?at=3&pin=1", nil); err != nil || v.Trust.Height != 3 {
		t.Errorf("head 3: %v", err)
	}
}

func encodedIsTheBundle(t *testing.T, w *world) {
	asks := []query.Ask{
		{Handle: "alice"}, {Handle: "alice", Pin: 1}, {Handle: "alice", Known: 1}, {Handle: "alice", Known: 2, Pin: 1, Devices: true, Serving: true},
		{Account: &w.alice.ID, Known: 3}, {Chain: true, Known: 1}, {At: 2, Pin: 1}, {At: 2, Known: 2}, {At: 3, Known: 1}, {At: 2, Known: 1},
		{Commit: &w.commit, Known: 1}, {Handle: "nobody", Known: 1},
	}
	for _, ask := range append(asks, asks...) {
		for attempt := 0; ; attempt++ {
			height := w.server.Heads.Newest()
			e, err := w.server.Encoded(ask)
			if err != nil {
				t.Fatal(err)
			}
			b, err := w.server.Bundle(ask)
			if err != nil {
				t.Fatal(err)
			}
			if w.server.Heads.Newest() != height && attempt < 100 {
				continue // a block came between
			}
			got, err := bundle.Decode(e)
			if err != nil {
				t.Fatalf("%+v: %v", ask, err)
			}
			// The newest commit may have got votes in between; all else is equal.
			if h := got.Head().Header.Height; h == b.Head().Header.Height {
				got.Steps[len(got.Steps)-1].Head.Commit = b.Head().Commit
			}
			if !bytes.Equal(got.Encode(), b.Encode()) {
				t.Errorf("%+v: encoded and made are two things", ask)
			}
			break
		}
	}
}

// mistakesGetASentence: every bad request has its status, and a body that says
// what is wrong and nothing of the server's inside.
func mistakesGetASentence(t *testing.T, w *world) {
	huge := strings.Repeat("9", 40)
	id := w.alice.ID.String()
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/nothing", "", 404, "there is nothing at"},
		{"GET", "/v1/nothing", "", 404, `there is nothing at "/v1/nothing"`},
		{"GET", "/v1/" + strings.Repeat("x", 300), "", 404, "there is nothing at"},
		{"GET", "/v1/%0d%0aX-Evil:%201", "", 404, "there is nothing at"},
		{"POST", "/v1/status", "", 405, "only GET"},
		{"GET", "/v1/ops", "", 405, "only POST"},
		{"DELETE", "/v1/bundle?handle=alice", "", 405, "only GET"},
		{"GET", "/v1/bundle", "", 400, "ask for one of"},
		{"GET", "/v1/bundle?handle=", "", 400, "ask for one of"},
		{"GET", "/v1/bundle?handle=alice&account=" + id, "", 400, "ask for one of"},
		{"GET", "/v1/bundle?handle=alice&chain", "", 400, "ask for one of"},
		{"GET", "/v1/bundle?handle=alice&at=3", "", 400, "ask for one of"},
		{"GET", "/v1/bundle?handle=" + strings.Repeat("a", 5000), "", 400, ""},
		{"GET", "/v1/bundle?handle=%00%ff", "", 400, ""},
		{"GET", "/v1/bundle?account=" + id[1:], "", 400, ""},
		{"GET", "/v1/bundle?account=" + strings.Repeat("z", 64), "", 400, ""},
		{"GET", "/v1/bundle?commit=12", "", 400, "64 hexadecimal digits"},
		{"GET", "/v1/bundle?handle=alice&pin=" + huge, "", 400, "pin: \"999"},
		{"GET", "/v1/bundle?handle=alice&known=-1", "", 400, "known: \"-1\" is not a number"},
		{"GET", "/v1/bundle?handle=alice&after=x", "", 400, "after: \"x\" is not a number"},
		{"GET", "/v1/bundle?handle=alice&wait=x", "", 400, "wait: \"x\" is not a number"},
		{"GET", "/v1/bundle?handle=alice&after=9223372036854775807", "", 503, "not yet"},
		{"GET", "/v1/bundle?at=9223372036854775807&pin=1", "", 503, "not yet"},
		{"GET", "/v1/bundle?handle=alice&pin=9223372036854775807", "", 404, "your pin"},
		{"GET", "/v1/bundle?at=2&pin=4", "", 400, "height 2 lies before your pin, 4"},
		{"GET", "/v1/ops/xyz", "", 400, "64 hexadecimal digits"},
		{"GET", "/v1/ops/" + strings.Repeat("0", 64), "", 404, "is in no block"},
		{"GET", "/v1/ops/" + strings.Repeat("0", 64) + "?wait=x", "", 400, "wait"},
		{"GET", "/v1/accounts/0/ops", "", 400, ""},
		{"GET", "/v1/accounts/" + id + "/ops?after=" + huge, "", 400, "not a number"},
		{"GET", "/v1/blocks?after=" + huge, "", 400, "not a number"},
		{"GET", "/v1/checkpoints/x", "", 400, "not a number"},
		{"GET", "/v1/checkpoints/9223372036854775807", "", 404, "there is no checkpoint"},
		{"POST", "/v1/ops", "", 400, ""},
		{"POST", "/v1/ops", "garbage", 400, ""},
		{"POST", "/v1/ops", strings.Repeat("x", 4097), 400, ""},
		{"POST", "/v1/ops", strings.Repeat("x", 5<<20), 400, ""},
	} {
		for _, accept := range []string{"", "application/json"} {
			status, h, b := w.get(t, tc.method, tc.path, accept, strings.NewReader(tc.body))
			name := fmt.Sprintf("%s %.60s (%d bytes)", tc.method, tc.path, len(tc.body))
			var p query.Problem
			if accept == "" {
				if err := wire.Decode(b, &p, 4096); err != nil {
					t.Errorf("%s: %v: %q", name, err, b)
				}
			} else if err := json.Unmarshal(b, &struct{ Code, Text *string }{&p.Code, &p.Text}); err != nil {
				t.Errorf("%s: %v: %q", name, err, b)
			}
			if status != tc.status || !strings.Contains(p.Text, tc.want) || len(p.Text) < 10 || len(p.Text) > 300 {
				t.Errorf("%s: status %d, %q; want %d about %q", name, status, p.Text, tc.status, tc.want)
			}
			if status == 405 && h.Get("Allow") == "" {
				t.Errorf("%s: it does not say what is allowed", name)
			}
			for _, inside := range []string{"goroutine", ".go:", w.n.Home(0), os.TempDir() + "/", "pebble", "leveldb"} {
				if bytes.Contains(b, []byte(inside)) || strings.Contains(fmt.Sprint(h), inside) {
					t.Errorf("%s: the answer shows %q", name, inside)
				}
			}
		}
	}
}

func errorsReachALightClientWithKind(t *testing.T, w *world) {
	s, err := source.NewHTTP(w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	var reject *lightclient.RejectError
	if err := s.Submit(t.Context(), []byte("garbage")); !errors.As(err, &reject) || reject.Code != namesvc.Malformed {
		t.Errorf("garbage: %v", err)
	}
	stranger, err := testnet.NewUser(rand.Reader, w.n.Chain)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Submit(t.Context(), stranger.Update([32]byte{1}, 1000)); !errors.As(err, &reject) || reject.Code != namesvc.UnknownAccount {
		t.Errorf("an op of nobody: %v", err)
	}
	for _, tc := range []struct {
		r    lightclient.Request
		want wire.Code
	}{
		{lightclient.Request{}, wire.Invalid},
		{lightclient.Request{Handle: "alice", Pin: 1 << 60}, wire.NotFound},
		{lightclient.Request{At: 2, Pin: 4}, wire.Invalid},
	} {
		if _, err := s.Bundle(t.Context(), tc.r); wire.CodeOf(err) != tc.want {
			t.Errorf("%+v: %v (%v), want %v", tc.r, err, wire.CodeOf(err), tc.want)
		}
	}
}

func receiptsHistoryAndBlocks(t *testing.T, w *world) {
	var history query.Page[chain.LoggedOp]
	w.decode(t, "/v1/accounts/"+w.alice.ID.String()+"/ops", &history)
	if len(history.Rows) == 0 || history.More || history.Rows[0].Seq != 1 {
		t.Fatalf("history %+v", history)
	}
	first := history.Rows[0]
	tx, _ := namesvc.Parse(first.Op)
	var receipt chain.ReceiptRecord
	w.decode(t, "/v1/ops/"+tx.ID.String(), &receipt)
	if receipt.Code != namesvc.Accepted || receipt.Height != first.Height {
		t.Errorf("receipt %+v of an op in block %d", receipt, first.Height)
	}
	var blocks query.Page[chain.BlockRecord]
	w.decode(t, fmt.Sprintf("/v1/blocks?after=%d", first.Height-1), &blocks)
	if len(blocks.Rows) == 0 || blocks.Rows[0].Height != first.Height || !bytes.Equal(blocks.Rows[0].Ops[receipt.Index], first.Op) {
		t.Errorf("the block of height %d does not have the op", first.Height)
	}
	w.decode(t, fmt.Sprintf("/v1/accounts/%v/ops?after=%d", w.alice.ID, history.Rows[len(history.Rows)-1].Seq), &history)
	if len(history.Rows) != 0 {
		t.Errorf("after the last op there are %d more", len(history.Rows))
	}
	w.decode(t, "/v1/blocks?after=9223372036854775807", &blocks)
	if len(blocks.Rows) != 0 {
		t.Errorf("%d blocks after the end of time", len(blocks.Rows))
	}
}

func checkpointsComeWithTheirSeals(t *testing.T, w *world) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := w.n.WaitHeight(ctx, 13); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 2; n++ {
		var s query.Sealed
		w.decode(t, fmt.Sprintf("/v1/checkpoints/%d", n), &s)
		_, signers, err := w.server.Heads.Head(5 * n)
		if err != nil {
			t.Fatal(err)
		}
		if s.Checkpoint.Height != 5*n || s.Digest != s.Checkpoint.Digest(verify.ChainTag(w.n.Chain)) || s.Seals == nil {
			t.Fatalf("checkpoint %d: %+v", n, s)
		}
		if power, err := verify.CheckSeals(w.n.Chain, s.Checkpoint, *s.Seals, signers); err != nil || power != 10 {
			t.Errorf("checkpoint %d: %d %v", n, power, err)
		}
	}
}

func pagesOfAnyOriginMayRead(t *testing.T, w *world) {
	for _, path := range []string{"/v1/status", "/v1/nothing", "/v1/ops"} {
		status, h, b := w.get(t, "OPTIONS", path, "", nil)
		if status != 204 || len(b) != 0 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Methods") != "GET, POST" {
			t.Errorf("OPTIONS %s: %d %v", path, status, h)
		}
		if _, h, _ := w.get(t, "GET", path, "", nil); h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("GET %s: %v", path, h)
		}
	}
}

// slowSendersHoldNobodyUp: connections that begin a submission and never end it
// outnumber the places for ops that are checked, and take none of them.
func slowSendersHoldNobodyUp(t *testing.T, w *world) {
	for range 30 {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/ops HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegin")
	}
	began := time.Now()
	if status, _, b := w.get(t, "POST", "/v1/ops", "", strings.NewReader("garbage")); status != 400 {
		t.Errorf("status %d: %q", status, b)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func waitingEndsWithTheBlockOrTheWait(t *testing.T, w *world) {
	height := w.server.Heads.Newest()
	status, _, b := w.get(t, "GET", fmt.Sprintf("/v1/bundle?handle=alice&pin=1&after=%d&wait=10", height), "", nil)
	if got, err := bundle.Decode(b); status != 200 || err != nil || got.Head().Header.Height <= height {
		t.Errorf("status %d, %v", status, err)
	}
	status, _, b = w.get(t, "GET", fmt.Sprintf("/v1/bundle?at=%d&pin=1&wait=10", w.server.Heads.Newest()+2), "", nil)
	if _, err := bundle.Decode(b); status != 200 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	began := time.Now()
	status, _, _ = w.get(t, "GET", "/v1/ops/"+strings.Repeat("0", 64)+"?wait=1", "", nil)
	if took := time.Since(began); status != 404 || took < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("status %d after %v, want 404 after a second", status, took)
	}
	// A receipt that comes while one waits.
	s, err := source.NewHTTP(w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	op := w.alice.Update([32]byte{7}, w.server.Heads.Newest()+1000)
	tx, _ := namesvc.Parse(op)
	answer := make(chan int, 1)
	go func() {
		status, _, _ := w.get(t, "GET", "/v1/ops/"+tx.ID.String()+"?wait=10", "", nil)
		answer <- status
	}()
	if err := s.Submit(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	if status := <-answer; status != 200 {
		t.Errorf("status %d", status)
	}
}

// stoppingEndsWhatWaits: a stop must not wait for those who wait for a block.
func stoppingEndsWhatWaits(t *testing.T, w *world) {
	paths := []string{"/v1/ops/" + strings.Repeat("0", 64) + "?wait=10", "/v1/bundle?at=9999999&wait=10"}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var answered sync.WaitGroup
	for i := range 10 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+paths[i%2], nil)
		if err != nil {
			t.Fatal(err)
		}
		answered.Go(func() {
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			var p query.Problem
			if err := errors.Join(err, wire.Decode(b, &p, 4096)); err != nil || (res.StatusCode != 503 && res.StatusCode != 404) {
				t.Errorf("status %d, %v %+v", res.StatusCode, err, p)
			}
		})
	}
	for stacks := ""; strings.Count(stacks, "query.(*door).wait(") < 10; runtime.Gosched() {
		b := make([]byte, 1<<20)
		stacks = string(b[:runtime.Stack(b, true)])
	}
	began := time.Now()
	if err := w.n.Stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
	answered.Wait()
}

// TestHandler_ManyWhoWaitLeaveRoomForOthers fills every place for requests that
// wait. The next who wants to wait is told "not yet" at once, others are
// answered as ever, and nothing is left of those who go.
func TestHandler_ManyWhoWaitLeaveRoomForOthers(t *testing.T) {
	w := begin(t)
	h := w.server.Handler()
	ask := func(ctx context.Context, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil).WithContext(ctx)
		out := httptest.NewRecorder()
		h.ServeHTTP(out, r)
		return out
	}
	const never = "/v1/bundle?handle=alice&after=9223372036854775807&wait=10"
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	const waiting = 1024
	done := make(chan int, waiting+1)
	for range waiting + 1 {
		go func() { done <- ask(ctx, never).Code }()
	}
	began := time.Now()
	if code := <-done; code != 503 { // the one for whom there was no place
		t.Fatalf("status %d", code)
	}
	ask(t.Context(), never)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("who finds no place waits all the same, %v", took)
	}
	if out := ask(t.Context(), "/v1/bundle?handle=alice&pin=1"); out.Code != 200 {
		t.Errorf("who need not wait is refused: %d", out.Code)
	}
	leave()
	for range waiting {
		select {
		case code := <-done:
			if code != 503 {
				t.Fatalf("status %d", code)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("a request goes on waiting after its caller has gone")
		}
	}
}

// TestHandler_SaysNothingOfItsOwnTroubles: what goes wrong inside is for the log.
func TestHandler_SaysNothingOfItsOwnTroubles(t *testing.T) {
	w := begin(t)
	w.n.Stop() // closes the databases under the server
	var log bytes.Buffer
	s := &query.Server{Chain: w.n.Chain, App: w.server.App, Store: w.server.Store, Heads: w.server.Heads,
		Logger: slog.New(slog.NewTextHandler(&log, nil))}
	out := httptest.NewRecorder()
	s.Handler().ServeHTTP(out, httptest.NewRequest("GET", "/v1/blocks", nil))
	var p query.Problem
	if err := wire.Decode(out.Body.Bytes(), &p, 4096); err != nil || out.Code != 500 || p.Code != "internal" || strings.Contains(p.Text, "store") {
		t.Errorf("status %d, %+v, %v", out.Code, p, err)
	}
	if !strings.Contains(log.String(), "store is closed") {
		t.Errorf("the log does not say what was wrong: %q", log.String())
	}
}
