package host

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
)

// authority is an ACME server (RFC 8555) for one domain. It does not check who
// asks, but it does check, as RFC 8737 says, that the domain is served there.
type authority struct {
	*httptest.Server
	*testing.T
	domain string
	listen string // where the domain leads
	key    *ecdsa.PrivateKey

	mu     sync.Mutex
	valid  bool
	chain  []byte
	orders int
}

func newAuthority(t *testing.T, domain string) *authority {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{T: t, domain: domain, key: k}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP implements http.Handler.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", rand.Text())
	reply := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	order := func() map[string]any {
		o := map[string]any{
			"status": "pending", "identifiers": []any{map[string]string{"type": "dns", "value": a.domain}},
			"authorizations": []string{a.URL + "/authz"}, "finalize": a.URL + "/finalize",
		}
		if a.valid {
			o["status"] = "ready"
		}
		if a.chain != nil {
			o["status"], o["certificate"] = "valid", a.URL+"/cert"
		}
		return o
	}
	var jws struct{ Payload string }
	json.NewDecoder(r.Body).Decode(&jws)
	payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	switch r.URL.Path {
	case "/directory":
		reply(http.StatusOK, map[string]string{
			"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/order",
			"revokeCert": a.URL + "/revoke", "keyChange": a.URL + "/change",
		})
	case "/nonce":
	case "/account":
		w.Header().Set("Location", a.URL+"/account/1")
		reply(http.StatusCreated, map[string]string{"status": "valid"})
	case "/order":
		if a.orders++; !strings.Contains(string(payload), a.domain) {
			a.Errorf("an order for another domain: %s", payload)
		}
		w.Header().Set("Location", a.URL+"/order/1")
		reply(http.StatusCreated, order())
	case "/order/1":
		reply(http.StatusOK, order())
	case "/authz", "/challenge":
		status := "pending"
		if r.URL.Path == "/challenge" {
			a.valid = a.check()
		}
		if a.valid {
			status = "valid"
		}
		challenge := map[string]string{"type": "tls-alpn-01", "url": a.URL + "/challenge", "token": "a-token", "status": status}
		if r.URL.Path == "/challenge" {
			reply(http.StatusOK, challenge)
			return
		}
		reply(http.StatusOK, map[string]any{
			"status": status, "identifier": map[string]string{"type": "dns", "value": a.domain}, "challenges": []any{challenge},
		})
	case "/finalize":
		a.chain = a.issue(payload)
		w.Header().Set("Location", a.URL+"/order/1")
		reply(http.StatusOK, order())
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(a.chain)
	default:
		http.NotFound(w, r)
	}
}

// check connects to the domain as RFC 8737 §3 says.
func (a *authority) check() bool {
	conn, err := tls.Dial("tcp", a.listen, &tls.Config{ServerName: a.domain, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true})
	if err != nil {
		a.Errorf("validation: %v", err)
		return false
	}
	defer conn.Close()
	state := conn.ConnectionState()
	for _, e := range state.PeerCertificates[0].Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && e.Critical && state.NegotiatedProtocol == acme.ALPNProto {
			return state.PeerCertificates[0].VerifyHostname(a.domain) == nil
		}
	}
	a.Error("validation: the certificate is not one of a challenge")
	return false
}

// issue signs the request in a finalization.
func (a *authority) issue(payload []byte) []byte {
	var body struct{ CSR string }
	json.Unmarshal(payload, &body)
	der, _ := base64.RawURLEncoding.DecodeString(body.CSR)
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || !a.valid {
		a.Errorf("finalize: %v", err)
		return nil
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(80 * 24 * time.Hour), DNSNames: csr.DNSNames,
	}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, root, csr.PublicKey, a.key)
	if err != nil {
		a.Errorf("issue: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
}

// The whole way to a certificate, against an authority of our own: registration,
// the challenge at the concierge's one port, the certificate, and what is kept of
// it. Clients connect with it as with any other.
func TestHost_GetsItsCertificateByACME(t *testing.T) {
	const domain = "harbor.example"
	ca := newAuthority(t, domain)
	home := t.TempDir()
	c := good()
	c.Listen, c.TLS = "127.0.0.1:0", TLS{Mode: ACME, Domains: []string{domain}, Directory: ca.URL + "/directory"}
	harbor := fakechain.NewActor("harbor", namesvc.Service)
	me := concierge.Service{Chain: "c", Account: harbor.ID, Generation: 1, Key: harbor.Server.Public()}
	open := func() *Host {
		logger, err := NewLogger(t.Output(), c.Log)
		if err != nil {
			t.Fatal(err)
		}
		h := &Host{home: home, config: c, logger: logger, failed: make(chan error, 4)}
		if err := h.openStore(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h.server, err = concierge.New(concierge.Options{Service: me, Key: harbor.Server, Chain: chainless{}, Store: h.store}); err != nil {
			t.Fatal(err)
		}
		if err := h.listen(); err != nil {
			t.Fatal(err)
		}
		ca.mu.Lock()
		ca.listen = h.Addr()
		ca.mu.Unlock()
		return h
	}
	get := func(h *Host, name string) (*x509.Certificate, error) {
		conn, err := tls.Dial("tcp", h.Addr(), &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if v := conn.ConnectionState(); v.Version != tls.VersionTLS13 || v.NegotiatedProtocol != "http/1.1" {
			return nil, fmt.Errorf("TLS %x with %q", v.Version, v.NegotiatedProtocol)
		}
		return conn.ConnectionState().PeerCertificates[0], nil
	}
	h := open()
	if _, err := get(h, "elsewhere.example"); err == nil {
		t.Error("it has a certificate for another's domain")
	}
	cert, err := get(h, domain)
	if err != nil || cert.VerifyHostname(domain) != nil || cert.Issuer.CommonName != "authority" {
		t.Fatalf("certificate %v: %v", cert, err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
	// The next start has it still, and asks nobody.
	h = open()
	again, err := get(h, domain)
	if err != nil || !again.Equal(cert) || ca.orders != 1 {
		t.Errorf("after a restart: %v; %d orders", err, ca.orders)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
