package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/pebblestore"
)

// Status is what a running concierge says to its operator.
type Status struct {
	Service     string `json:"service"` // account id
	Chain       string `json:"chain"`
	Listen      string `json:"listen"`
	Height      uint64 `json:"height"`
	AgeSeconds  int64  `json:"age_seconds"`
	Connections int    `json:"connections"`
}

// ErrNotRunning says that no concierge runs in a folder.
var ErrNotRunning error = wire.Errorf(wire.Unavailable, "the concierge does not run; start it with: confab-concierge run")

// listenAdmin opens the socket for status and backup. The folder is its owner's
// alone, and so is the socket in it.
func (h *Host) listenAdmin() error {
	path := filepath.Join(h.home, adminSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // the lock says that it is nobody's
		return fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return wire.Errorf(wire.Unavailable, "admin socket: %w: give the concierge a folder with a shorter name", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { reply(w, h.status(), nil) })
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		reply(w, struct{}{}, h.backup(to))
	})
	h.adminSponsor(mux)
	h.serve(l, mux)
	return nil
}

func (h *Host) status() Status {
	me := h.server.Service()
	height, age := h.server.Freshness()
	if height == 0 {
		age = 0 // it has not answered yet
	}
	return Status{
		Service: me.Account.String(), Chain: me.Chain, Listen: h.addr, Height: height, AgeSeconds: int64(age / time.Second),
		Connections: h.server.Connections(),
	}
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		w.WriteHeader(wire.CodeOf(err).HTTPStatus())
		v = map[string]string{"code": wire.CodeOf(err).String(), "text": err.Error()}
	}
	json.NewEncoder(w).Encode(v)
}

// maxReply bounds an answer of the admin socket.
const maxReply = 64 << 10

func askAdmin(ctx context.Context, home, method, path string, into any) error {
	socket := filepath.Join(home, adminSocket)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://concierge"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning
	}
	if err != nil {
		return wire.Errorf(wire.Unavailable, "ask the concierge: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return wire.Errorf(wire.Unavailable, "ask the concierge: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Code, Text string }
		json.Unmarshal(b, &e)
		return wire.Errorf(wire.CodeNamed(e.Code), "%s", e.Text)
	}
	return json.Unmarshal(b, into)
}

// AskStatus asks the concierge that runs in a folder, or returns ErrNotRunning.
func AskStatus(ctx context.Context, home string) (Status, error) {
	var s Status
	return s, askAdmin(ctx, home, http.MethodGet, "/status", &s)
}

// errRedis says that messages are not in the folder.
var errRedis error = wire.Errorf(wire.Invalid, "messages wait in Redis: back that up with its own means (BGSAVE, or a replica)")

// BackupOptions say what is in a backup.
type BackupOptions struct {
	Keys    bool // the server key too
	NoFiles bool // not what people sent and stored as files
}

// Backup copies a concierge's folder as it is now into one that is not there yet:
// configuration, account, store and files, and the keys if they are asked for.
// The concierge may run meanwhile. Files are those that the copied store names, but
// for some that were let go of meanwhile.
func Backup(ctx context.Context, home, to string, o BackupOptions) (files blob.Copied, err error) {
	c, err := LoadConfig(home)
	if err != nil {
		return files, err
	}
	if c.Store.Redis != "" {
		return files, errRedis
	}
	if to, err = filepath.Abs(to); err != nil {
		return files, err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return files, wire.Errorf(wire.Exists, "back up: %w: name a folder that is not there yet", err)
	}
	err = askAdmin(ctx, home, http.MethodPost, "/backup?to="+url.QueryEscape(to), &struct{}{})
	if errors.Is(err, ErrNotRunning) {
		err = backupStopped(home, to)
	}
	if err == nil && !o.NoFiles && c.Media.On { // after the books, so that nothing in them is missing
		files, err = blob.Backup(ctx, c.mediaFolder(home), filepath.Join(to, mediaDir))
	}
	names := []string{accountFile, ConfigFile}
	if o.Keys {
		names = append(names, sponsorFile, formerKeyFile, keyFile)
	}
	for _, name := range names { // the configuration last but for the key: its presence says that all is there
		if err == nil {
			err = copyFile(home, to, name)
		}
	}
	return files, err
}

func copyFile(from, to, name string) error {
	b, err := os.ReadFile(filepath.Join(from, name))
	if errors.Is(err, fs.ErrNotExist) && (name == accountFile || name == sponsorFile || name == formerKeyFile) {
		return nil // it has never run, sponsors nobody, or its key was never changed
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	if err := writeNew(filepath.Join(to, name), b); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	return nil
}

func (h *Host) backup(to string) error {
	if h.pebble == nil {
		return errRedis
	}
	return h.pebble.Backup(filepath.Join(to, storeDir))
}

func backupStopped(home, to string) error {
	l, err := lock(home)
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := pebblestore.Open(filepath.Join(home, storeDir), pebblestore.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Backup(filepath.Join(to, storeDir))
}

// Restore makes a concierge's folder of a backup; the folder must not hold one
// yet, but may hold a server key, which stays. Messages that were fetched since
// the backup are offered again. KeyPackages of the backup are not given out any
// more, since some may have been after it: devices see that there are none and
// upload new ones. Files are hashed; those that are damaged are left out, and like
// those that the backup does not have, their owners are told that they are gone.
func Restore(ctx context.Context, from, home string) (files blob.Copied, err error) {
	c, err := LoadConfig(from)
	if err != nil {
		return files, err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return files, fmt.Errorf("restore: %w", err)
	}
	for _, name := range []string{ConfigFile, storeDir} {
		if _, err := os.Lstat(filepath.Join(home, name)); !errors.Is(err, fs.ErrNotExist) {
			return files, wire.Errorf(wire.Exists, "%s exists already; choose another folder with --home", filepath.Join(home, name))
		}
	}
	if _, err := os.Stat(filepath.Join(from, mediaDir)); err == nil {
		if files, err = blob.Restore(ctx, filepath.Join(from, mediaDir), c.mediaFolder(home)); err != nil {
			return files, err
		}
	}
	// What CopyFS makes, others may read, and home may be open to them.
	if err := os.Mkdir(filepath.Join(home, storeDir), 0o700); err != nil {
		return files, fmt.Errorf("restore: %w", err)
	}
	if err := os.CopyFS(filepath.Join(home, storeDir), os.DirFS(filepath.Join(from, storeDir))); err != nil {
		return files, fmt.Errorf("restore: %w", err)
	}
	for _, name := range []string{formerKeyFile, keyFile, sponsorFile, accountFile, ConfigFile} {
		err := copyFile(from, home, name)
		if errors.Is(err, fs.ErrNotExist) && name == keyFile {
			continue // a backup without keys
		}
		if err != nil {
			return files, err
		}
	}
	return files, nil
}
