package chat

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

func TestFiles_AreSentAndFetched(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	content := make([]byte, 200_000)
	rand.Read(content)
	path := filepath.Join(t.TempDir(), "picture.bin")
	w.must(os.WriteFile(path, content, 0o600))
	m, err := alice.Send(w.Context(), "@bob", Draft{File: path, Text: "look"})
	w.must(err)
	if m.File == nil || m.File.Name != "picture.bin" || m.File.Size != 200_000 {
		t.Fatalf("the message has the file %+v", m.File)
	}
	bob.reads(alice, "@alice: look")
	dir := t.TempDir()
	got, err := bob.FetchFile(w.Context(), m.ID, dir)
	w.must(err)
	have, err := os.ReadFile(got)
	w.must(err)
	if !bytes.Equal(have, content) || got != filepath.Join(dir, "picture.bin") {
		t.Errorf("%s has other content", got)
	}
	if _, err := bob.FetchFile(w.Context(), m.ID, dir); wire.CodeOf(err) != wire.Exists {
		t.Errorf("fetching over a file that is there gives %v", err)
	}
	if _, err := alice.Send(w.Context(), "@bob", Draft{File: filepath.Join(dir, "none")}); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("sending no file gives %v", err)
	}
}

// What a message says of its file is its author's word.
func TestFiles_ThatAreNotWhatIsSaidOfThemLeaveNothing(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice", w.harbor).device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	path := filepath.Join(t.TempDir(), "picture.bin")
	w.must(os.WriteFile(path, bytes.Repeat([]byte("picture "), 30_000), 0o600))
	m, err := bob.Send(w.Context(), "@alice", Draft{File: path})
	w.must(err)
	var good message.File
	w.must(bob.store.View(func(tx *store.Tx) error {
		e, err := tx.Event(m.ID)
		good = e.Body.(message.File)
		return err
	}))
	for name, c := range map[string]struct {
		lie  func(*message.Ref)
		want wire.Code
	}{
		"another size":        {func(r *message.Ref) { r.Size-- }, wire.Invalid},
		"a smaller file":      {func(r *message.Ref) { r.Size = 10 }, wire.Invalid},
		"a huge file":         {func(r *message.Ref) { r.Size = 1 << 31 }, wire.Unavailable},
		"one that none keeps": {func(r *message.Ref) { r.Size = 1 << 36 }, wire.Invalid},
		"an impossible size":  {func(r *message.Ref) { r.Size = 1 << 60 }, wire.Invalid},
		"another hash":        {func(r *message.Ref) { r.Root[0] ^= 1 }, wire.NotFound},
		"a key that is wrong": {func(r *message.Ref) { r.Key[0] ^= 1 }, wire.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			body := good
			c.lie(&body.Ref)
			id, err := bob.Agent.say(w.Context(), "@alice", body)
			if err != nil {
				if wire.CodeOf(err) != wire.Invalid {
					t.Errorf("saying it gives %v", err)
				}
				return // nobody gets to hear it
			}
			w.until("alice has the message", func() bool {
				_, err := alice.Message(w.Context(), id)
				return err == nil
			})
			dir := t.TempDir()
			_, err = alice.FetchFile(w.Context(), id, dir)
			t.Log(err)
			if wire.CodeOf(err) != c.want {
				t.Errorf("fetching it gives %v, want kind %v", err, c.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v is left (%v)", left, err)
			}
			if shown, err := alice.Message(w.Context(), id); err != nil || shown.File.State == "here" {
				t.Errorf("it is shown as %+v (%v)", shown.File, err)
			}
		})
	}
	// The one that is true can still be had.
	_, err = alice.FetchFile(w.Context(), m.ID, t.TempDir())
	w.must(err)
}
