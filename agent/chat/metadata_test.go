package chat

import (
	"bytes"
	"encoding/hex"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/namesvc/key"
)

// logged keeps what a concierge logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// contents returns everything that is on a concierge's disk and in its log.
func (h *house) contents() map[string][]byte {
	out := map[string][]byte{}
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = append(b, path...)
		return err
	})
	h.w.must(err)
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	out["log"] = bytes.Clone(h.log.b.Bytes())
	return out
}

// The table of THREATS: what a concierge's store and logs hold of a conversation.
func TestMetadata_AConciergeHoldsNoWordsNamesOrContacts(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice_in_chains", w.harbor).device(), w.person("bobby_tables", w.lagoon).device()
	alice.p.vault = key.Vault{9}
	w.friends(alice, bob)
	path := filepath.Join(t.TempDir(), "a-telling-file-name.txt")
	w.must(os.WriteFile(path, []byte(strings.Repeat("the content of the file ", 100)), 0o600))
	alice.say(bob, "the words of alice")
	bob.say(alice, "the words of bob")
	m, err := alice.Send(w.Context(), "@bobby_tables", Draft{File: path, Text: "look"})
	w.must(err)
	bob.reads(alice, "@alice_in_chains: the words of alice", "you: the words of bob", "@alice_in_chains: look")
	_, err = bob.FetchFile(w.Context(), m.ID, t.TempDir())
	w.must(err)
	w.must(alice.React(w.Context(), m.ID, "👍", true))
	// A message that waits is on disk too.
	bob.stop()
	alice.say(bob, "the words that wait")
	w.until("it is at the concierge", func() bool { s, err := alice.Self(w.Context()); return err == nil && s.Waiting == 0 })

	secret := map[string][]byte{
		"words":          []byte("the words of"),
		"waiting words":  []byte("the words that"),
		"a greeting":     []byte("hello, it is"),
		"file content":   []byte("the content of the file"),
		"a file name":    []byte("a-telling-file-name"),
		"alice's handle": []byte("alice_in_chains"),
		"bob's handle":   []byte("bobby_tables"),
		"a sign":         []byte("👍"),
		"a group id":     alice.rooms[alice.roomIDs()[0]].Group,
		"a conversation": idBytes(alice),
	}
	// Whom a concierge serves it knows; whom they talk to it does not.
	foreign := map[*house]*device{w.harbor: bob, w.lagoon: alice}
	w.harbor.stop()
	w.lagoon.stop()
	for h, other := range foreign {
		account, device := other.p.actor.ID, other.key.Public()
		needles := map[string][]byte{"the contact's account": account[:], "the contact's device": device[:]}
		for what, b := range secret {
			needles[what] = b
		}
		for file, content := range h.contents() {
			for what, b := range needles {
				if len(b) < 4 {
					t.Fatalf("%s is too short to look for", what)
				}
				if bytes.Contains(content, b) || bytes.Contains(content, []byte(hex.EncodeToString(b))) {
					t.Errorf("@%s has %s in %s", h.name, what, filepath.Base(file))
				}
			}
		}
	}
}

func idBytes(d *device) []byte {
	id := d.roomIDs()[0]
	return id[:]
}

// The test above finds what is there: an address in clear would show.
func TestMetadata_TheSearchFindsWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.harbor.log.Write([]byte("needle in the log"))
	if !bytes.Contains(w.harbor.contents()["log"], []byte("needle in the log")) {
		t.Error("the log is not searched")
	}
	w.must(os.WriteFile(filepath.Join(w.harbor.dir, "x"), []byte("needle on disk"), 0o600))
	found := false
	for _, b := range w.harbor.contents() {
		found = found || bytes.Contains(b, []byte("needle on disk"))
	}
	if !found {
		t.Error("the disk is not searched")
	}
	slog.New(slog.NewTextHandler(w.harbor.log, nil)).Info("done")
}
