package pebblestore

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/stream"
)

// An idFilter knows of most message ids that the store does not have them, so that
// an append need not look: a search of the newest part of the database, which is
// in memory, costs more than all else that an append does to it. It is a Bloom
// filter whose bits for one id are all in one line of the processor's cache.
// Several goroutines may add.
type idFilter struct {
	seed   maphash.Seed // outsiders choose ids, and must not know where they fall
	lines  [][lineWords]uint64
	room   int // how many ids it is made for
	filled atomic.Int64
}

const (
	lineWords = 8 // 64 bytes
	lineBits  = 9 // to number the bits of a line
	// idBits for each id and idProbes of them set let one unknown id in a hundred
	// be looked up in vain.
	idBits   = 12
	idProbes = 6
	// firstIDs is how many ids the first filter is made for, in 96 KiB; one that is
	// full is replaced by one four times as large, up to mostIDs, in 48 MiB. Beyond
	// that ids are looked up more and more often.
	firstIDs = 1 << 16
	mostIDs  = 1 << 25
)

func newIDFilter(room int) *idFilter {
	return &idFilter{seed: maphash.MakeSeed(), room: room, lines: make([][lineWords]uint64, room*idBits/(lineWords*64)+1)}
}

// place returns the line of an id and, idProbes times lineBits of them, the
// numbers of its bits there.
func (f *idFilter) place(at idAt) (line *[lineWords]uint64, numbers uint64) {
	var b [8 + 16]byte
	binary.LittleEndian.PutUint64(b[:], at.number)
	copy(b[8:], at.id[:])
	h := maphash.Bytes(f.seed, b[:])
	n, rest := bits.Mul64(h, uint64(len(f.lines)))
	return &f.lines[n], rest * 0x9e3779b97f4a7c15 >> (64 - idProbes*lineBits) // what the line did not use, mixed
}

func (f *idFilter) add(at idAt) {
	line, n := f.place(at)
	for range idProbes {
		atomic.OrUint64(&line[n>>6&(lineWords-1)], 1<<(n&63))
		n >>= lineBits
	}
	f.filled.Add(1)
}

// mayHave reports whether the id was added; it may say so of others.
func (f *idFilter) mayHave(at idAt) bool {
	line, n := f.place(at)
	for range idProbes {
		if atomic.LoadUint64(&line[n>>6&(lineWords-1)])&(1<<(n&63)) == 0 {
			return false
		}
		n >>= lineBits
	}
	return true
}

func (f *idFilter) full() bool { return f.filled.Load() >= int64(f.room) }

// idFilters are the filter in use, nil until it knows all ids, and the one that is
// being made. Both are the committer's alone, but for the goroutine that makes one.
type idFilters struct {
	now, next *idFilter
}

func (i *idFilters) add(at idAt) {
	if i.now != nil {
		i.now.add(at)
	}
	if i.next != nil {
		i.next.add(at)
	}
}

// filterIDs begins to make a filter: a goroutine reads the ids of the database,
// while those that are appended meanwhile are added as they come.
func (c *commit) filterIDs(room int) {
	s := c.store
	if s.ids.next != nil {
		return
	}
	oldest := age(s.now()) - 1 // that is looked at, now or later
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: ageKey(oldest), UpperBound: []byte{idSpace + 1}})
	if err != nil {
		s.options.Logger.Error("store: message ids are looked up one by one", "error", err)
		return
	}
	next := newIDFilter(min(room, mostIDs))
	for at := range c.ids { // they are in this batch, which the iterator does not see
		next.add(at)
	}
	s.ids.next = next
	s.stopped.Go(func() {
		err := guard(func() error { return s.readIDs(it, next) })
		s.do(func(c *commit) error { c.filtered(next, err); return nil }, nil)
	})
}

// filtered puts a filter into use if it knows all ids and has room for more.
func (c *commit) filtered(next *idFilter, err error) {
	s := c.store
	s.ids.next = nil
	switch {
	case errors.Is(err, stream.ErrClosed):
	case err != nil:
		s.options.Logger.Error("store: message ids are looked up one by one", "error", err)
	case next.full() && next.room < mostIDs:
		c.filterIDs(growth * next.room)
	default:
		s.ids.now = next
	}
}

// growth is how much larger the filter after a full one is.
const growth = 4

// readIDs adds the ids of the database to a filter, until it is full or the store
// closes.
func (s *Store) readIDs(it *pebble.Iterator, f *idFilter) error {
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		at, err := decodeIDKey(it.Key())
		if err != nil {
			return err
		}
		f.add(at)
		if f.full() && f.room < mostIDs {
			break
		}
		select {
		case <-s.stop:
			return stream.ErrClosed
		default:
		}
	}
	return it.Error()
}
