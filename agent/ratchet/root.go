package ratchet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc/wire"
)

// The root is the one file that must really be overwritten. It has two slots, so
// that a write which a crash cuts off leaves the other one whole:
//
//	         slot a      slot b      database
//	before     7           –            7
//	stage      7           8            7       a crash here: back to 7
//	commit     7           8            8       a crash here: on to 8
//	settle     –           8            8
//
// Generation 8 exists if and only if the database says 8. What Open finds beside
// the generation that the database names, it overwrites.

// slotSize is the sector that all media in use write as a whole.
const slotSize = 4096

// slot is what a slot holds, sealed under the caller's key.
type slot struct {
	_          struct{} `cbor:",toarray"`
	Generation uint64
	Table      side
	Key        secret
	Size       uint32 // of the sealed table
}

// maxSlot bounds a slot's encoding.
const maxSlot = 64

// about returns what a slot's seal is bound to.
func aboutSlot(n int) []byte { return tagRoot.Message([]byte{byte(n)}) }

// sealSlot returns the whole content of slot n. The caller's key seals many
// slots, so the nonce is random.
func (r *Ratchet) sealSlot(n int, s slot) ([]byte, error) {
	out := make([]byte, chacha20poly1305.NonceSizeX, slotSize)
	if err := r.random(out); err != nil {
		return nil, err
	}
	out = append(out, 0) // the length of what follows
	plain := wire.Encode(s)
	sealed := aead(r.key).Seal(nil, out[:chacha20poly1305.NonceSizeX], plain, aboutSlot(n))
	clear(plain)
	out[len(out)-1] = byte(len(sealed))
	return append(out, sealed...)[:slotSize], nil
}

// openSlot reads slot n. Whatever is no slot under this key is an empty one: a
// wiped one, or one whose writing was cut off.
func (r *Ratchet) openSlot(n int, b []byte) (slot, bool) {
	const head = chacha20poly1305.NonceSizeX + 1
	if len(b) != slotSize || int(b[head-1]) > slotSize-head {
		return slot{}, false
	}
	plain, err := aead(r.key).Open(nil, b[:head-1], b[head:head+int(b[head-1])], aboutSlot(n))
	if err != nil {
		return slot{}, false
	}
	defer clear(plain)
	var s slot
	if err := wire.Decode(plain, &s, maxSlot); err != nil || s.Table > 1 || s.Generation == 0 {
		return slot{}, false
	}
	return s, true
}

// wipe overwrites slot n with zeros.
func (r *Ratchet) wipe(n int) error {
	return r.fs.write(rootFile, int64(n)*slotSize, make([]byte, slotSize), false)
}

// OrderError says that the secrets and the database are not of one time: one of
// them was put back from an older copy.
type OrderError struct{ Secrets, Database uint64 }

// Ahead reports whether the database is the older one. What it lost has to come
// from elsewhere; the secrets are still good once the database records their
// generation. If instead the secrets are the older ones they must be thrown away
// ([Discard]): used again, they would encrypt other things under the same keys.
func (e *OrderError) Ahead() bool { return e.Secrets > e.Database }

func (e *OrderError) Error() string {
	if e.Ahead() {
		return fmt.Sprintf("open secrets: the database is an older copy (%d of %d): messages since then are missing on this device", e.Database, e.Secrets)
	}
	return fmt.Sprintf("open secrets: they are an older copy (%d of %d) and must not be used again: this device has to join its conversations anew", e.Secrets, e.Database)
}

// recover brings the root to the generation that the database says, and reads
// the table of it.
func (r *Ratchet) recover(committed uint64) error {
	b, err := r.fs.read(rootFile, 2*slotSize)
	if errors.Is(err, fs.ErrNotExist) {
		if committed > 0 {
			return wire.Errorf(wire.NotFound, "open secrets: they are gone, and the database has their generation %d: this device has to join its conversations anew", committed)
		}
		return r.begin()
	}
	if err != nil {
		return fmt.Errorf("open secrets: %w", err)
	}
	b = append(b, make([]byte, 2*slotSize-len(b))...) // cut off when it was first written
	var found [2]slot
	highest, at := uint64(0), -1
	for n := range found {
		s, ok := r.openSlot(n, b[n*slotSize:(n+1)*slotSize])
		if !ok {
			continue
		}
		found[n] = s
		highest = max(highest, s.Generation)
		if s.Generation == committed {
			at = n
		}
	}
	switch {
	case committed == 0 && highest <= 1:
		return r.begin() // the first write was cut off
	case highest == 0:
		return wire.Errorf(wire.Invalid, "open secrets: the key is not theirs, or they are damaged; if the key is right this device has to join its conversations anew")
	case at < 0:
		return &OrderError{Secrets: highest, Database: committed}
	}
	r.at, r.slot = at, found[at]
	if err := r.readTable(); err != nil {
		return err
	}
	if err := r.wipe(1 - at); err != nil {
		return fmt.Errorf("open secrets: erase old keys: %w", err)
	}
	return r.sweep()
}

// begin makes an empty root and table files. They are there before they are used,
// so that no write has to make names.
func (r *Ratchet) begin() error {
	for _, f := range []struct {
		name string
		size int
	}{{rootFile, 2 * slotSize}, {tableFile(0), 0}, {tableFile(1), 0}} {
		if err := r.fs.write(f.name, 0, make([]byte, f.size), true); err != nil {
			return fmt.Errorf("open secrets: %w", err)
		}
	}
	r.at, r.slot, r.rows = 1, slot{Table: 1}, nil
	return r.sweep()
}

// readTable reads the table that the current slot names.
func (r *Ratchet) readTable() error {
	b, err := r.fs.read(tableFile(r.slot.Table), maxTable+chacha20poly1305.Overhead)
	if err != nil {
		return wire.Errorf(wire.Invalid, "open secrets: their table cannot be read: %w", err)
	}
	if len(b) < int(r.slot.Size) {
		return wire.Errorf(wire.Invalid, "open secrets: their table is damaged")
	}
	plain, err := open(r.slot.Key, b[:r.slot.Size], aboutTable(r.slot.Generation))
	if err != nil {
		return wire.Errorf(wire.Invalid, "open secrets: their table is damaged")
	}
	defer clear(plain)
	var t table
	if err := wire.Decode(plain, &t, maxTable); err != nil {
		return wire.Errorf(wire.Invalid, "open secrets: their table: %w", err)
	}
	if err := t.check(); err != nil {
		return wire.Errorf(wire.Invalid, "open secrets: %w", err)
	}
	r.rows = t
	return nil
}

func aboutTable(generation uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(tagTable), generation)
}

// sweep removes files that the table does not name: shelves that were emptied,
// or begun by a write that never was.
func (r *Ratchet) sweep() error {
	names, err := r.fs.list()
	if err != nil {
		return fmt.Errorf("open secrets: %w", err)
	}
	known := make(map[string]bool, 2*len(r.rows))
	for _, row := range r.rows {
		known[row.file(0)], known[row.file(1)] = true, true
	}
	for _, name := range names {
		if !strings.HasPrefix(name, shelfPrefix) || known[name] {
			continue
		}
		if err := r.fs.remove(name); err != nil {
			return fmt.Errorf("open secrets: %w", err)
		}
	}
	if err := r.fs.sync(); err != nil {
		return fmt.Errorf("open secrets: %w", err)
	}
	return nil
}
