package post

import (
	"maps"
	"sync"

	"github.com/confab-chat/confab/stream"
)

// Boxes are queues to be read, each with the number of the last entry that was
// taken, and the hash over all up to it. The zero value is an empty set. It may be changed while it is followed,
// by several goroutines, and by takers.
type Boxes struct {
	mu       sync.Mutex
	at       map[stream.ID]box
	versions uint64
	changed  chan struct{} // closed by the next change
	hear     func(box stream.ID, body []byte)
}

// box is how far a queue was read. Its version tells one addition from the next.
type box struct {
	at      mark
	version uint64
}

// Add adds a queue that was read up to a number; one that is there already is
// read from there again, at once. That the concierge shows another history than the
// one that was read is only noticed if it is shorter: see [Boxes.AddAt].
func (b *Boxes) Add(id stream.ID, after uint64) { b.add(id, markAt(id, after)) }

// AddAt is Add for a queue of which [Boxes.Head] was kept when it was read.
func (b *Boxes) AddAt(id stream.ID, head stream.Head) { b.add(id, mark{head, true}) }

func (b *Boxes) add(id stream.ID, at mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at == nil {
		b.at = map[stream.ID]box{}
	}
	b.versions++
	b.at[id] = box{at: at, version: b.versions}
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
	return at.at.Seq, ok
}

// Head returns the number and the hash up to which a queue was read and taken. It
// is not known of a queue that was not read from its beginning, until the concierge
// was asked; while it is, a taker gets what it is after a page by following that
// ([stream.Head.Follow]) if the page is the next.
func (b *Boxes) Head(id stream.ID) (h stream.Head, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[id]
	return at.at.Head, ok && at.at.known
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
func (b *Boxes) from(id stream.ID, version uint64) (mark, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[id]
	return at.at, ok && at.version == version
}

// move notes up to where a queue was read, with the same exception.
func (b *Boxes) move(id stream.ID, version uint64, to mark) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[id]
	if !ok || at.version != version {
		return false
	}
	b.at[id] = box{at: to, version: version}
	return true
}
