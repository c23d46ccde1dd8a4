package post

import (
	"maps"
	"sync"

	"github.com/confab-chat/confab/stream"
)

// Boxes are queues to be read, each with the number of the last entry that was
// taken. The zero value is an empty set. It may be changed while it is followed,
// by several goroutines, and by takers.
type Boxes struct {
	mu       sync.Mutex
	at       map[stream.ID]box
	versions uint64
	changed  chan struct{} // closed by the next change
	hear     func(box stream.ID, body []byte)
}

// box is how far a queue was read. Its version tells one addition from the next.
type box struct{ after, version uint64 }

// Add adds a queue that was read up to a number; one that is there already is
// read from there again, at once.
func (b *Boxes) Add(id stream.ID, after uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at == nil {
		b.at = map[stream.ID]box{}
	}
	b.versions++
	b.at[id] = box{after: after, version: b.versions}
	b.tell()
}

// Remove has a queue no longer be read. A taker that has a page of it is not
// waited for.
func (b *Boxes) Remove(id stream.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.at[id]; ok {
		delete(b.at, id)
		b.tell()
	}
}

// After returns up to which number a queue was read and taken, and whether it is
// in the set.
func (b *Boxes) After(id stream.ID) (uint64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[id]
	return at.after, ok
}

// Hear has f called with what is announced to the queues: signs of typing and
// the like, which nobody keeps. What comes faster than f takes it is dropped.
func (b *Boxes) Hear(f func(box stream.ID, body []byte)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hear = f
}

func (b *Boxes) heard(id stream.ID, body []byte) {
	b.mu.Lock()
	hear := b.hear
	_, ok := b.at[id]
	b.mu.Unlock()
	if ok && hear != nil {
		hear(id, body)
	}
}

// tell says that the set is another; b.mu is held.
func (b *Boxes) tell() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// look returns the set as it is, and a channel that its next change closes.
func (b *Boxes) look() (map[stream.ID]box, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return maps.Clone(b.at), b.changed
}

// from returns where to go on reading a queue, unless it was removed or added
// anew since.
func (b *Boxes) from(id stream.ID, version uint64) (uint64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[id]
	return at.after, ok && at.version == version
}

// move notes up to where a queue was read, with the same exception.
func (b *Boxes) move(id stream.ID, version, after uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[id]
	if !ok || at.version != version {
		return false
	}
	b.at[id] = box{after: after, version: version}
	return true
}
