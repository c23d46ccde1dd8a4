package concierge

import (
	"context"
	"net"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A Dialer connects to concierges. The zero value connects directly.
type Dialer struct{ by dialer }

// Dial is like the function Dial.
func (d Dialer) Dial(ctx context.Context, base string, want Service, id *Identity) (*Client, error) {
	return dial(ctx, base, want, id, d.by)
}

// Through returns a dialer to the service of an account, through a tunnel of this
// concierge. The service proves itself inside the tunnel, so this concierge can
// cut the connection and count its bytes, and neither read nor change them.
func (c *Client) Through(to namesvc.AccountID) Dialer {
	return Dialer{by: func(ctx context.Context, _, address string) (net.Conn, error) { return c.Proxy(ctx, to, address) }}
}

// Proxy opens a tunnel to the service of an account, at the address (host:port) of
// one of its URLs; what is sent through it must be TLS. ctx is for the beginning
// only. The tunnel is a connection of its own, and stays if this one ends. Errors:
// kind Exhausted if the device has too many tunnels; Unauthorized if the service
// has no such URL, or it leads into a private network; Unavailable if the service
// is not reached.
func (c *Client) Proxy(ctx context.Context, to namesvc.AccountID, address string) (net.Conn, error) {
	w := c.way
	conn, err := w.connect(ctx, "/v1/tunnel", c.service)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = send(conn, destination{Account: to, Address: address})
	var v verdict
	if err == nil {
		err = receive(conn, &v)
	}
	if err == nil && v.Code != 0 {
		err = wire.Errorf(v.Code, "tunnel: %s", lightclient.Printable(v.Text))
	}
	if err != nil {
		conn.Close()
		return nil, cut(ctx, "open a tunnel to "+address, err)
	}
	return &tunnelEnd{socket: conn}, nil
}

// tunnelEnd is the client's end of a tunnel.
type tunnelEnd struct {
	*socket
	rest []byte // of the frame that was read last
}

// Read implements net.Conn.
func (t *tunnelEnd) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		b, err := t.ReadFrame(tunnelBuffer)
		if err != nil {
			return 0, err
		}
		t.rest = b
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (t *tunnelEnd) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+tunnelBuffer)]
		if err := t.WriteFrames([][]byte{part}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// LocalAddr implements net.Conn.
func (t *tunnelEnd) LocalAddr() net.Addr { return t.raw.LocalAddr() }

// RemoteAddr implements net.Conn: the concierge's address, since the service's is
// not known here.
func (t *tunnelEnd) RemoteAddr() net.Addr { return t.raw.RemoteAddr() }

// SetDeadline implements net.Conn. Writes have a deadline of their own; one that is
// sooner than that is not kept.
func (t *tunnelEnd) SetDeadline(at time.Time) error { return t.raw.SetReadDeadline(at) }

// SetReadDeadline implements net.Conn.
func (t *tunnelEnd) SetReadDeadline(at time.Time) error { return t.raw.SetReadDeadline(at) }

// SetWriteDeadline implements net.Conn; see SetDeadline.
func (t *tunnelEnd) SetWriteDeadline(time.Time) error { return nil }
