package store

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// A pageCache holds the pages near the root, which every proof passes through,
// in their newest versions. There are few enough of them (4,369) to hold them
// all, so nothing is ever evicted: it is filled when a store opens and follows
// each commit, and a reader finds in it what it needs or the page is on disk.
// Reading takes no lock.
type pageCache struct {
	pages [cachedPages]atomic.Pointer[[]pageVersion] // nil: no version at all
}

// cachedDepth is the depth of the lowest pages held. A further level would take
// 50 MB at a million names, to save each proof one read of a few microseconds.
const cachedDepth = 4

const cachedPages = 1 + 16 + 16*16 + 16*16*16 + 65536

// cachedVersions bounds the versions held of one page. Proofs are asked for at
// the newest heights: the header of a height carries the root of the one before.
const cachedVersions = 8

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

// put adds a newer version of a page. Only one goroutine may put.
func (c *pageCache) put(id statetree.PageID, v pageVersion) {
	slot := c.slot(id)
	if slot == nil {
		return
	}
	versions := []pageVersion{v}
	if old := slot.Load(); old != nil {
		versions = append(versions, (*old)[:min(len(*old), cachedVersions-1)]...)
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
		v := pageVersion{height: height}
		if len(data) > 0 {
			v.data = append([]byte(nil), data...)
		}
		c.put(id, v)
	}
	return it.Error()
}
