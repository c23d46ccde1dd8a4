package frame

import (
	"sync"
	"time"
)

// outbox is what waits to be written to a connection. While nothing does, it has
// no goroutine.
type outbox struct {
	conn   Conn
	failed func(error) // called once when writing fails

	mu      sync.Mutex
	room    sync.Cond
	frames  [][]byte
	spare   [][]byte
	bytes   int
	writing bool
	since   time.Time // of the write under way
	last    bool      // nothing is taken any more, and the end of it closes the connection
}

func newOutbox(conn Conn, failed func(error)) *outbox {
	o := &outbox{conn: conn, failed: failed}
	o.room.L = &o.mu
	return o
}

// put adds a frame, which others may have too, whether or not there is room.
func (o *outbox) put(frame []byte) {
	o.mu.Lock()
	o.add(frame)
	o.mu.Unlock()
}

// offer adds a frame if there is room.
func (o *outbox) offer(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes >= maxOut {
		return false
	}
	o.add(frame)
	return true
}

func (o *outbox) add(frame []byte) {
	if o.last {
		return
	}
	o.frames = append(o.frames, frame)
	o.bytes += len(frame)
	if !o.writing {
		o.writing, o.since = true, time.Now()
		go o.write()
	}
}

// wait waits until there is room, or the end.
func (o *outbox) wait() {
	o.mu.Lock()
	for o.bytes >= maxOut && !o.last {
		o.room.Wait()
	}
	o.mu.Unlock()
}

// finish adds a last frame, unless it is nil, and closes the connection once all
// is written.
func (o *outbox) finish(frame []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last {
		return
	}
	if frame != nil {
		o.add(frame)
	}
	o.last = true
	o.room.Broadcast()
	if !o.writing {
		o.conn.Close()
	}
}

// stalled reports whether the write under way began before a time.
func (o *outbox) stalled(before time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writing && o.since.Before(before)
}

func (o *outbox) write() {
	o.mu.Lock()
	for len(o.frames) > 0 {
		frames, bytes := o.frames, o.bytes
		o.frames, o.spare = o.spare[:0], nil
		o.since = time.Now()
		o.mu.Unlock()
		err := o.conn.WriteFrames(frames)
		clear(frames)
		o.mu.Lock()
		if cap(frames) <= keepFrames {
			o.spare = frames
		}
		o.bytes -= bytes
		o.room.Broadcast()
		if err != nil {
			o.last, o.frames, o.bytes = true, nil, 0
			o.writing = false
			o.mu.Unlock()
			o.conn.Close()
			o.failed(err)
			return
		}
	}
	o.writing = false
	last := o.last
	o.mu.Unlock()
	if last {
		o.conn.Close()
	}
}

// keepFrames is how many places for frames an idle connection keeps.
const keepFrames = 64
