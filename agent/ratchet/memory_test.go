package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"

	"github.com/confab-chat/confab/namesvc/wire"
)

// errCrash is what a memory folder says from the moment of its crash on.
var errCrash = errors.New("the machine is off")

// memory is a folder whose machine can be switched off at any step. What was
// synced stays; a write that is cut off leaves some of its sectors; names that
// were not synced may be there or not.
type memory struct {
	files   map[string][]byte // what is on the medium
	unnamed map[string]bool   // made, and the folder not synced since
	removed map[string][]byte // removed, and the folder not synced since

	steps   int // done since the last start
	crashAt int // the step that is cut off; 0 for none
	off     bool
	full    int // the step that finds the disk full; 0 for none
	rng     *rand.Rand
}

func newMemory(seed uint64) *memory {
	return &memory{files: map[string][]byte{}, unnamed: map[string]bool{}, removed: map[string][]byte{}, rng: rand.New(rand.NewPCG(seed, 3))}
}

// step counts one step and reports whether it is the one that is cut off.
func (m *memory) step() (cut bool, err error) {
	if m.off {
		return false, errCrash
	}
	m.steps++
	if m.steps == m.full {
		return false, &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	if m.steps == m.crashAt {
		m.off = true
		return true, errCrash
	}
	return false, nil
}

// restart switches the machine on again.
func (m *memory) restart() {
	for name := range m.unnamed {
		if m.rng.IntN(2) == 0 {
			delete(m.files, name)
		}
	}
	for name, b := range m.removed {
		if _, ok := m.files[name]; !ok && m.rng.IntN(2) == 0 {
			m.files[name] = b
		}
	}
	m.unnamed, m.removed = map[string]bool{}, map[string][]byte{}
	m.off, m.steps, m.crashAt, m.full = false, 0, 0, 0
}

func (m *memory) read(name string, limit int) ([]byte, error) {
	if m.off {
		return nil, errCrash
	}
	b, ok := m.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if len(b) > limit {
		return nil, errors.New("too large")
	}
	return bytes.Clone(b), nil
}

func (m *memory) write(name string, at int64, b []byte, truncate bool) error {
	cut, err := m.step()
	if err != nil && !cut {
		return err
	}
	old, had := m.files[name]
	end := int(at) + len(b)
	next := make([]byte, max(len(old), end))
	copy(next, old)
	for i := 0; i < len(b); i += 512 {
		if !cut || m.rng.IntN(2) == 0 {
			copy(next[int(at)+i:], b[i:min(i+512, len(b))])
		}
	}
	if truncate && (!cut || m.rng.IntN(2) == 0) {
		next = next[:end]
	}
	m.files[name] = next
	if !had {
		m.unnamed[name] = true
	}
	return err
}

func (m *memory) sync() error {
	cut, err := m.step()
	if err != nil && !cut {
		return err
	}
	if !cut {
		m.unnamed, m.removed = map[string]bool{}, map[string][]byte{}
	}
	return err
}

func (m *memory) remove(name string) error {
	cut, err := m.step()
	if err != nil && !cut {
		return err
	}
	if b, ok := m.files[name]; ok && !cut {
		m.removed[name] = b
		delete(m.files, name)
	}
	return err
}

func (m *memory) list() ([]string, error) {
	if m.off {
		return nil, errCrash
	}
	return slices.Collect(maps.Keys(m.files)), nil
}

// book is a database that only knows the generation. Its transactions can be cut
// off before or after they count.
type book struct {
	generation uint64
	m          *memory
	refuse     error
	unknown    error
}

func (b *book) Generation() (uint64, error) {
	if b.m != nil && b.m.off {
		return 0, errCrash
	}
	return b.generation, b.unknown
}

func (b *book) commit(g uint64) error {
	if _, err := b.m.step(); err != nil { // before it counts
		return err
	}
	if b.refuse != nil {
		return b.refuse
	}
	b.generation = g
	_, err := b.m.step() // after
	return err
}

// recorder is a source of randomness that remembers what it gave.
type recorder struct {
	rng  *rand.ChaCha8
	gave [][]byte
}

func newRecorder(seed byte) *recorder {
	return &recorder{rng: rand.NewChaCha8([32]byte{seed})}
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.rng.Read(b)
	r.gave = append(r.gave, bytes.Clone(b[:n]))
	return n, err
}

// found is a key that a thief has, with the size of what it opens, 0 if he does
// not know it.
type found struct {
	key  secret
	size uint32
}

// steal returns every value that a thief gets who has the medium and the caller's
// key: he tries every key that he finds on everything. Keys that he finds raw in a
// file count too.
func steal(files map[string][]byte, key secret, gave [][]byte) (values []string, notes []string) {
	r := &Ratchet{key: key}
	var keys []found
	root := append(bytes.Clone(files[rootFile]), make([]byte, 2*slotSize)...)
	for n := range 2 {
		if s, ok := r.openSlot(n, root[n*slotSize:(n+1)*slotSize]); ok {
			keys = append(keys, found{s.Key, s.Size})
		}
	}
	for _, k := range gave {
		for name, b := range files {
			if len(k) == 32 && bytes.Contains(b, k) {
				notes = append(notes, fmt.Sprintf("%s holds a raw key", name))
				keys = append(keys, found{secret(k), 0})
			}
		}
	}
	for _, k := range slices.Clone(keys) {
		for _, s := range []side{0, 1} {
			for g := range uint64(20) {
				var t table
				if plain, ok := k.try(files[tableFile(s)], aboutTable(g)); ok && wire.Decode(plain, &t, maxTable) == nil {
					for _, row := range t {
						keys = append(keys, found{row.Key, row.Size})
					}
				}
			}
		}
	}
	for _, k := range keys {
		for name, b := range files {
			var s shelf
			if plain, ok := k.try(b, tagShelf.Message([]byte(name))); ok && wire.Decode(plain, &s, MaxShelf) == nil {
				for _, v := range s {
					values = append(values, string(v.Value))
				}
			}
		}
	}
	return values, notes
}

// try opens the beginning of b.
func (k found) try(b, about []byte) ([]byte, bool) {
	if k.size > 0 && int(k.size) < len(b) {
		b = b[:k.size]
	}
	plain, err := open(k.key, b, about)
	return plain, err == nil
}
