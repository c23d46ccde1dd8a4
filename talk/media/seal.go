package media

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/talk/message"
)

// A Sealed is a file as others may keep it. It is an io.ReaderAt of the sealed
// bytes, made from the source as they are asked for; its methods may be called
// from any goroutine, one of which does the work at a time.
type Sealed struct {
	source io.ReaderAt
	shape  shape
	key    message.FileKey
	aead   cipher.AEAD
	id     chunk.ID
	list   chunk.List
	leaves []byte

	mu    sync.Mutex
	have  bool   // there is a chunk at hand
	index uint64 // which
	chunk []byte
}

// Seal makes a sealed form of the first size bytes of a source under a new key. It
// reads them once for the id, and again as the sealed form is read: the source
// must stay, and stay the same. rand gives 32 random bytes.
func Seal(source io.ReaderAt, size uint64, rand io.Reader) (*Sealed, error) {
	var k message.FileKey
	if _, err := io.ReadFull(rand, k[:]); err != nil {
		return nil, fmt.Errorf("seal file: read randomness: %w", err)
	}
	return newSealed(source, size, k)
}

// Again makes the sealed form that ref was made of once more. The error is of kind
// Conflict if the source has changed: then it must be sealed anew.
func Again(source io.ReaderAt, ref message.Ref) (*Sealed, error) {
	s, err := newSealed(source, ref.Size, ref.Key)
	if err != nil {
		return nil, err
	}
	if s.id != ref.Root {
		return nil, errChanged
	}
	return s, nil
}

var errChanged error = wire.Errorf(wire.Conflict, "file has changed since it was sealed: send it anew")

func newSealed(source io.ReaderAt, size uint64, k message.FileKey) (*Sealed, error) {
	shape, err := shapeOf(size)
	if err != nil {
		return nil, fmt.Errorf("seal file: %w", err)
	}
	aead, err := newAEAD(k)
	if err != nil {
		return nil, err
	}
	s := &Sealed{source: source, shape: shape, key: k, aead: aead, chunk: make([]byte, 0, chunk.Size)}
	for i := range shape.chunks() {
		if err := s.seal(i); err != nil {
			return nil, err
		}
		s.leaves = chunk.AppendLeaf(s.leaves, s.chunk)
	}
	if s.id, err = chunk.IDOf(shape.sealed, s.leaves); err != nil {
		return nil, err
	}
	s.list, err = chunk.Check(s.id, shape.sealed, s.leaves)
	return s, err
}

// seal makes a chunk.
func (s *Sealed) seal(index uint64) error {
	at, n := s.shape.plain(index)
	real := s.shape.content(index)
	b := s.chunk[:n]
	if got, err := s.source.ReadAt(b[:real], int64(at)); uint64(got) < real {
		if errors.Is(err, io.EOF) || err == nil {
			return wire.Errorf(wire.Conflict, "seal file: it ends before %d bytes: it has changed, send it anew", s.shape.size)
		}
		return fmt.Errorf("seal file: %w", err)
	}
	clear(b[real:])
	s.chunk = s.aead.Seal(b[:0], s.shape.nonce(index), b, nil)
	return nil
}

// ID returns what the sealed form is kept under.
func (s *Sealed) ID() chunk.ID { return s.id }

// Size returns how many bytes the sealed form has.
func (s *Sealed) Size() uint64 { return s.shape.sealed }

// Ref returns what a message says of the file, whose media type is kind.
func (s *Sealed) Ref(kind string) message.Ref {
	return message.Ref{Root: s.id, Key: s.key, Size: s.shape.size, Type: kind}
}

// ReadAt implements io.ReaderAt. It fails with kind Conflict, before it gives out a
// byte, if the source has changed.
func (s *Sealed) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, wire.Errorf(wire.Invalid, "read sealed file: the offset %d is negative", off)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < len(p) {
		at := uint64(off) + uint64(n)
		if at >= s.shape.sealed {
			return n, io.EOF
		}
		if i := at / chunk.Size; !s.have || s.index != i {
			s.have = false
			if err := s.seal(i); err != nil {
				return n, err
			}
			if s.list.Verify(i, s.chunk) != nil {
				clear(s.chunk)
				return n, errChanged
			}
			s.have, s.index = true, i
		}
		n += copy(p[n:], s.chunk[at%chunk.Size:])
	}
	return n, nil
}
