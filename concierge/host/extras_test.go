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

func TestSponsor_ReadsBackAndRefusesWhatMakesNoSense(t *testing.T) {
	home := t.TempDir()
	c := good()
	c.Sponsor = Sponsor{On: true, Daily: 7, Open: true, PerNetwork: 2}
	if err := os.WriteFile(filepath.Join(home, ConfigFile), c.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadConfig(home); err != nil || got.Sponsor != c.Sponsor {
		t.Errorf("%+v, %v", got.Sponsor, err)
	}
	if d := DefaultConfig().Sponsor; d.On || d.Open {
		t.Errorf("by default: %+v", d)
	}
	for name, spoil := range map[string]func(*Sponsor){
		"none": func(s *Sponsor) { s.Daily = 0 }, "too many": func(s *Sponsor) { s.Daily = 1 << 20 }, "no network": func(s *Sponsor) { s.PerNetwork = 0 },
	} {
		c := good()
		spoil(&c.Sponsor)
		if err := c.Check(); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSponsorKey_IsMadeOnceAndForItsOwnerAlone(t *testing.T) {
	home := t.TempDir()
	if _, err := MakeSponsorKey(home); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("in any folder: %v", err)
	}
	if _, err := Init(home, good()); err != nil {
		t.Fatal(err)
	}
	if _, err := SponsorKey(home); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("before it is made: %v", err)
	}
	k, err := MakeSponsorKey(home)
	if err != nil {
		t.Fatal(err)
	}
	again, err := MakeSponsorKey(home)
	if err != nil || !again.Equal(k) {
		t.Errorf("made twice: %v", err)
	}
	path := filepath.Join(home, sponsorFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"empty": nil, "half": b[:len(b)/2], "no PEM": []byte("key")} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := MakeSponsorKey(home); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
