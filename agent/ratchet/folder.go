package ratchet

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/confab-chat/confab/namesvc/wire"
)

// folder is what the store needs of a file system. Nothing that was written
// counts as there before it was synced.
type folder interface {
	// read returns a file's content, at most limit bytes; the error is
	// fs.ErrNotExist if there is none.
	read(name string, limit int) ([]byte, error)
	// write puts b into the file at an offset, in place, making the file if need
	// be, and syncs it. With cut, what follows is cut off.
	write(name string, at int64, b []byte, cut bool) error
	// sync makes new names and removals survive.
	sync() error
	remove(name string) error
	list() ([]string, error)
}

// disk is a folder of the operating system.
type disk struct{ dir string }

func (d disk) read(name string, limit int) ([]byte, error) {
	path := filepath.Join(d.dir, name)
	// Looked at before it is opened: opening a pipe would wait for ever.
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > int64(limit) {
		return nil, wire.Errorf(wire.Invalid, "%s is no file of this store", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(limit)))
}

func (d disk) write(name string, at int64, b []byte, cut bool) error {
	// No O_TRUNC: it would give the old blocks back instead of overwriting them.
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	if err == nil && cut {
		err = f.Truncate(at + int64(len(b)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d disk) remove(name string) error {
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d disk) list() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// makeFolder makes the folder at dir, its owner's alone.
func makeFolder(dir string) (disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return disk{}, fmt.Errorf("open secrets: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return disk{}, fmt.Errorf("open secrets: %w", err)
	}
	return disk{dir}, nil
}
