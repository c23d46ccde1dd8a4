package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestExtras_ReadBackWhatTheyWrite(t *testing.T) {
	home := t.TempDir()
	c := good()
	c.Media = Media{On: true, Folder: "/srv/files", KeepFree: 1, FileBytes: 2, AccountBytes: 3, TTL: Duration(4 * time.Hour), Rate: 1 << 20}
	c.Vault, c.Proxy, c.Gateway = Vault{Bytes: 5, FileBytes: 6}, Proxy{Tunnels: -1, BytesPerSecond: 7}, Gateway{}
	if err := os.WriteFile(filepath.Join(home, ConfigFile), c.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(home)
	if err != nil {
		t.Fatal(err)
	}
	if got.Media != c.Media || got.Vault != c.Vault || got.Proxy != c.Proxy || got.Gateway != c.Gateway {
		t.Errorf("%+v", got)
	}
	l := got.limits()
	if l.MediaBlob != 2 || l.MediaBytes != 3 || l.MediaTTL != 4*time.Hour || l.MediaRate != 1<<20 || l.VaultBytes != 5 || l.VaultMediaBytes != 6 || l.Tunnels != -1 || l.TunnelRate != 7 {
		t.Errorf("limits %+v", l)
	}
	if l.QueueBytes != concierge.DefaultLimits().QueueBytes {
		t.Errorf("the other limits are gone: %+v", l)
	}
}

func TestExtras_RefuseWhatMakesNoSense(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no file": func(c *Config) { c.Media.FileBytes = 0 }, "a file without end": func(c *Config) { c.Media.FileBytes = 1 << 40 },
		"an account smaller than a file": func(c *Config) { c.Media.AccountBytes = 1 }, "no time": func(c *Config) { c.Media.TTL = 1 }, "no bytes": func(c *Config) { c.Media.Rate = 1000 },
		"no vault": func(c *Config) { c.Vault.Bytes = 0 }, "no files for the vault": func(c *Config) { c.Vault.FileBytes = 0 },
		"no tunnels": func(c *Config) { c.Proxy.Tunnels = 0 }, "fewer": func(c *Config) { c.Proxy.Tunnels = -2 }, "no speed": func(c *Config) { c.Proxy.BytesPerSecond = 0 },
	} {
		c := good()
		spoil(&c)
		if err := c.Check(); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHost_KeepsFilesInItsFolderOrTheOneThatItIsTold(t *testing.T) {
	logger, err := NewLogger(t.Output(), good().Log)
	if err != nil {
		t.Fatal(err)
	}
	home, shared := t.TempDir(), filepath.Join(t.TempDir(), "shared")
	for folder, want := range map[string]string{"": filepath.Join(home, mediaDir), shared: shared} {
		c := good()
		c.Media.Folder = folder
		h := &Host{home: home, config: c, logger: logger}
		if s, err := h.openMedia(); err != nil || s == nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(want); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", want, info, err)
		}
	}
	c := good()
	c.Media.On, c.Gateway.On = false, false
	h := &Host{home: home, config: c, logger: logger}
	if s, err := h.openMedia(); s != nil || err != nil || h.sources() != nil {
		t.Errorf("off: %v, %v, %v", s, err, h.sources())
	}
}
