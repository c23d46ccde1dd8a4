package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// A version of a page or value, written at height v and replaced at height n, is
// what every height from v to n-1 sees. It can go when none of those is kept.
//
// When height e leaves the window, only versions that were replaced at e+1 lose
// a height that saw them, and the list of e+1 names them all. Of the heights
// that saw such a version, the window has none any more; so it stays only if the
// newest mark m that is not above e is not below v either. Then it is noted as
// kept for m, and looked at again when m is released: it goes on to the next
// older mark, if that one saw it, or goes.
//
// A version that says "deleted" is the same as none once nothing older is left,
// and goes with the last older one.

// releaseChunk bounds the versions that one commit looks at for released marks:
// about as many as a full block writes, so that blocks stay of one size.
const releaseChunk = 4096

// heights is what a store knows of the heights it keeps.
type heights struct {
	oldest   uint64              // of the window
	roots    map[uint64][32]byte // of each height that can be read
	marked   []uint64            // kept until released, ascending
	released []uint64            // whose versions are not all looked at yet
}

func (k *heights) has(h uint64) bool {
	_, ok := k.roots[h]
	return ok
}

func (k *heights) isMarked(h uint64) bool {
	_, found := slices.BinarySearch(k.marked, h)
	return found
}

// mark returns the newest marked height that is not above h, 0 if there is none.
func (k *heights) mark(h uint64) uint64 {
	i, found := slices.BinarySearch(k.marked, h)
	switch {
	case found:
		return h
	case i == 0:
		return 0
	}
	return k.marked[i-1]
}

func (k *heights) clone() heights {
	return heights{
		oldest:   k.oldest,
		roots:    maps.Clone(k.roots),
		marked:   slices.Clone(k.marked),
		released: slices.Clone(k.released),
	}
}

// The first byte of the record of a height; the root follows.
const (
	plainHeight    byte = 0
	markedHeight   byte = 1
	releasedHeight byte = 2 // can no longer be read, but has versions kept for it
)

// A pruner decides for one block which heights are kept from then on, and
// deletes what none of them can see.
type pruner struct {
	*block
	it      *pebble.Iterator // over what was there before the block
	dropped map[string]bool  // keys of versions that go with released marks
}

func (b *block) prune(also Also) error {
	view, _, err := b.store.hold()
	if err != nil {
		return err
	}
	defer b.store.drop(view)
	it, err := view.iterator()
	if err != nil {
		return err
	}
	defer view.release(it)
	p := pruner{block: b, it: it, dropped: make(map[string]bool)}
	p.note(b.height, plainHeight)
	for _, h := range also.Keep {
		if err := p.keep(h); err != nil {
			return err
		}
	}
	for _, h := range also.Release {
		p.release(h)
	}
	if err := p.drain(); err != nil {
		return err
	}
	return p.expire()
}

// note writes the record of a height.
func (p *pruner) note(h uint64, flag byte) {
	root := p.kept.roots[h]
	p.set(heightKey(heightSpace, h), append([]byte{flag}, root[:]...))
}

func (p *pruner) keep(h uint64) error {
	switch {
	case h > p.height:
		return fmt.Errorf("keep height %d: %w", h, ErrNotYet)
	case !p.kept.has(h):
		return fmt.Errorf("keep height %d: %w", h, ErrGone)
	}
	if i, found := slices.BinarySearch(p.kept.marked, h); !found {
		p.kept.marked = slices.Insert(p.kept.marked, i, h)
		p.note(h, markedHeight)
	}
	return nil
}

func (p *pruner) release(h uint64) {
	i, found := slices.BinarySearch(p.kept.marked, h)
	if !found {
		return
	}
	p.kept.marked = slices.Delete(p.kept.marked, i, i+1)
	if h >= p.kept.oldest {
		p.note(h, plainHeight)
		return
	}
	p.note(h, releasedHeight)
	p.kept.released = append(p.kept.released, h)
	delete(p.kept.roots, h)
}

// expire takes the oldest height out of the window, if the block fills it.
func (p *pruner) expire() error {
	e := p.kept.oldest
	if p.height-e < Window {
		return nil
	}
	p.kept.oldest++
	if !p.kept.isMarked(e) {
		delete(p.kept.roots, e)
		p.delete(heightKey(heightSpace, e))
	}
	key := heightKey(writesSpace, e+1)
	if !p.it.SeekPrefixGE(key) {
		return p.it.Error() // nil if that height overwrote nothing
	}
	value, err := p.it.ValueAndErr()
	if err != nil {
		return err
	}
	p.delete(key)
	mark := p.kept.mark(e)
	for list := writeList(bytes.Clone(value)); len(list) > 0; {
		var w overwrite
		if w, list, err = list.next(); err != nil {
			return fmt.Errorf("height %d: %w", e+1, err)
		}
		if mark >= w.height {
			p.keepFor(mark, appendVersion(bytes.Clone(w.prefix), w.height))
		} else if err := p.drop(w, e+1); err != nil {
			return err
		}
	}
	return nil
}

// keepFor notes a version as kept for a mark.
func (p *pruner) keepFor(mark uint64, version []byte) {
	p.set(append(heightKey(keptSpace, mark), version...), nil)
}

// drop deletes a version that the height by took the place of.
func (p *pruner) drop(w overwrite, by uint64) error {
	p.buf = appendVersion(append(p.buf[:0], w.prefix...), w.height)
	p.delete(p.buf)
	if !w.deleted {
		return nil
	}
	older, err := p.older(p.buf)
	if err == nil && !older {
		p.delete(appendVersion(append(p.buf[:0], w.prefix...), by))
	}
	return err
}

// drain looks at versions that are kept for released marks, until all have been
// looked at or it is enough for one block.
func (p *pruner) drain() error {
	left := releaseChunk
	for len(p.kept.released) > 0 {
		mark := p.kept.released[0]
		kept, err := p.keptFor(mark, left)
		if err != nil {
			return err
		}
		for _, version := range kept {
			if err := p.letGo(mark, version); err != nil {
				return err
			}
		}
		if left -= len(kept); left == 0 {
			return nil
		}
		p.kept.released = p.kept.released[1:]
		p.delete(heightKey(heightSpace, mark))
	}
	return nil
}

// keptFor returns the keys of at most limit versions that are kept for a mark.
func (p *pruner) keptFor(mark uint64, limit int) ([][]byte, error) {
	prefix := heightKey(keptSpace, mark)
	var kept [][]byte
	for ok := p.it.SeekGE(prefix); ok && len(kept) < limit && bytes.HasPrefix(p.it.Key(), prefix); ok = p.it.Next() {
		kept = append(kept, bytes.Clone(p.it.Key()[len(prefix):]))
	}
	return kept, p.it.Error()
}

// letGo hands a version that was kept for a mark to the next older mark that
// saw it, or deletes it, and with it what says "deleted" if that is then oldest.
func (p *pruner) letGo(mark uint64, version []byte) error {
	p.delete(append(heightKey(keptSpace, mark), version...))
	prefix, height := splitVersion(version)
	if older := p.kept.mark(mark); older >= height {
		p.keepFor(older, version)
		return nil
	}
	p.delete(version)
	p.dropped[string(version)] = true
	if older, err := p.older(version); older || err != nil {
		return err
	}
	// From here towards newer versions. Several may say "deleted" in a row, where
	// those in between are gone.
	for ok := p.it.SeekLT(version); ok && bytes.HasPrefix(p.it.Key(), prefix); ok = p.it.Prev() {
		key := p.it.Key()
		if p.dropped[string(key)] {
			continue
		}
		value, err := p.it.ValueAndErr()
		if err != nil || len(value) > 0 {
			return err
		}
		p.dropped[string(key)] = true
		p.delete(key)
	}
	return p.it.Error()
}

// older reports whether there is an older version than this one of the same
// page or value.
func (p *pruner) older(version []byte) (bool, error) {
	prefix, _ := splitVersion(version)
	for ok := p.it.SeekGE(version); ok && bytes.HasPrefix(p.it.Key(), prefix); ok = p.it.Next() {
		if key := p.it.Key(); !bytes.Equal(key, version) && !p.dropped[string(key)] {
			return true, nil
		}
	}
	return false, p.it.Error()
}

// A writeList names the versions that one height took the place of: for each,
// the length of its prefix in one byte, the prefix, the height that wrote it,
// and 1 if the height deleted what it held, 0 if it replaced it.
type writeList []byte

type overwrite struct {
	prefix  []byte
	height  uint64
	deleted bool
}

func (l writeList) add(w overwrite) writeList {
	l = append(append(l, byte(len(w.prefix))), w.prefix...)
	l = binary.BigEndian.AppendUint64(l, w.height)
	if w.deleted {
		return append(l, 1)
	}
	return append(l, 0)
}

var errWriteList = errors.New("list of what it overwrote is damaged")

// next takes the first entry off the list.
func (l writeList) next() (overwrite, writeList, error) {
	n := 1
	if len(l) > 0 {
		n += int(l[0])
	}
	end := n + heightSize + 1
	if len(l) < end || n == 1 || l[end-1] > 1 {
		return overwrite{}, nil, errWriteList
	}
	return overwrite{l[1:n], binary.BigEndian.Uint64(l[n:]), l[end-1] == 1}, l[end:], nil
}
