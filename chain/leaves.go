package chain

import (
	"sync"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// leaves is the newest durable state as the law reads it: the store with a
// cache before it, since an op's leaves are read when it enters the mempool,
// when it is proposed and when it is applied.
type leaves struct {
	store *store.Store

	mu       sync.Mutex
	blocks   uint64 // how many have been applied: tells an old read from a new one
	new, old map[namesvc.Key][]byte
}

// cachedLeaves is how many leaves one of the two generations holds. A leaf takes
// some 500 bytes, so both take at most 32 MB.
const cachedLeaves = 32_000

func newLeaves(s *store.Store) *leaves {
	return &leaves{store: s, new: map[namesvc.Key][]byte{}}
}

// Get implements namesvc.Getter.
func (l *leaves) Get(k namesvc.Key) ([]byte, error) {
	l.mu.Lock()
	v, ok := l.new[k]
	if !ok {
		if v, ok = l.old[k]; ok {
			l.put(k, v)
		}
	}
	before := l.blocks
	l.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := l.store.Get(statetree.Key(k))
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// A block may have been committed between the read and now; then what was
	// read is of the past and must not be kept.
	if l.blocks == before {
		l.put(k, v)
	}
	return v, nil
}

func (l *leaves) put(k namesvc.Key, v []byte) {
	if len(l.new) >= cachedLeaves {
		l.old, l.new = l.new, make(map[namesvc.Key][]byte, cachedLeaves)
	}
	l.new[k] = v
}

// committed tells that a block with these changes has become durable.
func (l *leaves) committed(changes []statetree.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks++
	for _, c := range changes {
		k := namesvc.Key(c.Key)
		delete(l.old, k)
		l.put(k, c.Value)
	}
}

// forget forgets everything, because the whole state has become another.
func (l *leaves) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks++
	l.new, l.old = map[namesvc.Key][]byte{}, nil
}
