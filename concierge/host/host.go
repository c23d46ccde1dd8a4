package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/stream/redisstore"
)

// Times and sizes of the listeners.
const (
	headerTime = 10 * time.Second
	bodyTime   = 30 * time.Second // for one-shot requests, of some kilobytes
	idleTime   = time.Minute
	headerSize = 8 << 10
	resolveFor = 30 * time.Second
)

// A Host is a concierge that runs.
type Host struct {
	home    string
	config  Config
	logger  *slog.Logger
	lock    *os.File
	store   stream.Store
	pebble  *pebblestore.Store // the same, unless it is Redis
	server  *concierge.Server
	servers []*http.Server
	addr    string

	failed  chan error
	running sync.WaitGroup
}

// Open starts the concierge of a folder. It asks the chain what the handle
// means, so it fails while no source answers.
func Open(ctx context.Context, home string, c Config, logger *slog.Logger) (_ *Host, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	h := &Host{home: home, config: c, logger: logger, failed: make(chan error, 4)}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	k, err := loadKey(home)
	if err != nil {
		return nil, err
	}
	former, err := formerKeys(home)
	if err != nil {
		return nil, err
	}
	if h.lock, err = lock(home); err != nil {
		return nil, err
	}
	chain, err := newChain(home, c.Chain)
	if err != nil {
		return nil, err
	}
	me, err := resolve(ctx, home, c, chain, k)
	if err != nil {
		return nil, err
	}
	if err := h.openStore(ctx); err != nil {
		return nil, err
	}
	var packages [16]byte // Redis is not restored from a backup of this folder
	if h.pebble != nil {
		if packages, err = issue(home); err != nil {
			return nil, err
		}
	}
	files, err := h.openMedia()
	if err != nil {
		return nil, err
	}
	sponsor, err := h.openSponsor(ctx, chain, me)
	if err != nil {
		return nil, err
	}
	h.server, err = concierge.New(concierge.Options{
		Media: files, Sources: h.sources(), Sponsor: sponsor,
		Service: me, Key: k, Former: former, Chain: chain, Store: h.store, Issue: packages, Limits: c.limits(), Logger: logger,
		Local: c.TLS.Mode == Plain, // then it is on loopback itself
	})
	if err != nil {
		return nil, err
	}
	return h, h.listen()
}

func newChain(home string, c Chain) (*lightclient.Client, error) {
	pin, err := verify.ParsePin(c.Pin)
	if err != nil {
		return nil, err
	}
	config := lightclient.Config{Pin: pin, Store: lightclient.DirStore{Dir: filepath.Join(home, trustDir)}}
	for _, s := range c.Sources {
		h, err := source.NewHTTP(s, nil)
		if err != nil {
			return nil, err
		}
		config.Sources = append(config.Sources, h)
	}
	return lightclient.New(config)
}

// resolve asks the chain who this concierge is, and refuses to be somebody else.
func resolve(ctx context.Context, home string, c Config, chain *lightclient.Client, k key.Server) (concierge.Service, error) {
	handle, err := namesvc.ParseHandle(c.Handle)
	if err != nil {
		return concierge.Service{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveFor)
	defer cancel()
	r, err := chain.Resolve(ctx, handle, 0)
	if wire.CodeOf(err) == wire.NotFound {
		return concierge.Service{}, wire.Errorf(wire.NotFound, "%w: put this concierge on the chain with: confab-concierge register --home %s", err, home)
	}
	if err != nil {
		return concierge.Service{}, err
	}
	if why := differs(r.Entry.Records.Service, c, k.Public()); why != "" {
		return concierge.Service{}, wire.Errorf(wire.Conflict, "the entry of %v %s; make it say what this folder says with: confab-concierge register --home %s", handle, why, home)
	}
	me, err := concierge.ServiceOf(chain.Pin().ChainID, r.Entry)
	if err != nil {
		return me, err
	}
	return me, pinAccount(home, handle, me.Account)
}

// differs says in what an entry is not this concierge's, if it is not.
func differs(e *namesvc.Endpoint, c Config, k key.Public) string {
	switch {
	case e == nil || e.Roles&namesvc.RoleConcierge == 0:
		return "says nothing of a concierge"
	case e.Key != k:
		return fmt.Sprintf("has the server key %v, and this folder's is %v (if that was lost, restore it)", e.Key, k)
	case len(c.URLs) > 0 && !slices.Equal(e.URLs, c.URLs):
		return fmt.Sprintf("has the URLs %v, and the configuration has %v", e.URLs, c.URLs)
	}
	return ""
}

// Same reports whether an entry's endpoint is that of this concierge, so that Open
// would take it.
func Same(e *namesvc.Endpoint, c Config, k key.Public) bool { return differs(e, c, k) == "" }

func (h *Host) openStore(ctx context.Context) error {
	if url := h.config.Store.Redis; url != "" {
		s, err := redisstore.Open(ctx, url, redisstore.Options{Prefix: h.config.Store.Prefix, Replicas: h.config.Store.Replicas, Logger: h.logger})
		if err != nil {
			return err
		}
		h.store = s
		return nil
	}
	s, err := pebblestore.Open(filepath.Join(h.home, storeDir), pebblestore.Options{Logger: h.logger})
	if err != nil {
		return err
	}
	h.store, h.pebble = s, s
	return nil
}

// listen opens all listeners.
func (h *Host) listen() error {
	l, err := net.Listen("tcp", h.config.Listen)
	if err != nil {
		return wire.Errorf(wire.Unavailable, "listen: %w", err)
	}
	h.addr = l.Addr().String()
	t, err := h.tls()
	if err != nil {
		l.Close()
		return err
	}
	if t != nil {
		l = tls.NewListener(l, t)
	}
	h.serve(l, h.server.Handler())
	if at := h.config.Metrics.Listen; at != "" {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return wire.Errorf(wire.Unavailable, "metrics.listen: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", h.server.Metrics())
		h.serve(l, mux)
	}
	return h.listenAdmin()
}

func (h *Host) serve(l net.Listener, handler http.Handler) {
	s := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, IdleTimeout: idleTime, MaxHeaderBytes: headerSize,
		ErrorLog: slog.NewLogLogger(h.logger.Handler(), slog.LevelDebug),
	}
	h.servers = append(h.servers, s)
	h.running.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.failed <- fmt.Errorf("serve: %w", err)
		}
	})
}

// tls returns the listener's TLS, nil for none. WebSockets need HTTP/1.1.
func (h *Host) tls() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		// Small first records show the top of a web page sooner. Here they are pages of
		// messages, which are of no use before they are whole.
		DynamicRecordSizingDisabled: true,
	}
	switch h.config.TLS.Mode {
	case Files:
		cert, err := tls.LoadX509KeyPair(h.config.TLS.Certificate, h.config.TLS.Key)
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "tls: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	case ACME:
		m := &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(filepath.Join(h.home, acmeDir)),
			HostPolicy: autocert.HostWhitelist(h.config.TLS.Domains...), Email: h.config.TLS.Email,
		}
		if at := h.config.TLS.Directory; at != "" {
			m.Client = &acme.Client{DirectoryURL: at}
		}
		c.GetCertificate = m.GetCertificate
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	default:
		return nil, nil
	}
	return c, nil
}

// Addr returns where clients connect.
func (h *Host) Addr() string { return h.addr }

// Service returns who this concierge is.
func (h *Host) Service() concierge.Service { return h.server.Service() }

// Failed returns a channel with the error of a listener that stopped by itself.
func (h *Host) Failed() <-chan error { return h.failed }

// Close says goodbye to all clients and stops; what was acknowledged is durable.
func (h *Host) Close(ctx context.Context) error {
	err := h.server.Close(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // some took nothing; they were cut
	}
	return errors.Join(err, h.close())
}

func (h *Host) close() error {
	var errs []error
	for _, s := range h.servers {
		errs = append(errs, s.Close())
	}
	h.running.Wait()
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}
