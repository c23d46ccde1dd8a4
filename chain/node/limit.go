package node

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxConnections bounds the query server's connections: each takes a file
// descriptor, of which the databases and the peers need some hundreds, and 10 to
// 50 kB. Beyond it new ones wait until others end or have been idle for long.
const maxConnections = 2048

// limited is a listener with a bounded number of open connections.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(l net.Listener, n int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// patience is how long a server bears with a client.
type patience struct {
	header time.Duration // until a request's header is there
	read   time.Duration // until all of it is
	write  time.Duration // from the header to the end of the answer
	idle   time.Duration // between requests
}

// queryPatience is that of the query API: its longest answer is given after a wait
// of ten seconds, to somebody who may be far away.
func queryPatience() patience {
	return patience{header: 10 * time.Second, read: 20 * time.Second, write: time.Minute, idle: 2 * time.Minute}
}

// maxHeader bounds a request's header: addresses here have a few hundred bytes, and
// proxies add some of theirs.
const maxHeader = 16 << 10

// newServer returns a server for strangers: one that stalls holds its connection no
// longer than it would take to use it.
func newServer(ctx context.Context, h http.Handler, p patience, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: p.header, ReadTimeout: p.read, WriteTimeout: p.write, IdleTimeout: p.idle, MaxHeaderBytes: maxHeader,
		ErrorLog:    slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
}
