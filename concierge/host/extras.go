package host

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

// Media says where files are kept, and how many.
type Media struct {
	On           bool     `toml:"on"`
	Folder       string   `toml:"folder"`
	KeepFree     uint64   `toml:"keep_free"`
	FileBytes    uint64   `toml:"file_bytes"`
	AccountBytes uint64   `toml:"account_bytes"`
	TTL          Duration `toml:"ttl"`
	Rate         uint64   `toml:"bytes_per_second"`
}

// Vault says how large the backup of an account's history may be.
type Vault struct {
	Bytes     uint64 `toml:"bytes"`
	FileBytes uint64 `toml:"file_bytes"`
}

// Proxy bounds tunnels to other services.
type Proxy struct {
	Tunnels        int    `toml:"tunnels_per_device"`
	BytesPerSecond uint64 `toml:"bytes_per_second"`
}

// Gateway says whether the chain is served to users.
type Gateway struct {
	On bool `toml:"on"`
}

// keepFree is how much of a disk files leave free: messages must not wait for a
// photograph.
const keepFree = 1 << 30

// leastRate is the fewest bytes in a second of files for a network: less than a few
// connections' worth, of 8 KiB each, would have all of them cut for being slow.
const leastRate = 256 << 10

// defaultExtras sets what a concierge does beside queues.
func (c *Config) defaultExtras(l concierge.Limits) {
	c.Media = Media{On: true, KeepFree: keepFree, FileBytes: l.MediaBlob, AccountBytes: l.MediaBytes, TTL: Duration(l.MediaTTL), Rate: l.MediaRate}
	c.Vault = Vault{Bytes: l.VaultBytes, FileBytes: l.VaultMediaBytes}
	c.Proxy = Proxy{Tunnels: l.Tunnels, BytesPerSecond: l.TunnelRate}
	c.Gateway = Gateway{On: true}
	c.Sponsor = Sponsor{Daily: 20, PerNetwork: 3}
}

// extrasTemplate is the part of the configuration file about them.
const extrasTemplate = `
[media]
# Files that people send, sealed: whether they are kept here, and where; empty: in
# the folder "media" beside this file. Processes that share a Redis need a folder
# that they share too, with locks (NFS has them since version 4). backup copies it
# too, unless it is told not to.
on = %t
folder = %q
# Bytes of the disk that files leave free: when there is less, none are taken.
keep_free = %d
# The largest file, all of one account's together, and how long each is kept at
# the longest.
file_bytes = %d
account_bytes = %d
ttl = %q
# How many bytes in a second one network (24 bits of an IPv4 address, 48 of an IPv6
# one) may fetch, and upload, all its connections together.
bytes_per_second = %d

[vault]
# The backup of an account's history, sealed, which does not expire: its entries,
# and the files that belong to it.
bytes = %d
file_bytes = %d

[proxy]
# Tunnels to other concierges and hubs for your users behind bad networks. They lead
# only to URLs in names' entries, carry only TLS, and never lead into private
# networks. How many for each device, -1 for none, and how fast each is.
tunnels_per_device = %d
bytes_per_second = %d

[gateway]
# Whether questions about the chain are passed on to chain.sources for everybody who
# asks, within limits. Nobody has to believe the answers; but who asks here shows
# you whose handles he looks up.
on = %t

[sponsor]
# Whether this concierge pays for people's registrations with tickets, so that they
# need no work and may have shorter handles. Its key must be on the chain first:
# confab-concierge sponsor declare. You never learn which handle a ticket is for.
on = %t
# Tickets in a day at most, whatever the chain allows you.
daily = %d
# false: who has an invitation code, from confab-concierge sponsor invite. true:
# anybody, so many in a day for one network (/24 of IPv4, /48 of IPv6).
open = %t
per_network = %d
`

func (c Config) encodeExtras(b []byte) []byte {
	return fmt.Appendf(b, extrasTemplate, c.Media.On, c.Media.Folder, c.Media.KeepFree, c.Media.FileBytes, c.Media.AccountBytes, time.Duration(c.Media.TTL).String(), c.Media.Rate,
		c.Vault.Bytes, c.Vault.FileBytes, c.Proxy.Tunnels, c.Proxy.BytesPerSecond, c.Gateway.On,
		c.Sponsor.On, c.Sponsor.Daily, c.Sponsor.Open, c.Sponsor.PerNetwork)
}

func (c Config) checkExtras() error {
	switch m := c.Media; {
	case m.FileBytes == 0 || m.FileBytes > chunk.MaxLength || m.AccountBytes < m.FileBytes:
		return wire.Errorf(wire.Invalid, "media.file_bytes must be from 1 to %d, and account_bytes at least as much; to keep no files, set on = false", uint64(chunk.MaxLength))
	case time.Duration(m.TTL) < time.Hour:
		return wire.Errorf(wire.Invalid, "media.ttl is %v: it must be 1h or more", time.Duration(m.TTL))
	case m.Rate < leastRate:
		return wire.Errorf(wire.Invalid, "media.bytes_per_second is %d: it must be %d or more", m.Rate, leastRate)
	case c.Vault.Bytes == 0 || c.Vault.FileBytes == 0:
		return wire.Errorf(wire.Invalid, "vault.bytes and vault.file_bytes must be above 0")
	case c.Proxy.Tunnels == 0 || c.Proxy.Tunnels < -1 || c.Proxy.BytesPerSecond == 0:
		return wire.Errorf(wire.Invalid, "proxy.tunnels_per_device must be above 0, or -1 for none, and bytes_per_second above 0")
	}
	return c.Sponsor.check()
}

// limits adds those of extras.
func (c Config) limits() concierge.Limits {
	l := c.Limits.limits()
	l.MediaBlob, l.MediaBytes, l.MediaTTL = c.Media.FileBytes, c.Media.AccountBytes, time.Duration(c.Media.TTL)
	l.MediaRate = c.Media.Rate
	l.VaultBytes, l.VaultMediaBytes = c.Vault.Bytes, c.Vault.FileBytes
	l.Tunnels, l.TunnelRate = c.Proxy.Tunnels, c.Proxy.BytesPerSecond
	return l
}

// openMedia opens the folder of files; nil if none are kept.
func (h *Host) openMedia() (*blob.Store, error) {
	m := h.config.Media
	if !m.On {
		return nil, nil
	}
	if m.Folder == "" && h.config.Store.Redis != "" {
		h.logger.Warn("files are kept in this process's own folder: others that share the Redis do not have them", "do", "set media.folder to one that all share")
	}
	return blob.Open(h.config.mediaFolder(h.home), m.KeepFree)
}

// mediaFolder returns where the concierge of a folder keeps files.
func (c Config) mediaFolder(home string) string {
	if c.Media.Folder != "" {
		return c.Media.Folder
	}
	return filepath.Join(home, mediaDir)
}

// sources returns whom the gateway asks; nil if there is none.
func (h *Host) sources() []string {
	if !h.config.Gateway.On {
		return nil
	}
	return h.config.Chain.Sources
}
