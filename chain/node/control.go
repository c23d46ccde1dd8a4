package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
)

// A validator that runs takes orders from this user on this machine alone: through
// a socket in its folder, which nobody else can open. It speaks HTTP with JSON.

// controlFile is the socket.
const controlFile = "data/control.sock"

const (
	// maxSocket is the longest path that every system can bind a socket to.
	maxSocket = 100
	// maxOrder bounds an order, and maxReply what is read of an answer.
	maxOrder = 16 << 10
	maxReply = 1 << 20
)

// order is what is asked for.
type order struct {
	To   string `json:"to"`
	Keys bool   `json:"keys"`
}

// refusal is the answer if it could not be done.
type refusal struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// serveControl takes orders until the context ends.
func (n *Node) serveControl(ctx context.Context) {
	path := filepath.Join(n.home, controlFile)
	if len(path) > maxSocket {
		n.logger.Warn("this validator takes no orders while it runs: the path of its folder is too long for a socket", "path", path)
		return
	}
	os.Remove(path) // of a process that died: the lock of the store says that it did
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		n.logger.Warn("this validator takes no orders while it runs", "err", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { reply(w, n.Report(), nil) })
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) {
		var o order
		if err := json.NewDecoder(io.LimitReader(r.Body, maxOrder)).Decode(&o); err != nil || !filepath.IsAbs(o.To) {
			reply(w, nil, wire.Errorf(wire.Invalid, "the order is malformed"))
			return
		}
		info, err := n.Backup(r.Context(), o.To, o.Keys)
		info.Files = nil // they are in the backup
		reply(w, info, err)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	if err := serveUntil(ctx, server, l); err != nil {
		n.logger.Warn("this validator takes no more orders", "err", err)
	}
}

// serveUntil serves until the context ends, and returns when the requests under
// way have ended too: what they read is closed next.
func serveUntil(ctx context.Context, server *http.Server, l net.Listener) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		server.Shutdown(context.WithoutCancel(ctx)) // their context has ended
	})
	err := server.Serve(l)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = refusal{Code: wire.CodeOf(err).String(), Text: err.Error()}
	}
	json.NewEncoder(w).Encode(v)
}

// ErrNotRunning reports that no validator takes orders in a folder.
var ErrNotRunning error = wire.Errorf(wire.Unavailable, "no validator runs in this folder")

// tell sends an order to the validator of a folder.
func tell(ctx context.Context, home, method, path string, o any, into any) error {
	socket := filepath.Join(home, controlFile)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://validator"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		if opening := (*net.OpError)(nil); errors.As(err, &opening) && opening.Op == "dial" {
			return ErrNotRunning
		}
		return wire.Errorf(wire.Unavailable, "ask the validator: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return wire.Errorf(wire.Unavailable, "ask the validator: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var r refusal
		if json.Unmarshal(b, &r) != nil {
			return wire.Errorf(wire.Internal, "ask the validator: status %d", res.StatusCode)
		}
		return wire.Errorf(wire.CodeNamed(r.Code), "%s", r.Text)
	}
	return json.Unmarshal(b, into)
}

// AskBackup has the validator that runs in a folder back itself up. The error is
// [ErrNotRunning] if none runs.
func AskBackup(ctx context.Context, home, to string, keys bool) (info BackupInfo, err error) {
	err = tell(ctx, home, http.MethodPost, "/backup", order{To: to, Keys: keys}, &info)
	return info, err
}

// AskReport returns what the validator that runs in a folder says of itself. The
// error is [ErrNotRunning] if none runs.
func AskReport(ctx context.Context, home string) (r Report, err error) {
	err = tell(ctx, home, http.MethodGet, "/status", nil, &r)
	return r, err
}
