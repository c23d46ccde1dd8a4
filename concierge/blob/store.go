package blob

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

// An Owner is whoever pins content, as the caller knows him.
type Owner [32]byte

// Shards is how many folders content is spread over, by its id's first byte.
const Shards = 256

const (
	incomingDir = "incoming"
	lockFile    = "lock"
)

// A Store keeps content in a folder. Its methods may be called from any goroutine.
type Store struct {
	dir     string
	reserve uint64
	shards  [Shards]sync.Mutex
	// step is called before each thing that changes the disk. Tests fail there.
	step func(what string) error
}

// Open returns the store of a folder, which is made if it is not there. reserve is
// how many bytes of the disk stay free.
func Open(dir string, reserve uint64) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, incomingDir), 0o700); err != nil {
		return nil, fmt.Errorf("open media folder: %w", err)
	}
	return &Store{dir: dir, reserve: reserve, step: func(string) error { return nil }}, nil
}

func (s *Store) shard(id chunk.ID) string { return filepath.Join(s.dir, hex.EncodeToString(id[:1])) }

func (s *Store) path(id chunk.ID) string { return filepath.Join(s.shard(id), id.String()) }

func pinned(id chunk.ID, o Owner) string { return id.String() + "." + hex.EncodeToString(o[:]) }

func (s *Store) incoming(id chunk.ID, o Owner) string {
	return filepath.Join(s.dir, incomingDir, pinned(id, o))
}

// Full says that the disk has no room. Kind Exhausted.
var Full error = wire.Errorf(wire.Exhausted, "concierge's disk is full: try again later, and tell its operator")

// Room returns Full if so many bytes more would leave less than the reserve.
func (s *Store) Room(size uint64) error {
	free, err := freeBytes(s.dir)
	if err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	if free < s.reserve || free-s.reserve < size {
		return Full
	}
	return nil
}

// hold keeps other changes to a shard out, those of other processes too, until
// release is called.
func (s *Store) hold(shard byte) (release func(), err error) {
	dir := filepath.Join(s.dir, hex.EncodeToString([]byte{shard}))
	s.shards[shard].Lock()
	defer func() {
		if err != nil {
			s.shards[shard].Unlock()
		}
	}()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("media folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("media folder: %w", err)
	}
	if err := lock(f, true); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock media folder: %w", err)
	}
	return func() {
		f.Close()
		s.shards[shard].Unlock()
	}, nil
}

// A Blob is content that can be read, at any place and by any number at once.
type Blob struct {
	file *os.File
	size uint64
}

// Get opens content, or returns an error of kind NotFound. What is open stays
// readable if it is swept meanwhile.
func (s *Store) Get(id chunk.ID) (*Blob, error) {
	f, err := os.Open(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wire.Errorf(wire.NotFound, "there is no such file here: it was never uploaded, or has expired")
	}
	if err != nil {
		return nil, fmt.Errorf("open media: %w", err)
	}
	st, err := f.Stat()
	if err == nil {
		var size uint64
		if size, err = contentSize(st.Size()); err == nil {
			return &Blob{file: f, size: size}, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("open media %v: %w", id, err)
}

// Has reports whether content is here.
func (s *Store) Has(id chunk.ID) bool {
	_, err := os.Stat(s.path(id))
	return err == nil
}

// contentSize returns how many bytes of content are in a file that has its leaves
// behind it.
func contentSize(total int64) (uint64, error) {
	n := (uint64(total) + chunk.Size + chunk.HashSize - 1) / (chunk.Size + chunk.HashSize)
	size := uint64(total) - n*chunk.HashSize
	if total <= 0 || chunk.Count(size) != n {
		return 0, fmt.Errorf("a file of %d bytes is no content with its leaves", total)
	}
	return size, nil
}

// Size returns how many bytes the content has.
func (b *Blob) Size() uint64 { return b.size }

// Content returns the content from its beginning.
func (b *Blob) Content() *io.SectionReader { return io.NewSectionReader(b.file, 0, int64(b.size)) }

// Leaves returns the list of the content's leaves.
func (b *Blob) Leaves() *io.SectionReader {
	return io.NewSectionReader(b.file, int64(b.size), int64(chunk.Count(b.size)*chunk.HashSize))
}

// Close lets go of the content.
func (b *Blob) Close() error { return b.file.Close() }

// Hold pins content for an owner and reports true if it is here. The error is of
// kind Invalid if it has another size.
func (s *Store) Hold(id chunk.ID, o Owner, size uint64) (bool, error) {
	release, err := s.hold(id[0])
	if err != nil {
		return false, err
	}
	defer release()
	b, err := s.Get(id)
	if wire.CodeOf(err) == wire.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer b.Close()
	if b.size != size {
		return false, wire.Errorf(wire.Invalid, "content %v has %d bytes, not %d", id, b.size, size)
	}
	return true, errors.Join(s.pin(id, o), syncDir(s.shard(id)))
}

// pin makes the file that says so. The shard is held.
func (s *Store) pin(id chunk.ID, o Owner) error {
	if err := s.step("pin"); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.shard(id), pinned(id, o)), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("pin media: %w", diskError(err))
	}
	return f.Close()
}

// Release ends an owner's pin and what has come of his upload, and lets go of the
// content if nobody else pins it. It is not an error if there is none.
func (s *Store) Release(id chunk.ID, o Owner) error {
	if err := s.abandon(id, o); err != nil {
		return err
	}
	release, err := s.hold(id[0])
	if err != nil {
		return err
	}
	defer release()
	if err := remove(filepath.Join(s.shard(id), pinned(id, o))); err != nil {
		return err
	}
	names, err := readNames(s.shard(id))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, id.String()+".") {
			return nil
		}
	}
	return remove(s.path(id))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("let go of media: %w", err)
	}
	return nil
}

// readNames returns what is in a folder, in no order; nothing if it is not there.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read media folder: %w", err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read media folder: %w", err)
	}
	return names, nil
}

// parse reads a name that pinned has made.
func parse(name string) (id chunk.ID, o Owner, ok bool) {
	first, second, _ := strings.Cut(name, ".")
	id, err := chunk.ParseID(first)
	owner, oerr := chunk.ParseID(second) // of the same form
	return id, Owner(owner), err == nil && oerr == nil
}
