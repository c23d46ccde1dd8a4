package blob

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

// An OffsetError says that an upload goes on elsewhere.
type OffsetError struct{ Offset uint64 }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("the upload goes on at byte %d", e.Offset)
}

// Unwrap returns an error of kind wire.Conflict.
func (e *OffsetError) Unwrap() error { return wire.Errorf(wire.Conflict, "%s", e.Error()) }

// errBusy says that two connections upload the same for the same owner.
var errBusy error = wire.Errorf(wire.Conflict, "this upload is under way on another connection: wait for it")

// Offset returns how much of an upload of so many bytes has come.
func (s *Store) Offset(id chunk.ID, o Owner, size uint64) (uint64, error) {
	st, err := os.Stat(s.incoming(id, o))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at an upload: %w", err)
	}
	return min(uint64(st.Size()), size), nil // more: a crash came after the leaves
}

// Receive takes bytes of an upload from offset on and returns how far it has come;
// at == size says that the content is here, durable and pinned by the owner. An
// upload that stops before goes on later from where it is. Errors: an
// *OffsetError; Full; Invalid if there are more bytes than size or they have
// another id, after which nothing of them is left; Unavailable if body fails.
func (s *Store) Receive(id chunk.ID, o Owner, size, offset uint64, body io.Reader) (at uint64, err error) {
	f, err := s.openIncoming(id, o)
	if err != nil {
		return 0, err
	}
	defer f.Close() // and its lock
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("upload: %w", err)
	}
	if at = min(uint64(st.Size()), size); at != offset {
		return at, &OffsetError{at}
	}
	if err := f.Truncate(int64(at)); err != nil {
		return at, fmt.Errorf("upload: %w", err)
	}
	if at, err = s.take(f, size, at, body); err == nil && at == size {
		err = s.finish(f, id, o, size)
	}
	if code := wire.CodeOf(err); code == wire.Invalid || code == wire.Exhausted {
		if rerr := remove(f.Name()); rerr != nil {
			return 0, rerr
		}
		return 0, err
	}
	return at, err
}

// openIncoming opens what has come of an upload, for this call alone.
func (s *Store) openIncoming(id chunk.ID, o Owner) (*os.File, error) {
	if err := s.step("open"); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.incoming(id, o), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("upload: %w", diskError(err))
	}
	if lock(f, false) != nil {
		f.Close()
		return nil, errBusy
	}
	// Between the two, another may have finished it or swept it.
	mine, err := f.Stat()
	there, terr := os.Stat(f.Name())
	if err != nil || terr != nil || !os.SameFile(mine, there) {
		f.Close()
		return nil, errBusy
	}
	return f, nil
}

const (
	// copyBuffer is how many bytes are written at once.
	copyBuffer = 128 << 10
	// lookEvery is after how many bytes the disk is looked at again: others write
	// to it too.
	lookEvery = 4 << 20
)

// take appends the body to f, up to size bytes in all, and looks whether there
// are more.
func (s *Store) take(f *os.File, size, at uint64, body io.Reader) (uint64, error) {
	buf := make([]byte, copyBuffer)
	for look := at; ; {
		if at >= look {
			if err := s.Room(0); err != nil {
				return at, err
			}
			look = at + lookEvery
		}
		n, err := body.Read(buf)
		if at+uint64(n) > size {
			return at, wire.Errorf(wire.Invalid, "upload has more than the %d bytes that were announced", size)
		}
		if n > 0 {
			werr := s.step("write")
			if werr == nil {
				_, werr = f.Write(buf[:n])
			}
			if werr != nil {
				return at, fmt.Errorf("upload: %w", diskError(werr))
			}
			at += uint64(n)
		}
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err != nil {
			return at, wire.Errorf(wire.Unavailable, "upload stopped at byte %d: %w", at, err)
		}
	}
}

// finish makes a whole upload the content of its id: hashed as it is on the disk,
// so that what a crash made of it is found, and durable before it has its name.
func (s *Store) finish(f *os.File, id chunk.ID, o Owner, size uint64) error {
	var tree chunk.Tree
	if _, err := io.CopyBuffer(&tree, io.NewSectionReader(f, 0, int64(size)), make([]byte, copyBuffer)); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	got, leaves, err := tree.Sum()
	if err != nil {
		return err
	}
	if got != id {
		return wire.Errorf(wire.Invalid, "what was uploaded is not the content of this id: begin anew")
	}
	if err := s.step("leaves"); err != nil {
		return err
	}
	if _, err := f.Write(leaves); err != nil {
		return fmt.Errorf("upload: %w", diskError(err))
	}
	if err := s.step("sync"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("upload: %w", diskError(err))
	}
	release, err := s.hold(id[0])
	if err != nil {
		return err
	}
	defer release()
	if err := s.pin(id, o); err != nil {
		return err
	}
	if err := s.step("rename"); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.path(id)); err != nil {
		return fmt.Errorf("upload: %w", diskError(err))
	}
	if err := s.step("settle"); err != nil {
		return err
	}
	return syncDir(s.shard(id))
}

// abandon lets go of what has come of an upload, unless some connection is at it.
func (s *Store) abandon(id chunk.ID, o Owner) error {
	path := s.incoming(id, o)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("abandon an upload: %w", err)
	}
	defer f.Close()
	if lock(f, false) != nil {
		return nil // its end finds that nobody wants it
	}
	mine, err := f.Stat()
	there, terr := os.Stat(path)
	if err != nil || terr != nil || !os.SameFile(mine, there) {
		return nil
	}
	return remove(path)
}
