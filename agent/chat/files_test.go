package chat

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
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
