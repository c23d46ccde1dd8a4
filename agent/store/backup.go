package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Backup writes a copy of the database to path, under the same key. The copy is
// whole or not there; one that is there already is replaced. While it is written
// the database waits.
//
// Put in the place of the database it opens like it. Secrets are not in it: a
// device that goes back to it has to join its conversations anew, as agent/ratchet
// says then.
func (s *Store) Backup(ctx context.Context, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return err
	}
	if there, err := os.Stat(path); err == nil {
		if here, err := os.Stat(s.path); err != nil || os.SameFile(here, there) {
			return wire.Errorf(wire.Invalid, "back up database: %s is the database itself: choose another place", path)
		}
	}
	// Afterwards everything is in the one file, and nobody else may write to it.
	if _, _, err := s.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil {
		return explain("back up database", err)
	}
	if err := copyFile(ctx, path, s.path); err != nil {
		return fmt.Errorf("back up database: %w", err)
	}
	return nil
}

// copyFile copies a file, atomically and durably.
func copyFile(ctx context.Context, to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	draft := to + ".unfinished"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(draft)
		}
	}()
	if _, err := io.Copy(out, ender{ctx, in}); err != nil {
		return err
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

// ender reads until its context ends.
type ender struct {
	ctx context.Context
	r   io.Reader
}

func (e ender) Read(b []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(b)
}
