package ratchet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
)

var testKey = [KeySize]byte{1, 2, 3}

func set(shelf, key, value string) Change {
	return Change{Shelf: []byte(shelf), Key: []byte(key), Value: []byte(value)}
}

func del(shelf, key string) Change { return Change{Shelf: []byte(shelf), Key: []byte(key)} }

// contents returns everything as "shelf/key=value", sorted.
func contents(t *testing.T, r *Ratchet) []string {
	t.Helper()
	var out []string
	for _, name := range r.Shelves() {
		all, err := r.All(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			out = append(out, fmt.Sprintf("%s/%s=%s", c.Shelf, c.Key, c.Value))
		}
	}
	return out
}

// tale is a row of writes, with what is there after each.
type tale struct {
	writes [][]Change
	after  [][]string // after[g]: contents at generation g
	gone   [][]string // gone[g]: values that must not be found at generation g
}

func newTale() tale {
	t := tale{writes: [][]Change{
		{set("alice", "k1", "secret-a1")},
		{set("alice", "k2", "secret-a2"), set("bob", "k1", "secret-b1")},
		{del("alice", "k1"), set("bob", "k1", "secret-b2")},
		{set("carol", "k", strings.Repeat("secret-long ", 500))},
		{del("bob", "k1")},
		{set("alice", "k2", "secret-a3"), del("carol", "k"), set("carol", "k", "secret-c2")},
		{set("bob", "k9", "secret-b3"), del("carol", "k"), set("alice", "k3", "")},
		{del("alice", "k2"), del("alice", "k3"), del("nobody", "x")},
	}}
	now, ever := map[string]string{}, map[string]bool{}
	t.after, t.gone = append(t.after, nil), append(t.gone, nil)
	for _, w := range t.writes {
		for _, c := range w {
			k := string(c.Shelf) + "/" + string(c.Key)
			if c.Value == nil {
				delete(now, k)
				continue
			}
			now[k] = string(c.Value)
			ever[string(c.Value)] = true
		}
		var list, gone []string
		for k, v := range now {
			list = append(list, k+"="+v)
		}
		slices.Sort(list)
		for v := range ever {
			if v != "" && !slices.Contains(slices.Collect(maps.Values(now)), v) {
				gone = append(gone, v)
			}
		}
		t.after, t.gone = append(t.after, list), append(t.gone, gone)
	}
	return t
}

// checkForgotten is what a thief finds at generation g.
func (tl tale) checkForgotten(t *testing.T, m *memory, rec *recorder, g uint64) {
	t.Helper()
	values, notes := steal(m.files, testKey, rec.gave)
	for _, n := range notes {
		t.Errorf("generation %d: %s", g, n)
	}
	for _, v := range values {
		if slices.Contains(tl.gone[g], v) {
			t.Errorf("generation %d: the thief finds %.20q, which was deleted", g, v)
		}
	}
	for _, line := range tl.after[g] {
		if _, v, _ := strings.Cut(line, "="); v != "" && !slices.Contains(values, v) {
			t.Errorf("generation %d: the thief does not find %.20q, so he is no good at it", g, v)
		}
	}
}

func TestWrite_ForgetsWhatItReplaces(t *testing.T) {
	m, rec := newMemory(1), newRecorder(1)
	b := &book{m: m}
	r, err := openIn(m, testKey, b, rec)
	if err != nil {
		t.Fatal(err)
	}
	tl := newTale()
	for i, w := range tl.writes {
		if err := r.Write(w, b.commit); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, r); !slices.Equal(got, tl.after[i+1]) {
			t.Fatalf("after write %d: %q, want %q", i+1, got, tl.after[i+1])
		}
		tl.checkForgotten(t, m, rec, uint64(i+1))
	}
	again, err := openIn(m, testKey, b, rec)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, again); !slices.Equal(got, tl.after[len(tl.writes)]) || again.Generation() != uint64(len(tl.writes)) {
		t.Errorf("read back: %q", got)
	}
	// Shelves that were emptied leave no file.
	if n := len(m.files); n != 3+2*len(again.Shelves()) {
		t.Errorf("%d files for %d shelves: %v", n, len(again.Shelves()), slices.Collect(maps.Keys(m.files)))
	}
}

// TestWrite_SurvivesACrashAtEveryStep switches the machine off at each step of
// the tale, and again at each step of what Open then does, with several ways for
// a write to be torn.
func TestWrite_SurvivesACrashAtEveryStep(t *testing.T) {
	tl := newTale()
	crashes := 0
	for seed := range uint64(4) {
		for step := 1; ; step++ {
			finished := crashOnce(t, tl, seed, step, int(seed)*step%7)
			if finished {
				break
			}
			crashes++
		}
	}
	if crashes < 4*50 {
		t.Errorf("only %d crashes", crashes)
	}
}

// crashOnce tells the tale with a crash at a step, and reports whether it ended
// before that. After the crash Open is cut off at its own step again, unless 0.
func crashOnce(t *testing.T, tl tale, seed uint64, step, again int) (finished bool) {
	t.Helper()
	m, rec := newMemory(seed<<32|uint64(step)), newRecorder(byte(step))
	m.crashAt = step
	b := &book{m: m}
	r, err := openIn(m, testKey, b, rec)
	for i := 0; err == nil && i < len(tl.writes); i++ {
		err = r.Write(tl.writes[i], b.commit)
	}
	if !m.off {
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		return true
	}
	if err == nil && m.steps < step {
		t.Fatalf("step %d: the crash went unnoticed", step)
	}
	m.restart()
	if again > 0 {
		m.crashAt = again
		openIn(m, testKey, b, rec)
		m.restart()
	}
	r, err = openIn(m, testKey, b, rec)
	if err != nil {
		t.Fatalf("seed %d, step %d: open after the crash: %v", seed, step, err)
	}
	g := b.generation
	if got := contents(t, r); !slices.Equal(got, tl.after[g]) || r.Generation() != g {
		t.Fatalf("seed %d, step %d: generation %d has %q, want %q", seed, step, g, got, tl.after[g])
	}
	tl.checkForgotten(t, m, rec, g)
	for i := int(g); i < len(tl.writes); i++ {
		if err := r.Write(tl.writes[i], b.commit); err != nil {
			t.Fatalf("seed %d, step %d: write %d after the crash: %v", seed, step, i+1, err)
		}
		tl.checkForgotten(t, m, rec, uint64(i+1))
	}
	return false
}

// TestWrite_FullDiskChangesNothing finds the disk full at each step.
func TestWrite_FullDiskChangesNothing(t *testing.T) {
	tl := newTale()
	full := 0
	for step := 1; ; step++ {
		m, rec := newMemory(uint64(step)), newRecorder(byte(step))
		b := &book{m: m}
		r, err := openIn(m, testKey, b, rec)
		if err != nil {
			t.Fatal(err)
		}
		m.steps, m.full = 0, step
		for i, w := range tl.writes {
			err := r.Write(w, b.commit)
			g := b.generation
			if got := contents(t, r); !slices.Equal(got, tl.after[g]) {
				t.Fatalf("step %d: %q, want %q", step, got, tl.after[g])
			}
			if err == nil {
				continue
			}
			full++
			switch {
			case errors.Is(err, ErrErase) && g == uint64(i+1): // done, and the next write erases
			case g == uint64(i):
				if wire.CodeOf(err) != wire.Exhausted && !errors.Is(err, ErrErase) {
					t.Errorf("step %d: %v", step, err)
				}
				if err := r.Write(w, b.commit); err != nil {
					t.Fatalf("step %d: with space again: %v", step, err)
				}
			default:
				t.Fatalf("step %d: %v at generation %d after write %d", step, err, g, i+1)
			}
		}
		done := m.steps < step
		m.full = 0
		// If it was the very last write whose keys stayed, Open is who erases them.
		if _, err := openIn(m, testKey, b, rec); err != nil {
			t.Fatal(err)
		}
		tl.checkForgotten(t, m, rec, b.generation)
		if done {
			break
		}
	}
	if full < 30 {
		t.Errorf("the disk was full only %d times", full)
	}
}

func TestWrite_FollowsTheDatabase(t *testing.T) {
	m, rec := newMemory(1), newRecorder(1)
	b := &book{m: m}
	r, err := openIn(m, testKey, b, rec)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write([]Change{set("a", "k", "one")}, b.commit); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("refused")
	b.refuse = refusal
	if err := r.Write([]Change{set("a", "k", "two")}, b.commit); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	b.refuse = nil
	if err := r.Write([]Change{set("a", "k", "two")}, func(uint64) error { return nil }); err == nil {
		t.Error("a transaction that records nothing is taken for one that does")
	}
	if v, err := r.Get([]byte("a"), []byte("k")); err != nil || string(v) != "one" || r.Generation() != 1 {
		t.Errorf("%q, %v", v, err)
	}
	if values, _ := steal(m.files, testKey, nil); slices.Contains(values, "two") {
		t.Error("what the database refused can still be found")
	}
	// The transaction counts although its commit says otherwise.
	err = r.Write([]Change{set("a", "k", "three")}, func(g uint64) error { b.generation = g; return errors.New("connection lost") })
	if err != nil {
		t.Errorf("a write that the database has is reported as %v", err)
	}
	// Nobody knows.
	b.unknown = errors.New("unknown")
	if err := r.Write([]Change{set("a", "k", "four")}, b.commit); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("got %v", err)
	}
	b.unknown = nil
	if _, err := r.Get([]byte("a"), []byte("k")); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("it goes on although nobody knows where it is: %v", err)
	}
	if r, err = openIn(m, testKey, b, rec); err != nil {
		t.Fatal(err)
	}
	if v, err := r.Get([]byte("a"), []byte("k")); err != nil || string(v) != "four" {
		t.Errorf("%q, %v", v, err)
	}
	// A commit that panics leaves the same.
	func() {
		defer func() { _ = recover() }()
		r.Write([]Change{set("a", "k", "five")}, func(uint64) error { panic("x") })
	}()
	if err := r.Write([]Change{set("a", "k", "six")}, b.commit); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("after a panic: %v", err)
	}
}

func TestOpen_NoticesOldCopies(t *testing.T) {
	m, rec := newMemory(1), newRecorder(1)
	b := &book{m: m}
	r, err := openIn(m, testKey, b, rec)
	if err != nil {
		t.Fatal(err)
	}
	var copies []map[string][]byte
	for i := range 5 {
		if err := r.Write([]Change{set("a", "k", fmt.Sprint(i))}, b.commit); err != nil {
			t.Fatal(err)
		}
		old := map[string][]byte{}
		for name, f := range m.files {
			old[name] = bytes.Clone(f)
		}
		copies = append(copies, old)
	}
	latest := m.files
	for i, old := range copies[:4] {
		m.files = old
		var o *OrderError
		if _, err := openIn(m, testKey, b, rec); !errors.As(err, &o) || o.Ahead() || o.Secrets != uint64(i+1) || o.Database != 5 {
			t.Errorf("copy %d: %v", i+1, err)
		}
	}
	m.files = latest
	for g := range uint64(5) {
		var o *OrderError
		if _, err := openIn(m, testKey, &book{m: m, generation: g}, rec); !errors.As(err, &o) || !o.Ahead() {
			t.Errorf("a database at %d: %v", g, err)
		}
	}
	if _, err := openIn(newMemory(1), testKey, b, rec); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := openIn(m, [KeySize]byte{9}, b, rec); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("another key: %v", err)
	}
	if r, err := openIn(m, testKey, b, rec); err != nil || r.Generation() != 5 {
		t.Errorf("after all those tries: %v", err)
	}
}

// TestOpen_NoticesDamage flips a bit of every byte of every file.
func TestOpen_NoticesDamage(t *testing.T) {
	m, rec := newMemory(1), newRecorder(1)
	b := &book{m: m}
	r, err := openIn(m, testKey, b, rec)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"one", "two"} {
		if err := r.Write([]Change{set("a", "k", v)}, b.commit); err != nil {
			t.Fatal(err)
		}
	}
	for name, good := range m.files {
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			m.files[name] = bad
			r, err := openIn(m, testKey, b, rec)
			if err == nil {
				v, err := r.Get([]byte("a"), []byte("k"))
				if err == nil && string(v) != "two" {
					t.Fatalf("%s, byte %d: it reads %q", name, i, v)
				}
			}
			m.files[name] = bytes.Clone(good)
		}
		delete(m.files, name)
		if r, err := openIn(m, testKey, b, rec); err == nil {
			if v, err := r.Get([]byte("a"), []byte("k")); err == nil && string(v) != "two" {
				t.Errorf("without %s it reads %q", name, v)
			}
		}
		m.files[name] = good
	}
}

func TestWrite_RefusesWhatIsTooLarge(t *testing.T) {
	m, rec := newMemory(1), newRecorder(1)
	b := &book{m: m}
	r, err := openIn(m, testKey, b, rec)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]Change, MaxValues+1)
	for i := range many {
		many[i] = set("a", fmt.Sprint(i), "x")
	}
	for name, w := range map[string][]Change{
		"nothing":     nil,
		"no shelf":    {set("", "k", "v")},
		"long shelf":  {set(strings.Repeat("x", MaxName+1), "k", "v")},
		"long key":    {set("a", strings.Repeat("x", MaxKey+1), "v")},
		"large value": {{Shelf: []byte("a"), Value: make([]byte, MaxShelf)}},
		"many values": many,
	} {
		if err := r.Write(w, b.commit); err == nil || errors.Is(err, ErrErase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r.Generation() != 0 || len(r.Shelves()) != 0 {
		t.Error("something was written")
	}
	if _, err := r.Get([]byte("a"), nil); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("got %v", err)
	}
}

// TestOpen_OnDisk is the same on a real folder, with what a file system adds.
func TestOpen_OnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	b := &book{m: newMemory(0)}
	r, err := Open(dir, testKey, b, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tl := newTale()
	for i, w := range tl.writes {
		if err := r.Write(w, b.commit); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
			if info, _ := e.Info(); info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s is open to others", e.Name())
			}
		}
		tl.checkForgotten(t, &memory{files: files}, newRecorder(0), uint64(i+1))
		if r, err = Open(dir, testKey, b, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if err := Discard(dir); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("after Discard there are %d files", len(entries))
	}
	if _, err := Open(dir, testKey, b, rand.Reader); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("after Discard: %v", err)
	}
	if _, err := Open(dir, testKey, &book{m: newMemory(0)}, rand.Reader); err != nil {
		t.Errorf("to begin anew: %v", err)
	}
}

func TestSecret_NeverPrints(t *testing.T) {
	k := secret(bytes.Repeat([]byte{0xf2}, 32))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{k, slot{Key: k}, row{Key: k}, &Ratchet{key: k}} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "f2f2") || strings.Contains(s, "242 242") || strings.Contains(s, "0xf2, 0xf2") {
				t.Errorf("%s shows a key: %s", verb, s)
			}
		}
	}
}

func FuzzOpenSlot(f *testing.F) {
	r := &Ratchet{key: testKey, rand: rand.Reader}
	good, err := r.sealSlot(0, slot{Generation: 3, Size: 9})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(make([]byte, slotSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := r.openSlot(0, b); ok && s.Generation != 3 {
			t.Errorf("a forged slot %+v", s)
		}
	})
}

// BenchmarkWrite is one write of one conversation of 10 kB among others. The
// figures beside the time say how many bytes that was.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 5000} {
		b.Run(fmt.Sprint(n, "-conversations"), func(b *testing.B) {
			bk := &book{m: newMemory(0)}
			r, err := Open(b.TempDir(), testKey, bk, rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 10<<10)
			var all []Change
			for i := range n {
				all = append(all, Change{Shelf: fmt.Appendf(nil, "%032d", i), Key: []byte("k"), Value: value})
			}
			if err := r.Write(all, bk.commit); err != nil {
				b.Fatal(err)
			}
			written := 0
			r.fs = counting{r.fs, &written}
			for i := 0; b.Loop(); i++ {
				if err := r.Write(all[i%n:i%n+1], bk.commit); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(written)/float64(b.N), "written-B/op")
		})
	}
}

// counting counts the bytes written.
type counting struct {
	folder
	n *int
}

func (c counting) write(name string, at int64, b []byte, cut bool) error {
	*c.n += len(b)
	return c.folder.write(name, at, b, cut)
}

func TestRestart_GoesOnBehindTheLedgersGeneration(t *testing.T) {
	dir, key, book := t.TempDir(), [KeySize]byte{1}, &countingLedger{generation: 7}
	if _, err := Open(dir, key, book, rand.Reader); wire.CodeOf(err) != wire.NotFound {
		t.Fatalf("secrets that are gone open with %v", err)
	}
	r, err := Restart(dir, key, book, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	put := []Change{{Shelf: []byte("s"), Key: []byte("k"), Value: []byte("v")}}
	if err := r.Write(put, book.take); err != nil {
		t.Fatal(err)
	}
	if book.generation != 8 {
		t.Fatalf("the first write has generation %d, want 8", book.generation)
	}
	r, err = Open(dir, key, book, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := r.Get([]byte("s"), []byte("k")); err != nil || string(v) != "v" {
		t.Fatalf("after Open: %q, %v", v, err)
	}
}

// countingLedger is a database that only knows its generation.
type countingLedger struct{ generation uint64 }

func (l *countingLedger) Generation() (uint64, error) { return l.generation, nil }
func (l *countingLedger) take(g uint64) error         { l.generation = g; return nil }
