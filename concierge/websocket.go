package concierge

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// socketBuffer is the read buffer of one connection without TLS, and of one in
	// its handshake: a short frame, since most connections are idle most of the time.
	socketBuffer = 512
	// keepBuffer is the largest read buffer that a connection keeps while it waits.
	keepBuffer = 1 << 10
	// packetSize is how many bytes are handed to TLS at once: four records.
	packetSize = 64 << 10
	// writeTime is how long the other end may take nothing.
	writeTime = 30 * time.Second
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

// socket is a frame.Conn over a WebSocket: a frame is a binary message. The library
// does the handshake in HTTP and no more: it keeps buffers for every connection and
// looks at every byte, and nearly all connections are idle. Several goroutines may
// write.
type socket struct {
	raw    net.Conn
	in     io.Reader // raw, unless that has no buffer of its own
	masked bool      // a client's frames are (RFC 6455 §5.3), and a server's are not
	header [maxHeader]byte
	frame  []byte
	asides bucket // control messages, which may each cost a write

	mu      sync.Mutex // one packet after the other
	packets *sync.Pool // of *[]byte, shared by all sockets of a server
}

// newSocket takes a connection over from the library. The client speaks first in
// what follows, so there is nothing yet that the library might have read.
func newSocket(ws *websocket.Conn, client bool, packets *sync.Pool) *socket {
	raw := ws.NetConn()
	s := &socket{raw: raw, in: raw, masked: client, packets: packets}
	if _, ok := raw.(*tls.Conn); !ok { // TLS hands out parts of the record that it has
		s.in = bufio.NewReaderSize(raw, socketBuffer)
	}
	return s
}

// ReadFrame implements frame.Conn.
func (s *socket) ReadFrame(limit int) ([]byte, error) {
	if cap(s.frame) > keepBuffer {
		s.frame = nil
	}
	s.frame = s.frame[:0]
	for begun := false; ; {
		p, err := s.readHeader()
		if err != nil {
			return nil, ended(err, begun)
		}
		if p.control() {
			if err := s.control(p); err != nil {
				return nil, err
			}
			continue
		}
		switch {
		case p.op == opText:
			return nil, wire.Errorf(wire.Invalid, "read frame: the message is text: frames are binary")
		case p.op != opBinary && p.op != opContinued:
			return nil, wire.Errorf(wire.Invalid, "read frame: message of unknown kind %d", p.op)
		case (p.op == opContinued) != begun:
			return nil, wire.Errorf(wire.Invalid, "read frame: parts of messages come in disorder")
		case p.size > uint64(limit-len(s.frame)):
			return nil, wire.Errorf(wire.Invalid, "read frame: it is too large")
		}
		if err := s.readBody(p); err != nil {
			return nil, ended(err, true)
		}
		if p.final {
			return s.frame, nil
		}
		begun = true
	}
}

// The kinds of parts of messages (RFC 6455 §5.2), and the bits beside them.
const (
	opContinued = 0
	opText      = 1
	opBinary    = 2
	opClose     = 8
	opPing      = 9
	opPong      = 10

	bitFinal  = 0x80
	bitMasked = 0x80
	// maxHeader is two bytes, eight of length and a mask.
	maxHeader = 2 + 8 + 4
	// maxControl is the most bytes of a ping, a pong or a close.
	maxControl = 125
	// asideRate and asideBurst are the control messages that the other end may send,
	// in a second and at once: browsers and proxies ping some times a minute.
	asideRate  = 1
	asideBurst = 60
)

// part is what a header says.
type part struct {
	op    byte
	final bool
	size  uint64
	mask  [4]byte
}

func (p part) control() bool { return p.op >= opClose }

// readHeader reads a header, in one piece if its body is short.
func (s *socket) readHeader() (p part, err error) {
	least := 2
	if !s.masked { // what a client sends has a mask
		least += len(p.mask)
	}
	h := s.header[:least]
	if _, err := io.ReadFull(s.in, h); err != nil {
		return p, err
	}
	p.op, p.final, p.size = h[0]&0x0f, h[0]&bitFinal != 0, uint64(h[1]&^bitMasked)
	if h[0]&0x70 != 0 || (h[1]&bitMasked != 0) == s.masked {
		return p, wire.Errorf(wire.Invalid, "read frame: what comes is no WebSocket message, or from the wrong end")
	}
	long := 0
	switch p.size {
	case 126:
		long = 2
	case 127:
		long = 8
	}
	if long > 0 {
		h = s.header[:least+long]
		if _, err := io.ReadFull(s.in, h[least:]); err != nil {
			return p, noEnd(err)
		}
		p.size = uint64(binary.BigEndian.Uint16(h[2:]))
		if long == 8 {
			p.size = binary.BigEndian.Uint64(h[2:])
		}
	}
	copy(p.mask[:], h[2+long:]) // none from a server
	return p, nil
}

// readBody appends a body to the frame. Room for it grows with what came, not with
// what was announced.
func (s *socket) readBody(p part) error {
	from := len(s.frame)
	for left := p.size; left > 0; {
		n := int(min(left, uint64(max(keepBuffer, len(s.frame)))))
		s.frame = slices.Grow(s.frame, n)
		at := len(s.frame)
		s.frame = s.frame[:at+n]
		if _, err := io.ReadFull(s.in, s.frame[at:]); err != nil {
			return noEnd(err)
		}
		left -= uint64(n)
	}
	if !s.masked {
		mask(s.frame[from:], p.mask)
	}
	return nil
}

// control answers what comes between messages.
func (s *socket) control(p part) error {
	if p.size > maxControl || !p.final {
		return wire.Errorf(wire.Invalid, "read frame: a control message is too large")
	}
	if !s.asides.take(1, asideRate, asideBurst, time.Now()) {
		return wire.Errorf(wire.Invalid, "read frame: too many pings: one a second will do")
	}
	var room [maxControl]byte
	body := room[:p.size]
	if _, err := io.ReadFull(s.in, body); err != nil {
		return ended(noEnd(err), true)
	}
	if !s.masked {
		mask(body, p.mask)
	}
	switch p.op {
	case opPing:
		return s.say(opPong, body)
	case opPong:
		return nil
	case opClose:
		s.say(opClose, body[:min(len(body), 2)]) // the code; it is polite
		return io.EOF
	}
	return wire.Errorf(wire.Invalid, "read frame: message of unknown kind %d", p.op)
}

// say writes a control message.
func (s *socket) say(op byte, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(s.add(nil, op, body))
}

// noEnd is for errors in the middle of something.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ended returns io.EOF for a connection that the other end has closed between two
// messages.
func ended(err error, begun bool) error {
	if begun {
		err = noEnd(err)
	}
	if err == io.EOF || wire.CodeOf(err) == wire.Invalid {
		return err
	}
	return fmt.Errorf("read frame: %w", err)
}

// mask masks or unmasks b (RFC 6455 §5.3).
func mask(b []byte, key [4]byte) {
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	k |= k << 32
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}

// WriteFrames implements frame.Conn. Each write below holds whole messages, under
// one lock, so that answers to pings fall between.
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
		packet = s.add(packet, opBinary, f)
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

// add appends a whole message that holds f (RFC 6455 §5.2).
func (s *socket) add(b []byte, op byte, f []byte) []byte {
	var masked byte
	if s.masked {
		masked = bitMasked
	}
	b = append(b, bitFinal|op)
	switch n := len(f); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n <= 0xffff:
		b = append(b, masked|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, masked|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !s.masked {
		return append(b, f...)
	}
	var k [4]byte
	rand.Read(k[:])
	b = append(b, k[:]...)
	b = append(b, f...)
	mask(b[len(b)-len(f):], k)
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
