//go:build !js

package site_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/lightclient/browser/site"
)

// folder is one as Build makes it, with other contents: building is what
// internal/testnet does, with a browser that runs what comes out.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"index.html": "<!doctype html>", "app.js": "script", "confab.wasm": "\x00asm whole", "confab.wasm.gz": "packed"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestHandler_GivesTheProgramAsItIsWanted(t *testing.T) {
	h := site.Handler(folder(t))
	for _, tc := range []struct {
		path, accepts        string
		status               int
		kind, encoding, body string
	}{
		{"/confab.wasm", "gzip, deflate, br", 200, "application/wasm", "gzip", "packed"},
		{"/confab.wasm", "", 200, "application/wasm", "", "\x00asm whole"},
		{"/confab.wasm", "br", 200, "application/wasm", "", "\x00asm whole"},
		{"/", "gzip", 200, "text/html", "", "<!doctype html>"},
		{"/app.js", "gzip", 200, "text/javascript", "", "script"},
		{"/nothing", "", 404, "text/plain", "", "404"},
		{"/../site.go", "", 400, "", "", ""},
	} {
		r := httptest.NewRequest("GET", tc.path, nil)
		r.Header.Set("Accept-Encoding", tc.accepts)
		out := httptest.NewRecorder()
		h.ServeHTTP(out, r)
		if out.Code != tc.status && !(tc.status == 400 && out.Code/100 == 4) {
			t.Errorf("%s: status %d, want %d", tc.path, out.Code, tc.status)
		}
		if got := out.Header().Get("Content-Type"); !strings.HasPrefix(got, tc.kind) || out.Header().Get("Content-Encoding") != tc.encoding {
			t.Errorf("%s for %q: %s, encoded %q", tc.path, tc.accepts, got, out.Header().Get("Content-Encoding"))
		}
		if !strings.HasPrefix(out.Body.String(), tc.body) || out.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s for %q: %q, %v", tc.path, tc.accepts, out.Body, out.Header())
		}
	}
	empty := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/confab.wasm", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	site.Handler(t.TempDir()).ServeHTTP(empty, r)
	if empty.Code != http.StatusNotFound || empty.Header().Get("Content-Encoding") != "" {
		t.Errorf("a folder without the program: %d, %v", empty.Code, empty.Header())
	}
}

// TestPage_BringsOnlyItsOwn: the page has a policy, and nothing in it goes around
// that policy or puts strangers' text into the document as anything but text.
func TestPage_BringsOnlyItsOwn(t *testing.T) {
	page, err := os.ReadFile("page/index.html")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("page/app.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Content-Security-Policy", "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", `name="referrer" content="no-referrer"`, "<noscript>"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "setAttribute"} {
		if strings.Contains(string(script), bad) {
			t.Errorf("the script uses %s", bad)
		}
	}
	if strings.Contains(string(page), "'unsafe-") || strings.Contains(string(page), "onclick") {
		t.Error("the page allows scripts in its text")
	}
}
