package chat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/media"
	"github.com/confab-chat/confab/talk/message"
)

// fileBody seals a file, leaves it at the own concierge and returns what a
// message says of it. It returns once the concierge has all of it, so that nobody
// is told of a file that cannot be had.
func (a *Agent) fileBody(ctx context.Context, path, text string) (message.Body, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, wire.Errorf(wire.NotFound, "file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, wire.Errorf(wire.Invalid, "%s is no file with content", path)
	}
	kind, err := typeOf(f)
	if err != nil {
		return nil, err
	}
	sealed, err := media.Seal(f, uint64(info.Size()), a.o.Rand)
	if err != nil {
		return nil, err
	}
	body := message.File{Ref: sealed.Ref(kind), Name: fileName(path), Text: text}
	office, err := a.present()
	if err != nil {
		return nil, err
	}
	c, err := a.post.Own(ctx, office)
	if err != nil {
		return nil, fmt.Errorf("a file needs your concierge: %w", err)
	}
	if _, err := c.Upload(ctx, concierge.Upload{ID: sealed.ID(), Size: sealed.Size()}, sealed); err != nil {
		return nil, fmt.Errorf("leave the file at the concierge: %w", err)
	}
	return body, a.store.Update(func(tx *store.Tx) error { return tx.SetFile(body.Ref.Root, store.Here, absolute(path)) })
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// typeOf returns the media type of a file by what it begins with.
func typeOf(f io.ReaderAt) (string, error) {
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	kind, _, err := mime.ParseMediaType(http.DetectContentType(head[:n]))
	if err != nil {
		return "application/octet-stream", nil
	}
	return kind, nil
}

// fileName returns a name that a message may carry.
func fileName(path string) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r < ' ' {
			return -1
		}
		return r
	}, filepath.Base(path))
	name = strings.TrimLeft(name, ".- ") // no folder, nothing hidden, no option
	for len(name) > message.MaxFileName {
		name = name[:len(name)-1]
	}
	if name == "" || message.CheckLine(name, message.MaxFileName) != nil {
		return "file"
	}
	return name
}

// FetchFile fetches the file of a message and writes it to a path, or into the
// folder that the path is, under the name that its sender gave. Nothing that is
// there is overwritten. It returns where the file is.
func (a *Agent) FetchFile(ctx context.Context, id message.ID, to string) (string, error) {
	var m store.Message
	err := a.store.View(func(tx *store.Tx) (err error) {
		m, err = tx.Message(id)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("fetch file: %w", err)
	}
	body, ok := m.Event.Body.(message.File)
	if !ok {
		return "", wire.Errorf(wire.Invalid, "fetch file: the message has none")
	}
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		to = filepath.Join(to, fileName(body.Name))
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", wire.Errorf(wire.Exists, "fetch file: %w", err)
	}
	err = a.copyFile(ctx, out, m.Event.Author, body.Ref)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(to)
		return "", fmt.Errorf("fetch file: %w", err)
	}
	return to, a.store.Update(func(tx *store.Tx) error { return tx.SetFile(body.Ref.Root, store.Here, absolute(to)) })
}

// copyFile fetches a file from its author's concierge and opens it.
func (a *Agent) copyFile(ctx context.Context, to io.Writer, author message.Author, ref message.Ref) error {
	l, err := a.roster.ask(ctx, author.Account, listedAge)
	if err != nil {
		return err
	}
	size, err := media.SealedSize(ref.Size)
	if err != nil {
		return err
	}
	return a.post.Visit(ctx, l.party(), func(ctx context.Context, c *concierge.Client) error {
		m := c.Media()
		leaves, err := m.Leaves(ctx, ref.Root, size)
		if err != nil {
			return err
		}
		file, err := media.Open(ref, leaves)
		if err != nil {
			return err
		}
		body, err := m.Read(ctx, ref.Root, 0)
		if err != nil {
			return err
		}
		defer body.Close()
		w := bufio.NewWriterSize(to, 1<<16)
		if err := file.Copy(w, body); err != nil {
			return err
		}
		return w.Flush()
	})
}
