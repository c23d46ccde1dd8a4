package post

import (
	"context"
	"encoding/binary"
	"io"
	"time"
)

// backoff returns how long to wait after so many failures in a row: any time up
// to a bound that doubles each time, so that the clients of a concierge that
// comes back do not all call at once.
func backoff(failures int, random io.Reader) time.Duration {
	most := mostBackoff
	if failures < 10 { // leastBackoff·2^9 is above mostBackoff
		most = min(most, leastBackoff<<failures)
	}
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return most
	}
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(most))
}

// attempts counts failures in a row.
type attempts struct {
	post     *Post
	failures int
	began    time.Time
}

// try notes that an attempt begins.
func (a *attempts) try() { a.began = time.Now() }

// wait waits before the next one, unless the network is back; woken is from
// before the attempt. What lasted for long was no failure to begin. It returns
// false when ctx has ended.
func (a *attempts) wait(ctx context.Context, woken <-chan struct{}) bool {
	if time.Since(a.began) >= mostBackoff {
		a.failures = 0
	}
	t := time.NewTimer(backoff(a.failures, a.post.rand))
	defer t.Stop()
	a.failures++
	select {
	case <-t.C:
	case <-woken:
		a.failures = 0
	case <-ctx.Done():
		return false
	}
	return true
}
