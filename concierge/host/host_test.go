package host

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/stream/pebblestore"
)

func good() Config {
	c := DefaultConfig()
	c.Handle = "harbor"
	c.Chain = Chain{Pin: fakechain.New(fakechain.Spec{}).Pin(1).String(), Sources: []string{"http://127.0.0.1:1"}}
	return c
}

func TestConfig_ReadsBackWhatItWrites(t *testing.T) {
	home := t.TempDir()
	c := good()
	c.TLS = TLS{Mode: ACME, Domains: []string{"harbor.example", "b.example"}, Email: "a@b.example"}
	c.Listen, c.Metrics.Listen, c.Store = "0.0.0.0:443", "127.0.0.1:9", Store{Redis: "redis://x", Prefix: "p", Replicas: 1}
	if err := os.WriteFile(filepath.Join(home, ConfigFile), c.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(home)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Encode()) != string(c.Encode()) || got.TLS.Domains[1] != "b.example" || got.Store != c.Store {
		t.Errorf("got %+v", got)
	}
	if strings.Contains(string(c.Encode()), "%!") {
		t.Error("the template does not fit the keys")
	}
}

func TestConfig_RefusesWhatMakesNoSense(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"handle": func(c *Config) { c.Handle = "A B" }, "listen": func(c *Config) { c.Listen = "x" },
		"plain for the world": func(c *Config) { c.Listen = "0.0.0.0:80" }, "plain on a name": func(c *Config) { c.Listen = "harbor.example:80" },
		"plain on any address": func(c *Config) { c.Listen = ":80" },
		"files":                func(c *Config) { c.TLS.Mode = Files }, "acme": func(c *Config) { c.TLS.Mode = ACME }, "mode": func(c *Config) { c.TLS.Mode = "" },
		"pin": func(c *Config) { c.Chain.Pin = "" }, "sources": func(c *Config) { c.Chain.Sources = nil },
		"ttl": func(c *Config) { c.Limits.QueueTTL = 1 }, "work": func(c *Config) { c.Limits.WorkBits = 0 },
		"bytes": func(c *Config) { c.Limits.AccountBytes = 1 }, "grace": func(c *Config) { c.Limits.Grace = 0 },
		"level": func(c *Config) { c.Log.Level = "loud" }, "format": func(c *Config) { c.Log.Format = "xml" },
		"metrics": func(c *Config) { c.Metrics.Listen = "x" },
	} {
		c := good()
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(&c)
		if err := c.Check(); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A certificate that its operator signed himself is enough, since clients check
// the key.
func TestHost_ServesWithItsOwnCertificate(t *testing.T) {
	home := t.TempDir()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(home, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := good()
	c.Listen, c.TLS = "127.0.0.1:0", TLS{Mode: Files, Certificate: filepath.Join(home, "cert.pem"), Key: filepath.Join(home, "key.pem")}
	logger, err := NewLogger(t.Output(), c.Log)
	if err != nil {
		t.Fatal(err)
	}
	harbor := fakechain.NewActor("harbor", namesvc.Service)
	me := concierge.Service{Chain: "c", Account: harbor.ID, Generation: 1, Key: harbor.Server.Public()}
	h := &Host{home: home, config: c, logger: logger, failed: make(chan error, 4)}
	if err := h.openStore(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.server, err = concierge.New(concierge.Options{Service: me, Key: harbor.Server, Chain: chainless{}, Store: h.store})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.listen(); err != nil {
		t.Fatal(err)
	}
	client, err := concierge.Dial(t.Context(), "https://"+h.Addr(), me, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := client.Describe(t.Context()); err != nil || d.Service != harbor.ID {
		t.Errorf("descriptor %+v: %v", d, err)
	}
	if s, err := AskStatus(t.Context(), home); err != nil || s.Connections != 1 || s.Listen != h.Addr() {
		t.Errorf("status %+v: %v", s, err)
	}
	client.Close()
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := AskStatus(t.Context(), home); err != ErrNotRunning {
		t.Errorf("status of one that stopped: %v", err)
	}
}

func TestLoadKey_DoesNotRepeatWhatItFinds(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, keyFile), []byte("nearly a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKey(home); wire.CodeOf(err) != wire.Invalid || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestInit_MakesFilesForItsOwnerOnly(t *testing.T) {
	home := filepath.Join(t.TempDir(), "c")
	if _, err := Init(home, good()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ConfigFile, keyFile} {
		info, err := os.Stat(filepath.Join(home, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	before, _ := os.ReadFile(filepath.Join(home, keyFile))
	if _, err := Init(home, good()); wire.CodeOf(err) != wire.Exists {
		t.Errorf("again: %v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(home, keyFile)); string(after) != string(before) {
		t.Error("the key was overwritten")
	}
}

// chainless is a chain that never answers.
type chainless struct{}

func (chainless) Devices(context.Context, namesvc.AccountID, time.Duration) (namesvc.Entry, namesvc.Devices, lightclient.Proof, error) {
	return namesvc.Entry{}, namesvc.Devices{}, lightclient.Proof{}, context.DeadlineExceeded
}

func (chainless) Chain(context.Context) (lightclient.ChainInfo, error) {
	return lightclient.ChainInfo{}, context.DeadlineExceeded
}

func TestBackup_HasTheFilesUnlessItIsToldNot(t *testing.T) {
	home := filepath.Join(t.TempDir(), "c")
	if _, err := Init(home, good()); err != nil {
		t.Fatal(err)
	}
	store, err := pebblestore.Open(filepath.Join(home, storeDir), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	files, err := blob.Open(filepath.Join(home, mediaDir), 0)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("sealed")
	var tree chunk.Tree
	tree.Write(body)
	id, _, _ := tree.Sum()
	if _, err := files.Receive(id, blob.Owner{1}, uint64(len(body)), 0, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	for _, o := range []BackupOptions{{}, {Keys: true}, {NoFiles: true}} {
		to, restored := filepath.Join(t.TempDir(), "saved"), filepath.Join(t.TempDir(), "again")
		made, err := Backup(t.Context(), home, to, o)
		if err != nil {
			t.Fatal(err)
		}
		// A folder that is there already, for the server key, may be open to others.
		if err := os.Mkdir(restored, 0o755); err != nil {
			t.Fatal(err)
		}
		got, err := Restore(t.Context(), to, restored)
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(1)
		if o.NoFiles {
			want = 0
		}
		if made.Blobs != want || got.Blobs != want || got.Damaged != 0 {
			t.Errorf("%+v: %+v and %+v", o, made, got)
		}
		if st, err := os.Stat(filepath.Join(restored, storeDir)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%+v: others may look into the restored messages: %v, %v", o, st.Mode(), err)
		}
		_, err = os.Stat(filepath.Join(restored, mediaDir, id.String()[:2], id.String()))
		if (err == nil) == o.NoFiles {
			t.Errorf("%+v: the file: %v", o, err)
		}
		if _, err := os.Stat(filepath.Join(restored, keyFile)); (err == nil) != o.Keys {
			t.Errorf("%+v: the key: %v", o, err)
		}
	}
}

func TestTakeNextKey_KeepsTheFormerOne(t *testing.T) {
	home := filepath.Join(t.TempDir(), "c")
	first, err := Init(home, good())
	if err != nil {
		t.Fatal(err)
	}
	if former, err := formerKeys(home); len(former) != 0 || err != nil {
		t.Errorf("before a change: %v, %v", former, err)
	}
	for range 2 {
		now, err := ServerKey(home)
		if err != nil {
			t.Fatal(err)
		}
		next, err := NextKey(home, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := TakeNextKey(home); err != nil {
			t.Fatal(err)
		}
		former, err := formerKeys(home)
		if err != nil || len(former) != 1 || former[0].Public() != now {
			t.Errorf("the former key is another, %v", err)
		}
		if got, err := ServerKey(home); got != next || got == first || err != nil {
			t.Errorf("the key is %v, %v", got, err)
		}
		if info, err := os.Stat(filepath.Join(home, formerKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}
