package concierge

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Descriptor is what a concierge says of itself to anybody.
type Descriptor struct {
	_            struct{} `cbor:",toarray"`
	Version      uint64   // 1
	Chain        string
	Service      namesvc.AccountID
	Generation   uint32
	Key          key.Public
	Period       uint64 // of work, now
	WorkBits     uint64
	WorkMemory   uint64 // KiB
	MaxKnock     uint64
	MaxPackage   uint64
	MaxQueues    uint64
	QueueEntries uint64
	QueueBytes   uint64
	QueueTTL     uint64 // seconds
	AccountBytes uint64
	MediaBlob    uint64 // bytes of one file; 0: none are kept
	MediaBytes   uint64 // of an account's files that expire
	MediaTTL     uint64 // seconds
	MaxPins      uint64 // files of one account
	VaultBytes   uint64 // of entries
	VaultMedia   uint64 // bytes of the vault's files
	Tunnels      uint64 // of one device; 0: there is no proxy
	Gateway      bool   // to the chain
	Sponsors     uint64 // who gets tickets for registrations: SponsorsNobody, SponsorsInvited, SponsorsAnybody
}

func (s *Server) descriptor() Descriptor {
	d := Descriptor{
		Version: 1, Chain: s.me.Chain, Service: s.me.Account, Generation: s.me.Generation, Key: s.me.Key,
		Period: periodOf(s.now()), WorkBits: uint64(s.limits.WorkBits), WorkMemory: uint64(s.limits.WorkKiB),
		MaxKnock: MaxKnock, MaxPackage: MaxPackage, MaxQueues: MaxQueues,
		QueueEntries: s.limits.QueueEntries, QueueBytes: s.limits.QueueBytes,
		QueueTTL: uint64(s.limits.QueueTTL.Seconds()), AccountBytes: s.limits.AccountBytes,
	}
	s.describeExtras(&d)
	return d
}

// Handler returns what answers at the concierge's URL: the WebSocket at
// /v1/socket, and requests that need no connection.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/socket", s.socket)
	mux.HandleFunc("GET /v1/descriptor", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, s.descriptor()) })
	mux.HandleFunc("POST /v1/knock", func(w http.ResponseWriter, r *http.Request) {
		once(s, w, r, func(k Knock) (any, error) { return nil, s.knock(r.Context(), keyOf(remoteHost(r)), k) })
	})
	mux.HandleFunc("POST /v1/package", func(w http.ResponseWriter, r *http.Request) {
		once(s, w, r, func(q PackageRequest) (any, error) { return s.fetch(r.Context(), keyOf(remoteHost(r)), q) })
	})
	mux.HandleFunc("GET /v1/healthz", s.healthz)
	mux.HandleFunc("GET /v1/issuer", s.serveIssuer)
	s.mountExtras(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allow(w, 0) // an answer that nobody takes holds no place for ever
		mux.ServeHTTP(w, r)
	})
}

// maxOnce is the most bytes of a one-shot request.
const maxOnce = MaxKnock + 1024

// once does a one-shot request, whose body is CBOR. It counts as a connection
// of its network while it lasts.
func once[T any](s *Server, w http.ResponseWriter, r *http.Request, do func(T) (any, error)) {
	leave, err := s.enter(remoteHost(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOnce))
	if err != nil {
		s.fail(w, r, wire.Errorf(wire.Invalid, "read request: %w", err))
		return
	}
	var v T
	if err := wire.Decode(b, &v, maxOnce); err != nil {
		s.fail(w, r, wire.Errorf(wire.Invalid, "read request: %w", err))
		return
	}
	out, err := do(v)
	switch {
	case err != nil:
		s.fail(w, r, err)
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		s.answer(w, r, out)
	}
}

func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json") || r.URL.Query().Get("format") == "json"
}

// answer writes v in CBOR, or in JSON on request.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any) {
	w.Header().Set("Vary", "Accept")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	b, kind := wire.Encode(v), "application/cbor"
	if wantsJSON(r) {
		j, err := wire.JSON(v)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		b, kind = j, "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.Write(b)
}

// fail answers with an error: its kind's status, and JSON that says what is
// wrong.
func (s *Server) fail(w http.ResponseWriter, _ *http.Request, err error) {
	code, text := s.tell(err)
	b, _ := json.Marshal(struct {
		Code string `json:"code"`
		Text string `json:"text"`
	}{code.String(), text})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code.HTTPStatus())
	w.Write(b)
}

// healthz answers 200 while the concierge serves and the chain is known to it.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		s.fail(w, r, wire.Errorf(wire.Unavailable, "concierge is going away"))
		return
	}
	head, late := s.members.freshness()
	w.Header().Set("Content-Type", "application/json")
	if late > s.limits.Grace {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	b, _ := json.Marshal(struct {
		Height      uint64 `json:"height"`
		Age         int64  `json:"age_seconds"`
		Connections int    `json:"connections"`
	}{head, int64(late.Seconds()), s.frames.Connections()})
	w.Write(b)
}

// readProblem reads what fail wrote; the text is empty if it did not.
func readProblem(b []byte) (wire.Code, string) {
	var p struct{ Code, Text string }
	if json.Unmarshal(b, &p) != nil {
		return wire.Unavailable, ""
	}
	return wire.CodeNamed(p.Code), p.Text
}
