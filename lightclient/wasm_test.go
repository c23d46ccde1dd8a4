//go:build !js

package lightclient_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wasmTimeout bounds the run in Node, building included: half a minute on a
// machine that has nothing else to do.
const wasmTimeout = 8 * time.Minute

// TestWasm_VerifiesInNode runs the tests of what a browser needs as WebAssembly.
// A machine without Node passes it over, but CI must not.
func TestWasm_VerifiesInNode(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs four packages as WebAssembly")
	}
	if why := noNode(t.Context()); why != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why + "; with CI=true this is a failure")
	}
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	runner := filepath.Join(strings.TrimSpace(string(goroot)), "lib", "wasm", "go_js_wasm_exec")
	ctx, cancel := context.WithTimeout(t.Context(), wasmTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-short", "-timeout", "6m", "-exec", runner, ".", "./verify", "./bundle", "./source")
	cmd.Env = append(bare(), "GOOS=js", "GOARCH=wasm")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	t.Logf("%s", out)
}

// noNode says why there is no Node of version 20 or later, or nothing.
func noNode(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return "node is not here"
	}
	version := strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < 20 {
		return "node is of version " + version + ", 20 is needed"
	}
	return ""
}

// bare is the environment that go needs: a program in WebAssembly has little
// room for one.
func bare() []string {
	var out []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name == "PATH" || name == "HOME" || name == "TMPDIR" || strings.HasPrefix(name, "GO") || strings.HasPrefix(name, "XDG_") {
			out = append(out, kv)
		}
	}
	return out
}
