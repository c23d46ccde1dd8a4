package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/confab-chat/confab/namesvc/wire"
)

// unfinished ends the name of a file that is being written. One that is found
// later was left by a crash and is worth nothing: its content never counted.
const unfinished = ".unfinished"

// write replaces the file name in dir by b, or makes it. After a crash at any
// moment the file is wholly old or wholly new, and once write returned nil it is
// new: content before name, name before return. The caller holds the folder.
func write(dir, name string, b []byte) error {
	target := filepath.Join(dir, name)
	draft := target + unfinished
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", target, err)
	}
	if err := writeSynced(draft, b); err != nil {
		os.Remove(draft)
		return fmt.Errorf("write %s: %w", target, err)
	}
	if err := os.Rename(draft, target); err != nil {
		os.Remove(draft)
		return fmt.Errorf("write %s: %w", target, err)
	}
	if err := syncFolder(dir); err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	// O_EXCL: nothing that somebody put there, such as a link, is followed.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// remove deletes the file name in dir for good; one that is not there is fine.
func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(dir)
}

// read returns the content of the file name in dir, at most limit bytes.
func read(dir, name string, limit int) ([]byte, error) {
	path := filepath.Join(dir, name)
	// Looked at before it is opened: opening a pipe would wait for ever.
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, wire.Errorf(wire.Invalid, "%s is no ordinary file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, wire.Errorf(wire.Invalid, "%s is too large: at most %d bytes are read", path, limit)
	}
	return b, nil
}

// sweep deletes what a crash left half written.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), unfinished) && e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
