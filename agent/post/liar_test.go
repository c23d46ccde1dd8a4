package post

import (
	"crypto/ed25519"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/frame"
)

// liar is a concierge that proves its key, unless it has a wrong one, and then
// does what a test says.
type liar struct {
	w       *world
	key     key.Server
	service concierge.Service
	// frame gets each frame, request each control request. Nil: no answer.
	frame   func(c *liarConn, f frame.Frame)
	request func(c *liarConn, r liarRequest)
	heard   atomic.Int64 // messages after the opening of the handshake
	dials   atomic.Int64
	http    *httptest.Server
	mu      sync.Mutex
	conns   []*websocket.Conn
}

type (
	liarRequest struct {
		_      struct{} `cbor:",toarray"`
		Number uint64
		Op     uint64
		Body   []byte
	}
	liarAnswer struct {
		_      struct{} `cbor:",toarray"`
		Number uint64
		Code   wire.Code
		Text   string
		Body   []byte
	}
)

// The operations that a liar tells apart; see docs/SPEC-concierge.md §3.
const (
	opFetch    = 6
	opDescribe = 8
)

// impostor puts a liar in the place of a house: its entry names the liar's URL.
func (h *house) impostor() *liar {
	h.w.Helper()
	h.stop()
	e, _ := h.w.Entry(h.actor.ID)
	service, err := concierge.ServiceOf(h.w.ID(), e)
	h.w.must(err)
	l := &liar{w: h.w, key: h.actor.Server, service: service}
	l.http = httptest.NewUnstartedServer(http.HandlerFunc(l.serve))
	l.http.EnableHTTP2 = false
	l.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	l.http.StartTLS()
	h.w.Cleanup(l.close)
	h.w.must(h.w.Next(h.w.Sign(h.actor, namesvc.OpRecords, *h.actor.Concierge(l.http.URL))))
	h.w.Skip(1)
	return l
}

func (l *liar) close() {
	l.mu.Lock()
	for _, c := range l.conns {
		c.Close()
	}
	l.mu.Unlock()
	l.http.Close()
}

// liarConn is one of its connections.
type liarConn struct {
	*websocket.Conn
	mu sync.Mutex
}

func (c *liarConn) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.WriteMessage(websocket.BinaryMessage, b)
}

func (c *liarConn) send(f frame.Frame) { c.write(frame.Encode(f)) }

func (c *liarConn) answer(number uint64, body any) {
	c.write(append([]byte{0x18, 33}, wire.Encode(liarAnswer{Number: number, Body: wire.Encode(body)})...))
}

func (l *liar) serve(w http.ResponseWriter, r *http.Request) {
	l.dials.Add(1)
	up := websocket.Upgrader{}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	l.mu.Lock()
	l.conns = append(l.conns, ws)
	l.mu.Unlock()
	binding, err := r.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return
	}
	c := &liarConn{Conn: ws}
	if !l.greet(c, binding) {
		return
	}
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if len(b) > 2 && b[0] == 0x18 {
			var q liarRequest
			if wire.Decode(b[2:], &q, frame.MaxRequest) == nil && l.request != nil {
				l.request(c, q)
			}
			continue
		}
		f, err := frame.Decode(b)
		if err != nil {
			return
		}
		if _, ok := f.(*frame.Hello); ok {
			c.send(&frame.Welcome{Version: frame.Version, Ping: 50})
		} else if l.frame != nil {
			l.frame(c, f)
		}
	}
}

// greet does the handshake of docs/SPEC-concierge.md §2 and lets everybody in.
func (l *liar) greet(c *liarConn, binding []byte) bool {
	_, b, err := c.ReadMessage()
	var opening struct {
		_       struct{} `cbor:",toarray"`
		Version uint64
		Nonce   [32]byte
	}
	if err != nil || wire.Decode(b, &opening, 1024) != nil {
		return false
	}
	var nonce [32]byte
	said := wire.Encode([]any{l.service.Chain, l.service.Account, l.service.Generation, opening.Nonce, nonce, binding})
	seed := l.key.Seed()
	signature := ed25519.Sign(ed25519.NewKeyFromSeed(seed[:]), concierge.TagServer.Message(said))
	c.write(wire.Encode([]any{uint64(1), l.service.Chain, l.service.Account, l.service.Generation, nonce, signature}))
	if _, _, err = c.ReadMessage(); err != nil {
		return false
	}
	l.heard.Add(1)
	c.write(wire.Encode([]any{uint64(0), ""}))
	return true
}

// descriptor is an honest one.
func (l *liar) descriptor() concierge.Descriptor {
	return concierge.Descriptor{
		Version: 1, Chain: l.service.Chain, Service: l.service.Account, Generation: l.service.Generation, Key: l.service.Key,
		WorkBits: 3, WorkMemory: 8,
	}
}
