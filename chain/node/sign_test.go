package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	keyFile   = "keys/validator.json"
	peerFile  = "keys/node.json"
	stateFile = "data/sign-state.json"
)

func newHome(t *testing.T) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "validator")
	if _, err := node.Init(home, node.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	return home
}

func write(t *testing.T, home, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, home, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(home, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLoadIdentity_RefusesDamagedKeysWithoutShowingThem(t *testing.T) {
	other := privval.NewFilePV(ed25519.GenPrivKey(), "", "")
	foreign, err := cmtjson.Marshal(other.Key)
	if err != nil {
		t.Fatal(err)
	}
	mixed := privval.NewFilePV(secp256k1eth.GenPrivKey(), "", "").Key
	mixed.PubKey = secp256k1eth.GenPrivKey().PubKey()
	torn, err := cmtjson.Marshal(mixed)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, file, content, want string }{
		{"cut short", keyFile, "", "is damaged; restore it from a backup"},
		{"empty object", keyFile, "{}", "is damaged"},
		{"null", keyFile, "null", "is damaged"},
		{"null key", keyFile, `{"priv_key":null}`, "is damaged"},
		{"short key", keyFile, `{"priv_key":{"type":"cometbft/PrivKeySecp256k1eth","value":"AAAA"}}`, "is damaged"},
		{"key of zero", keyFile, `{"priv_key":{"type":"cometbft/PrivKeySecp256k1eth","value":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`, "is damaged"},
		{"another validator's public key", keyFile, string(torn), "is damaged"},
		{"key of another type", keyFile, string(foreign), "holds a key of type ed25519; confab's validators use secp256k1eth"},
		{"sign state cut short", stateFile, `{"height": "12", "rou`, "is damaged"},
		{"sign state emptied", stateFile, "{}", "is damaged"},
		{"sign state null", stateFile, "null", "is damaged"},
		{"peer key emptied", peerFile, "{}", "is damaged"},
		{"peer key short", peerFile, `{"priv_key":{"type":"tendermint/PrivKeyEd25519","value":"AAAA"}}`, "is damaged"},
	} {
		home := newHome(t)
		secret := secretOf(t, home)
		content := tc.content
		if tc.name == "cut short" {
			whole := read(t, home, keyFile)
			content = whole[:len(whole)-20]
		}
		write(t, home, tc.file, content)
		_, err := node.LoadIdentity(home)
		switch {
		case err == nil:
			t.Errorf("%s: it was taken", tc.name)
		case !strings.Contains(err.Error(), tc.want) || wire.CodeOf(err) != wire.Invalid:
			t.Errorf("%s: %v (%v), want %q", tc.name, err, wire.CodeOf(err), tc.want)
		case strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "AAAA"):
			t.Errorf("%s: the error shows the key: %v", tc.name, err)
		}
	}
	for _, name := range []string{keyFile, stateFile, peerFile} {
		home := newHome(t)
		if err := os.Remove(filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := node.LoadIdentity(home); wire.CodeOf(err) != wire.NotFound || !strings.Contains(err.Error(), "init first, or restore it") {
			t.Errorf("%s is missing: %v", name, err)
		}
	}
}

// secretOf returns the private key as its file has it.
func secretOf(t *testing.T, home string) string {
	t.Helper()
	_, after, ok := strings.Cut(read(t, home, keyFile), `"priv_key"`)
	if !ok {
		t.Fatal("the key file has no private key")
	}
	_, after, _ = strings.Cut(after, `"value": "`)
	secret, _, _ := strings.Cut(after, `"`)
	if len(secret) < 40 {
		t.Fatalf("the key file's private key is %d characters long", len(secret))
	}
	return secret
}

func TestInit_OverwritesNothing(t *testing.T) {
	home := newHome(t)
	for _, name := range []string{keyFile, stateFile, peerFile, node.ConfigFile} {
		info, err := os.Stat(filepath.Join(home, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	for _, keep := range []string{keyFile, stateFile, peerFile, node.ConfigFile, "data/comet", "data/state"} {
		home := filepath.Join(t.TempDir(), "validator")
		path := filepath.Join(home, keep)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := node.Init(home, node.DefaultConfig())
		if wire.CodeOf(err) != wire.Exists || !strings.Contains(err.Error(), keep) {
			t.Errorf("%s is there: %v", keep, err)
		}
		entries := 0
		filepath.WalkDir(home, func(string, os.DirEntry, error) error { entries++; return nil })
		if want := 2 + strings.Count(keep, "/"); entries != want {
			t.Errorf("%s is there: the refusal left %d files and folders, want %d", keep, entries, want)
		}
	}
}

// TestInit_IsWholeOrNothing: what an init that was killed left beside the folder is
// in nobody's way, and one that fails leaves nothing.
func TestInit_IsWholeOrNothing(t *testing.T) {
	home := filepath.Join(t.TempDir(), "validator")
	broken := errors.New("no such chain")
	_, err := node.InitFor(home, node.DefaultConfig(), func(node.Identity) (*cmttypes.GenesisDoc, error) { return nil, broken })
	left, _ := filepath.Glob(filepath.Dir(home) + "/*")
	if !errors.Is(err, broken) || len(left) > 0 {
		t.Errorf("it failed with %v and left %v", err, left)
	}
	if err := os.MkdirAll(filepath.Join(home+".part", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home+".part", keyFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(home, 0o700); err != nil { // empty is as good as new
		t.Fatal(err)
	}
	if _, err := node.Init(home, node.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Dir(home) + "/*"); len(left) != 1 {
		t.Errorf("left are %v", left)
	}
}
