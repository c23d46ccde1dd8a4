package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/stream"
)

// Range returns entries after a number; see stream.Log.
func (s *Store) Range(_ context.Context, id stream.ID, after uint64, size int) (stream.Page, error) {
	most := min(size, stream.MaxPage)
	for {
		st, v, err := s.peek(id)
		if err != nil {
			return stream.Page{}, err
		}
		if after > v.head.head.Seq {
			return stream.Page{}, stream.ErrAhead
		}
		after = max(after, v.base.head.Seq)
		page := stream.Page{After: after, Head: v.head.head.Seq}
		if after == page.Head {
			return page, nil
		}
		if entries, ok := st.recent(after, most); ok && len(entries) > 0 {
			page.Entries = entries
			page.Head = max(page.Head, page.Last())
			return page, nil
		}
		err = s.read(func() (err error) {
			page.Entries, err = s.entries(v, after, most)
			return err
		})
		if err != nil {
			return stream.Page{}, fmt.Errorf("read stream %s: %w", id, err)
		}
		if len(page.Entries) > 0 {
			return page, nil
		}
		// What follows was trimmed while it was looked for, or it is missing.
		if _, now, err := s.peek(id); err == nil && now.number == v.number && now.base.head.Seq <= after {
			return stream.Page{}, fmt.Errorf("read stream %s: %w (entry %d is missing)", id, errDamaged, after+1)
		}
	}
}

// entries returns durable entries from the database: none if the first is missing.
func (s *Store) entries(v view, after uint64, most int) ([]stream.Entry, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: entryKey(v.number, after+1),
		UpperBound: entryKey(v.number, v.head.head.Seq+1),
	})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var entries []stream.Entry
	// Bodies of one page share their memory.
	store := make([]byte, 0, min(v.head.end-v.base.end, uint64(most)))
	size := 0
	for ok := it.First(); ok; ok = it.Next() {
		e, err := entryAt(it)
		if err != nil {
			return nil, err
		}
		if size += len(e.body) + stream.EntryCost; size > most && len(entries) > 0 {
			break
		}
		if want := after + 1 + uint64(len(entries)); e.head.Seq != want {
			if len(entries) == 0 {
				return nil, it.Error()
			}
			return nil, fmt.Errorf("%w (entry %d is missing)", errDamaged, want)
		}
		from := len(store)
		store = append(store, e.body...)
		entries = append(entries, stream.Entry{Seq: e.head.Seq, ID: e.id, Body: store[from:len(store):len(store)]})
	}
	return entries, it.Error()
}

// entryAt decodes the entry that an iterator stands at; its body is valid until
// the iterator moves.
func entryAt(it *pebble.Iterator) (entryValue, error) {
	k := it.Key()
	if len(k) != 1+8+8 {
		return entryValue{}, errDamaged
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return entryValue{}, err
	}
	return decodeEntry(binary.BigEndian.Uint64(k[9:]), b)
}
