package frame

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/confab-chat/confab/namesvc/wire"
)

// A Conn carries whole frames, in order. One goroutine reads and one writes;
// Close may be called by any, more than once, and ends what both are waiting for.
type Conn interface {
	// ReadFrame returns the next frame, valid until the next call, or io.EOF at
	// the end. It refuses frames larger than limit before it makes room for them.
	ReadFrame(limit int) ([]byte, error)
	// WriteFrames writes frames, all in as few packets as it can. It must give up
	// at some time if the other end takes nothing. It does not keep the frames.
	WriteFrames(frames [][]byte) error
	Close() error
}

// Over carries frames over a connection of bytes, such as a libp2p stream or TLS:
// each frame follows its length as an unsigned varint.
func Over(c io.ReadWriteCloser) Conn {
	return &byteConn{c: c, in: bufio.NewReaderSize(c, readBuffer)}
}

const (
	// readBuffer takes several short frames in one read. What is below, such as
	// TLS, has a buffer of its own, and most connections are idle.
	readBuffer = 512
	// keepBuffer is how large a buffer a connection keeps while it is idle: a
	// short message fits.
	keepBuffer = 1 << 10
	// packet is how many bytes are written at once: four TLS records.
	packet = 64 << 10
)

type byteConn struct {
	c      io.ReadWriteCloser
	in     *bufio.Reader
	frame  []byte
	packet []byte
}

func (b *byteConn) ReadFrame(limit int) ([]byte, error) {
	n, err := binary.ReadUvarint(b.in)
	if err != nil {
		return nil, err
	}
	if n > uint64(limit) {
		return nil, wire.Errorf(wire.Invalid, "frame has %d bytes, at most %d are allowed", n, limit)
	}
	if cap(b.frame) > keepBuffer && n <= keepBuffer || cap(b.frame) < int(n) {
		b.frame = make([]byte, n)
	}
	b.frame = b.frame[:n]
	if _, err := io.ReadFull(b.in, b.frame); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return b.frame, nil
}

func (b *byteConn) WriteFrames(frames [][]byte) error {
	for i, f := range frames {
		b.packet = binary.AppendUvarint(b.packet, uint64(len(f)))
		b.packet = append(b.packet, f...)
		if len(b.packet) < packet && i < len(frames)-1 {
			continue
		}
		if _, err := b.c.Write(b.packet); err != nil {
			return err
		}
		b.packet = b.packet[:0]
	}
	if cap(b.packet) > keepBuffer {
		b.packet = nil
	}
	return nil
}

func (b *byteConn) Close() error { return b.c.Close() }

// Pipe returns the two ends of a connection in memory, which holds a few frames
// on their way.
func Pipe() (Conn, Conn) {
	there, back := make(chan []byte, pipeFrames), make(chan []byte, pipeFrames)
	closed := make(chan struct{})
	var once sync.Once
	end := func() error {
		once.Do(func() { close(closed) })
		return nil
	}
	return &pipeEnd{there, back, closed, end}, &pipeEnd{back, there, closed, end}
}

const pipeFrames = 16

type pipeEnd struct {
	in, out chan []byte
	closed  chan struct{}
	close   func() error
}

func (p *pipeEnd) ReadFrame(limit int) ([]byte, error) {
	select {
	case f := <-p.in:
		if len(f) > limit {
			return nil, wire.Errorf(wire.Invalid, "frame has %d bytes, at most %d are allowed", len(f), limit)
		}
		return f, nil
	case <-p.closed:
	}
	select { // what was written before the end is still read
	case f := <-p.in:
		return f, nil
	default:
		return nil, io.EOF
	}
}

func (p *pipeEnd) WriteFrames(frames [][]byte) error {
	for _, f := range frames {
		select {
		case p.out <- append([]byte(nil), f...):
		case <-p.closed:
			return fmt.Errorf("write to pipe: %w", io.ErrClosedPipe)
		}
	}
	return nil
}

func (p *pipeEnd) Close() error { return p.close() }
