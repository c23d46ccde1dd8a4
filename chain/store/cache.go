package store

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// A pageCache holds the upper pages of the tree, which proofs and updates pass
// through, in the versions of the newest few heights. It holds all of them down
// to a depth, so nothing is evicted: it is filled when a store opens and follows
// each commit, and a reader finds in it what it needs or the page is on disk.
// Reading takes no lock.
type pageCache struct {
	pages [cachedPages]atomic.Pointer[[]pageVersion] // nil: no version at all
	// written has what the last commits wrote, to be trimmed when its turn comes.
	written [cachedHeights][]statetree.PageID
}

// cachedDepth is the depth of the lowest pages held: the whole tree of 100,000
// names (12 MB), and all but its lowest pages at a million (55 MB) and above
// (80 MB at most). One level less would cost each update at 100,000 names one
// seek more, one level more would have no bound worth the name.
const cachedDepth = 4

const cachedPages = 1 + 16 + 16*16 + 16*16*16 + 16*16*16*16

// cachedHeights is for how many heights a page that changes is held. Proofs are
// asked for at the newest: the header of a height carries the root of the one
// before.
const cachedHeights = 8

// A pageVersion is a page as a height wrote it.
type pageVersion struct {
	height uint64
	data   []byte // nil: deleted
}

// slot returns where a page is held, or nil if its depth is not.
func (c *pageCache) slot(id statetree.PageID) *atomic.Pointer[[]pageVersion] {
	if id.Depth() > cachedDepth {
		return nil
	}
	before := uint64(0) // pages of lesser depth
	for range id.Depth() {
		before = before<<4 | 1
	}
	return &c.pages[before+id.Index()]
}

// get returns the version of a page as of height. It is ok if the cache knows.
func (c *pageCache) get(id statetree.PageID, height uint64) (at uint64, data []byte, ok bool) {
	slot := c.slot(id)
	if slot == nil {
		return 0, nil, false
	}
	versions := slot.Load()
	if versions == nil {
		return 0, nil, true
	}
	for _, v := range *versions {
		if v.height <= height {
			return v.height, v.data, true
		}
	}
	return 0, nil, false
}

// commit adds the pages that a height wrote. Only one goroutine may do so.
func (c *pageCache) commit(height uint64, writes []statetree.PageWrite) {
	turn := &c.written[height%cachedHeights]
	for _, id := range *turn {
		c.trim(id, height)
	}
	*turn = (*turn)[:0]
	for _, w := range writes {
		slot := c.slot(w.ID)
		if slot == nil {
			continue
		}
		versions := []pageVersion{{height, w.Data}}
		if old := slot.Load(); old != nil {
			versions = append(versions, *old...)
		}
		slot.Store(&versions)
		*turn = append(*turn, w.ID)
	}
}

// trim forgets the versions of a page that only heights before the newest few
// can see.
func (c *pageCache) trim(id statetree.PageID, height uint64) {
	slot := c.slot(id)
	versions := *slot.Load()
	for i, v := range versions {
		if v.height+cachedHeights <= height {
			versions = slices.Clone(versions[:i+1])
			break
		}
	}
	slot.Store(&versions)
}

// fill reads the newest versions of all pages it holds.
func (c *pageCache) fill(db *pebble.DB) error {
	it, err := db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{pageSpace},
		UpperBound: []byte{pageSpace, cachedDepth + 1},
	})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.NextPrefix() {
		prefix, height := splitVersion(it.Key())
		id, err := statetree.ParsePageID(prefix[1:])
		if err != nil {
			return err
		}
		data, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if len(data) == 0 {
			data = nil
		}
		c.slot(id).Store(&[]pageVersion{{height, bytes.Clone(data)}})
	}
	return it.Error()
}
