package chat

import "sync"

// feed tells followers what happens. It keeps the last notices, so that a
// follower who was away for a moment misses nothing.
type feed struct {
	mu        sync.Mutex
	seq       uint64
	kept      []Notice
	followers map[chan Notice]bool
	closed    bool
}

const (
	// maxKept is how many notices are kept for those who come back.
	maxKept = 1000
	// maxBehind is how far a follower may be behind before it is cut.
	maxBehind = 256
	// maxFollowers bounds followers: windows and scripts of one person.
	maxFollowers = 64
)

func newFeed() *feed { return &feed{followers: map[chan Notice]bool{}} }

func (f *feed) tell(n Notice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	n.Seq = f.seq
	if f.kept = append(f.kept, n); len(f.kept) > maxKept {
		f.kept = f.kept[len(f.kept)-maxKept:]
	}
	for c := range f.followers {
		select {
		case c <- n:
		default:
			delete(f.followers, c)
			close(c)
		}
	}
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.followers {
		delete(f.followers, c)
		close(c)
	}
}

// Follow returns what happens after the notice with a number, as far as it is
// kept, and from now on; with ^uint64(0) only from now on. The channel is closed
// by stop, when the agent closes, and when the follower is too slow: then it
// reads the state and follows anew.
func (a *Agent) Follow(after uint64) (notices <-chan Notice, stop func()) {
	f := a.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan Notice, maxKept+maxBehind)
	if f.closed || len(f.followers) >= maxFollowers {
		close(c)
		return c, func() {}
	}
	for _, n := range f.kept {
		if n.Seq > after {
			c <- n
		}
	}
	f.followers[c] = true
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.followers[c] {
			delete(f.followers, c)
			close(c)
		}
	}
}

// Latest returns the number of the last notice.
func (a *Agent) Latest() uint64 {
	a.feed.mu.Lock()
	defer a.feed.mu.Unlock()
	return a.feed.seq
}
