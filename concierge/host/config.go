package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Config is a concierge's configuration, the file concierge.toml in its folder.
type Config struct {
	Handle  string   `toml:"handle"`
	URLs    []string `toml:"urls"`
	Listen  string   `toml:"listen"`
	TLS     TLS      `toml:"tls"`
	Chain   Chain    `toml:"chain"`
	Store   Store    `toml:"store"`
	Limits  Limits   `toml:"limits"`
	Media   Media    `toml:"media"`
	Vault   Vault    `toml:"vault"`
	Proxy   Proxy    `toml:"proxy"`
	Gateway Gateway  `toml:"gateway"`
	Sponsor Sponsor  `toml:"sponsor"`
	Metrics Metrics  `toml:"metrics"`
	Log     Log      `toml:"log"`
}

// TLS says how the listener is secured.
type TLS struct {
	Mode        string   `toml:"mode"`
	Certificate string   `toml:"certificate"`
	Key         string   `toml:"key"`
	Domains     []string `toml:"domains"`
	Email       string   `toml:"email"`
	Directory   string   `toml:"directory"`
}

// Chain says what the names are verified by and whom to ask.
type Chain struct {
	Pin     string   `toml:"pin"`
	Sources []string `toml:"sources"`
}

// Store says where messages wait.
type Store struct {
	Redis    string `toml:"redis"`
	Prefix   string `toml:"prefix"`
	Replicas int    `toml:"replicas"`
}

// Limits are those of concierge.Limits that operators change.
type Limits struct {
	QueueEntries uint64   `toml:"queue_entries"`
	QueueBytes   uint64   `toml:"queue_bytes"`
	QueueTTL     Duration `toml:"queue_ttl"`
	AccountBytes uint64   `toml:"account_bytes"`
	Connections  int      `toml:"connections"`
	PerNetwork   int      `toml:"connections_per_network"`
	WorkBits     int      `toml:"work_bits"`
	Tokens       int      `toml:"tokens_per_account"`
	IssuerTokens int      `toml:"tokens_per_issuer"`
	Grace        Duration `toml:"grace"`
}

// Metrics is where Prometheus finds the figures.
type Metrics struct {
	Listen string `toml:"listen"`
}

// Log is what the log says.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// Duration is a time.Duration that reads "10m" or "720h".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// The modes of TLS.
const (
	Plain = "plain" // none; on loopback only
	Files = "files" // a certificate of the operator's own
	ACME  = "acme"  // a certificate from Let's Encrypt
)

// DefaultConfig returns the configuration of a concierge on this machine.
func DefaultConfig() Config {
	l := concierge.DefaultLimits()
	c := Config{
		Listen: "127.0.0.1:7781", TLS: TLS{Mode: Plain}, Store: Store{Prefix: "confab"},
		Limits: Limits{
			QueueEntries: l.QueueEntries, QueueBytes: l.QueueBytes, QueueTTL: Duration(l.QueueTTL), AccountBytes: l.AccountBytes,
			Connections: l.Connections, PerNetwork: l.PrefixConnections, WorkBits: l.WorkBits, Grace: Duration(l.Grace),
			Tokens: l.Tokens, IssuerTokens: l.IssuerTokens,
		},
		Log: Log{Level: "info", Format: "text"},
	}
	c.defaultExtras(l)
	return c
}

// template is the file that Init writes, with every key and why one would
// change it.
const template = `# A confab concierge. Every key is here; strict: a key that is unknown is an error.

# The handle of the service that this concierge is. Its entry on the chain must
# have the role concierge, the server key that confab-concierge status prints, and
# these URLs, at which clients find this listener; without any, they are not
# compared. confab-concierge register makes the entry say what this file says.
handle = %q
urls = [%s]
# Where clients connect, "host:port". Anything but loopback needs TLS.
listen = %q

[tls]
# plain: none, on loopback only. files: your own certificate, which may be signed
# by itself, since clients check the key in the entry. acme: one from Let's
# Encrypt, which needs port 443 and a domain that leads here. A proxy that ends
# TLS in front of a concierge makes clients refuse it: pass TCP through.
mode = %q
certificate = %q
key = %q
domains = [%s]
email = %q
# Another authority's ACME directory, like "https://acme.example/directory"; empty
# for that of Let's Encrypt.
directory = %q

[chain]
# What names are verified by: a pin, "chain:height:hash", from somebody you
# believe; and whom to ask, who need not be trusted: more than one is better.
pin = %q
sources = [%s]

[store]
# Empty: messages wait in the folder "store" beside this file. Otherwise the URL
# of a Redis or cluster, "rediss://user:password@host:6379", which several
# processes may share; it must sync every write. replicas is how many of its
# replicas must have a message before it is acknowledged.
redis = %q
prefix = %q
replicas = %d

[limits]
# What one queue holds and for how long, and what all queues of one account were
# promised together.
queue_entries = %d
queue_bytes = %d
queue_ttl = %q
account_bytes = %d
# Connections at most, and of one network (/24 of IPv4, /48 of IPv6).
connections = %d
connections_per_network = %d
# What a stranger's knock costs him: 2^work_bits evaluations of Argon2id with 1
# MiB. 11 is about a second.
work_bits = %d
# Or a token, which his concierge gives him: how many one account of yours gets in
# a day, and how many of users of one other concierge are taken in a day; -1 for
# none. Nobody learns whose token it was.
tokens_per_account = %d
tokens_per_issuer = %d
# How long connections stay while the chain cannot be asked. A stolen device
# stays that long if its thief cuts the concierge off.
grace = %q

[metrics]
# Where Prometheus finds the figures, at /metrics; empty for nowhere. Keep it to
# this machine or a private network.
listen = %q

[log]
# debug, info, warn or error. No level names people, queues or messages.
level = %q
# text or json.
format = %q
`

// Encode returns the configuration as a commented file.
func (c Config) Encode() []byte {
	l := c.Limits
	return c.encodeExtras(fmt.Appendf(nil, template, c.Handle, quoted(c.URLs), c.Listen, c.TLS.Mode, c.TLS.Certificate, c.TLS.Key, quoted(c.TLS.Domains), c.TLS.Email, c.TLS.Directory,
		c.Chain.Pin, quoted(c.Chain.Sources), c.Store.Redis, c.Store.Prefix, c.Store.Replicas,
		l.QueueEntries, l.QueueBytes, time.Duration(l.QueueTTL).String(), l.AccountBytes, l.Connections, l.PerNetwork, l.WorkBits, l.Tokens, l.IssuerTokens,
		time.Duration(l.Grace).String(), c.Metrics.Listen, c.Log.Level, c.Log.Format))
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// ConfigFile is the name of the configuration file in a concierge's folder.
const ConfigFile = "concierge.toml"

// LoadConfig reads the configuration of the folder. Missing keys keep their
// defaults, unknown ones are errors.
func LoadConfig(home string) (Config, error) {
	path := filepath.Join(home, ConfigFile)
	c := DefaultConfig()
	meta, err := toml.DecodeFile(path, &c)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, wire.Errorf(wire.NotFound, "%s does not exist: run confab-concierge init first, or name the folder with --home", path)
	case err != nil:
		return c, wire.Errorf(wire.Invalid, "read %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, wire.Errorf(wire.Invalid, "read %s: the key %v is unknown; correct its spelling or remove it", path, unknown[0])
	}
	return c, c.Check()
}

// Check reports the first value that makes no sense.
func (c Config) Check() error {
	if _, err := namesvc.ParseHandle(c.Handle); err != nil {
		return wire.Errorf(wire.Invalid, "handle is %.40q: %w", c.Handle, err)
	}
	if len(c.URLs) > namesvc.MaxURLs {
		return wire.Errorf(wire.Invalid, "urls has %d of them: an entry takes %d", len(c.URLs), namesvc.MaxURLs)
	}
	for _, each := range c.URLs { // the law of names looks closer
		u, err := url.Parse(each)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			return wire.Errorf(wire.Invalid, "urls has %.100q: it must be like https://harbor.example", each)
		}
	}
	if !address(c.Listen) {
		return wire.Errorf(wire.Invalid, "listen is %q: it must be host:port", c.Listen)
	}
	if c.Metrics.Listen != "" && !address(c.Metrics.Listen) {
		return wire.Errorf(wire.Invalid, "metrics.listen is %q: it must be host:port", c.Metrics.Listen)
	}
	if err := c.checkTLS(); err != nil {
		return err
	}
	if _, err := verify.ParsePin(c.Chain.Pin); err != nil {
		return wire.Errorf(wire.Invalid, "chain.pin: %w", err)
	}
	if len(c.Chain.Sources) == 0 {
		return wire.Errorf(wire.Invalid, "chain.sources is empty: name one validator's query address at least")
	}
	for _, s := range c.Chain.Sources {
		if _, err := source.NewHTTP(s, nil); err != nil {
			return wire.Errorf(wire.Invalid, "chain.sources: %w", err)
		}
	}
	l := c.Limits
	switch {
	case l.QueueEntries == 0 || l.QueueBytes == 0 || l.AccountBytes < l.QueueBytes || l.Connections <= 0 || l.PerNetwork <= 0:
		return wire.Errorf(wire.Invalid, "limits: all must be above 0, and account_bytes at least queue_bytes")
	case time.Duration(l.QueueTTL) < time.Hour:
		return wire.Errorf(wire.Invalid, "limits.queue_ttl is %v: it must be 1h or more", time.Duration(l.QueueTTL))
	case l.WorkBits < 1 || l.WorkBits > 18:
		return wire.Errorf(wire.Invalid, "limits.work_bits is %d: it must be from 1 to 18; clients do no more", l.WorkBits)
	case l.Tokens < -1 || l.Tokens == 0 || l.IssuerTokens < -1 || l.IssuerTokens == 0:
		return wire.Errorf(wire.Invalid, "limits.tokens_per_account and tokens_per_issuer must be above 0, or -1 for none")
	case time.Duration(l.Grace) < time.Minute:
		return wire.Errorf(wire.Invalid, "limits.grace is %v: it must be 1m or more", time.Duration(l.Grace))
	}
	if err := c.checkExtras(); err != nil {
		return err
	}
	_, err := newLogger(nil, c.Log)
	return err
}

func (c Config) checkTLS() error {
	host, _, _ := net.SplitHostPort(c.Listen)
	ip := net.ParseIP(host)
	switch c.TLS.Mode {
	case Plain:
		if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return wire.Errorf(wire.Invalid, "tls.mode is plain and listen is %q: without TLS a concierge listens on loopback only", c.Listen)
		}
	case Files:
		if c.TLS.Certificate == "" || c.TLS.Key == "" {
			return wire.Errorf(wire.Invalid, "tls.mode is files: tls.certificate and tls.key must name them")
		}
	case ACME:
		if len(c.TLS.Domains) == 0 {
			return wire.Errorf(wire.Invalid, "tls.mode is acme: tls.domains must name at least one domain that leads here")
		}
		if u, err := url.Parse(c.TLS.Directory); c.TLS.Directory != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
			return wire.Errorf(wire.Invalid, "tls.directory is %.100q: it must be the URL of an ACME directory", c.TLS.Directory)
		}
	default:
		return wire.Errorf(wire.Invalid, "tls.mode is %q: it must be plain, files or acme", c.TLS.Mode)
	}
	return nil
}

func (l Limits) limits() concierge.Limits {
	return concierge.Limits{
		QueueEntries: l.QueueEntries, QueueBytes: l.QueueBytes, QueueTTL: time.Duration(l.QueueTTL), AccountBytes: l.AccountBytes,
		Connections: l.Connections, PrefixConnections: l.PerNetwork, WorkBits: l.WorkBits, Grace: time.Duration(l.Grace),
		Tokens: l.Tokens, IssuerTokens: l.IssuerTokens,
	}
}

// address reports whether a is host:port.
func address(a string) bool {
	_, port, err := net.SplitHostPort(a)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && perr == nil && strconv.FormatUint(n, 10) == port
}
