package node_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// alone starts a chain of one validator, with blocks as fast as it can.
func alone(t *testing.T, change ...func(*namesvc.Params)) *testnet.Network {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 5
	for _, f := range change {
		f(&p)
	}
	n, err := testnet.Start(ctx, testnet.Spec{Dir: t.TempDir(), Validators: 1, Params: p, Pause: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	return n
}

func reach(t *testing.T, n *testnet.Network, height uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.WaitHeight(ctx, height); err != nil {
		t.Fatal(err)
	}
}

// copyTree copies a folder as it is, which may be while it is in use.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return skipGone(err)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if !d.Type().IsRegular() {
			return nil // the socket of one that runs
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return skipGone(err)
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skipGone passes over files that were deleted while the folder was read.
func skipGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// swap replaces a file or folder of one home by that of another.
func swap(t *testing.T, home, name, with string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(home, name)); err != nil {
		t.Fatal(err)
	}
	copyTree(t, filepath.Join(with, name), filepath.Join(home, name))
}

// TestOpen_RefusesFoldersThatDoNotFit takes the folder of a validator that ran,
// spoils one thing in a copy of it, and starts that.
func TestOpen_RefusesFoldersThatDoNotFit(t *testing.T) {
	other := alone(t)
	reach(t, other, 10)
	n := alone(t)
	reach(t, n, 5)
	if err := n.StopOne(0); err != nil {
		t.Fatal(err)
	}
	earlier := t.TempDir()
	copyTree(t, n.Home(0), earlier)
	if err := n.StartOne(0); err != nil {
		t.Fatal(err)
	}
	reach(t, n, 12)
	n.Stop()
	other.Stop()

	replace := func(file, old, new string) func(*testing.T, string) {
		return func(t *testing.T, home string) {
			content := read(t, home, file)
			if !strings.Contains(content, old) {
				t.Fatalf("%s does not have %q", file, old)
			}
			write(t, home, file, strings.Replace(content, old, new, 1))
		}
	}
	take := func(from, name string) func(*testing.T, string) {
		return func(t *testing.T, home string) { swap(t, home, name, from) }
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, home string) { os.RemoveAll(filepath.Join(home, name)) }
	}
	for _, tc := range []struct {
		name  string
		spoil func(*testing.T, string)
		kind  wire.Code
		want  string
	}{
		{"genesis of another chain", take(other.Home(0), "genesis.json"), wire.Conflict, "belongs to chain"},
		{"genesis edited", replace("genesis.json", `"daily": 2000`, `"daily": 2001`), wire.Conflict, "is not the one that this folder's chain"},
		{"genesis with another time", replace("genesis.json", `"genesis_time": "2`, `"genesis_time": "1`), wire.Conflict, "is not the one that this folder's chain"},
		{"genesis with foreign consensus parameters", replace("genesis.json", `"max_gas": "-1"`, `"max_gas": "7"`), wire.Invalid, "consensus parameters are not confab's"},
		{"genesis cut short", replace("genesis.json", `"app_hash"`, ``), wire.Invalid, "genesis.json"},
		{"no genesis", remove("genesis.json"), wire.NotFound, "put the network's genesis file there"},
		{"state of another chain", take(other.Home(0), "data/state"), wire.Conflict, "belongs to chain"},
		{"blocks of another chain", take(other.Home(0), "data/comet"), wire.Conflict, "is not the one that this folder's chain"},
		{"no blocks", remove("data/comet"), wire.Conflict, "they are not of one moment"},
		{"older blocks", take(earlier, "data/comet"), wire.Conflict, "they are not of one moment"},
		{"older sign state", take(earlier, "data/sign-state.json"), wire.Conflict, "older than this validator's last vote"},
		{"no sign state", remove("data/sign-state.json"), wire.NotFound, "no older than the validator's last vote"},
		{"no key", remove("keys/validator.json"), wire.NotFound, "init first, or restore it"},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			home := t.TempDir()
			copyTree(t, n.Home(0), home)
			tc.spoil(t, home)
			_, err := openHome(home)
			if err == nil {
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), tc.want) || wire.CodeOf(err) != tc.kind || strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
				t.Errorf("%v (%v)\nwant a %v sentence about %q", err, wire.CodeOf(err), tc.kind, tc.want)
			}
		})
	}
	// After all that, the folder itself is as good as it was.
	if err := n.StartOne(0); err != nil {
		t.Fatal(err)
	}
	reach(t, n, 14)
}

func openHome(home string) (*node.Node, error) {
	c, err := node.LoadConfig(home)
	if err != nil {
		return nil, err
	}
	return node.Open(home, c, slog.New(slog.DiscardHandler))
}

// TestOpen_ReplaysWhatTheStateDoesNotHave: the state may be older than the
// blocks, or missing. It grows again, to the same roots.
func TestOpen_ReplaysWhatTheStateDoesNotHave(t *testing.T) {
	n := alone(t)
	reach(t, n, 6)
	n.StopOne(0)
	earlier := t.TempDir()
	copyTree(t, n.Home(0), earlier)
	if err := n.StartOne(0); err != nil {
		t.Fatal(err)
	}
	reach(t, n, 13) // beyond checkpoints
	roots := rootsOf(t, n, 13)
	n.StopOne(0)
	for name, spoil := range map[string]func(){
		"no state":    func() { os.RemoveAll(filepath.Join(n.Home(0), "data/state")) },
		"older state": func() { swap(t, n.Home(0), "data/state", earlier) },
		"no state, and the log of consensus lost": func() {
			os.RemoveAll(filepath.Join(n.Home(0), "data/state"))
			os.RemoveAll(filepath.Join(n.Home(0), "data/comet/cs.wal"))
		},
	} {
		spoil()
		if err := n.StartOne(0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		mark, _ := n.Nodes[0].App.Last()
		reach(t, n, mark.Height+2)
		if got := rootsOf(t, n, 13); got != roots {
			t.Errorf("%s: the headers have other roots now", name)
		}
		cp, ok, err := n.Nodes[0].App.Checkpoint(2)
		if err != nil || !ok || cp.Height != 10 {
			t.Errorf("%s: checkpoint 2 is %+v %v %v", name, cp, ok, err)
		}
		n.StopOne(0)
	}
}

func rootsOf(t *testing.T, n *testnet.Network, upTo uint64) (roots [32]byte) {
	t.Helper()
	for h := uint64(1); h <= upTo; h++ {
		head, _, err := n.Nodes[0].Query.Heads.Head(h)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range head.Header.AppHash {
			roots[i] ^= b + byte(h)
		}
	}
	return roots
}

func TestOpen_OneProcessPerFolderAndPort(t *testing.T) {
	n := alone(t)
	home := n.Home(0)
	_, err := openHome(home)
	if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "another process is using this folder") {
		t.Errorf("a second one in the same folder: %v", err)
	}
	// Another folder, the same port.
	elsewhere := newHome(t)
	c, err := node.LoadConfig(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	write(t, elsewhere, "genesis.json", read(t, home, "genesis.json"))
	c.Query.Listen = n.Nodes[0].QueryAddr()
	for range 3 {
		_, err = node.Open(elsewhere, c, slog.New(slog.DiscardHandler))
		if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "change the port in validator.toml") {
			t.Fatalf("a second one on the same port: %v", err)
		}
	}
	n.Stop()
	// The failures left neither locks nor ports nor goroutines: it starts now.
	v, err := node.Open(elsewhere, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Stop(); err != nil { // without having been started
		t.Error(err)
	}
	if err := v.Stop(); err != nil {
		t.Errorf("stopped again: %v", err)
	}
}

// TestNode_StopsWhenConsensusFails takes the state away under a running
// validator, as a dying disk does. It must not stand there as if it lived.
func TestNode_StopsWhenConsensusFails(t *testing.T) {
	n := alone(t)
	if err := n.Nodes[0].Query.Store.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.Nodes[0].Failed():
	case <-time.After(20 * time.Second):
		t.Fatal("nobody noticed that the validator cannot go on")
	}
	n.Stop()
}

func TestGenesis_IsTheFile(t *testing.T) {
	n := alone(t)
	var file struct {
		ChainID string `json:"chain_id"`
	}
	if err := json.Unmarshal([]byte(read(t, n.Home(0), "genesis.json")), &file); err != nil {
		t.Fatal(err)
	}
	if got := n.Nodes[0].Genesis().ChainID; got != file.ChainID || got != n.Chain {
		t.Errorf("%q, %q and %q", got, file.ChainID, n.Chain)
	}
	doc := n.Nodes[0].Genesis()
	if err := node.SetGenesis(n.Home(0), doc); wire.CodeOf(err) != wire.Exists {
		t.Errorf("a second genesis file: %v", err)
	}
	doc.Validators = nil
	if err := node.SetGenesis(t.TempDir(), doc); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("a genesis without validators: %v", err)
	}
}
