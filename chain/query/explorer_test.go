package query_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
)

// TestExplorer runs all that needs a live chain on one.
func TestExplorer(t *testing.T) {
	w := begin(t)
	w.sayHostileThings(t)
	for name, f := range map[string]func(*testing.T, *world){
		"PagesAreGuarded":                pagesAreGuarded,
		"HostileTextStaysText":           hostileTextStaysText,
		"NamesAreFoundOrNot":             namesAreFoundOrNot,
		"OpsArePagedWithoutGaps":         opsArePagedWithoutGaps,
		"CheckpointsArePaged":            checkpointsArePaged,
		"EveryRowsBundleVerifies":        everyRowsBundleVerifies,
		"PinsAreKept":                    pinsAreKept,
		"NonsenseGetsASentence":          nonsenseGetsASentence,
		"OnlyReading":                    onlyReading,
		"FilesAreCachedByTheirHash":      filesAreCachedByTheirHash,
		"LinksCanAskForJSON":             linksCanAskForJSON,
		"WhoDoesNotWantItDoesNotHaveIt":  whoDoesNotWantItDoesNotHaveIt,
		"ValidatorsAreShownWithTheirAct": validatorsAreShownWithTheirAct,
	} {
		t.Run(name, func(t *testing.T) { f(t, w) })
	}
}

// hostile are other names that the law allows and a page must not run. The law
// allows no quotes and brackets; that pages do not count on it is shown in
// TestExplorer_EscapesWhateverItShows.
var hostile = []string{"javascript:alert(2)", "x:{{.}}", "x:&#60;script&#62;alert(1)&#60;/script&#62;", "data:text/html;base64,PHNjcmlwdD4="}

// harbor puts a concierge onto the chain and returns its account.
func (w *world) harbor(t *testing.T, client *lightclient.Client) namesvc.AccountID {
	t.Helper()
	root, err := key.NewRoot(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server, err := key.NewServer(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := namesvc.NewGenesis(rand.Reader, namesvc.Service, [32]byte{}, root.Public())
	if err != nil {
		t.Fatal(err)
	}
	info, err := client.Chain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := genesis.Account()
	register := namesvc.SignOp(namesvc.Op{Kind: namesvc.OpRegister, Chain: w.n.Chain, Account: id, Seq: 1, Prev: id, Expires: info.Proof.Height + info.Params.Reveal},
		namesvc.Registration{Handle: "harbor", Genesis: genesis.Encode(), Records: &namesvc.Records{Service: &namesvc.Endpoint{
			URLs: []string{"https://harbor.example/&lt;"}, Peers: []string{"/dns/harbor.example"}, Roles: namesvc.RoleConcierge, Key: server.Public(),
		}}}, root)
	hash := namesvc.CommitHash(register)
	nonce, err := ticket.Solve(t.Context(), ticket.Challenge(w.n.Chain, hash, info.Checkpoint.Digest), 0, info.Params.WorkKiB, 0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	commit := namesvc.EncodeCommit(namesvc.Commit{Chain: w.n.Chain, Expires: info.Proof.Height + info.Params.Reveal/2, Hash: hash,
		Checkpoint: info.Checkpoint.Number, Payment: ticket.Work, Proof: ticket.Nonce(nonce)})
	for _, op := range [][]byte{commit, register} {
		if _, err := client.Submit(t.Context(), op, nil); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// sayHostileThings makes @alice claim the hostile names and choose @harbor, and
// then say so many things that they fill more than one page.
func (w *world) sayHostileThings(t *testing.T) {
	t.Helper()
	s, err := source.NewHTTP(w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := w.n.Client()
	if err != nil {
		t.Fatal(err)
	}
	harbor := []namesvc.Concierge{{Account: w.harbor(t, client), Generation: 1, Priority: 7}}
	e, _, err := client.Account(t.Context(), w.alice.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	op := namesvc.Op{Kind: namesvc.OpRecords, Chain: w.n.Chain, Account: w.alice.ID, Seq: e.Seq, Prev: e.LastOp}
	var last []byte
	for i := range 70 {
		op.Seq++
		op.Expires = w.server.Heads.Newest() + 1000
		profile := bytes.Repeat([]byte{byte(i)}, 32)
		last = namesvc.SignOp(op, namesvc.Records{Profile: profile, AlsoKnownAs: hostile, Concierges: harbor}, w.alice.Device)
		if err := s.Submit(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		tx, _ := namesvc.Parse(last)
		op.Prev = tx.ID
	}
	tx, _ := namesvc.Parse(last)
	var receipt chain.ReceiptRecord
	w.decode(t, "/v1/ops/"+tx.ID.String()+"?wait=10", &receipt)
	if receipt.Code != namesvc.Accepted {
		t.Fatalf("the last op: %+v", receipt)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.n.WaitHeight(ctx, receipt.Height+1); err != nil {
		t.Fatal(err)
	}
}

// page gets a page of the explorer and checks its status.
func (w *world) page(t *testing.T, path string, status int) (http.Header, string) {
	t.Helper()
	got, h, b := w.get(t, "GET", path, "text/html", nil)
	if got != status || h.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("GET %s: status %d, %s; want %d:\n%s", path, got, h.Get("Content-Type"), status, b)
	}
	return h, string(b)
}

// pages are all kinds of pages with the statuses that they have.
func (w *world) pages() map[string]int {
	return map[string]int{
		"/": 200, "/explorer/names": 200, "/explorer/names?handle=alice": 200, "/explorer/names?handle=nobody": 404, "/explorer/names?handle=!": 400,
		"/explorer/ops": 200, "/explorer/ops?height=3&index=0": 200, "/explorer/blocks/1": 200, "/explorer/blocks/5": 200, "/explorer/blocks/99999999": 404,
		"/explorer/accounts/" + w.alice.ID.String(): 200, "/explorer/accounts/" + strings.Repeat("0", 64): 404, "/explorer/accounts/x": 400,
		"/explorer/checkpoints": 200, "/explorer/validators": 200, "/explorer/nothing": 404, "/explorer/": 200, "/explorer": 200, "/?pin=x": 400,
	}
}

func pagesAreGuarded(t *testing.T, w *world) {
	for path, status := range w.pages() {
		h, body := w.page(t, path, status)
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: its policy %q lacks %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") || strings.Contains(policy, "http") {
			t.Errorf("%s: its policy is %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: headers %v", path, h)
		}
		fixed := strings.HasPrefix(path, "/explorer/blocks/") && status == 200
		if cache := h.Get("Cache-Control"); (cache == "no-store") == fixed {
			t.Errorf("%s: Cache-Control is %q", path, cache)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, " style=") || regexp.MustCompile(` on[a-z]+=`).MatchString(body) {
			t.Errorf("%s: it has scripts or styles of its own", path)
		}
		// Nothing comes from elsewhere, and nothing is sent there.
		for _, link := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
			if !strings.HasPrefix(link[1], "/") && !strings.HasPrefix(link[1], "#") || strings.HasPrefix(link[1], "//") {
				t.Errorf("%s: it links to %q", path, link[1])
			}
		}
		for _, want := range []string{"This is one validator’s word", "confab proof verify", w.n.Chain, `<html lang="en">`, "<main ", "<nav ", `class="skip"`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: it does not have %q", path, want)
			}
		}
		if len(body) > 200<<10 {
			t.Errorf("%s: it has %d bytes", path, len(body))
		}
	}
}

func hostileTextStaysText(t *testing.T, w *world) {
	for _, path := range []string{"/explorer/names?handle=alice", "/explorer/accounts/" + w.alice.ID.String()} {
		_, body := w.page(t, path, 200)
		for _, name := range hostile {
			if !strings.Contains(body, ">"+html.EscapeString(name)+"<") {
				t.Errorf("%s does not show %q as text", path, name)
			}
		}
		if strings.Contains(body, `"javascript:`) || strings.Contains(body, `"data:`) {
			t.Errorf("%s links to what a name says", path)
		}
	}
	// What is asked comes back on the page too.
	attack := `"><script>alert(1)</script>`
	for _, path := range []string{
		"/explorer/names?handle=" + url.QueryEscape(attack), "/explorer/" + url.PathEscape(attack), "/explorer/blocks/" + url.PathEscape(attack),
		"/explorer/accounts/" + url.PathEscape(attack), "/explorer/ops?height=" + url.QueryEscape(attack), "/?pin=" + url.QueryEscape(attack),
		"/?pin=" + url.QueryEscape(attack+":1:x"),
	} {
		if _, _, b := w.get(t, "GET", path, "text/html", nil); bytes.Contains(b, []byte("<script")) {
			t.Errorf("%s puts a script onto the page:\n%s", path, b)
		}
	}
}

func namesAreFoundOrNot(t *testing.T, w *world) {
	_, body := w.page(t, "/explorer/names?handle=%40Alice", 200)
	for _, want := range []string{"<h1>@alice</h1>", w.alice.ID.String(), "active", "Concierges", "Pending", "sha256 4545", ">@harbor</a> <span class=\"quiet\">priority 7</span>", `<dt>Devices</dt><dd>1 `, `value="@Alice"`} {
		if !strings.Contains(body, want) {
			t.Errorf("@alice's page does not have %q:\n%s", want, body)
		}
	}
	_, body = w.page(t, "/explorer/names?handle=harbor", 200)
	for _, want := range []string{"service, generation 1", "https://harbor.example/&amp;lt;", "/dns/harbor.example", "concierge"} {
		if !strings.Contains(body, want) {
			t.Errorf("@harbor's page does not have %q:\n%s", want, body)
		}
	}
	_, body = w.page(t, "/explorer/names?handle=nobody", 404)
	if !strings.Contains(body, "@nobody is not registered") || !strings.Contains(body, "/v1/bundle?devices=1&amp;handle=nobody") {
		t.Errorf("@nobody's page:\n%s", body)
	}
	_, body = w.page(t, "/explorer/names?handle=a1ice", 404)
	if !strings.Contains(body, "did you mean @alice?") || !strings.Contains(body, `<a href="/explorer/names?handle=alice">Look up @alice</a>`) {
		t.Errorf("the look-alike's page:\n%s", body)
	}
	_, body = w.page(t, "/explorer/names?handle="+strings.Repeat("a", 9000), 400)
	if strings.Contains(body, strings.Repeat("a", 100)) || !strings.Contains(body, "at most 20 characters") {
		t.Errorf("the page of a long name:\n%s", body)
	}
}

var (
	receiptLink = regexp.MustCompile(`href="/v1/ops/([0-9a-f]{64})\?format=json"`)
	olderLink   = regexp.MustCompile(`<a href="([^"]+)" rel="next">Older`)
)

// walk follows the links to older rows and returns what the pattern finds on
// all pages.
func (w *world) walk(t *testing.T, path string, pattern *regexp.Regexp) (found []string, pages int) {
	t.Helper()
	for pages = 1; ; pages++ {
		_, body := w.page(t, path, 200)
		rows := pattern.FindAllStringSubmatch(body, -1)
		if len(rows) > 50 {
			t.Errorf("%s has %d rows", path, len(rows))
		}
		for _, m := range rows {
			found = append(found, m[1])
		}
		next := olderLink.FindStringSubmatch(body)
		if next == nil {
			return found, pages
		}
		if pages > 100 {
			t.Fatal("there is always an older page")
		}
		path = html.UnescapeString(next[1])
	}
}

func opsArePagedWithoutGaps(t *testing.T, w *world) {
	var want, alices []string
	for after, more := uint64(0), true; more; {
		var blocks query.Page[chain.BlockRecord]
		w.decode(t, fmt.Sprintf("/v1/blocks?after=%d", after), &blocks)
		for _, b := range blocks.Rows {
			after = b.Height
			for _, op := range b.Ops {
				tx, _ := namesvc.Parse(op)
				want = append(want, tx.ID.String())
				if tx.Op != nil && tx.Op.Account == w.alice.ID {
					alices = append(alices, tx.ID.String())
				}
			}
		}
		more = blocks.More
	}
	slices.Reverse(want)
	slices.Reverse(alices)
	got, pages := w.walk(t, "/explorer/ops", receiptLink)
	if !slices.Equal(got, want) || pages < 2 {
		t.Errorf("%d ops on %d pages, want %d in the order of the blocks, newest first", len(got), pages, len(want))
	}
	own, pages := w.walk(t, "/explorer/accounts/"+w.alice.ID.String(), receiptLink)
	if !slices.Equal(own, alices) || pages != 2 {
		t.Errorf("%d ops of @alice on %d pages, want %d on 2", len(own), pages, len(alices))
	}
	// A page that begins in the middle of a block has what is before it.
	_, body := w.page(t, "/explorer/ops", 200)
	next := olderLink.FindStringSubmatch(body)
	if next == nil {
		t.Fatal("there is no older page")
	}
	rest, _ := w.walk(t, html.UnescapeString(next[1]), receiptLink)
	if !slices.Equal(rest, want[50:]) {
		t.Errorf("%d ops behind the first page, want %d", len(rest), len(want)-50)
	}
	for _, path := range []string{"/explorer/ops?height=0", "/explorer/ops?height=9223372036854775807&index=9223372036854775807", "/explorer/ops?height=1&index=7"} {
		w.page(t, path, 200)
	}
	if n := strings.Count(body, `<span class="good">accepted</span>`); n != 50 {
		t.Errorf("%d of 50 ops are shown as accepted", n)
	}
}

func checkpointsArePaged(t *testing.T, w *world) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := w.n.WaitHeight(ctx, 25); err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`href="/v1/checkpoints/(\d+)\?format=json"`)
	got, _ := w.walk(t, "/explorer/checkpoints?before=4", rows)
	if !slices.Equal(got, []string{"3", "2", "1"}) {
		t.Errorf("checkpoints before 4: %v", got)
	}
	all, _ := w.walk(t, "/explorer/checkpoints?before=9223372036854775807", rows)
	if len(all) < 4 || all[len(all)-1] != "1" {
		t.Errorf("all checkpoints: %v", all)
	}
	for _, path := range []string{"/explorer/checkpoints?before=0", "/explorer/checkpoints?before=1"} {
		if _, body := w.page(t, path, 200); !strings.Contains(body, "There is none here.") {
			t.Errorf("%s:\n%s", path, body)
		}
	}
	if _, body := w.page(t, "/explorer/checkpoints?before=4", 200); !strings.Contains(body, "1 of 1") {
		t.Errorf("no checkpoint is sealed:\n%s", body)
	}
}

// everyRowsBundleVerifies: each bundle that a page offers is a proof from the pin,
// and its JSON is JSON.
func everyRowsBundleVerifies(t *testing.T, w *world) {
	link := regexp.MustCompile(`<a href="([^"]+)" download="([^"]+)" aria-label="Bundle of [^"]+">bundle</a>\s*<a href="([^"]+)"`)
	seen := map[string]bool{}
	for path, status := range w.pages() {
		_, body := w.page(t, path, status)
		if rows, links := strings.Count(body, "<tr role=\"row\">\n"), len(link.FindAllString(body, -1)); links < rows {
			t.Errorf("%s: %d bundles for %d rows", path, links, rows)
		}
		for _, m := range link.FindAllStringSubmatch(body, -1) {
			file := html.UnescapeString(m[1])
			if seen[file] {
				continue
			}
			seen[file] = true
			status, _, b := w.get(t, "GET", file, "text/html", nil)
			if _, err := bundle.Verify(b, bundle.Trust{Pin: w.pin, Rules: verify.DefaultRules()}, time.Now()); err != nil || status != 200 {
				t.Errorf("%s, on %s: status %d, %v", file, path, status, err)
			}
			status, h, b := w.get(t, "GET", html.UnescapeString(m[3]), "text/html", nil)
			if !json.Valid(b) || status != 200 || h.Get("Content-Type") != "application/json" {
				t.Errorf("%s: status %d, %s", m[3], status, h.Get("Content-Type"))
			}
			if !strings.HasSuffix(m[2], ".bundle") || strings.ContainsAny(m[2], `/\ `) {
				t.Errorf("%s would be saved as %q", file, m[2])
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d bundles were offered", len(seen))
	}
}

// pinsAreKept: who has another pin than the first block says so once.
func pinsAreKept(t *testing.T, w *world) {
	head, _, err := w.server.Heads.Head(7)
	if err != nil {
		t.Fatal(err)
	}
	pin := verify.Pin{ChainID: w.n.Chain, Height: 7, Hash: head.Header.Hash()}
	for _, given := range []string{"7", pin.String(), " " + pin.String() + "\n"} {
		_, body := w.page(t, "/?pin="+url.QueryEscape(given), 200)
		for _, want := range []string{`href="/explorer/ops?pin=7"`, `pin=7" download=`, "begin at height\n7"} {
			if !strings.Contains(body, want) {
				t.Errorf("with the pin %q the page lacks %s:\n%s", given, want, body)
			}
		}
		if strings.Contains(body, "pin=1\"") {
			t.Errorf("with the pin %q the page has proofs that begin elsewhere", given)
		}
	}
	_, body := w.page(t, "/explorer/names?handle=alice&pin=7", 200)
	file := regexp.MustCompile(`<a href="([^"]+)" download="alice.bundle"`).FindStringSubmatch(body)
	if file == nil {
		t.Fatalf("there is no bundle:\n%s", body)
	}
	_, _, b := w.get(t, "GET", html.UnescapeString(file[1]), "", nil)
	if _, err := bundle.Verify(b, bundle.Trust{Pin: pin, Rules: verify.DefaultRules()}, time.Now()); err != nil {
		t.Error(err)
	}
	pin.ChainID = "another-chain"
	if _, body := w.page(t, "/?pin="+pin.String(), 400); !strings.Contains(body, "this pin is of the chain another-chain") {
		t.Errorf("a pin of another chain:\n%s", body)
	}
	// Blocks before the pin cannot be proven from it.
	if _, body := w.page(t, "/explorer/blocks/3?pin=7", 200); !strings.Contains(body, "before your pin") {
		t.Errorf("a block before the pin:\n%s", body)
	}
}

func nonsenseGetsASentence(t *testing.T, w *world) {
	huge := strings.Repeat("9", 40)
	for path, want := range map[string]string{
		"/explorer/ops?height=-1":                                       "not a number",
		"/explorer/ops?height=1&index=" + huge:                          "not a number",
		"/explorer/blocks/0":                                            "there is no block 0",
		"/explorer/blocks/" + huge:                                      "not a number",
		"/explorer/blocks/5?from=x":                                     "from: &#34;x&#34; is not a number",
		"/explorer/accounts/" + w.alice.ID.String() + "?before=" + huge: "before: ",
		"/explorer/checkpoints?before=x":                                "before: &#34;x&#34; is not a number",
		"/?pin=a:b":                                                     "not a pin",
		"/explorer/" + strings.Repeat("x", 5000):                        "there is nothing at",
	} {
		status, h, b := w.get(t, "GET", path, "text/html", nil)
		if status < 400 || status > 499 || !strings.Contains(string(b), want) || len(b) > 10_000 || h.Get("Content-Security-Policy") == "" {
			t.Errorf("GET %.80s: status %d, want %q:\n%s", path, status, want, b)
		}
	}
	for _, path := range []string{"/explorer/blocks/5?from=9223372036854775807", "/explorer/accounts/" + w.alice.ID.String() + "?before=9223372036854775807", "/explorer/accounts/" + w.alice.ID.String() + "?before=1"} {
		w.page(t, path, 200)
	}
}

// onlyReading: HEAD is GET without a body, and no other method does anything.
func onlyReading(t *testing.T, w *world) {
	for path, status := range w.pages() {
		got, h, b := w.get(t, "HEAD", path, "text/html", nil)
		if got != status || len(b) != 0 || h.Get("Content-Security-Policy") == "" {
			t.Errorf("HEAD %s: status %d, want %d; %d bytes", path, got, status, len(b))
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			got, h, b := w.get(t, method, path, "text/html", strings.NewReader("handle=mallory"))
			if got != 405 || h.Get("Allow") != "GET, HEAD" || !bytes.Contains(b, []byte("only for reading")) {
				t.Errorf("%s %s: status %d, Allow %q", method, path, got, h.Get("Allow"))
			}
		}
	}
}

func filesAreCachedByTheirHash(t *testing.T, w *world) {
	_, body := w.page(t, "/", 200)
	for pattern, kind := range map[string]string{`<link rel="stylesheet" href="([^"]+)">`: "text/css; charset=utf-8", `<link rel="icon" type="image/svg\+xml" href="([^"]+)">`: "image/svg+xml"} {
		m := regexp.MustCompile(pattern).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("the page has no %s", pattern)
		}
		status, h, b := w.get(t, "GET", m[1], "", nil)
		if status != 200 || h.Get("Content-Type") != kind || !strings.Contains(h.Get("Cache-Control"), "immutable") || len(b) == 0 {
			t.Errorf("%s: status %d, %v", m[1], status, h)
		}
	}
	w.page(t, "/explorer/000000000000/style.css", 404)
}

func linksCanAskForJSON(t *testing.T, w *world) {
	for path, want := range map[string]int{"/v1/status?format=json": 200, "/v1/bundle?handle=alice&pin=1&format=json": 200, "/v1/nothing?format=json": 404} {
		status, h, b := w.get(t, "GET", path, "text/html", nil)
		if status != want || h.Get("Content-Type") != "application/json" || !json.Valid(b) {
			t.Errorf("%s: status %d, %s: %q", path, status, h.Get("Content-Type"), b)
		}
	}
}

func whoDoesNotWantItDoesNotHaveIt(t *testing.T, w *world) {
	s := &query.Server{Chain: w.n.Chain, App: w.server.App, Store: w.server.Store, Heads: w.server.Heads, Logger: w.server.Logger}
	for _, path := range []string{"/", "/explorer/ops"} {
		out := httptest.NewRecorder()
		s.Handler().ServeHTTP(out, httptest.NewRequest("GET", path, nil))
		if b, _ := io.ReadAll(out.Body); out.Code != 404 || bytes.Contains(b, []byte("<html")) {
			t.Errorf("%s without an explorer: status %d: %q", path, out.Code, b)
		}
	}
	s.Explorer = true
	out := httptest.NewRecorder()
	s.Handler().ServeHTTP(out, httptest.NewRequest("GET", "/", nil))
	if !strings.Contains(out.Body.String(), "<dt>Peers</dt><dd>not known here</dd>") {
		t.Errorf("a server that does not know its peers: %d\n%s", out.Code, out.Body)
	}
}

func validatorsAreShownWithTheirAct(t *testing.T, w *world) {
	_, set, err := w.server.Heads.Head(w.server.Heads.Newest())
	if err != nil {
		t.Fatal(err)
	}
	_, body := w.page(t, "/explorer/validators", 200)
	for _, want := range []string{fmt.Sprintf("0x%x", set.Address(0)), "100.0 %", "signed", "the beginning"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %q:\n%s", want, body)
		}
	}
}
