package concierge

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// wiretap is a relay that writes down what goes through it.
type wiretap struct {
	net.Listener
	mu   sync.Mutex
	seen bytes.Buffer
}

func (w *wiretap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.Write(p)
}

func (w *wiretap) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.seen.Bytes())
}

// tap relays connections to an address. With a certificate it ends their TLS and
// makes its own to where they go, as a proxy does that wants to read along.
func tap(t *testing.T, to string, cert *tls.Certificate) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if cert != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"}})
	}
	w := &wiretap{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			var far net.Conn
			if cert != nil {
				far, err = tls.Dial("tcp", to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			} else {
				far, err = net.Dial("tcp", to)
			}
			if err != nil {
				near.Close()
				continue
			}
			t.Cleanup(func() { near.Close(); far.Close() }) // before what waits for them
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				all.Go(func() {
					io.Copy(way[1], io.TeeReader(way[0], w))
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return w
}

// island is a service that alice's concierge reaches through a wiretap.
func island(t *testing.T, cert *tls.Certificate, change func(*Limits)) (d *depot, far *place, line *wiretap, service Service) {
	t.Helper()
	limits := cheap()
	if change != nil {
		change(&limits)
	}
	d = newDepot(t, limits)
	far = d.place("island", cheap()).start()
	u, err := url.Parse(far.url)
	d.must(err)
	line = tap(t, u.Host, cert)
	far.url = "https://" + line.Addr().String()
	d.must(d.Next(d.Sign(far.who, namesvc.OpRecords, *far.who.Concierge(far.url))))
	d.Skip(1)
	return d, far, line, far.service()
}

func TestTunnel_CarriesAConnectionThatItCannotRead(t *testing.T) {
	d, far, line, service := island(t, nil, nil)
	carol := fakechain.NewActor("carol", namesvc.Person)
	d.must(d.Register(carol, "carol", fakechain.ServedBy(far.who)))
	d.Skip(1)
	reader := far.connect(carol)
	const secret = "the treasure is below the third palm"
	address, q := d.queue(reader, carol, stream.Settings{})
	before := len(line.bytes())

	alice := d.connect(d.alice)
	there, err := alice.Through(far.who.ID).Dial(t.Context(), far.url, service, nil)
	d.must(err)
	for range 5 {
		d.must(write(t.Context(), there, address, secret))
	}
	large := strings.Repeat("x", stream.MaxBody)
	d.must(write(t.Context(), there, address, large))
	if got := d.texts(reader, q.ID); len(got) != 6 || got[0] != secret || got[5] != large {
		t.Errorf("%d came", len(got))
	}
	// The reader's own connection is direct, and passes the tap too.
	seen := line.bytes()
	if len(seen)-before < stream.MaxBody {
		t.Errorf("the tap saw %d bytes: nothing went through it", len(seen)-before)
	}
	for name, b := range map[string][]byte{
		"text": []byte(secret), "address": address[:], "account of the far side": far.who.ID[:], "long text": []byte(large[:100]), "path": []byte("/v1/socket"),
	} {
		if bytes.Contains(seen, b) {
			t.Errorf("the tunnel shows the %s", name)
		}
	}
	d.must(there.Close())
	d.eventually("the tunnel is closed", func() bool {
		d.server.mu.Lock()
		defer d.server.mu.Unlock()
		return d.server.tunnels.all == 0 && len(d.server.tunnels.of) == 0
	})
}

// A proxy that ends TLS itself could read everything; the far service's proof is of
// another connection then.
func TestTunnel_ClientsNoticeAProxyThatReadsAlong(t *testing.T) {
	ts := httptest.NewTLSServer(nil)
	cert := ts.TLS.Certificates[0]
	ts.Close()
	d, far, line, service := island(t, &cert, nil)
	alice := d.connect(d.alice)
	id := &Identity{Account: d.alice.ID, Device: d.alice.Device}
	_, err := alice.Through(far.who.ID).Dial(t.Context(), far.url, service, id)
	if wire.CodeOf(err) != wire.Unauthorized || !strings.Contains(err.Error(), "stands in between") {
		t.Errorf("%v", err)
	}
	seen := line.bytes()
	if !bytes.Contains(seen, []byte("/v1/socket")) {
		t.Error("the proxy did not read along, so nothing was shown")
	}
	if bytes.Contains(seen, d.alice.ID[:]) {
		t.Error("alice said who she is")
	}
}

func TestTunnel_LeadsOnlyToWhatEntriesSay(t *testing.T) {
	d, far, line, _ := island(t, nil, nil)
	alice, guest := d.connect(d.alice), d.connect(nil)
	address := line.Addr().String()
	for name, to := range map[string]struct {
		by      *Client
		account namesvc.AccountID
		address string
		kind    wire.Code
	}{
		"a guest": {guest, far.who.ID, address, wire.Unauthorized}, "another port": {alice, far.who.ID, "127.0.0.1:1", wire.Unauthorized},
		"another host": {alice, far.who.ID, "example.org:443", wire.Unauthorized}, "a person": {alice, d.bob.ID, address, wire.Invalid},
		"nobody": {alice, namesvc.AccountID{1}, address, wire.NotFound}, "itself": {alice, d.harbor.ID, "harbor.example:443", wire.Invalid},
		"nowhere": {alice, far.who.ID, "", wire.Unauthorized},
	} {
		if c, err := to.by.Proxy(t.Context(), to.account, to.address); wire.CodeOf(err) != to.kind {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	if _, err := alice.Proxy(t.Context(), far.who.ID, strings.Repeat("x", maxDestination)); err == nil {
		t.Error("an address without end was taken")
	}
	if n := len(line.bytes()); n != 0 {
		t.Errorf("%d bytes went out", n)
	}
	line.Close()
	if _, err := alice.Proxy(t.Context(), far.who.ID, address); wire.CodeOf(err) != wire.Unavailable || strings.Contains(err.Error(), "refused") {
		t.Errorf("a service that is gone: %v", err)
	}
}

// A concierge that is not for trying things out reaches nothing of its own machine
// or network, whatever an entry says and whatever a name resolves to.
func TestTunnel_NeverLeadsIntoPrivateNetworks(t *testing.T) {
	d := newDepot(t, cheap(), func(o *Options) { o.Local = false })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	d.must(err)
	defer inner.Close()
	_, port, err := net.SplitHostPort(inner.Addr().String())
	d.must(err)
	alice := d.connect(d.alice)
	evil := fakechain.NewActor("evil", namesvc.Service)
	d.must(d.Register(evil, "evil", evil.Concierge("https://evil.example")))
	for _, host := range []string{"localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port, "[::ffff:127.0.0.1]:" + port, "10.0.0.1:8080", "169.254.169.254:8080", "192.168.1.1", "[fd00::1]:8080"} {
		if err := d.Next(d.Sign(evil, namesvc.OpRecords, *evil.Concierge("https://" + host))); err != nil {
			continue // the law of names refuses it already
		}
		d.Skip(1)
		d.server.members.look(t.Context())
		address := addressOf("https://"+host, false)
		if _, err := alice.Proxy(t.Context(), evil.ID, address); wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := reachPrivate(d.server, "localhost:"+port); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a name of this machine: %v", err)
	}
}

func reachPrivate(s *Server, address string) error {
	_, err := s.reach(context.Background(), "tcp", address)
	return err
}

func TestPublic_KnowsAddressesThatAreNotForEverybody(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1",
		"::", "::1", "fe80::1", "fd00::1", "fc00::1", "ff02::1", "64:ff9b::a00:1", "::ffff:10.0.0.1", "192.0.0.8", "198.18.0.1", "2002:a00:1::", "2001::1", "100::1", "fec0::1", "::10.0.0.1",
	} {
		if public(netip.MustParseAddr(a).Unmap()) {
			t.Errorf("%s is taken for a public address", a)
		}
	}
	for _, a := range []string{"1.1.1.1", "193.0.0.1", "2606:4700::1111", "2a00::1"} {
		if !public(netip.MustParseAddr(a)) {
			t.Errorf("%s is refused", a)
		}
	}
}

func TestAddressOf_TakesURLsThatTunnelsMayLeadTo(t *testing.T) {
	for base, want := range map[string]string{
		"https://a.example": "a.example:443", "https://a.example:8443/x": "a.example:8443", "https://[2a00::1]:2000": "[2a00::1]:2000",
		"http://a.example": "", "https://a.example:25": "", "https://a.example:22": "", "https://a.example:0": "", "https://a.example:99999": "",
		"ftp://a.example": "", "https://": "", ":": "", "https://a.example:1023": "", "https://a.example:1024": "a.example:1024",
	} {
		if got := addressOf(base, false); got != want {
			t.Errorf("%s: %q", base, got)
		}
	}
	if got := addressOf("http://127.0.0.1:7781", true); got != "127.0.0.1:7781" {
		t.Errorf("a local one: %q", got)
	}
}

func TestTunnel_CarriesTLSAndNothingElse(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for name, first := range map[string][]byte{"mail": []byte("EHLO there\r\n"), "a byte": {0x16}, "nothing": {}, "old TLS": {0x80, 0x2e}} {
		near, client := sockets(t)
		if err := client.WriteFrames([][]byte{first}); err != nil {
			t.Fatal(err)
		}
		up := &tunnelled{near: near, far: b, rate: 1e9, count: func(float64) {}}
		if err := up.up(t.Context()); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTunnel_BoundsWhatOneDeviceHas(t *testing.T) {
	d, far, line, _ := island(t, nil, func(l *Limits) { l.Tunnels = 2 })
	alice, bob := d.connect(d.alice), d.connect(d.bob)
	address := line.Addr().String()
	first, err := alice.Proxy(t.Context(), far.who.ID, address)
	d.must(err)
	_, err = alice.Proxy(t.Context(), far.who.ID, address)
	d.must(err)
	if _, err := alice.Proxy(t.Context(), far.who.ID, address); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("a third: %v", err)
	}
	if _, err := bob.Proxy(t.Context(), far.who.ID, address); err != nil {
		t.Errorf("another device: %v", err)
	}
	first.Close()
	d.eventually("there is room again", func() bool {
		c, err := alice.Proxy(t.Context(), far.who.ID, address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func TestTunnel_EndsWithTheDevice(t *testing.T) {
	d, far, line, _ := island(t, nil, nil)
	alice := d.connect(d.alice)
	c, err := alice.Proxy(t.Context(), far.who.ID, line.Addr().String())
	d.must(err)
	phone := fakechain.NewActor("alice's phone", namesvc.Person).Device
	d.devices(d.alice, d.alice.Device, phone)
	d.server.members.look(t.Context())
	d.removeFirst(phone)
	d.server.members.look(t.Context())
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("it goes on: %v", err)
	}
}

func TestPace_HoldsToARateAfterASecondsWorth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p := pace{rate: 1000}
		for range 50 {
			if err := p.wait(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 4*time.Second {
			t.Errorf("5000 bytes took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.wait(ctx, 5000) == nil {
			t.Error("it waits after the end")
		}
	})
}

func TestTunnel_EndsWhenBothSidesAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := &tunnelled{}
		quiet.heard.Store(time.Now().UnixNano())
		begun := time.Now()
		var ended bool
		quiet.watch(t.Context(), func() { ended = true })
		if took := time.Since(begun); !ended || took < tunnelIdle || took > tunnelIdle*5/4 {
			t.Errorf("it ends after %v", took)
		}
	})
}

// sockets returns the two ends of a WebSocket.
func sockets(t *testing.T) (server, client *socket) {
	t.Helper()
	met := make(chan *socket, 1)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := newUpgrader().Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		met <- newSocket(ws, false, new(sync.Pool))
	}))
	t.Cleanup(ts.Close)
	ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(ts.URL, "http", "ws", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	server, client = <-met, newSocket(ws, true, new(sync.Pool))
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}
