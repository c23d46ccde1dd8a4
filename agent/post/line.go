package post

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/concierge"
)

// A line is a connection to a concierge that everybody shares who needs it: one
// as a device of the own account, or one as a guest.
type line struct {
	key    lineKey
	office Office
	ready  chan struct{} // closed when it is dialled, or that has failed
	client *concierge.Client
	err    error

	flight  *flight
	silent  atomic.Bool   // it was closed since it did not answer
	whisper chan struct{} // room for one announcement on its way

	// Of Post.mu.
	users int
	since time.Time   // without users
	idle  *time.Timer // closes it
}

type lineKey struct {
	service concierge.Service
	own     bool
}

// dialled reports whether the line was dialled with success.
func (l *line) dialled() bool {
	select {
	case <-l.ready:
		return l.err == nil
	default:
		return false
	}
}

// ended reports whether it was dialled and is no more.
func (l *line) ended() bool { return l.dialled() && l.client.Err() != nil }

func (l *line) close() {
	if l.dialled() {
		l.client.Close()
	}
}

// hang closes the line since it does not answer.
func (l *line) hang() {
	l.silent.Store(true)
	l.close()
}

// why returns why the line has ended.
func (l *line) why() error {
	if l.silent.Load() {
		return errSilent
	}
	return l.client.Err()
}

// Own returns a connection of this device to its concierge, or to a former one
// that is being drained. All callers share it. It is closed when nobody has
// followed it or called Own for two minutes.
func (p *Post) Own(ctx context.Context, o Office) (*concierge.Client, error) {
	l, _, err := p.acquire(ctx, o, true)
	if err != nil {
		return nil, err
	}
	defer p.release(l)
	return l.client, nil
}

// Ask does a request on the connection of this device to a concierge, which is
// closed if it takes too long.
func (p *Post) Ask(ctx context.Context, o Office, do func(context.Context, *concierge.Client) error) error {
	return p.try(ctx, o, true, func(ctx context.Context, l *line) error {
		return l.ask(ctx, p.times.answer, do)
	})
}

// ask does one request, within a time; then the line is closed.
func (l *line) ask(ctx context.Context, within time.Duration, do func(context.Context, *concierge.Client) error) error {
	// A timer and not only a context: whoever waits to write is not held by one.
	late := time.AfterFunc(within, l.hang)
	defer late.Stop()
	err := do(ctx, l.client)
	if err != nil && l.silent.Load() {
		return errSilent
	}
	return heard(ctx, err)
}

// try has do use a line. If it finds that a line from before has ended, it
// gets a new one, once.
func (p *Post) try(ctx context.Context, o Office, own bool, do func(context.Context, *line) error) error {
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for {
		l, fresh, err := p.acquire(ctx, o, own)
		if err != nil {
			return err
		}
		err = do(ctx, l)
		again := err != nil && !fresh && l.ended() && !l.silent.Load() && ctx.Err() == nil
		p.release(l)
		if !again {
			return err
		}
	}
}

// acquire returns a line, dialled if need be, and whether it was for this call.
// Each is paired with a release.
func (p *Post) acquire(ctx context.Context, o Office, own bool) (*line, bool, error) {
	for {
		l, fresh, wait, err := p.enter(o, own)
		switch {
		case err != nil:
			return nil, false, err
		case l == nil:
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, false, stopped(ctx)
			}
		}
		select {
		case <-l.ready:
			err = l.err
		case <-ctx.Done():
			err = stopped(ctx)
		}
		if err != nil {
			p.release(l)
			return nil, false, err
		}
		return l, fresh, nil
	}
}

// enter returns the line to an office with one user more; or, if there is none
// and no room, a channel that is closed when there may be.
func (p *Post) enter(o Office, own bool) (l *line, fresh bool, wait <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, nil, errClosed
	}
	k := lineKey{service: o.Service, own: own}
	l = p.lines[k]
	if l != nil && l.ended() {
		p.drop(l)
		l = nil
	}
	if l == nil {
		if !p.makeRoom(own) {
			return nil, false, p.room, nil
		}
		l, fresh = p.begun(k, o), true
	}
	l.users++
	l.idle.Stop()
	return l, fresh, nil, nil
}

// begun returns a line that is being dialled; p.mu is held.
func (p *Post) begun(k lineKey, o Office) *line {
	l := &line{key: k, office: o, ready: make(chan struct{}), whisper: make(chan struct{}, 1)}
	l.flight = newFlight(p.times.answer, l.hang)
	l.idle = time.AfterFunc(p.times.idle, func() { p.expire(l) })
	p.lines[k] = l
	p.running.Go(func() { p.dial(l) })
	return l
}

// makeRoom reports whether there is room for one more line of a sort, after
// closing the one that was idle for longest if need be; p.mu is held.
func (p *Post) makeRoom(own bool) bool {
	most, count := maxGuests, 0
	switch {
	case own:
		most = maxOwn
	case p.hops == Two:
		most = maxTunnels
	}
	var oldest *line
	for _, l := range p.lines {
		if l.key.own != own {
			continue
		}
		count++
		if l.users == 0 && (oldest == nil || l.since.Before(oldest.since)) {
			oldest = l
		}
	}
	if count < most {
		return true
	}
	if oldest == nil {
		return false
	}
	p.drop(oldest)
	return true
}

// drop forgets a line and closes it; p.mu is held. Its users find it ended.
func (p *Post) drop(l *line) {
	if p.lines[l.key] == l {
		delete(p.lines, l.key)
	}
	l.idle.Stop()
	l.close()
	p.vacate()
}

// vacate says that there may be room; p.mu is held.
func (p *Post) vacate() {
	close(p.room)
	p.room = make(chan struct{})
}

// release gives a line back.
func (p *Post) release(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	l.since = time.Now()
	if p.lines[l.key] != l {
		l.close() // it was forgotten while it was used
		return
	}
	if !p.closed {
		l.idle.Reset(p.times.idle)
	}
	p.vacate()
}

// expire closes a line that nobody uses.
func (p *Post) expire(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users == 0 {
		p.drop(l)
	}
}
