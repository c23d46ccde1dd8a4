package frame_test

import (
	"context"
	"sync"

	"github.com/confab-chat/confab/stream"
)

// fakeStore keeps streams in memory, counts, and fails when it is told to.
type fakeStore struct {
	mu      sync.Mutex
	entries map[stream.ID][]stream.Entry
	watch   map[stream.ID]map[*stream.Watcher]bool
	reads   int
	fail    error // what reads end with
	acks    []uint64
	held    []func() // answers to appends, while hold
	hold    bool
}

func newFake(ids ...stream.ID) *fakeStore {
	f := &fakeStore{entries: map[stream.ID][]stream.Entry{}, watch: map[stream.ID]map[*stream.Watcher]bool{}}
	for _, id := range ids {
		f.entries[id] = nil
		f.watch[id] = map[*stream.Watcher]bool{}
	}
	return f
}

func (f *fakeStore) Submit(id stream.ID, m stream.Message, done func(stream.Receipt, error)) {
	f.mu.Lock()
	if f.watch[id] == nil {
		f.mu.Unlock()
		done(stream.Receipt{}, stream.ErrNotFound)
		return
	}
	seq := uint64(len(f.entries[id]) + 1)
	f.entries[id] = append(f.entries[id], stream.Entry{Seq: seq, ID: m.ID, Body: m.Body})
	answer := func() {
		done(stream.Receipt{Seq: seq}, nil)
		f.ring(id, seq)
	}
	if f.hold {
		f.held = append(f.held, answer)
		answer = func() {}
	}
	f.mu.Unlock()
	answer()
}

// release answers the appends that were held.
func (f *fakeStore) release() (n int) {
	f.mu.Lock()
	held := f.held
	f.held = nil
	f.mu.Unlock()
	for _, answer := range held {
		answer()
	}
	return len(held)
}

func (f *fakeStore) ring(id stream.ID, seq uint64) {
	f.mu.Lock()
	var all []stream.Watcher
	for w := range f.watch[id] {
		all = append(all, *w)
	}
	f.mu.Unlock()
	for _, w := range all {
		w.Woken(seq)
	}
}

func (f *fakeStore) Range(_ context.Context, id stream.ID, after uint64, max int) (stream.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.fail != nil {
		return stream.Page{}, f.fail
	}
	if f.watch[id] == nil {
		return stream.Page{}, stream.ErrNotFound
	}
	all := f.entries[id]
	if after > uint64(len(all)) {
		return stream.Page{}, stream.ErrAhead
	}
	page := stream.Page{After: after, Head: uint64(len(all))}
	size := 0
	for _, e := range all[after:] {
		if size += len(e.Body) + stream.EntryCost; size > max && len(page.Entries) > 0 {
			break
		}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

func (f *fakeStore) State(_ context.Context, id stream.ID) (stream.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watch[id] == nil {
		return stream.State{}, stream.ErrNotFound
	}
	return stream.State{Head: stream.Genesis(id).Follow(f.entries[id])}, nil
}

func (f *fakeStore) Watch(_ context.Context, id stream.ID, w stream.Watcher) (func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watch[id] == nil {
		return nil, stream.ErrNotFound
	}
	f.watch[id][&w] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watch[id], &w)
	}, nil
}

func (f *fakeStore) watchers(id stream.ID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watch[id])
}

func (f *fakeStore) Announce(_ context.Context, id stream.ID, body []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watch[id] {
		go (*w).Heard(body)
	}
	return nil
}

func (f *fakeStore) Acknowledge(_ context.Context, _ stream.ID, r stream.Reader, seq uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r != (stream.Reader{1}) {
		return stream.ErrUnknownReader
	}
	f.acks = append(f.acks, seq)
	return nil
}

func (f *fakeStore) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}
