package store

import (
	"bytes"
	"slices"
	"sync"
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
	pages [cachedPages]atomic.Pointer[[]version] // nil: no version at all
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

// A version is a page or value as a height wrote it.
type version struct {
	height uint64
	data   []byte // nil: deleted
}

// slot returns where a page is held, or nil if its depth is not.
func (c *pageCache) slot(id statetree.PageID) *atomic.Pointer[[]version] {
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
func (c *pageCache) get(id statetree.PageID, height uint64) (v version, ok bool) {
	slot := c.slot(id)
	if slot == nil {
		return version{}, false
	}
	versions := slot.Load()
	if versions == nil {
		return version{}, true
	}
	for _, v := range *versions {
		if v.height <= height {
			return v, true
		}
	}
	return version{}, false
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
		versions := []version{{height, w.Data}}
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
		c.slot(id).Store(&[]version{{height, bytes.Clone(data)}})
	}
	return it.Error()
}

// clear forgets all pages. Nobody may commit meanwhile.
func (c *pageCache) clear() {
	for i := range c.pages {
		c.pages[i].Store(nil)
	}
	for i := range c.written {
		c.written[i] = nil
	}
}

// recent holds values, or pages below those of pageCache, in their newest
// versions: those read in the newest state, which is what whoever changes one does
// before, and those that blocks wrote. A database of versions is slow to tell the
// newest one, since it looks for it on all its levels.
//
// It has two generations. What is used goes into the younger one; when that is
// full it becomes the older one, and what was in the older one and not used
// since is forgotten.
type recent[K comparable] struct {
	limit int // bytes in the younger generation

	mu             sync.Mutex
	younger, older map[K]version
	size           int // of the younger generation
}

// recentOverhead is about what an entry takes in memory beside its data.
const recentOverhead = 120

func newRecent[K comparable](bytes int64) *recent[K] {
	return &recent[K]{limit: int(bytes / 2), younger: make(map[K]version)}
}

// get returns the version as of height. It is ok if the cache knows.
func (c *recent[K]) get(key K, height uint64) (v version, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok = c.younger[key]; !ok {
		if v, ok = c.older[key]; !ok {
			return version{}, false
		}
		c.putLocked(key, v)
	}
	return v, v.height <= height
}

// put adds what is the newest version, or takes the place of it.
func (c *recent[K]) put(key K, v version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(key, v)
}

func (c *recent[K]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.younger, c.older, c.size = make(map[K]version), nil, 0
}

func (c *recent[K]) putLocked(key K, v version) {
	if c.size >= c.limit {
		c.older, c.younger, c.size = c.younger, make(map[K]version), 0
	}
	c.younger[key] = v
	c.size += len(v.data) + recentOverhead
}
