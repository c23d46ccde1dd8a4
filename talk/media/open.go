package media

import (
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/talk/message"
)

// A File opens a sealed file. It keeps nothing between calls.
type File struct {
	shape shape
	aead  cipher.AEAD
	list  chunk.List
}

// Open returns what opens the file of a reference, given the leaves of its sealed
// form, which may come from anybody. The error is of kind Invalid if they are not
// its leaves.
func Open(ref message.Ref, leaves []byte) (*File, error) {
	shape, err := shapeOf(ref.Size)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	list, err := chunk.Check(ref.Root, shape.sealed, leaves)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	aead, err := newAEAD(ref.Key)
	return &File{shape: shape, aead: aead, list: list}, err
}

// Chunks returns how many chunks the sealed form has.
func (f *File) Chunks() uint64 { return f.shape.chunks() }

// Chunk returns the content of one chunk, without padding. It overwrites sealed.
func (f *File) Chunk(index uint64, sealed []byte) ([]byte, error) {
	if err := f.list.Verify(index, sealed); err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	b, err := f.aead.Open(sealed[:0], f.shape.nonce(index), sealed, nil)
	if err != nil {
		// The id is right and the key is not: whoever sent the reference made it so.
		return nil, wire.Errorf(wire.Invalid, "open file: its key does not open it: ask for it to be sent again")
	}
	n := f.shape.content(index)
	var rest byte
	for _, c := range b[n:] {
		rest |= c
	}
	if rest != 0 {
		return nil, wire.Errorf(wire.Invalid, "open file: its padding is not zeros")
	}
	return b[:n:n], nil
}

// Copy opens a whole file from the beginning of its sealed form and writes its
// content. What was written before an error is right.
func (f *File) Copy(to io.Writer, sealed io.Reader) error {
	room := make([]byte, chunk.Size)
	for i := range f.Chunks() {
		b := room[:chunk.Length(f.list.Length(), i)]
		if _, err := io.ReadFull(sealed, b); err != nil {
			return wire.Errorf(wire.Unavailable, "open file: chunk %d of %d has not come whole: %w", i, f.Chunks(), err)
		}
		content, err := f.Chunk(i, b)
		if err != nil {
			return err
		}
		if _, err := to.Write(content); err != nil {
			return fmt.Errorf("open file: write content: %w", err)
		}
	}
	return nil
}

// Content returns the content as an io.ReaderAt, over the sealed form. Each read
// opens the chunks that it touches, so callers should read much at once.
func (f *File) Content(sealed io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(contentAt{f, sealed}, 0, int64(f.shape.size))
}

type contentAt struct {
	file   *File
	sealed io.ReaderAt
}

// ReadAt implements io.ReaderAt.
func (c contentAt) ReadAt(p []byte, off int64) (n int, err error) {
	room := make([]byte, chunk.Size)
	for n < len(p) {
		at := uint64(off) + uint64(n)
		if at >= c.file.shape.size {
			return n, io.EOF
		}
		i := at / plainSize
		b := room[:chunk.Length(c.file.list.Length(), i)]
		if got, err := c.sealed.ReadAt(b, int64(i*chunk.Size)); got < len(b) {
			return n, wire.Errorf(wire.Unavailable, "open file: chunk %d has not come whole: %w", i, err)
		}
		content, err := c.file.Chunk(i, b)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], content[at%plainSize:])
	}
	return n, nil
}
