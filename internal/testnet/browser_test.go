//go:build unix

package testnet_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient/browser/site"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
)

const (
	// buildTime bounds building the light client as WebAssembly: half a minute if
	// nothing of it has been built before.
	buildTime = 5 * time.Minute
	// browseTime bounds all that the browser does.
	browseTime = 50 * time.Second
)

// browsing is a chain with @alice on it, whose validators a browser can ask.
type browsing struct {
	urls []string // of two validators
	pin  string
	id   namesvc.AccountID // @alice's
}

func browse(t *testing.T) *browsing {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 5
	n, err := testnet.Start(ctx, testnet.Spec{Dir: t.TempDir(), Validators: 2, Params: p, Pause: 100 * time.Millisecond})
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
	if err := alice.Register(ctx, client, "alice"); err != nil {
		t.Fatal(err)
	}
	return &browsing{urls: n.URLs(), pin: client.Pin().String(), id: alice.ID}
}

// liar passes questions on to an honest validator, and does something to its
// answers.
func liar(t *testing.T, honest string, lie func(w http.ResponseWriter, r *http.Request, truth []byte)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res, err := http.Get(honest + r.URL.String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		truth, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		lie(w, r, truth)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestBrowser_VerifiesNamesAndRefusesLies opens the example page in a real
// browser and asks honest and lying sources.
func TestBrowser_VerifiesNamesAndRefusesLies(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the light client as WebAssembly and starts a browser")
	}
	findChromium(t)
	dir := t.TempDir()
	built, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	sizes, err := site.Build(built, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the light client has %d bytes, %d compressed", sizes.Wasm, sizes.Gzip)
	if sizes.Wasm > site.MaxWasm || sizes.Gzip > site.MaxGzip {
		t.Errorf("the light client is over its budget of %d bytes, %d compressed", site.MaxWasm, site.MaxGzip)
	}
	page := httptest.NewServer(site.Handler(dir))
	t.Cleanup(page.Close)
	b := browse(t)
	honest, second := b.urls[0], b.urls[1]
	flip := func(where func([]byte) int) string {
		return liar(t, honest, func(w http.ResponseWriter, _ *http.Request, truth []byte) {
			truth[where(truth)] ^= 1
			w.Write(truth)
		})
	}
	forged := liar(t, honest, func(w http.ResponseWriter, _ *http.Request, truth []byte) {
		made, err := bundle.Decode(truth)
		if err != nil {
			t.Error(err)
			return
		}
		// The account gets another concierge: what a thief of messages would want.
		leaf := made.Leaves[1]
		e, err := namesvc.DecodeEntry(leaf.Value)
		if err != nil {
			t.Error(err)
			return
		}
		e.Records.Concierges = []namesvc.Concierge{{Account: namesvc.AccountID{1}, Generation: 1}}
		made.Leaves[1].Value = e.Encode()
		w.Write(made.Encode())
	})
	swapped := liar(t, honest, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		q := r.URL.Query()
		q.Set("handle", "mallory")
		res, err := http.Get(honest + "/v1/bundle?" + q.Encode())
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	})
	missing := liar(t, honest, func(w http.ResponseWriter, _ *http.Request, _ []byte) { http.NotFound(w, nil) })
	endless := liar(t, honest, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return // the browser has had enough
			}
		}
	})
	moved := liar(t, honest, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		w.Header().Set("Location", honest+r.URL.String())
		w.WriteHeader(http.StatusFound)
	})
	wrongPin := b.pin[:len(b.pin)-1] + map[bool]string{true: "1", false: "0"}[strings.HasSuffix(b.pin, "0")]

	ctx, cancel := context.WithTimeout(t.Context(), browseTime)
	defer cancel()
	tab := startChromium(ctx, t).tab(390, 844)
	tab.open(page.URL)
	tab.wait(`document.getElementById("engine").textContent === "The verifier is ready."`)
	tab.picture("verify-phone-empty")
	for _, tc := range []struct {
		name, pin, source, handle string
		state, code               string
		says                      []string
		quietly                   bool // nothing in the console
	}{
		{"honest", b.pin, honest, "@Alice", "verified", "", []string{"Verified. @alice is active.", b.id.String(), "committed: over two thirds of the validators signed", b.pin, "no second source"}, true},
		{"two honest ones", b.pin, honest + " " + second, "alice", "verified", "", []string{"Verified. @alice is active.", second}, true},
		{"nobody", b.pin, honest, "nobody", "absent", "", []string{"Proven: @nobody is not registered", "committed"}, true},
		{"a look-alike", b.pin, honest, "a1ice", "absent", "", []string{"did you mean @alice?"}, true},
		{"a flipped bit in the middle", b.pin, flip(func(b []byte) int { return len(b) / 2 }), "alice", "refused", "invalid", []string{"Refused.", "no source gave a proof that holds"}, true},
		{"a flipped bit at the end", b.pin, flip(func(b []byte) int { return len(b) - 40 }), "alice", "refused", "invalid", []string{"Refused."}, true},
		{"a forged entry", b.pin, forged, "alice", "refused", "invalid", []string{"Refused."}, true},
		{"a true answer to another question", b.pin, swapped, "alice", "refused", "invalid", []string{"Refused.", "does not cover"}, true},
		{"a lie that the name is not there", b.pin, missing, "alice", "refused", "unavailable", []string{"Refused."}, false},
		{"an answer without end", b.pin, endless, "alice", "refused", "invalid", []string{"larger than"}, true},
		{"a redirect", b.pin, moved, "alice", "refused", "unavailable", []string{"does it redirect?"}, false},
		{"a liar before an honest one", b.pin, swapped + " " + honest, "alice", "verified", "", []string{"Verified.", "Noticed", "does not cover"}, true},
		{"another pin", wrongPin, honest, "alice", "refused", "invalid", []string{"Check the pin"}, true},
		{"no pin", "nonsense", honest, "alice", "refused", "invalid", []string{"not a pin"}, true},
		{"no source", b.pin, "ftp://127.0.0.1", "alice", "refused", "invalid", []string{"is no base URL"}, true},
		{"nobody at home", b.pin, "http://127.0.0.1:1", "alice", "refused", "unavailable", []string{"Refused."}, false},
	} {
		tab.eval(fmt.Sprintf(`(() => {
			localStorage.clear();
			const f = document.getElementById("question").elements;
			f.pin.value = %s; f.source.value = %s; f.handle.value = %s;
			document.getElementById("answer").dataset.state = "empty";
			document.getElementById("go").click();
		})()`, quoted(tc.pin), quoted(tc.source), quoted(tc.handle)))
		tab.wait(`!["empty", "busy"].includes(document.getElementById("answer").dataset.state)`)
		text, _ := tab.eval(`document.getElementById("answer").innerText`).(string)
		if state := tab.eval(`document.getElementById("answer").dataset.state`); state != tc.state {
			t.Fatalf("%s: %v, want %s:\n%s\n%v", tc.name, state, tc.state, text, tab.takeFaults())
		}
		if code := tab.eval(`document.getElementById("answer").dataset.code || ""`); tc.state == "refused" && code != tc.code {
			t.Errorf("%s: code %v, want %s:\n%s", tc.name, code, tc.code, text)
		}
		for _, want := range tc.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it does not say %q:\n%s", tc.name, want, text)
			}
		}
		if tc.state == "refused" && strings.Contains(text, b.id.String()) {
			t.Errorf("%s: what was refused is shown:\n%s", tc.name, text)
		}
		if faults := tab.takeFaults(); tc.quietly && len(faults) > 0 {
			t.Errorf("%s: the console says %v", tc.name, faults)
		}
		tab.fits(tc.name, 390)
		tab.picture("verify-phone-" + strings.ReplaceAll(tc.name, " ", "-"))
	}
	tab.usable("the example page")
	callsOfPages(t, tab, b)
	remembers(t, tab, b, page.URL)
	tab.must("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": false})
	tab.picture("verify-desk")
}

// callsOfPages calls the function as a page of somebody else's would.
func callsOfPages(t *testing.T, tab *tab, b *browsing) {
	t.Helper()
	call := func(args string) string {
		got, _ := tab.eval(fmt.Sprintf(`confab.resolve(%s).then(a => "found " + a.found + " by " + a.proof.source + ", confirmed by " + a.proof.confirmedBy.length, e => e.code + ": " + e.message)`, args)).(string)
		return got
	}
	pin, first, second := quoted(b.pin), quoted(b.urls[0]), quoted(b.urls[1])
	for args, want := range map[string]string{
		``:                                      "invalid: the pin is missing",
		pin:                                     "invalid: the source is missing",
		pin + `, 7, "alice"`:                    "invalid: the source is missing",
		pin + `, {}, "alice"`:                   "invalid: the source is missing",
		pin + `, [], "alice"`:                   "invalid: the source is missing",
		pin + "," + first + `, ""`:              "invalid: the handle is missing",
		pin + "," + first + `, "x".repeat(1e6)`: "invalid: the handle is missing",
		pin + "," + first + `, "<b>"`:           "invalid: ",
		pin + "," + first + `+ " " + ` + first + `, "alice"`:              "listed twice",
		pin + `, "http://a http://b http://c http://d http://e", "alice"`: "5 sources are more than 4",
		pin + `, "http://user:pass@127.0.0.1", "alice"`:                   "no base URL",
		pin + `, "http://127.0.0.1/?", "alice"`:                           "no base URL",
		pin + ", [" + first + "," + second + `], "alice"`:                 "found true by " + b.urls[0] + ", confirmed by 1",
		"  \"\\n\" + " + pin + "," + first + `+ "/", " alice "`:           "found true by " + b.urls[0] + ", confirmed by 0",
	} {
		if got := call(args); !strings.Contains(got, want) {
			t.Errorf("confab.resolve(%.100s): %q, want %q", args, got, want)
		}
	}
}

// remembers: what was verified is there when the page is opened again, and so is
// evidence that the chain contradicts itself.
func remembers(t *testing.T, tab *tab, b *browsing, page string) {
	t.Helper()
	hash := b.pin[strings.LastIndexByte(b.pin, ':')+1:]
	asked := make(chan string, 16)
	witness := liar(t, b.urls[0], func(w http.ResponseWriter, r *http.Request, truth []byte) {
		asked <- r.URL.Query().Get("known")
		w.Write(truth)
	})
	resolve := fmt.Sprintf(`confab.resolve(%s, %s, "alice").then(a => "found", e => e.code)`, quoted(b.pin), quoted(witness))
	for _, tc := range []struct{ name, before, want, known string }{
		{"with nothing to remember", `localStorage.clear()`, "found", ""},
		{"with what it verified", ``, "found", "some"},
		{"with what is no head", fmt.Sprintf(`localStorage.setItem("confab.trust.%s", "nonsense")`, hash), "found", ""},
		{"with evidence", fmt.Sprintf(`localStorage.setItem("confab.evidence.%s", "YQ==")`, hash), "conflict", "not asked"},
	} {
		tab.eval(tc.before)
		tab.open(page)
		tab.wait(`document.getElementById("engine").textContent === "The verifier is ready."`)
		if got := tab.eval(resolve); got != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
		known := "not asked"
		select {
		case known = <-asked:
		default:
		}
		if known != tc.known && (tc.known != "some" || known == "" || known == "not asked") {
			t.Errorf("%s: the source is asked with known=%s", tc.name, known)
		}
	}
	tab.eval(`localStorage.clear()`)
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// fits fails the test if the page is wider than the screen.
func (p *tab) fits(name string, width float64) {
	p.t.Helper()
	if w := p.eval(`document.documentElement.scrollWidth`); w.(float64) > width {
		p.t.Errorf("%s: the page is %v wide on a screen of %v", name, w, width)
	}
}

// usable fails the test unless somebody without a mouse or without eyes finds
// the way: landmarks, one heading on top, labels, and links that say something.
func (p *tab) usable(name string) {
	p.t.Helper()
	for what, expression := range map[string]string{
		"a language":           `document.documentElement.lang === "en"`,
		"landmarks":            `["header", "main", "footer"].every(n => document.querySelectorAll("body > " + n).length === 1)`,
		"one top heading":      `document.querySelectorAll("h1").length === 1`,
		"a title":              `document.title.length > 5`,
		"labels on all fields": `[...document.querySelectorAll("input:not([type=hidden]), textarea")].every(e => e.labels.length === 1)`,
		"text on all links":    `[...document.querySelectorAll("a, button")].every(e => e.textContent.trim() !== "")`,
		"unique ids":           `new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size === document.querySelectorAll("[id]").length`,
		"a skip link first":    `document.querySelector("a").className === "skip" && document.querySelector(document.querySelector("a").getAttribute("href")) !== null`,
		"a viewport":           `document.querySelector("meta[name=viewport]") !== null`,
	} {
		if p.eval(expression) != true {
			p.t.Errorf("%s lacks %s", name, what)
		}
	}
}

// TestBrowser_ExplorerWorksWithoutScriptsAndMouse reads a validator's pages in a
// real browser that runs no scripts, on a narrow screen, with the keyboard.
func TestBrowser_ExplorerWorksWithoutScriptsAndMouse(t *testing.T) {
	findChromium(t)
	b := browse(t)
	ctx, cancel := context.WithTimeout(t.Context(), browseTime)
	defer cancel()
	tab := startChromium(ctx, t).tab(320, 640)
	tab.must("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	home := b.urls[0]
	tab.open(home)
	tab.says("Healthy.", "register @alice", "commit", "2 with a power of 20", "accepted", "one validator’s word", "confab proof verify")
	tab.usable("the overview")

	// By keyboard: the first Tab offers to skip the navigation.
	tab.press("Tab")
	if tab.eval(`document.activeElement.className`) != "skip" || tab.eval(`document.activeElement.getBoundingClientRect().top >= 0`) != true {
		t.Error("the first Tab does not show the link that skips the navigation")
	}
	tab.press("Enter")
	tab.wait(`location.hash === "#content"`)
	for i := 0; tab.eval(`document.activeElement.id`) != "handle"; i++ {
		if i > 5 {
			t.Fatal("behind the skip link Tab does not come to the form")
		}
		tab.press("Tab")
	}
	if tab.eval(`getComputedStyle(document.activeElement).outlineStyle`) != "solid" {
		t.Error("one does not see where the keyboard is")
	}
	tab.write("@alice")
	tab.press("Enter")
	tab.wait(`location.pathname === "/explorer/names" && document.readyState === "complete"`)
	tab.says("@alice", "active", b.id.String(), "Concierges", "Devices", "Pending")

	for _, path := range []string{
		"/", "/explorer/names", "/explorer/names?handle=alice", "/explorer/names?handle=nobody", "/explorer/names?handle=!", "/explorer/ops",
		"/explorer/blocks/1", "/explorer/accounts/" + b.id.String(), "/explorer/checkpoints", "/explorer/validators", "/explorer/nothing",
	} {
		tab.open(home + path)
		tab.fits(path, 320)
		tab.usable(path)
		tab.picture("explorer-phone-" + url.PathEscape(path))
		if tab.eval(`document.scripts.length`) != 0.0 {
			t.Errorf("%s has scripts", path)
		}
	}
	for _, f := range tab.takeFaults() {
		if !strings.Contains(f, "404") && !strings.Contains(f, "400") { // asked for on purpose
			t.Errorf("the console says %s", f)
		}
	}
	light := tab.eval(`getComputedStyle(document.body).backgroundColor`)
	tab.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]any{{"name": "prefers-color-scheme", "value": "dark"}}})
	if dark := tab.eval(`getComputedStyle(document.body).backgroundColor`); dark == light {
		t.Errorf("the page is %v by day and by night", dark)
	}
	tab.open(home)
	tab.picture("explorer-phone-dark")
	tab.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]any{}})
	tab.must("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": false})
	tab.open(home)
	tab.fits("the overview on a desk", 1280)
	tab.picture("explorer-desk")

	// Every row offers its bundle, and each is there.
	links, _ := tab.eval(`[...document.querySelectorAll("a[download]")].map(a => a.href)`).([]any)
	rows, _ := tab.eval(`document.querySelectorAll("tbody tr").length`).(float64)
	if rows == 0 || len(links) < int(rows) {
		t.Errorf("%d bundles for %v rows", len(links), rows)
	}
	for _, link := range links {
		res, err := http.Get(link.(string))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		if _, derr := bundle.Decode(raw); err != nil || res.StatusCode != 200 || derr != nil {
			t.Errorf("%v: status %d, %v, %v", link, res.StatusCode, err, derr)
		}
	}
}
