// Package site makes the browser example: it builds the light client as
// WebAssembly, puts it into a folder beside the page, and can serve that folder.
//
// What it guarantees: the folder is all that a page needs; any web server can
// hand it out as it is.
//
// What it must not know: names, chains and proofs. Start at [Build].
package site

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// pageFiles are the page, its script and its style.
//
//go:embed page
var pageFiles embed.FS

// Files that Build makes beside those of the page.
const (
	wasmFile = "confab.wasm"
	gzipFile = wasmFile + ".gz" // the same, for servers that can choose
	runtime  = "wasm_exec.js"   // Go's own, which must be of the compiler's version
)

// Size budgets of the light client in bytes: what a page may make its reader
// load. It had 6.5 MB, and 2.2 MB compressed, when they were set; net/http alone
// would double that, which is why it asks with the browser's own fetch.
const (
	MaxWasm = 8_000_000
	MaxGzip = 2_700_000
)

// program is the light client's package.
const program = "github.com/confab-chat/confab/lightclient/browser"

// Sizes are those of the light client, in bytes.
type Sizes struct{ Wasm, Gzip int }

// Build writes the page and the light client into a folder. It runs the go
// command, and so must be called within this module.
func Build(ctx context.Context, dir string) (Sizes, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Sizes{}, fmt.Errorf("build page: %w", err)
	}
	page, err := fs.Sub(pageFiles, "page")
	if err != nil {
		return Sizes{}, fmt.Errorf("build page: %w", err)
	}
	names, err := fs.Glob(page, "*")
	if err != nil {
		return Sizes{}, fmt.Errorf("build page: %w", err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(page, name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			return Sizes{}, fmt.Errorf("build page: %w", err)
		}
	}
	if err := copyRuntime(ctx, dir); err != nil {
		return Sizes{}, fmt.Errorf("build page: %w", err)
	}
	return compile(ctx, dir)
}

// copyRuntime copies what starts a Go program in a browser.
func copyRuntime(ctx context.Context, dir string) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env: %w; is the go command here?", err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", runtime))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, runtime), b, 0o644)
}

// compile builds the light client, and compresses it once for all who load it.
func compile(ctx context.Context, dir string) (Sizes, error) {
	path := filepath.Join(dir, wasmFile)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, program)
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return Sizes{}, fmt.Errorf("build light client: %w\n%s", err, out)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		return Sizes{}, fmt.Errorf("build light client: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Sizes{}, fmt.Errorf("build light client: %w", err)
	}
	var small bytes.Buffer
	w, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err != nil {
		return Sizes{}, err
	}
	if _, err := w.Write(b); err != nil {
		return Sizes{}, err
	}
	if err := w.Close(); err != nil {
		return Sizes{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, gzipFile), small.Bytes(), 0o644); err != nil {
		return Sizes{}, fmt.Errorf("build light client: %w", err)
	}
	return Sizes{Wasm: len(b), Gzip: small.Len()}, nil
}

// Handler serves a folder that Build made. It gives out the light client
// compressed to who can read that.
func Handler(dir string) http.Handler {
	files := http.FileServer(http.Dir(dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache") // the files change with the next build
		if r.URL.Path != "/"+wasmFile {
			files.ServeHTTP(w, r)
			return
		}
		h.Set("Content-Type", "application/wasm")
		h.Set("Vary", "Accept-Encoding")
		name := wasmFile
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			name = gzipFile
			h.Set("Content-Encoding", "gzip")
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			h.Del("Content-Encoding")
			http.Error(w, "the light client is not built", http.StatusNotFound)
			return
		}
		defer f.Close()
		http.ServeContent(w, r, "", time.Time{}, f)
	})
}
