package chat

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/stream/chunk"
)

// shows makes a person's entry name a profile and a picture, either of which may be
// missing, at a concierge.
func (p *person) shows(at *house, name string, picture []byte) {
	p.w.Helper()
	r := fakechain.ServedBy(at.actor)
	if name != "" {
		r.Profile = p.keeps(agent.Profile{Version: 1, Name: name, About: "likes tea"}.Encode())
	}
	if picture != nil {
		r.Avatar = p.keeps(picture)
	}
	p.w.must(p.w.block(p.w.Sign(p.actor, namesvc.OpRecords, *r)))
	p.w.cutting.Lock()
	defer p.w.cutting.Unlock()
	p.w.Chain.Skip(130) // what others know of it is too old now
}

func (p *person) keeps(doc []byte) []byte {
	p.w.Helper()
	id, err := agent.DocumentID(doc)
	p.w.must(err)
	p.w.must(os.WriteFile(filepath.Join(p.documents, id.String()), doc, 0o600))
	return id[:]
}

func (d *device) seesProfile(of *device, name string, picture []byte) bool {
	c, err := d.Contact(d.p.w.Context(), "@"+of.p.name)
	var b bytes.Buffer
	d.Avatar(d.p.w.Context(), "@"+of.p.name, &b)
	return err == nil && c.Shown == name && c.Avatar == (picture != nil) && bytes.Equal(b.Bytes(), picture)
}

func TestProfile_IsLeftAtTheConciergeAndShownToContacts(t *testing.T) {
	w := newWorld(t)
	p := w.person("alice", w.harbor)
	p.documents = t.TempDir()
	small, large := []byte("a picture"), bytes.Repeat([]byte{1, 2, 3, 4}, agent.MaxAvatar/4)
	p.shows(w.harbor, "Alice A.", large)
	alice, bob := p.device(), w.person("bob", w.lagoon).device()
	w.friends(alice, bob)
	w.until("bob sees her", func() bool { return bob.seesProfile(alice, "Alice A.", large) })
	p.shows(w.harbor, "Alice B.", small)
	w.until("bob sees the new one", func() bool { return bob.seesProfile(alice, "Alice B.", small) })
	p.shows(w.lagoon, "Alice B.", small)
	carol := w.person("carol", w.harbor).device()
	w.friends(carol, alice)
	w.until("the new concierge gives it out", func() bool { return carol.seesProfile(alice, "Alice B.", small) })
	p.shows(w.lagoon, "", nil)
	w.until("it is taken back", func() bool { return bob.seesProfile(alice, "", nil) })
	w.must(bob.RemoveContact(t.Context(), "@alice"))
	if s, err := bob.shownOf(alice.o.Account); err != nil || s.Profile != nil {
		t.Errorf("%+v, %v", s, err)
	}
	// One that was under way when its owner was removed leaves nothing behind.
	p.shows(w.lagoon, "Alice C.", small)
	_, err := bob.roster.ask(t.Context(), alice.o.Account, 0)
	w.must(err)
	w.until("it is given out", func() bool { return bob.learn(t.Context(), alice.party()) == nil })
	if s, err := bob.shownOf(alice.o.Account); err != nil || s.Profile != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

// A document that another device replaces is not kept for ever.
func TestProfile_ThatAnotherDeviceReplacedIsLetGo(t *testing.T) {
	w := newWorld(t)
	p := w.person("alice", w.harbor)
	p.documents = t.TempDir()
	p.shows(w.harbor, "Alice A.", nil)
	alice := p.device()
	pins := func() (n int) {
		office, err := alice.present()
		if err != nil {
			return -1
		}
		w.must(alice.post.Ask(w.Context(), office, func(ctx context.Context, c *concierge.Client) error {
			list, err := c.Pins(ctx)
			n = len(list.List)
			return err
		}))
		return n
	}
	w.until("it is at the concierge", func() bool { return pins() == 1 })
	here := p.documents
	p.documents = t.TempDir() // of the other device
	p.shows(w.harbor, "Alice B.", nil)
	p.documents = here
	w.until("the old one is let go of", func() bool { return pins() == 0 })
}

// Whoever keeps a profile cannot show another one.
func TestProfile_IsTheOneThatTheEntryNames(t *testing.T) {
	w := newWorld(t)
	p := w.person("alice", w.harbor)
	p.documents = t.TempDir()
	p.shows(w.harbor, "Alice A.", []byte("her picture"))
	alice := p.device()
	entry, _ := w.Entry(p.actor.ID)
	id := chunk.ID(entry.Records.Avatar)
	stored := ""
	w.until("it is at the concierge", func() bool {
		filepath.WalkDir(w.harbor.dir, func(path string, _ fs.DirEntry, err error) error {
			if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("her picture")) && !strings.Contains(path, "incoming") {
				stored = path
			}
			return nil
		})
		return stored != ""
	})
	bob := w.person("bob", w.lagoon).device()
	if b, err := bob.document(t.Context(), alice.party(), id[:], agent.MaxAvatar); err != nil || string(b) != "her picture" {
		t.Fatalf("%q, %v", b, err)
	}
	b, err := os.ReadFile(stored)
	w.must(err)
	w.must(os.WriteFile(stored, bytes.Replace(b, []byte("her"), []byte("his"), 1), 0o600))
	if b, err := bob.document(t.Context(), alice.party(), id[:], agent.MaxAvatar); err == nil {
		t.Errorf("%q was taken", b)
	}
	if b, err := bob.document(t.Context(), alice.party(), id[:], 5); err == nil {
		t.Errorf("%q was taken, which is larger than allowed", b)
	}
}
