package node_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc/wire"
)

var quiet = slog.New(slog.DiscardHandler)

// goesOn starts the validator of a folder and waits until its chain has grown.
func goesOn(t *testing.T, home string) {
	t.Helper()
	v, err := openHome(home)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	before, news := v.App.Last()
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(20 * time.Second); ; {
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("it does not go on after height %d", before.Height)
		}
		var last = before
		if last, news = v.App.Last(); last.Height > before.Height+2 {
			return
		}
	}
}

// TestBackup_OfOneThatRunsFitsTogether backs up a validator that makes blocks as
// fast as it can, several times. Each backup opens, and follows the chain as
// another node. With the keys it would not sign what the validator signed since.
func TestBackup_OfOneThatRunsFitsTogether(t *testing.T) {
	t.Parallel()
	n := alone(t)
	reach(t, n, 8)
	for i := range 2 {
		from, home := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
		info, err := node.AskBackup(t.Context(), n.Home(0), from, false)
		if err != nil {
			t.Fatal(err)
		}
		if info.State == 0 || info.Blocks < info.State || info.Keys || info.Chain != n.Chain {
			t.Errorf("%+v", info)
		}
		if _, err := node.Restore(t.Context(), from, home, quiet); err != nil {
			t.Fatal(err)
		}
		reach(t, n, info.Blocks+3)
		c, err := node.LoadConfig(home)
		if err != nil {
			t.Fatal(err)
		}
		c.P2P.Listen, c.Query.Listen, c.P2P.Peers = "127.0.0.1:0", "127.0.0.1:0", []string{n.Nodes[0].PeerAddr()}
		write(t, home, node.ConfigFile, string(c.Encode()))
		goesOn(t, home)
		if i > 0 {
			continue
		}
		keyed, dir := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
		if _, err := node.AskBackup(t.Context(), n.Home(0), keyed, true); err != nil {
			t.Fatal(err)
		}
		if _, err := node.Restore(t.Context(), keyed, dir, quiet); err != nil {
			t.Fatal(err)
		}
		if a, err := node.LoadIdentity(dir); err != nil || a != identity(t, n) {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

func TestBackup_OfAFolderHasNoSecretUnlessAsked(t *testing.T) {
	n := alone(t)
	reach(t, n, 5)
	n.Stop()
	if _, err := node.AskBackup(t.Context(), n.Home(0), filepath.Join(t.TempDir(), "x"), false); !errors.Is(err, node.ErrNotRunning) {
		t.Errorf("ask one that does not run: %v", err)
	}
	secret := secretOf(t, n.Home(0))
	for _, keys := range []bool{false, true} {
		to := filepath.Join(t.TempDir(), "backup")
		if _, err := node.BackupFolder(t.Context(), n.Home(0), to, keys, quiet); err != nil {
			t.Fatal(err)
		}
		found := false
		err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if strings.Contains(string(b), secret) {
				found = true
				if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s can be read by others: %v", path, info.Mode())
				}
			}
			return err
		})
		if err != nil || found != keys {
			t.Errorf("with keys %v: the secret is there: %v, %v", keys, found, err)
		}
		if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the folder has mode %v, %v", info.Mode(), err)
		}
		if keys {
			continue
		}
		// Restored without keys, it is another node, unless the folder has some.
		home := filepath.Join(t.TempDir(), "restored")
		if _, err := node.Restore(t.Context(), to, home, quiet); err != nil {
			t.Fatal(err)
		}
		if a, err := node.LoadIdentity(home); err != nil || a.Key == identity(t, n).Key {
			t.Errorf("key %x, %v", a.Key, err)
		}
		own := filepath.Join(t.TempDir(), "own")
		copyTree(t, filepath.Join(n.Home(0), "keys"), filepath.Join(own, "keys"))
		if err := os.Mkdir(filepath.Join(own, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, own, "data/sign-state.json", read(t, n.Home(0), "data/sign-state.json"))
		if _, err := node.Restore(t.Context(), to, own, quiet); err != nil {
			t.Fatal(err)
		}
		if a, err := node.LoadIdentity(own); err != nil || a != identity(t, n) {
			t.Errorf("%+v, %v", a, err)
		}
		goesOn(t, own)
	}
}

func identity(t *testing.T, n *testnet.Network) node.Identity {
	t.Helper()
	id, err := node.LoadIdentity(n.Home(0))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestRestore_RefusesWhatIsNotWhatItWas spoils one thing in a copy of a backup.
// Nothing of it may be left in the folder.
func TestRestore_RefusesWhatIsNotWhatItWas(t *testing.T) {
	n := alone(t)
	reach(t, n, 12)
	n.Stop()
	good := filepath.Join(t.TempDir(), "backup")
	if _, err := node.BackupFolder(t.Context(), n.Home(0), good, true, quiet); err != nil {
		t.Fatal(err)
	}
	table, err := filepath.Glob(filepath.Join(good, "data/comet/blockstore.db/*.ldb"))
	log, lerr := filepath.Glob(filepath.Join(good, "data/comet/blockstore.db/*.log"))
	if table = append(table, log...); err != nil || lerr != nil || len(table) == 0 {
		t.Fatal("no file of the block store", err, lerr)
	}
	of, err := filepath.Rel(good, table[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"touched":    {func(t *testing.T, dir string) { b := read(t, dir, of); write(t, dir, of, b[:len(b)-1]+"x") }, "not as it was"},
		"cut":        {func(t *testing.T, dir string) { b := read(t, dir, of); write(t, dir, of, b[:len(b)-1]) }, "not as it was"},
		"a file off": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, of)) }, "not as it was"},
		"one more":   {func(t *testing.T, dir string) { write(t, dir, "keys/more.json", "{}") }, "somebody put it there"},
		"not listed": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "backup.json")) }, "no backup, or not a complete one"},
		"list cut":   {func(t *testing.T, dir string) { write(t, dir, "backup.json", "{") }, "backup.json is damaged"},
		"of tomorrow": {func(t *testing.T, dir string) {
			write(t, dir, "backup.json", strings.Replace(read(t, dir, "backup.json"), `"version": 1`, `"version": 2`, 1))
		}, "upgrade it"},
		"path outside": {func(t *testing.T, dir string) {
			write(t, dir, "backup.json", strings.Replace(read(t, dir, "backup.json"), `"genesis.json"`, `"../genesis.json"`, 1))
		}, "lies outside"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "backup")
			copyTree(t, good, dir)
			tc.spoil(t, dir)
			home := filepath.Join(t.TempDir(), "restored")
			_, err := node.Restore(t.Context(), dir, home, quiet)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
			if left, _ := filepath.Glob(home + "*"); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
	home := filepath.Join(t.TempDir(), "restored")
	for i, want := range []wire.Code{0, wire.Exists} {
		if _, err := node.Restore(t.Context(), good, home, quiet); want == 0 && err != nil || want != 0 && wire.CodeOf(err) != want {
			t.Errorf("time %d: %v", i+1, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := node.BackupFolder(gone, n.Home(0), home+"-2", true, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped by the person: %v", err)
	}
	if left, _ := filepath.Glob(home + "-2*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestRestore_AKeyThatMaySignElsewhereIsHeldBack: a backup with keys that the
// validator has outlived would sign again what it signed since. The restored folder
// refuses, whoever wrote its configuration; one that has its own key and what it
// signed last is left alone.
func TestRestore_AKeyThatMaySignElsewhereIsHeldBack(t *testing.T) {
	n := alone(t)
	reach(t, n, 12)
	n.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := node.BackupFolder(t.Context(), n.Home(0), backup, true, quiet); err != nil {
		t.Fatal(err)
	}
	const comment = "# written by hand"
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, home string)
		want    int64
	}{
		"a new folder": {func(*testing.T, string) {}, node.RestoredCheck},
		"a folder with a configuration": {func(t *testing.T, home string) {
			write(t, home, node.ConfigFile, comment+"\n"+read(t, n.Home(0), node.ConfigFile))
		}, node.RestoredCheck},
		"one that says nothing of it": {func(t *testing.T, home string) {
			write(t, home, node.ConfigFile, "[query]\nlisten = \"127.0.0.1:0\"\n")
		}, node.RestoredCheck},
		"one that asks for more": {func(t *testing.T, home string) {
			write(t, home, node.ConfigFile, "[query]\nlisten = \"127.0.0.1:0\"\n[block]\ndouble_sign_check = 99\n")
		}, 99},
		"a folder with its own key": {func(t *testing.T, home string) {
			copyTree(t, filepath.Join(n.Home(0), "keys"), filepath.Join(home, "keys"))
			if err := os.Mkdir(filepath.Join(home, "data"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, home, "data/sign-state.json", read(t, n.Home(0), "data/sign-state.json"))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			tc.prepare(t, home)
			info, err := node.Restore(t.Context(), backup, home, quiet)
			if err != nil {
				t.Fatal(err)
			}
			c, err := node.LoadConfig(home)
			if err != nil || c.Block.DoubleSignCheck != tc.want || info.Signs != (tc.want > 0) {
				t.Errorf("the check is %d, want %d; it signs with the backup's key: %v; %v", c.Block.DoubleSignCheck, tc.want, info.Signs, err)
			}
			if text := read(t, home, node.ConfigFile); name == "a folder with a configuration" && !strings.HasPrefix(text, comment) {
				t.Errorf("what somebody wrote is gone: %.60q", text)
			}
			if tc.want == 0 {
				return
			}
			v, err := openHome(home)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Stop()
			if err := v.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-v.Failed():
				if err := v.Cause(); !strings.Contains(err.Error(), "double_sign_check") {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Error("it goes on, alone, from where it was when the backup was taken")
			}
		})
	}
}

// TestReport_SaysHowAValidatorDoes also asks as Prometheus does.
func TestReport_SaysHowAValidatorDoes(t *testing.T) {
	n := alone(t)
	reach(t, n, 8)
	r, err := node.AskReport(t.Context(), n.Home(0))
	if err != nil {
		t.Fatal(err)
	}
	if r.Chain != n.Chain || r.Height < 7 || r.Power != 10 || r.TotalPower != 10 || r.Validators != 1 || r.Checkpoint == 0 ||
		r.HistoryFrom != 1 || r.BlocksFrom != 1 || r.DiskBytes < 1000 || r.CatchingUp || r.AgeSeconds > 60 {
		t.Errorf("%+v", r)
	}
	info, err := os.Stat(filepath.Join(n.Home(0), "data/control.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	if n.Nodes[0].MetricsAddr() != "" {
		t.Error("figures are served although nobody asked for it")
	}
	if err := n.StopOne(0); err != nil {
		t.Fatal(err)
	}
	if _, err := node.AskReport(t.Context(), n.Home(0)); !errors.Is(err, node.ErrNotRunning) {
		t.Errorf("after it stopped: %v", err)
	}
	c, err := node.LoadConfig(n.Home(0))
	if err != nil {
		t.Fatal(err)
	}
	c.Metrics.Listen = "127.0.0.1:0"
	write(t, n.Home(0), node.ConfigFile, string(c.Encode()))
	if err := n.StartOne(0); err != nil {
		t.Fatal(err)
	}
	reach(t, n, r.Height+2)
	res, err := http.Get("http://" + n.Nodes[0].MetricsAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nconfab_power 10\n", "\nconfab_history_from 1\n", "\nconfab_height ", "\ncometbft_consensus_height{"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q among %d bytes", want, len(b))
		}
	}
}
