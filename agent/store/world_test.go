package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/ncruces/go-sqlite3/vfs/adiantum"
)

// machine is a file system in memory whose power can fail at any step. What was
// synced stays; of what was not, some sectors stay.
type machine struct {
	mu      sync.Mutex
	files   map[string]*content
	rng     *mathrand.Rand
	kill    bool // the process dies and the machine does not: nothing is lost
	steps   int
	crashAt int // the step that fails and all after it; 0 for none
	full    int // from this step on no space is left; 0 for none
	off     bool
}

// content is a file's, as programs see it and as the medium has it.
type content struct {
	now, durable []byte
	lock         vfs.LockLevel
}

func newMachine(t testing.TB, seed uint64) (*machine, string) {
	m := &machine{files: map[string]*content{}, rng: mathrand.New(mathrand.NewPCG(seed, 9))}
	name := "machine-" + rand.Text()
	vfs.Register(name, adiantum.Wrap(m, nil))
	t.Cleanup(func() { vfs.Unregister(name) })
	return m, name
}

// step counts a step that changes something.
func (m *machine) step(grows bool) error {
	if m.off {
		return sqlite3.IOERR
	}
	m.steps++
	if m.steps == m.crashAt {
		m.off = true
		return sqlite3.IOERR
	}
	if grows && m.full > 0 && m.steps >= m.full {
		return sqlite3.FULL
	}
	return nil
}

// restart switches the machine on again after a crash.
func (m *machine) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.files {
		f.lock = vfs.LOCK_NONE
		if m.kill {
			continue
		}
		size := len(f.durable)
		if m.rng.IntN(2) == 0 {
			size = len(f.now)
		}
		after := make([]byte, size)
		copy(after, f.durable)
		for i := 0; i < size; i += 512 {
			if m.rng.IntN(2) == 0 && i < len(f.now) {
				copy(after[i:min(i+512, size)], f.now[i:])
			}
		}
		f.now, f.durable = after, slices.Clone(after)
	}
	m.off, m.steps, m.crashAt, m.full = false, 0, 0, 0
}

func (m *machine) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[name]
	if f == nil {
		if flags&vfs.OPEN_CREATE == 0 {
			return nil, flags, sqlite3.CANTOPEN
		}
		if err := m.step(true); err != nil {
			return nil, flags, err
		}
		f = new(content)
		m.files[name] = f
	}
	return &handle{m: m, f: f}, flags, nil
}

func (m *machine) Delete(name string, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return sqlite3.IOERR_DELETE_NOENT
	}
	if err := m.step(false); err != nil {
		return err
	}
	delete(m.files, name)
	return nil
}

func (m *machine) Access(name string, _ vfs.AccessFlag) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[name] != nil, nil
}

func (m *machine) FullPathname(name string) (string, error) { return name, nil }

// handle is an open file.
type handle struct {
	m    *machine
	f    *content
	lock vfs.LockLevel
}

func (h *handle) Close() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.lock != vfs.LOCK_NONE {
		h.f.lock = vfs.LOCK_NONE
	}
	return nil
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.off {
		return 0, sqlite3.IOERR_READ
	}
	if off >= int64(len(h.f.now)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.now[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	end := int(off) + len(b)
	if err := h.m.step(end > len(h.f.now)); err != nil {
		return 0, err
	}
	if end > len(h.f.now) {
		h.f.now = append(h.f.now, make([]byte, end-len(h.f.now))...)
	}
	return copy(h.f.now[off:], b), nil
}

func (h *handle) Truncate(size int64) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.step(false); err != nil {
		return err
	}
	if size < int64(len(h.f.now)) {
		h.f.now = h.f.now[:size]
	}
	return nil
}

func (h *handle) Sync(vfs.SyncFlag) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.step(false); err != nil {
		return err
	}
	h.f.durable = slices.Clone(h.f.now)
	return nil
}

func (h *handle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return int64(len(h.f.now)), nil
}

func (h *handle) Lock(l vfs.LockLevel) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.f.lock > h.lock {
		return sqlite3.BUSY
	}
	h.lock, h.f.lock = l, l
	return nil
}

func (h *handle) Unlock(l vfs.LockLevel) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.lock, h.f.lock = l, l
	return nil
}

func (h *handle) CheckReservedLock() (bool, error) { return h.f.lock >= vfs.LOCK_RESERVED, nil }
func (h *handle) SectorSize() int                  { return 4096 }
func (h *handle) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_SUBPAGE_READ
}

// deed is one transaction of a tale, with what must be there if it is.
type deed struct {
	do    func(*Tx) error
	there func(*Tx) error
}

// tale is a row of transactions such as an agent makes: each receives a message,
// moves the cursor, answers and forgets what was sent before.
func tale(t testing.TB) []deed {
	w := newWriter(t)
	list := []deed{{
		do:    func(tx *Tx) error { return errors.Join(tx.AddContact(bobContact()), tx.AddConversation(withBob())) },
		there: func(tx *Tx) error { _, err := tx.Contact(bobContact().Party.Account); return err },
	}}
	for i := range uint64(5) {
		e := w.text(bobs(1), fmt.Sprintf("message %d %s", i, string(slices.Repeat([]byte("long "), int(i)*300))))
		it := Item{ID: mid(i), Destination: fmt.Sprint("queue ", i%2), Body: []byte{1}, About: e.ID()}
		list = append(list, deed{
			do: func(tx *Tx) error {
				fresh, err := tx.Receive("inbox", i+1, mid(100+i), i)
				if err != nil || !fresh {
					return errors.Join(err, fmt.Errorf("fresh is %t", fresh))
				}
				if _, err := tx.AddEvent(e); err != nil {
					return err
				}
				if i >= 3 {
					if err := tx.Sent(mid(i - 3)); err != nil {
						return err
					}
				}
				return errors.Join(tx.Enqueue(it), tx.SetGeneration(i+1))
			},
			there: func(tx *Tx) error {
				m, err := tx.Message(e.ID())
				if err != nil {
					return err
				}
				if at, err := tx.Cursor("inbox"); err != nil || at < i+1 || m.Text == "" {
					return fmt.Errorf("the cursor is at %d (%v)", at, err)
				}
				return nil
			},
		})
	}
	return list
}

// atMost checks that nothing is there of what was never committed, given how many
// deeds were.
func atMost(tx *Tx, done int) error {
	var g, at, waits int64
	for _, q := range []struct {
		sql string
		to  *int64
	}{{"SELECT generation FROM state", &g}, {"SELECT coalesce(max(seq), 0) FROM inboxes", &at}, {"SELECT count(*) FROM outbox", &waits}} {
		n, err := tx.count(q.sql)
		if err != nil {
			return err
		}
		*q.to = n
	}
	want := int64(max(done-1, 0))
	if g != want || at != want || waits != min(want, 3) {
		return fmt.Errorf("generation %d, cursor %d, %d wait, after %d deeds", g, at, waits, done)
	}
	return nil
}

// counted returns how many deeds are there, and checks that each is whole.
func counted(s *Store, deeds []deed) (done int, err error) {
	err = s.View(func(tx *Tx) error {
		for _, d := range deeds {
			if d.there(tx) != nil {
				break
			}
			done++
		}
		for _, d := range deeds[done:] {
			if d.there(tx) == nil {
				return errors.New("a later deed is there without an earlier one")
			}
		}
		return atMost(tx, done)
	})
	return done, err
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
