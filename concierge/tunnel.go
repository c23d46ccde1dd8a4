package concierge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// maxTunnels is how many tunnels one process carries: each has two connections
	// and some 50 KiB.
	maxTunnels = 1024
	// tunnelBuffer is how many bytes of a tunnel are passed on at once: a TLS
	// record.
	tunnelBuffer = 16 << 10
	// tunnelIdle ends a tunnel through which nothing has come in either direction;
	// clients of package frame ping three times meanwhile.
	tunnelIdle = 3 * time.Minute
	// maxDestination is the most bytes of a request for a tunnel.
	maxDestination = 512
	// leastPort is the lowest port that tunnels lead to, but for that of HTTPS:
	// below are mail and remote shells, where strangers' entries must not send us.
	leastPort = 1024
	// httpsPort is the port of URLs that give none.
	httpsPort = 443
)

// A destination is what a client asks a tunnel to: a URL of an account's entry.
type destination struct {
	_       struct{} `cbor:",toarray"`
	Account namesvc.AccountID
	Address string // host:port
}

// tunnel serves GET /v1/tunnel: a WebSocket that carries the bytes of a connection
// to another service. What they are, only its two ends know: the client speaks TLS
// to the service through it and checks that service's key.
func (s *Server) tunnel(w http.ResponseWriter, r *http.Request) {
	s.accept(w, r, func(ctx context.Context, conn *socket, c *session) {
		defer s.shut(c)
		defer conn.Close()
		err := s.carry(ctx, conn, c)
		result := "carried"
		if err != nil {
			result = wire.CodeOf(err).String()
		}
		s.figures.tunnels.WithLabelValues(result).Inc()
	})
}

// carry does what the other end of a tunnel asks for, until either end is closed.
func (s *Server) carry(ctx context.Context, conn *socket, c *session) error {
	leave, far, err := s.reachFor(ctx, conn, c)
	if jerr := judge(conn, err); jerr != nil {
		if err == nil {
			far.Close()
			leave()
		}
		return jerr
	}
	defer leave()
	defer far.Close()
	t := &tunnelled{near: conn, far: far, rate: float64(s.limits.TunnelRate), plain: s.local, count: s.figures.tunnelBytes.Add}
	return t.run(ctx)
}

// reachFor connects to where a client wants to.
func (s *Server) reachFor(ctx context.Context, conn *socket, c *session) (leave func(), far net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	b, err := conn.ReadFrame(maxDestination)
	if err != nil {
		return nil, nil, err
	}
	var to destination
	if err := wire.Decode(b, &to, maxDestination); err != nil {
		return nil, nil, err
	}
	if c.guest || !c.listed {
		return nil, nil, wire.Errorf(wire.Unauthorized, "tunnels are for devices of accounts that name this concierge")
	}
	if leave, err = s.enterTunnel(c); err != nil {
		return nil, nil, err
	}
	if err = s.leadsTo(ctx, to); err == nil {
		far, err = s.reach(ctx, "tcp", to.Address)
		if err != nil && wire.CodeOf(err) != wire.Unauthorized {
			// Why is between us and the address: it would say what is there.
			err = wire.Errorf(wire.Unavailable, "the service is not reached at %.200s", to.Address)
		}
	}
	if err != nil {
		leave()
	}
	return leave, far, err
}

// enterTunnel makes room for a tunnel of a device.
func (s *Server) enterTunnel(c *session) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tunnels.of[c.device] >= s.limits.Tunnels || s.tunnels.all >= maxTunnels {
		s.figures.refused.WithLabelValues("tunnels").Inc()
		return nil, wire.Errorf(wire.Exhausted, "too many tunnels: close some, or connect directly")
	}
	s.tunnels.of[c.device]++
	s.tunnels.all++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tunnels.all--
		if s.tunnels.of[c.device]--; s.tunnels.of[c.device] == 0 {
			delete(s.tunnels.of, c.device)
		}
	}, nil
}

// leadsTo returns why there is no tunnel to a destination, if there is none: it must
// be the address of a URL in the entry that our own light client proves.
func (s *Server) leadsTo(ctx context.Context, to destination) error {
	if to.Account == s.me.Account {
		return wire.Errorf(wire.Invalid, "this is the concierge itself: connect to it directly")
	}
	e, _, _, err := s.members.chain.Devices(ctx, to.Account, lightclient.DefaultMaxAge)
	if err != nil {
		return err
	}
	if e.Records.Service == nil {
		return wire.Errorf(wire.Invalid, "account %v is no service", to.Account)
	}
	if !slices.ContainsFunc(e.Records.Service.URLs, func(u string) bool { return addressOf(u, s.local) == to.Address }) {
		return wire.Errorf(wire.Unauthorized, "the entry of %v has no URL at %.200s: resolve it again", to.Account, to.Address)
	}
	return nil
}

// addressOf returns the host and port that a URL leads to, or "" if no tunnel does.
func addressOf(base string, local bool) string {
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && !(local && u.Scheme == "http") {
		return ""
	}
	port := or(u.Port(), strconv.Itoa(httpsPort))
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n != httpsPort && n < leastPort {
		return ""
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// tunnelled is a tunnel that is open.
type tunnelled struct {
	near  *socket
	far   net.Conn
	rate  float64 // bytes in a second, in each direction
	plain bool    // what it carries need not be TLS
	count func(bytes float64)
	heard atomic.Int64 // Unix nanoseconds of the last bytes
}

// run passes bytes on until one end closes, both are silent, or ctx ends.
func (t *tunnelled) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		t.near.Close()
		t.far.Close()
	})
	defer stop()
	t.heard.Store(time.Now().UnixNano())
	var wait sync.WaitGroup
	var up, down error
	wait.Go(func() {
		defer cancel()
		up = t.up(ctx)
	})
	wait.Go(func() {
		defer cancel()
		down = t.down(ctx)
	})
	wait.Go(func() { t.watch(ctx, cancel) })
	wait.Wait()
	for _, err := range []error{up, down} {
		if wire.CodeOf(err) == wire.Invalid {
			return err
		}
	}
	return nil // how a connection that it carries ends is not its matter
}

func (t *tunnelled) watch(ctx context.Context, cancel func()) {
	tick := time.NewTicker(tunnelIdle / 8)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.UnixNano()-t.heard.Load() > int64(tunnelIdle) {
				cancel()
				return
			}
		}
	}
}

// errPlain refuses to carry what others could read.
var errPlain error = wire.Errorf(wire.Invalid, "tunnels carry TLS and nothing else")

// up passes on what the client sends.
func (t *tunnelled) up(ctx context.Context) error {
	pace := pace{rate: t.rate}
	for first := true; ; first = false {
		b, err := t.near.ReadFrame(tunnelBuffer)
		if err != nil {
			return err
		}
		// A TLS record of a handshake begins so (RFC 8446 §5.1).
		if first && !t.plain && (len(b) < 2 || b[0] != 0x16 || b[1] != 3) {
			return errPlain
		}
		t.far.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := t.far.Write(b); err != nil {
			return err
		}
		if err := t.passed(ctx, &pace, len(b)); err != nil {
			return err
		}
	}
}

// down passes on what the service sends.
func (t *tunnelled) down(ctx context.Context) error {
	pace := pace{rate: t.rate}
	buf := make([]byte, tunnelBuffer)
	for {
		n, err := t.far.Read(buf)
		if n > 0 {
			if err := t.near.WriteFrames([][]byte{buf[:n]}); err != nil {
				return err
			}
			if err := t.passed(ctx, &pace, n); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tunnelled) passed(ctx context.Context, p *pace, n int) error {
	t.heard.Store(time.Now().UnixNano())
	t.count(float64(n))
	return p.wait(ctx, n)
}

// pace holds bytes back to a rate, after a second's worth of them.
type pace struct {
	rate float64
	free time.Time // when the bytes so far are paid for
}

func (p *pace) wait(ctx context.Context, n int) error {
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	ahead := p.free.Sub(now) - time.Second
	if ahead <= 0 {
		return nil
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
