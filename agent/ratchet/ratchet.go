package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc/wire"
)

// KeySize is the size of the caller's key.
const KeySize = chacha20poly1305.KeySize

// Ledger is the database: it records the generation of the secrets in the same
// transactions that record what was done with them.
type Ledger interface {
	// Generation returns the generation that the last committed transaction
	// recorded, 0 if none did. An error means that it cannot be known now.
	Generation() (uint64, error)
}

// Change sets or deletes one value.
type Change struct {
	Shelf []byte // 1 to MaxName bytes: values that change together, a conversation's
	Key   []byte // at most MaxKey bytes
	Value []byte // nil deletes; empty is a value
}

// ErrErase says that a write is done, in the database too, but that the old keys
// could not be overwritten. The next write, or Open, tries again before anything
// else.
var ErrErase = errors.New("the old keys are still on disk")

// ErrReopen says that the folder must be opened again before anything else:
// whether the last write is done is not known here, and Open finds out.
var ErrReopen = errors.New("secrets: open them again")

// Ratchet is an open folder of secrets. Its methods may be called from several
// goroutines; they come one after the other. No transaction of the database may
// call them: Write waits for the database while it holds the secrets, so the
// database must never wait for the secrets. Read first, then write.
type Ratchet struct {
	fs     folder
	rand   io.Reader
	key    secret
	ledger Ledger

	mu     sync.Mutex
	at     int   // the slot in use
	slot   slot  // its content; generation 0 before the first write
	rows   table // the table in use
	dirty  bool  // the slot that is not in use must be wiped before anything else
	broken error // nothing can be done before the folder is opened again
}

// Open opens the secrets in dir, making the folder if there is none, and brings
// them to the generation that the ledger says. key protects the root: the same
// one every time. rand must be a cryptographic source.
//
// The error is an [*OrderError] if either side was put back from an older copy,
// of kind NotFound if the secrets are gone, and Invalid if they are damaged or
// the key is not theirs.
func Open(dir string, key [KeySize]byte, ledger Ledger, rand io.Reader) (*Ratchet, error) {
	d, err := makeFolder(dir)
	if err != nil {
		return nil, err
	}
	return openIn(d, key, ledger, rand)
}

func openIn(f folder, key [KeySize]byte, ledger Ledger, rand io.Reader) (*Ratchet, error) {
	committed, err := ledger.Generation()
	if err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	r := &Ratchet{fs: f, rand: rand, key: key, ledger: ledger}
	if err := r.recover(committed); err != nil {
		return nil, err
	}
	return r, nil
}

// Restart throws away what secrets are in dir ([Discard]) and opens the folder
// empty, at the generation that the ledger says: for a device whose secrets are
// lost, or an older copy, and which has to join its conversations anew.
func Restart(dir string, key [KeySize]byte, ledger Ledger, rand io.Reader) (*Ratchet, error) {
	if err := Discard(dir); err != nil {
		return nil, err
	}
	d, err := makeFolder(dir)
	if err != nil {
		return nil, err
	}
	committed, err := ledger.Generation()
	if err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	r := &Ratchet{fs: d, rand: rand, key: key, ledger: ledger}
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.slot.Generation = committed
	return r, nil
}

// Format never shows what is inside, whatever the verb.
func (r *Ratchet) Format(f fmt.State, _ rune) { io.WriteString(f, "(secrets)") }

// Generation returns the number of the last write, 0 before the first.
func (r *Ratchet) Generation() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.slot.Generation
}

// Get returns a value. The error is of kind NotFound if there is none.
func (r *Ratchet) Get(shelf, key []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return nil, r.broken
	}
	s, err := r.load(shelf)
	if err != nil {
		return nil, err
	}
	i, ok := s.find(key)
	if !ok {
		return nil, wire.Errorf(wire.NotFound, "secrets: there is no such value")
	}
	return s[i].Value, nil
}

// All returns every value of a shelf, rising by key. A shelf without values does
// not exist, and has none.
func (r *Ratchet) All(shelf []byte) ([]Change, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return nil, r.broken
	}
	s, err := r.load(shelf)
	if err != nil {
		return nil, err
	}
	out := make([]Change, 0, len(s))
	for _, v := range s {
		out = append(out, Change{Shelf: shelf, Key: v.Key, Value: v.Value})
	}
	return out, nil
}

// Shelves returns the names of all shelves, rising.
func (r *Ratchet) Shelves() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([][]byte, 0, len(r.rows))
	for _, row := range r.rows {
		out = append(out, bytes.Clone(row.Name))
	}
	return out
}

// load reads a shelf of the table in use.
func (r *Ratchet) load(name []byte) (shelf, error) {
	i, ok := r.rows.find(name)
	if !ok {
		return nil, nil
	}
	row := r.rows[i]
	b, err := r.fs.read(row.file(row.Side), MaxShelf+chacha20poly1305.Overhead)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) < int(row.Size) {
		return nil, damaged(row)
	}
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	plain, err := open(row.Key, b[:row.Size], aboutShelf(row))
	if err != nil {
		return nil, damaged(row)
	}
	defer clear(plain)
	var s shelf
	if err := wire.Decode(plain, &s, MaxShelf); err != nil || s.check() != nil {
		return nil, damaged(row)
	}
	return s, nil
}

func damaged(r row) error {
	return wire.Errorf(wire.Invalid, "read secrets: %s is damaged: this device has to join that conversation anew", r.file(r.Side))
}

func aboutShelf(r row) []byte { return tagShelf.Message([]byte(r.file(r.Side))) }

// Write makes the changes, all or none, together with a transaction of the
// database: commit must run one that records the generation it is given, beside
// whatever came of the secrets (a message decrypted, a message to send). Nothing
// that the secrets made may leave this machine before Write returned.
//
// Of two changes of one value the last counts. If Write returns an error that is
// not [ErrErase], neither side has changed, unless the error is
// [ErrReopen]: then the next Open decides, by what the database says.
func (r *Ratchet) Write(changes []Change, commit func(generation uint64) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return r.broken
	}
	if err := check(changes); err != nil {
		return err
	}
	if r.dirty {
		if err := r.erase(); err != nil {
			return err
		}
	}
	next, rows, err := r.stage(changes)
	if err != nil {
		return r.undo(err)
	}
	// Should commit panic, this is what is left.
	r.broken = wire.Errorf(wire.Unavailable, "a write was cut off: %w", ErrReopen)
	err = commit(next.Generation)
	have, unknown := r.ledger.Generation()
	switch {
	case unknown != nil:
		r.broken = wire.Errorf(wire.Unavailable, "%w: whether the database took a write is not known: %w", ErrReopen, errors.Join(err, unknown))
		return r.broken
	case have == r.slot.Generation:
		r.broken = nil
		if err == nil {
			err = fmt.Errorf("write secrets: the transaction did not record generation %d", next.Generation)
		}
		return r.undo(err)
	case have != next.Generation:
		r.broken = wire.Errorf(wire.Conflict, "%w: the database has generation %d, want %d", ErrReopen, have, next.Generation)
		return r.broken
	}
	return r.settle(next, rows)
}

// check checks changes before anything is read or written for them.
func check(changes []Change) error {
	if len(changes) == 0 {
		return wire.Errorf(wire.Invalid, "write secrets: there are no changes")
	}
	for _, c := range changes {
		if len(c.Shelf) == 0 || len(c.Shelf) > MaxName || len(c.Key) > MaxKey || len(c.Value) > MaxShelf {
			return wire.Errorf(wire.Invalid, "write secrets: a name, key or value has an impossible size")
		}
	}
	return nil
}

// stage writes everything that the next generation consists of, the root last,
// and nothing over what is in use.
func (r *Ratchet) stage(changes []Change) (slot, table, error) {
	if r.slot.Generation == math.MaxUint64 {
		return slot{}, nil, errors.New("write secrets: there are no more generations")
	}
	rows := slices.Clone(r.rows)
	names, grown := group(changes), false
	for _, name := range names {
		s, err := r.load(name)
		if err != nil {
			return slot{}, nil, err
		}
		for _, c := range changes {
			if bytes.Equal(c.Shelf, name) {
				s = s.apply(c)
			}
		}
		var made bool
		if rows, made, err = r.place(rows, name, s); err != nil {
			return slot{}, nil, err
		}
		grown = grown || made
	}
	next := slot{Generation: r.slot.Generation + 1, Table: r.slot.Table.other()}
	if err := r.writeTable(&next, rows); err != nil {
		return slot{}, nil, err
	}
	if grown {
		if err := r.fs.sync(); err != nil {
			return slot{}, nil, fmt.Errorf("write secrets: %w", err)
		}
	}
	n := 1 - r.at
	b, err := r.sealSlot(n, next)
	if err != nil {
		return slot{}, nil, err
	}
	r.dirty = true
	if err := r.fs.write(rootFile, int64(n)*slotSize, b, false); err != nil {
		return slot{}, nil, fmt.Errorf("write secrets: %w", err)
	}
	return next, rows, nil
}

// group returns the names of the shelves that changes touch, each once.
func group(changes []Change) (names [][]byte) {
	for _, c := range changes {
		names = append(names, c.Shelf)
	}
	slices.SortFunc(names, bytes.Compare)
	return slices.CompactFunc(names, bytes.Equal)
}

// place seals a shelf under a new key into its file that is not in use, and
// returns the rows with it. made reports whether files are new. A shelf without
// values loses its row.
func (r *Ratchet) place(rows table, name []byte, s shelf) (_ table, made bool, err error) {
	i, found := rows.find(name)
	if len(s) == 0 {
		if found {
			rows = slices.Delete(rows, i, i+1)
		}
		return rows, false, nil
	}
	if len(s) > MaxValues || s.size() > MaxShelf {
		return nil, false, wire.Errorf(wire.Exhausted, "write secrets: a conversation would have more than %d values or %d bytes", MaxValues, MaxShelf)
	}
	next := row{Name: bytes.Clone(name)}
	if found {
		next.File, next.Side = rows[i].File, rows[i].Side.other()
	} else {
		if len(rows) >= MaxShelves {
			return nil, false, wire.Errorf(wire.Exhausted, "write secrets: %d conversations have secrets, and no more fit", len(rows))
		}
		if err := r.random(next.File[:]); err != nil {
			return nil, false, err
		}
	}
	if next.Key, err = newSecret(r.rand); err != nil {
		return nil, false, err
	}
	plain := wire.Encode(s)
	defer clear(plain)
	sealed := seal(next.Key, plain, aboutShelf(next))
	next.Size = uint32(len(sealed))
	if err := r.fs.write(next.file(next.Side), 0, sealed, true); err != nil {
		return nil, false, fmt.Errorf("write secrets: %w", err)
	}
	if found {
		rows[i] = next
		return rows, false, nil
	}
	// Both files are made at once, so that only a first write makes names.
	if err := r.fs.write(next.file(next.Side.other()), 0, nil, true); err != nil {
		return nil, false, fmt.Errorf("write secrets: %w", err)
	}
	return slices.Insert(rows, i, next), true, nil
}

// writeTable seals the rows under a new key into the table file that is not in
// use, and completes the slot with what opens it.
func (r *Ratchet) writeTable(next *slot, rows table) (err error) {
	if next.Key, err = newSecret(r.rand); err != nil {
		return err
	}
	plain := wire.Encode(rows)
	defer clear(plain)
	sealed := seal(next.Key, plain, aboutTable(next.Generation))
	next.Size = uint32(len(sealed))
	if err := r.fs.write(tableFile(next.Table), 0, sealed, true); err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	return nil
}

// settle makes the staged generation the one in use and overwrites the key of
// the one before.
func (r *Ratchet) settle(next slot, rows table) error {
	var gone []row
	for _, old := range r.rows {
		if _, ok := rows.find(old.Name); !ok {
			gone = append(gone, old)
		}
	}
	r.broken = nil
	r.at, r.slot, r.rows = 1-r.at, next, rows
	if err := r.erase(); err != nil {
		return err
	}
	for _, old := range gone {
		// Without a key they are noise. What cannot be removed now, Open removes.
		if r.fs.remove(old.file(0)) != nil || r.fs.remove(old.file(1)) != nil {
			break
		}
	}
	return nil
}

// undo overwrites a staged generation that the database does not have, and
// returns why it came to that.
func (r *Ratchet) undo(why error) error {
	if isFull(why) {
		why = wire.Errorf(wire.Exhausted, "write secrets: the disk is full: free some space: %w", why)
	}
	if r.dirty {
		if err := r.erase(); err != nil {
			return errors.Join(why, err)
		}
	}
	return why
}

// erase overwrites the slot that is not in use.
func (r *Ratchet) erase() error {
	r.dirty = true
	if err := r.wipe(1 - r.at); err != nil {
		return fmt.Errorf("write secrets: %w: %w", ErrErase, err)
	}
	r.dirty = false
	return nil
}

func (r *Ratchet) random(b []byte) error {
	if _, err := io.ReadFull(r.rand, b); err != nil {
		return fmt.Errorf("write secrets: read randomness: %w", err)
	}
	return nil
}

// Discard throws all secrets in dir away, first the keys. It is for a device that
// has to begin anew: nothing that they protected can be read again.
func Discard(dir string) error {
	d, err := makeFolder(dir)
	if err != nil {
		return err
	}
	if err := d.write(rootFile, 0, make([]byte, 2*slotSize), true); err != nil {
		return fmt.Errorf("discard secrets: %w", err)
	}
	r := &Ratchet{fs: d}
	for _, name := range []string{tableFile(0), tableFile(1), rootFile} {
		if err := d.remove(name); err != nil {
			return fmt.Errorf("discard secrets: %w", err)
		}
	}
	return r.sweep()
}
