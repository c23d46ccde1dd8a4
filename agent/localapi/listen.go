package localapi

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// socketFile is the socket in an account's home, or a symbolic link to where it
	// is.
	socketFile = "agent.sock"
	// maxSocketPath is what every system takes as the path of a socket: 104 bytes
	// with the zero at its end on the BSDs, 108 on Linux.
	maxSocketPath = 103
)

// listenSocket opens the socket of an account's home. The caller has the account's
// conversations open, so that no other agent uses a socket that is there.
func listenSocket(home string, log *slog.Logger) (net.Listener, error) {
	if err := private(home); err != nil {
		return nil, err
	}
	link := filepath.Join(home, socketFile)
	if old, err := os.Readlink(link); err == nil {
		os.RemoveAll(filepath.Dir(old)) // of an agent that was killed
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	path, clean := link, func() {}
	if len(path) > maxSocketPath {
		dir, err := elsewhere(link)
		if err != nil {
			return nil, err
		}
		path = filepath.Join(dir, socketFile)
		clean = func() { os.RemoveAll(dir); os.Remove(link) }
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		clean()
		return nil, fmt.Errorf("open socket: %w", err)
	}
	return &socket{UnixListener: l, clean: clean, log: log}, nil
}

// private makes sure that a folder is there and closed to others.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return wire.Errorf(wire.Invalid, "%s is open to others: chmod 700 closes it", dir)
	}
	return nil
}

// elsewhere makes a folder with a short name for a socket whose own is too long,
// and a link to where the socket will be. The folder's name is new, so that
// nobody can have made it before.
func elsewhere(link string) (string, error) {
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		if base == "" || len(base)+len("/confab-0123456789/"+socketFile) > maxSocketPath {
			continue
		}
		dir, err := os.MkdirTemp(base, "confab-")
		if err != nil {
			continue
		}
		if err := os.Symlink(filepath.Join(dir, socketFile), link); err != nil {
			os.RemoveAll(dir)
			return "", fmt.Errorf("open socket: %w", err)
		}
		return dir, nil
	}
	return "", wire.Errorf(wire.Invalid, "no folder's name is short enough for a socket: choose another with CONFAB_HOME, or set TMPDIR")
}

// socketPath returns where the socket of a home is; it fails if none can be
// there.
func socketPath(home string) (string, error) {
	path := filepath.Join(home, socketFile)
	if to, err := os.Readlink(path); err == nil {
		return to, nil
	}
	if len(path) > maxSocketPath {
		return "", fs.ErrNotExist // it would be a link
	}
	return path, nil
}

// A socket takes connections of its own user only.
type socket struct {
	*net.UnixListener
	clean func()
	once  sync.Once
	log   *slog.Logger
}

func (s *socket) Accept() (net.Conn, error) {
	for {
		c, err := s.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, known, err := peer(c)
		if err == nil && (!known || welcome(uid, os.Getuid())) {
			return c, nil
		}
		s.log.Warn("somebody else was turned away from the socket", "uid", uid, "error", err)
		c.Close()
	}
}

// welcome reports whether a user may use the agent of another one: the
// administrator could anyway.
func welcome(uid uint32, own int) bool { return int(uid) == own || uid == 0 }

func (s *socket) Close() error {
	err := s.UnixListener.Close()
	s.once.Do(s.clean)
	return err
}

// listenLoopback listens on an address that no other machine reaches.
func listenLoopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%.60q is no address: it must be 127.0.0.1:PORT", addr)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, wire.Errorf(wire.Invalid, "%.60q is not on loopback: it must be 127.0.0.1:PORT", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "listen: %w", err)
	}
	return l, nil
}

// bounded is a listener with at most maxConnections at once; others wait.
type bounded struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newBounded(l net.Listener) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, maxConnections), done: make(chan struct{})}
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	return &held{Conn: c, leave: sync.OnceFunc(func() { <-b.slots })}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// held is a connection that has one of the slots.
type held struct {
	net.Conn
	leave func()
}

func (c *held) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
