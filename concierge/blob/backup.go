package blob

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/confab-chat/confab/stream/chunk"
)

// Copied is what a Backup or a Restore did.
type Copied struct {
	Blobs   uint64
	Bytes   uint64 // of files, their leaves included
	Damaged uint64 // that were left out, since they are not what their names say
}

// Backup copies content and pins of a folder into one that is not there yet, while
// stores may use the first. On one file system it takes no room and hardly any
// time, since content never changes and gets a second name only. Uploads that are
// not whole are left out. Books that were copied before name nothing that is
// missing, unless it was let go of meanwhile.
func Backup(ctx context.Context, from, to string) (c Copied, err error) {
	if err := os.Mkdir(to, 0o700); err != nil {
		return c, fmt.Errorf("back up media: %w", err)
	}
	err = eachShard(ctx, from, func(shard string, names []string) error {
		if err := os.Mkdir(filepath.Join(to, shard), 0o700); err != nil {
			return err
		}
		for _, name := range names {
			if err := c.add(filepath.Join(from, shard, name), filepath.Join(to, shard, name)); err != nil {
				return err
			}
		}
		return syncDir(filepath.Join(to, shard))
	})
	if err != nil {
		return c, fmt.Errorf("back up media: %w", err)
	}
	return c, nil
}

// eachShard calls do for each folder of content, with the names that are content
// or pins.
func eachShard(ctx context.Context, dir string, do func(shard string, names []string) error) error {
	for i := range Shards {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		shard := hex.EncodeToString([]byte{byte(i)})
		all, err := readNames(filepath.Join(dir, shard))
		if err != nil {
			return err
		}
		var names []string
		for _, name := range all {
			_, _, pin := parse(name)
			if _, err := chunk.ParseID(name); (pin || err == nil) && name[:2] == shard {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			continue
		}
		if err := do(shard, names); err != nil {
			return err
		}
	}
	return nil
}

// add gives a file a second name, or copies it if that cannot be.
func (c *Copied) add(from, to string) error {
	err := os.Link(from, to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = copyFile(from, to)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // let go of meanwhile
	}
	if err != nil {
		return err
	}
	st, err := os.Stat(to)
	if err == nil && st.Size() > 0 {
		c.Blobs++
		c.Bytes += uint64(st.Size())
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(diskError(err), out.Sync(), out.Close())
}

// Restore copies what Backup made into the folder of a store that nobody uses.
// Content is hashed on the way: what is not what its name says is left out, so that
// its owner is told that it is gone, and may upload it again. What is there already
// stays.
func Restore(ctx context.Context, from, dir string) (c Copied, err error) {
	if _, err := Open(dir, 0); err != nil {
		return c, err
	}
	err = eachShard(ctx, from, func(shard string, names []string) error {
		if err := os.Mkdir(filepath.Join(dir, shard), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		for _, name := range names {
			if err := c.take(filepath.Join(from, shard, name), dir, shard, name); err != nil {
				return err
			}
		}
		return syncDir(filepath.Join(dir, shard))
	})
	if err != nil {
		return c, fmt.Errorf("restore media: %w", err)
	}
	return c, nil
}

// take restores one file.
func (c *Copied) take(from, dir, shard, name string) error {
	to := filepath.Join(dir, shard, name)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id, err := chunk.ParseID(name)
	if err != nil { // a pin, which is empty
		f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return diskError(err)
		}
		return f.Close()
	}
	part := filepath.Join(dir, incomingDir, "restored")
	n, err := copyWhole(from, part, id)
	if errors.Is(err, errDamaged) {
		c.Damaged++
		return remove(part)
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return errors.Join(diskError(err), remove(part))
	}
	c.Blobs++
	c.Bytes += n
	return nil
}

// errDamaged says that a file is not the content of its name.
var errDamaged = errors.New("file is damaged")

// copyWhole copies a file that is the content of an id with its leaves behind it,
// and makes it durable.
func copyWhole(from, to string, id chunk.ID) (uint64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return 0, err
	}
	size, err := contentSize(st.Size())
	if err != nil {
		return 0, errDamaged
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	var tree chunk.Tree
	if _, err := io.CopyBuffer(io.MultiWriter(out, &tree), io.LimitReader(in, int64(size)), make([]byte, copyBuffer)); err != nil {
		return 0, err
	}
	got, leaves, err := tree.Sum()
	if err != nil || got != id {
		return 0, errDamaged
	}
	rest, err := io.ReadAll(io.LimitReader(in, int64(len(leaves))+1))
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(rest, leaves) {
		return 0, errDamaged
	}
	if _, err := out.Write(leaves); err != nil {
		return 0, err
	}
	return uint64(st.Size()), out.Sync()
}
