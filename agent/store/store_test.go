package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

var testKey = [KeySize]byte{7, 7}

func fill(b byte) [32]byte { return [32]byte(bytes.Repeat([]byte{b}, 32)) }

func alice() namesvc.AccountID { return fill(0xa1) }
func bob() namesvc.AccountID   { return fill(0xb0) }
func mine(device byte) message.Author {
	return message.Author{Account: alice(), Device: key.Public(fill(device))}
}
func bobs(device byte) message.Author {
	return message.Author{Account: bob(), Device: key.Public(fill(device))}
}
func mid(n uint64) stream.MessageID { return stream.MessageID{byte(n >> 8), byte(n), 1} }

func bobContact() Contact {
	return Contact{Party: message.Party{Account: bob(), Generation: 2}, State: Accepted, Handle: "@bob", Added: 5, Data: []byte{1}}
}

func withBob() Conversation {
	p := bobContact().Party
	return Conversation{ID: message.Direct(message.Party{Account: alice(), Generation: 1}, p), With: p, Title: "Bob", Added: 6}
}

// writer makes events of several authors in the conversation with Bob.
type writer struct {
	t      testing.TB
	chains map[message.Author]*message.Chain
	clock  uint64
}

func newWriter(t testing.TB) *writer {
	return &writer{t, map[message.Author]*message.Chain{}, 0}
}

func (w *writer) event(a message.Author, body message.Body) message.Event {
	w.t.Helper()
	c := w.chains[a]
	if c == nil {
		c = new(message.Chain)
		w.chains[a] = c
	}
	p, err := c.Next(w.clock)
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := message.New(withBob().ID, a, p, time.UnixMilli(int64(1000*p.Clock)), body)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := c.Accept(e.Link()); err != nil {
		w.t.Fatal(err)
	}
	w.clock = max(w.clock, e.Clock)
	return e
}

func (w *writer) text(a message.Author, s string) message.Event {
	return w.event(a, message.Text{Text: s})
}

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, testKey, alice())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fresh returns an empty store with the conversation with Bob.
func fresh(t testing.TB) *Store {
	t.Helper()
	s := openAt(t, filepath.Join(t.TempDir(), "db"))
	update(t, s, func(tx *Tx) error { return errors.Join(tx.AddContact(bobContact()), tx.AddConversation(withBob())) })
	return s
}

func update(t testing.TB, s *Store, f func(*Tx) error) {
	t.Helper()
	if err := s.Update(f); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, s *Store, f func(*Tx) error) {
	t.Helper()
	if err := s.View(f); err != nil {
		t.Fatal(err)
	}
}

func add(t testing.TB, s *Store, events ...message.Event) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		for _, e := range events {
			if _, err := tx.AddEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func wantCode(t *testing.T, err error, want wire.Code) {
	t.Helper()
	if wire.CodeOf(err) != want {
		t.Errorf("the error is %v (%v), want one of kind %v", err, wire.CodeOf(err), want)
	}
}

func TestOpen_RefusesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a folder", "data base?x=1#.db")
	s := openAt(t, path)
	update(t, s, func(tx *Tx) error { return tx.Put("a", []byte("value")) })
	_, err := Open(path, testKey, alice())
	wantCode(t, err, wire.Unavailable)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.Update(func(*Tx) error { return nil }), wire.Unavailable)
	other := testKey
	other[31] ^= 1
	_, err = Open(path, other, alice())
	wantCode(t, err, wire.Unauthorized)
	if text := fmt.Sprint(err); strings.Contains(text, "0707") {
		t.Errorf("the error shows the key: %s", text)
	}
	_, err = Open(path, testKey, bob())
	wantCode(t, err, wire.Conflict)
	s = openAt(t, path)
	view(t, s, func(tx *Tx) error {
		b, err := tx.Get("a")
		if string(b) != "value" {
			t.Errorf("read %q", b)
		}
		return err
	})
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the folder is open to others: %v", info.Mode())
	}
}

func TestOpen_RefusesFilesThatAreNoDatabaseOfOurs(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("a text file\n"), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(text, testKey, alice())
	wantCode(t, err, wire.Unauthorized)
	// Of our key, but of another program.
	foreign := filepath.Join(dir, "foreign")
	s, err := open(foreign, "adiantum", testKey, alice(), nil)
	if s != nil || err == nil {
		t.Error("a database without tables is one")
	}
	raw := &Store{path: foreign, vfs: "adiantum", key: testKey}
	if err := raw.connect(); err != nil {
		t.Fatal(err)
	}
	if err := raw.conn.Exec("CREATE TABLE theirs (x)"); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	_, err = Open(foreign, testKey, alice())
	wantCode(t, err, wire.Invalid)
}

func TestOpen_BringsOldVersionsUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openAt(t, path)
	update(t, s, func(tx *Tx) error { return tx.Put("a", []byte("kept")) })
	s.Close()
	steps := append(migrations(), "CREATE TABLE later (x INTEGER) STRICT; INSERT INTO later VALUES (1)", "INSERT INTO later VALUES (2)")
	// A step that fails leaves the version before it.
	broken := append(migrations(), "CREATE TABLE later (x INTEGER) STRICT", "INSERT INTO nowhere VALUES (1)")
	if _, err := open(path, "adiantum", testKey, alice(), broken); err == nil {
		t.Fatal("a broken step was taken")
	}
	steps[1] = "INSERT INTO later VALUES (1)" // never runs: that version is there
	later, err := open(path, "adiantum", testKey, alice(), steps)
	if err != nil {
		t.Fatal(err)
	}
	view(t, later, func(tx *Tx) error {
		n, err := tx.count("SELECT sum(x) FROM later")
		b, err2 := tx.Get("a")
		if n != 2 || string(b) != "kept" {
			t.Errorf("%d, %q", n, b)
		}
		return errors.Join(err, err2)
	})
	later.Close()
	_, err = Open(path, testKey, alice())
	wantCode(t, err, wire.Unavailable)
	if !strings.Contains(fmt.Sprint(err), "newer confab") {
		t.Errorf("got %v", err)
	}
}

func TestUpdate_IsAllOrNothing(t *testing.T) {
	s := fresh(t)
	refusal := errors.New("refused")
	err := s.Update(func(tx *Tx) error { return errors.Join(tx.Put("a", []byte("x")), refusal) })
	if !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		s.Update(func(tx *Tx) error { tx.Put("a", []byte("x")); panic("x") })
	}()
	// An error of the database that f overlooks is not overlooked.
	err = s.Update(func(tx *Tx) error {
		tx.Put("a", []byte("x"))
		tx.exec("INSERT INTO nowhere VALUES (1)")
		return nil
	})
	if err == nil {
		t.Error("a failed statement was committed around")
	}
	wantCode(t, s.View(func(tx *Tx) error { return tx.Put("a", []byte("x")) }), wire.Invalid)
	var leaked *Tx
	view(t, s, func(tx *Tx) error {
		leaked = tx
		_, err := tx.Get("a")
		wantCode(t, err, wire.NotFound)
		return nil
	})
	if _, err := leaked.Get("a"); !errors.Is(err, errOver) {
		t.Errorf("a transaction that is over answers %v", err)
	}
	if _, err := leaked.Standing(withBob().ID); !errors.Is(err, errOver) {
		t.Errorf("a transaction that is over answers %v", err)
	}
}

func TestSetGeneration_OnlyRises(t *testing.T) {
	s := fresh(t)
	update(t, s, func(tx *Tx) error { return tx.SetGeneration(5) })
	wantCode(t, s.Update(func(tx *Tx) error { return tx.SetGeneration(4) }), wire.Conflict)
	wantCode(t, s.Update(func(tx *Tx) error { return tx.SetGeneration(1 << 63) }), wire.Invalid)
	if g, err := s.Generation(); err != nil || g != 5 {
		t.Errorf("%d, %v", g, err)
	}
}

// TestStore_ShowsNothingInItsFiles looks for what was written in the files, also
// while the journal is there.
func TestStore_ShowsNothingInItsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openAt(t, path)
	w := newWriter(t)
	e := w.text(bobs(1), "an unmistakable sentence")
	update(t, s, func(tx *Tx) error {
		_, err := errors.Join(tx.AddContact(bobContact()), tx.AddConversation(withBob())), error(nil)
		if err == nil {
			_, err = tx.AddEvent(e)
		}
		return err
	})
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) < 2 {
		t.Fatalf("%d files, want the journal too: %v", len(entries), err)
	}
	account := bob()
	for _, f := range entries {
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", f.Name(), info.Mode())
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range [][]byte{[]byte("unmistakable"), []byte("@bob"), account[:], testKey[:], []byte("SQLite format")} {
			if bytes.Contains(b, secret) {
				t.Errorf("%s contains %q", f.Name(), secret)
			}
		}
	}
}

// TestUpdate_SurvivesACrashAtEveryStep switches the machine off at the writes,
// syncs, cuts and removals that SQLite makes in the tale: at each of them with
// CONFAB_LONG=1, else at every seventh, and others with each seed.
func TestUpdate_SurvivesACrashAtEveryStep(t *testing.T) {
	stride := 7
	if os.Getenv("CONFAB_LONG") != "" {
		stride = 1
	}
	image := migrated(t)
	for _, from := range []map[string][]byte{image, nil} { // nil: while it is made, too
		crashes := 0
		for seed := range uint64(3) {
			for step := 1 + int(seed)%stride; ; step += stride {
				if crashOnce(t, from, seed, step) {
					break
				}
				crashes++
			}
		}
		if crashes < 25 {
			t.Errorf("only %d crashes", crashes)
		}
		stride *= 2
	}
}

// migrated returns the files of an empty database.
func migrated(t *testing.T) map[string][]byte {
	t.Helper()
	m, name := newMachine(t, 0)
	s, err := open("/db", name, testKey, alice(), migrations())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	image := map[string][]byte{}
	for name, f := range m.files {
		image[name] = f.now
	}
	return image
}

// crashOnce tells the tale with a crash at a step and reports whether it ended
// before that.
func crashOnce(t *testing.T, image map[string][]byte, seed uint64, step int) (finished bool) {
	t.Helper()
	m, name := newMachine(t, seed<<32|uint64(step))
	defer vfs.Unregister(name)
	for file, b := range image {
		m.files[file] = &content{now: bytes.Clone(b), durable: bytes.Clone(b)}
	}
	m.kill, m.crashAt = seed == 0, step
	const path = "/db"
	deeds := tale(t)
	acknowledged := 0
	s, err := open(path, name, testKey, alice(), migrations())
	for i := 0; err == nil && i < len(deeds); i++ {
		if err = s.Update(deeds[i].do); err == nil {
			acknowledged++
		}
	}
	if s != nil {
		if err2 := s.Close(); err == nil {
			err = err2
		}
	}
	if !m.off {
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		return true
	}
	m.restart()
	if s, err = open(path, name, testKey, alice(), migrations()); err != nil {
		t.Fatalf("seed %d, step %d: open after the crash: %v", seed, step, err)
	}
	defer s.Close()
	done, err := counted(s, deeds)
	if err != nil || done < acknowledged || done > acknowledged+1 {
		t.Fatalf("seed %d, step %d: %d were acknowledged, %d are there: %v", seed, step, acknowledged, done, err)
	}
	if err := s.Check(context.Background()); err != nil {
		t.Fatalf("seed %d, step %d: %v", seed, step, err)
	}
	for _, d := range deeds[done:] {
		if err := s.Update(d.do); err != nil {
			t.Fatalf("seed %d, step %d: go on after the crash: %v", seed, step, err)
		}
	}
	return false
}

// TestUpdate_FullDiskLosesNothing lets the disk be full from a step on, and then
// makes room.
func TestUpdate_FullDiskLosesNothing(t *testing.T) {
	refused := 0
	for step := 3; ; step += 9 {
		m, name := newMachine(t, uint64(step))
		const path = "/db"
		deeds := tale(t)
		s, err := open(path, name, testKey, alice(), migrations())
		if err != nil {
			t.Fatal(err)
		}
		m.steps, m.full = 0, step
		acknowledged := 0
		for acknowledged < len(deeds) {
			if err = s.Update(deeds[acknowledged].do); err != nil {
				break
			}
			acknowledged++
		}
		wasFull := err != nil
		if wasFull {
			refused++
			if wire.CodeOf(err) != wire.Exhausted || !strings.Contains(err.Error(), "disk is full") {
				t.Errorf("step %d: %v", step, err)
			}
			m.full = 0
			done, err := counted(s, deeds)
			if err != nil || done < acknowledged || done > acknowledged+1 {
				t.Fatalf("step %d: %d were acknowledged, %d are there: %v", step, acknowledged, done, err)
			}
			for _, d := range deeds[done:] {
				if err := s.Update(d.do); err != nil {
					t.Fatalf("step %d: with space again: %v", step, err)
				}
			}
		}
		m.full = 0
		if done, err := counted(s, deeds); err != nil || done != len(deeds) {
			t.Fatalf("step %d: %d deeds: %v", step, done, err)
		}
		if err := errors.Join(s.Check(context.Background()), s.Close()); err != nil {
			t.Fatal(err)
		}
		if !wasFull {
			break
		}
	}
	if refused < 3 {
		t.Errorf("the disk was full only %d times", refused)
	}
}

// TestUpdate_LearnsWhetherAFailedCommitCounts fails each single sync or write once
// and goes on with the same store. What the store then says is there must be there
// also if the process or the machine dies at that moment.
func TestUpdate_LearnsWhetherAFailedCommitCounts(t *testing.T) {
	for step := 1; step < 40; step += 2 {
		m, name := newMachine(t, uint64(step))
		deeds := tale(t)
		s, err := open("/db", name, testKey, alice(), migrations())
		if err != nil {
			t.Fatal(err)
		}
		m.steps, m.crashAt = 0, step
		done := 0
		for done < len(deeds) {
			err := s.Update(deeds[done].do)
			m.mu.Lock()
			m.off = false // the fault was a passing one
			m.mu.Unlock()
			if err == nil {
				done++
				continue
			}
			if done, err = counted(s, deeds); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			for _, kill := range []bool{true, false} {
				if n := afterDeath(t, m, kill, deeds); n != done {
					t.Fatalf("step %d: it says that %d are there; after its death %d are", step, done, n)
				}
			}
		}
		if n, err := counted(s, deeds); err != nil || n != len(deeds) {
			t.Fatalf("step %d: %d, %v", step, n, err)
		}
		s.Close()
	}
}

// afterDeath returns how many deeds a copy of the machine has once its process was
// killed, or its power cut: then only what was synced is there.
func afterDeath(t *testing.T, m *machine, kill bool, deeds []deed) int {
	t.Helper()
	twin, name := newMachine(t, 1)
	m.mu.Lock()
	for file, c := range m.files {
		b := bytes.Clone(c.durable)
		if kill {
			b = bytes.Clone(c.now)
		}
		twin.files[file] = &content{now: b, durable: bytes.Clone(b)}
	}
	m.mu.Unlock()
	s, err := open("/db", name, testKey, alice(), migrations())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, err := counted(s, deeds)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOpen_SecondProcessIsRefused uses a real second process, also after a backup,
// which opens and closes the database's file once more.
func TestOpen_SecondProcessIsRefused(t *testing.T) {
	if path := os.Getenv("STORE_TEST_OPEN"); path != "" {
		_, err := Open(path, testKey, alice())
		fmt.Printf("code=%v\n", wire.CodeOf(err))
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	s := openAt(t, path)
	if err := s.Backup(context.Background(), filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestOpen_SecondProcessIsRefused$", "-test.v")
	cmd.Env = append(os.Environ(), "STORE_TEST_OPEN="+path)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("code=unavailable")) {
		t.Errorf("the second process says %s (%v)", out, err)
	}
}

func TestBackup_OpensLikeTheDatabase(t *testing.T) {
	s := fresh(t)
	w := newWriter(t)
	e := w.text(bobs(1), "before")
	add(t, s, e)
	copyPath := filepath.Join(t.TempDir(), "copy")
	if err := s.Backup(context.Background(), copyPath); err != nil {
		t.Fatal(err)
	}
	add(t, s, w.text(bobs(1), "after"))
	if err := s.Backup(context.Background(), copyPath); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Backup(ended, copyPath); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantCode(t, s.Backup(context.Background(), s.path), wire.Invalid)
	if _, err := os.Stat(copyPath + ".unfinished"); !isNotExist(err) {
		t.Errorf("a draft stays: %v", err)
	}
	c := openAt(t, copyPath)
	if err := c.Check(context.Background()); err != nil {
		t.Error(err)
	}
	view(t, c, func(tx *Tx) error {
		list, err := tx.Messages(withBob().ID, "", 10)
		if len(list) != 2 || list[0].ID != e.ID() {
			t.Errorf("%d messages", len(list))
		}
		return err
	})
}
