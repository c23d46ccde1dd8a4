package host

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// The files of a concierge's folder beside its configuration.
const (
	keyFile     = "server.key"  // the server key's seed, in hexadecimal
	accountFile = "account.txt" // the account that the handle meant at the first run
	issueFile   = "issue.txt"   // which KeyPackages are given out; see concierge.Options
	lockFile    = "lock"
	sponsorFile = "sponsor.key" // the RSA key of tickets for registrations, PKCS #8 in PEM
	adminSocket = "admin.sock"
	storeDir    = "store"
	mediaDir    = "media"
	trustDir    = "trust"
	acmeDir     = "acme"
)

// Init makes a concierge's folder with a new server key and returns its public
// half. It overwrites nothing.
func Init(home string, c Config) (key.Public, error) {
	if err := c.Check(); err != nil {
		return key.Public{}, err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return key.Public{}, fmt.Errorf("make concierge's folder: %w", err)
	}
	k, err := key.NewServer(rand.Reader)
	if err != nil {
		return key.Public{}, fmt.Errorf("make server key: %w", err)
	}
	seed := k.Seed()
	for _, f := range []struct {
		name string
		b    []byte
	}{{ConfigFile, c.Encode()}, {keyFile, []byte(hex.EncodeToString(seed[:]) + "\n")}} {
		err := writeNew(filepath.Join(home, f.name), f.b)
		if errors.Is(err, fs.ErrExist) {
			return key.Public{}, wire.Errorf(wire.Exists, "%s exists already; choose another folder with --home", filepath.Join(home, f.name))
		}
		if err != nil {
			return key.Public{}, fmt.Errorf("make concierge's folder: %w", err)
		}
	}
	return k.Public(), nil
}

// ServerKey returns the public half of the folder's server key.
func ServerKey(home string) (key.Public, error) {
	k, err := loadKey(home)
	if err != nil {
		return key.Public{}, err
	}
	return k.Public(), nil
}

func loadKey(home string) (key.Server, error) { return readKey(filepath.Join(home, keyFile)) }

func readKey(path string) (key.Server, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return key.Server{}, wire.Errorf(wire.NotFound, "%s does not exist: run confab-concierge init first, or restore it from a backup made with --keys", path)
	}
	if err != nil {
		return key.Server{}, fmt.Errorf("read server key: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != key.SeedSize {
		return key.Server{}, wire.Errorf(wire.Invalid, "%s does not hold a server key", path) // and its content stays there
	}
	return key.ServerFromSeed([key.SeedSize]byte(seed)), nil
}

// pinAccount makes sure that the handle means the account that it meant at the
// first run: whoever else holds it now is not whom the mail was kept for.
func pinAccount(home string, h namesvc.Handle, id namesvc.AccountID) error {
	path := filepath.Join(home, accountFile)
	err := writeNew(path, []byte(id.String()+"\n"))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(b)) != id.String() {
		return wire.Errorf(wire.Conflict, "%v is account %v now, and %s says otherwise: this folder keeps the mail of another service", h, id, path)
	}
	return nil
}

// issue returns the folder's issue of KeyPackages, made anew if there is none:
// that is so at the first run, and after a restore, since no backup has it.
func issue(home string) (id [16]byte, err error) {
	path := filepath.Join(home, issueFile)
	var fresh [16]byte
	rand.Read(fresh[:])
	if err := writeNew(path, []byte(hex.EncodeToString(fresh[:])+"\n")); err == nil || !errors.Is(err, fs.ErrExist) {
		return fresh, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return id, err
	}
	if n, err := hex.Decode(id[:], bytes.TrimSpace(b[:min(len(b), 33)])); err != nil || n != len(id) {
		return id, wire.Errorf(wire.Invalid, "%s is damaged: delete it, and devices upload new key packages", path)
	}
	return id, nil
}

// lock keeps a second process out of a folder until the returned file is closed,
// or the process ends.
func lock(home string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(home, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock concierge's folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, wire.Errorf(wire.Unavailable, "another process is using the folder %s: stop it, or give this one a folder of its own", home)
	}
	return f, nil
}

// writeNew writes a file that must not be there yet, for its owner's eyes only.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// NewLogger returns a logger that writes to w as the configuration says.
func NewLogger(w io.Writer, c Log) (*slog.Logger, error) { return newLogger(w, c) }

func newLogger(w io.Writer, c Log) (*slog.Logger, error) {
	var level slog.Level
	switch c.Level {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(c.Level)); err != nil {
			return nil, err
		}
	default:
		return nil, wire.Errorf(wire.Invalid, "log.level is %q: it must be debug, info, warn or error", c.Level)
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, wire.Errorf(wire.Invalid, "log.format is %q: it must be text or json", c.Format)
}
