package concierge

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// socketBuffer is the read buffer of one connection: a short frame, since
	// most connections are idle most of the time.
	socketBuffer = 512
	// keepBuffer is the largest read buffer that a connection keeps while it waits.
	keepBuffer = 1 << 10
	// packetSize is how many bytes are handed to TLS at once: four records.
	packetSize = 64 << 10
	// writeTime is how long the other end may take nothing.
	writeTime = 30 * time.Second
	// opBinary begins a whole binary message (RFC 6455 §5.2).
	opBinary = 0x82
)

// newUpgrader returns what makes a WebSocket of an HTTP request. Requests from
// pages of other origins are refused. Nothing is compressed: bodies are
// ciphertext. Buffers for writing are shared, since this package writes frames
// past them.
func newUpgrader() *websocket.Upgrader {
	return &websocket.Upgrader{
		HandshakeTimeout: handshakeTime, ReadBufferSize: socketBuffer, WriteBufferSize: socketBuffer,
		WriteBufferPool: &sync.Pool{},
	}
}

// socket is a frame.Conn over a WebSocket: a frame is a binary message. Several
// goroutines may write.
type socket struct {
	ws     *websocket.Conn
	raw    net.Conn
	masked bool // a client's frames are (RFC 6455 §5.3)
	frame  []byte

	mu      sync.Mutex // one packet after the other
	packets *sync.Pool // of *[]byte, shared by all sockets of a server
}

func newSocket(ws *websocket.Conn, client bool, packets *sync.Pool) *socket {
	return &socket{ws: ws, raw: ws.NetConn(), masked: client, packets: packets}
}

// ReadFrame implements frame.Conn.
func (s *socket) ReadFrame(limit int) ([]byte, error) {
	if cap(s.frame) > keepBuffer {
		s.frame = nil
	}
	s.ws.SetReadLimit(int64(limit)) // refuses by the length that a message announces
	kind, r, err := s.ws.NextReader()
	if err != nil {
		return nil, ended(err)
	}
	if kind != websocket.BinaryMessage {
		return nil, wire.Errorf(wire.Invalid, "read frame: the message is text: frames are binary")
	}
	s.frame = s.frame[:0]
	for {
		if len(s.frame) == cap(s.frame) {
			s.frame = append(s.frame, 0)[:len(s.frame)] // grows with what came, not with what was announced
		}
		n, err := r.Read(s.frame[len(s.frame):cap(s.frame)])
		s.frame = s.frame[:len(s.frame)+n]
		if errors.Is(err, io.EOF) {
			return s.frame, nil
		}
		if err != nil {
			return nil, ended(err)
		}
	}
}

// ended returns io.EOF for a connection that the other end has closed in order.
func ended(err error) error {
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived) {
		return io.EOF
	}
	if errors.Is(err, websocket.ErrReadLimit) {
		return wire.Errorf(wire.Invalid, "read frame: it is too large")
	}
	return fmt.Errorf("read frame: %w", err)
}

// WriteFrames implements frame.Conn. Each write below holds whole messages, or
// the beginning of one whose rest follows, under one lock, so that answers of the
// library's own (pongs) fall between.
func (s *socket) WriteFrames(frames [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	room, _ := s.packets.Get().(*[]byte)
	if room == nil {
		room = new([]byte)
	}
	packet := (*room)[:0]
	defer func() {
		*room = packet
		s.packets.Put(room)
	}()
	for _, f := range frames {
		if len(packet) > 0 && len(packet)+len(f) > packetSize {
			if err := s.write(packet); err != nil {
				return err
			}
			packet = packet[:0]
		}
		packet = s.add(packet, f)
	}
	return s.write(packet)
}

func (s *socket) write(b []byte) error {
	s.raw.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := s.raw.Write(b); err != nil {
		return fmt.Errorf("write frames: %w", err)
	}
	return nil
}

// add appends a message that holds f (RFC 6455 §5.2).
func (s *socket) add(b, f []byte) []byte {
	var mask byte
	if s.masked {
		mask = 0x80
	}
	b = append(b, opBinary)
	switch n := len(f); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n <= 0xffff:
		b = append(b, mask|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, mask|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !s.masked {
		return append(b, f...)
	}
	var k [4]byte
	rand.Read(k[:])
	b = append(b, k[:]...)
	for i, c := range f {
		b = append(b, c^k[i&3])
	}
	return b
}

// Close implements frame.Conn.
func (s *socket) Close() error { return s.raw.Close() }

// bindingLabel is that of RFC 9266: a secret of this TLS connection and no other.
const bindingLabel = "EXPORTER-Channel-Binding"

// channelBinding returns what ties a handshake to its connection, nil without
// TLS.
func channelBinding(t *tls.ConnectionState) ([]byte, error) {
	if t == nil {
		return nil, nil
	}
	b, err := t.ExportKeyingMaterial(bindingLabel, nil, 32)
	if err != nil {
		return nil, fmt.Errorf("bind handshake to TLS: %w", err)
	}
	return b, nil
}

// remoteHost returns the address of who made a request, without its port.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
