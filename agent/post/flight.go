package post

import (
	"context"
	"sync"
	"time"
)

// flight is the messages of one connection that wait for an answer.
type flight struct {
	late     func() // called when no answer has come within patience
	patience time.Duration
	turn     chan struct{} // one waits for room at a time, the others for their turn

	mu     sync.Mutex
	count  int
	bytes  int
	landed chan struct{} // closed by the next answer
	watch  *time.Timer   // runs while count > 0
}

func newFlight(patience time.Duration, late func()) *flight {
	return &flight{late: late, patience: patience, turn: make(chan struct{}, 1), landed: make(chan struct{})}
}

// take takes room for a message of n bytes, and waits for it.
func (f *flight) take(ctx context.Context, n int) error {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return stopped(ctx)
	}
	defer func() { <-f.turn }()
	for {
		landed, ok := f.room(n)
		if ok {
			return nil
		}
		select {
		case <-landed:
		case <-ctx.Done():
			return stopped(ctx)
		}
	}
}

// try takes room if there is some and nobody waits for it.
func (f *flight) try(n int) bool {
	select {
	case f.turn <- struct{}{}:
	default:
		return false
	}
	_, ok := f.room(n)
	<-f.turn
	return ok
}

func (f *flight) room(n int) (landed <-chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count >= maxFlight || f.count > 0 && f.bytes+n > maxFlightBytes {
		return f.landed, false
	}
	f.count++
	f.bytes += n
	if f.count == 1 {
		f.watch = time.AfterFunc(f.patience, f.late)
	}
	return nil, true
}

// land gives the room of a message back: its answer is there.
func (f *flight) land(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count--
	f.bytes -= n
	close(f.landed)
	f.landed = make(chan struct{})
	if f.count == 0 {
		f.watch.Stop()
	} else {
		f.watch.Reset(f.patience)
	}
}
