package concierge

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// A Client is a connection to a concierge that has proven itself. Messages and
// subscriptions are the frame client's: write under an Address, read under a
// queue's id.
type Client struct {
	*frame.Client
	asking  *asking
	service Service
	way     way
	plain   func() *http.Client // made when it is first used
}

// Dial connects to a concierge at a URL of its name entry: https, or http on
// this machine. id is nil for a guest, who writes, knocks and fetches
// KeyPackages without saying who he is. ctx is for the beginning only.
//
// Whatever certificate the server shows is taken: what counts is that it holds
// the key of its name entry and proves so for this very connection, before
// anything else is said. An error of kind Unauthorized says that it did not, or
// that it refuses.
func Dial(ctx context.Context, base string, want Service, id *Identity) (*Client, error) {
	return dial(ctx, base, want, id, nil)
}

// dialer connects to a host and port; nil is the ordinary one.
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

func dial(ctx context.Context, base string, want Service, id *Identity, by dialer) (*Client, error) {
	w := way{base: strings.TrimSuffix(base, "/"), id: id, by: by, idle: patience}
	conn, err := w.connect(ctx, "/v1/socket", want)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a := &asking{Conn: conn, waiting: map[uint64]chan answer{}}
	f, err := frame.Dial(ctx, a)
	if err != nil {
		conn.Close()
		return nil, cut(ctx, "connect to concierge "+base, spoken{err})
	}
	c := &Client{Client: f, asking: a, service: want, way: w}
	c.plain = sync.OnceValue(c.newHTTP)
	return c, nil
}

// A way is how a client comes to a concierge, for more connections to it.
type way struct {
	base string
	id   *Identity
	by   dialer
	idle time.Duration // how long a plain request may stand still
	cert []byte        // public key of the certificate that the proven server showed
}

// connect opens a WebSocket and does the handshake.
func (w *way) connect(ctx context.Context, path string, want Service) (*socket, error) {
	base := w.base
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !onThisMachine(u.Hostname())) {
		return nil, wire.Errorf(wire.Invalid, "concierge %.200q: the URL must begin with https:// (http:// is for this machine only)", base)
	}
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	dialer := websocket.Dialer{
		NetDialContext: w.by, HandshakeTimeout: handshakeTime, ReadBufferSize: 4 * socketBuffer, WriteBufferSize: socketBuffer,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}},
	}
	ws, resp, err := dialer.DialContext(ctx, u.String(), nil)
	if err != nil {
		if resp != nil {
			return nil, wire.Errorf(wire.Unavailable, "connect to concierge %.200s: it answers %s", base, lightclient.Printable(resp.Status))
		}
		return nil, wire.Errorf(kindOf(err), "connect to concierge %.200s: %w", base, err)
	}
	conn := newSocket(ws, true, new(sync.Pool))
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := w.prove(conn, want); err != nil {
		conn.Close()
		return nil, cut(ctx, "connect to concierge "+base, err)
	}
	return conn, nil
}

// kindOf returns the kind of an error on the way to a server: that of a tunnel or of
// an address that is not dialled stays, and all others say that it is not reached.
func kindOf(err error) wire.Code {
	if code := wire.CodeOf(err); code != wire.Internal {
		return code
	}
	return wire.Unavailable
}

// spoken is an error whose text may be a server's: it is fit for a terminal and a log.
type spoken struct{ err error }

func (e spoken) Error() string { return lightclient.Printable(e.err.Error()) }
func (e spoken) Unwrap() error { return e.err }

// cut returns err, or if ctx has ended, which may have caused it, an error that says
// so and in what.
func cut(ctx context.Context, what string, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return wire.Errorf(wire.Unavailable, "%.220s: stopped before it was done (%w)", what, context.Cause(ctx))
}

// prove does the handshake on a connection.
func (w *way) prove(conn *socket, want Service) error {
	var binding []byte
	if t, ok := conn.raw.(*tls.Conn); ok {
		state := t.ConnectionState()
		var err error
		if binding, err = channelBinding(&state); err != nil {
			return err
		}
		w.cert = state.PeerCertificates[0].RawSubjectPublicKeyInfo // TLS 1.3 has one
	}
	return greet(conn, want, w.id, binding, rand.Reader)
}

func onThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Client) ask(ctx context.Context, o op, body, into any) error {
	return c.asking.ask(ctx, c.Done(), o, body, into)
}

// Kept returns what the concierge keeps for this account.
func (c *Client) Kept(ctx context.Context) (Kept, error) {
	var k Kept
	return k, c.ask(ctx, opQueues, struct{}{}, &k)
}

// CreateQueue makes the queue that grows from a seed, or changes its settings;
// what s leaves at zero, and what it asks above the limits, is as the concierge
// has it. Readers are this account's devices. It is safe to repeat.
func (c *Client) CreateQueue(ctx context.Context, seed Seed, s stream.Settings) (Queue, error) {
	var q Queue
	return q, c.ask(ctx, opCreate, createBody{Seed: seed, Entries: s.MaxEntries, Bytes: s.MaxBytes, TTL: uint64(s.TTL.Seconds())}, &q)
}

// DeleteQueue lets go of a queue of this account and all that waits in it.
func (c *Client) DeleteQueue(ctx context.Context, id stream.ID) error {
	return c.ask(ctx, opDelete, deleteBody{ID: id}, nil)
}

// UploadPackages adds one-time KeyPackages of this device and, unless last is
// empty, replaces the one of last resort. It is safe to repeat.
func (c *Client) UploadPackages(ctx context.Context, once [][]byte, last []byte) (PackageCount, error) {
	var n PackageCount
	return n, c.ask(ctx, opUpload, uploadBody{Once: once, Last: last}, &n)
}

// CountPackages says how this device's KeyPackages stand.
func (c *Client) CountPackages(ctx context.Context) (PackageCount, error) {
	var n PackageCount
	return n, c.ask(ctx, opCount, struct{}{}, &n)
}

// FetchPackage returns a KeyPackage; see PackageRequest.
func (c *Client) FetchPackage(ctx context.Context, r PackageRequest) (Package, error) {
	var p Package
	return p, c.ask(ctx, opFetch, r, &p)
}

// Knock leaves a sealed first message for an account.
func (c *Client) Knock(ctx context.Context, k Knock) error { return c.ask(ctx, opKnock, k, nil) }

// Describe returns the concierge's descriptor.
func (c *Client) Describe(ctx context.Context) (Descriptor, error) {
	var d Descriptor
	return d, c.ask(ctx, opDescribe, struct{}{}, &d)
}

// WorkForKnock does the work that a knock needs, which takes about a second.
func WorkForKnock(ctx context.Context, d Descriptor, k Knock) (Work, error) {
	return d.work(ctx, forKnock, OwnerOf(k.Account, k.Generation), k.Body)
}

// WorkForPackage does the work that a KeyPackage costs whoever has no address.
func WorkForPackage(ctx context.Context, d Descriptor, r PackageRequest) (Work, error) {
	return d.work(ctx, forPackage, OwnerOf(r.Account, r.Generation), r.Device[:])
}

// maxWorkBits and maxWorkKiB are the most work that a client does for a
// concierge: some minutes. One that asks for more wants nobody's knocks.
const (
	maxWorkBits = 18
	maxWorkKiB  = 64 << 10
)

func (d Descriptor) work(ctx context.Context, purpose string, to Owner, what []byte) (Work, error) {
	if d.WorkBits > maxWorkBits || d.WorkMemory > maxWorkKiB {
		return Work{}, wire.Errorf(wire.Exhausted, "concierge asks for too much work: %d bits with %d KiB", d.WorkBits, d.WorkMemory)
	}
	me := Service{Chain: d.Chain, Account: d.Service}
	n, err := ticket.Solve(ctx, challenge(me, purpose, to, d.Period, what), int(d.WorkBits), uint32(d.WorkMemory), firstNonce(), 1, nil)
	return Work{Period: d.Period, Nonce: n}, err
}

// firstNonce is where a search begins: elsewhere each time, since work for a
// KeyPackage is spent by its nonce.
func firstNonce() uint64 {
	m := newMessageID()
	var n uint64
	for _, b := range m[:8] {
		n = n<<8 | uint64(b)
	}
	return n
}
