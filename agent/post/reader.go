package post

import (
	"context"
	"errors"
	"sync"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// reader reads one queue over one line.
type reader struct {
	*follower
	line    *line
	id      stream.ID
	version uint64
	missed  bool // Missing was told
	anew    bool // it was begun anew, since it was not what had been read
}

// run reads until ctx or the line ends. Errors of the taker and of the queue have
// it wait.
func (r *reader) run(ctx context.Context) {
	tries := attempts{post: r.post}
	for {
		woken := r.post.wakes()
		tries.try()
		err := r.read(ctx)
		if ctx.Err() != nil || r.line.client.Err() != nil {
			return
		}
		r.post.logger.Debug("queue is read again later", "queue", r.id, "error", heard(ctx, err))
		if !tries.wait(ctx, woken) {
			return
		}
	}
}

// read catches up with the queue and then takes what is pushed. Catching up by
// asking, and not by a subscription, holds one page at a time in memory however
// much waits in however many queues.
func (r *reader) read(ctx context.Context) error {
	cursor, err := r.catchUp(ctx)
	if err != nil {
		return err
	}
	var sub *frame.Subscription
	err = r.line.ask(ctx, r.post.times.answer, func(ctx context.Context, c *concierge.Client) (err error) {
		sub, err = c.Subscribe(ctx, r.id, cursor.Seq, r.whisper)
		return err
	})
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		page, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if cursor, err = r.hand(ctx, cursor, page, nil); err != nil {
			return err
		}
		r.reached(cursor, nil)
	}
}

// whisper takes what is announced, or drops it.
func (r *reader) whisper(body []byte) {
	offer(r.whispers, whisper{r.id, body})
}

// catchUp takes what waits, and returns the cursor.
func (r *reader) catchUp(ctx context.Context) (mark, error) {
	select {
	case r.catching <- struct{}{}:
		defer func() { <-r.catching }()
	case <-ctx.Done():
		return mark{}, ctx.Err()
	}
	cursor, ok := r.boxes.from(r.id, r.version)
	if !ok {
		return mark{}, errGone
	}
	cursor, err := r.takeWaiting(ctx, cursor)
	if errors.Is(err, errOther) {
		if cursor = begun(r.id); !r.boxes.move(r.id, r.version, cursor) {
			return mark{}, errGone
		}
		return r.takeWaiting(ctx, cursor)
	}
	return cursor, err
}

// errOther says that the queue is another one than was read, which was told.
var errOther = errors.New("queue is not the one that was read")

// takeWaiting takes what is there after the cursor. If something was read before,
// the concierge is asked for its head too: what was read must lead to it.
func (r *reader) takeWaiting(ctx context.Context, cursor mark) (mark, error) {
	page, told, err := r.first(ctx, cursor)
	switch {
	case errors.Is(err, stream.ErrAhead) && cursor.Seq > 0:
		rolled := &Rolled{Box: r.id, Cursor: cursor.Seq}
		if told != nil {
			rolled.Head = told.Seq
		}
		r.say(true, rolled)
		return cursor, errOther
	case wire.CodeOf(err) == wire.NotFound:
		if !r.missed {
			r.missed = true
			r.say(true, &Missing{Box: r.id})
		}
	}
	for err == nil {
		r.missed = false
		before := cursor.Seq
		if cursor, err = r.hand(ctx, cursor, page, told); err != nil {
			break
		}
		r.reached(cursor, told) // also with nothing new: the last time it may have got lost
		if cursor.Seq == before || cursor.Seq >= page.Head && (told == nil || cursor.Seq >= told.Seq) {
			break
		}
		page, err = r.ask(ctx, cursor.Seq)
	}
	return cursor, err
}

// reached acknowledges all up to the cursor, unless it is not known yet whether that
// is what was read: of a queue that was rolled back and has grown, it would let go of
// entries that were never read.
func (r *reader) reached(cursor mark, told *stream.Head) {
	if cursor.Seq > 0 && (told == nil || !cursor.known || told.Seq <= cursor.Seq) {
		r.line.client.Acknowledge(r.id, cursor.Seq)
	}
}

// first asks for the page after the cursor and, if that is not the beginning, for
// the queue's head, both at once.
func (r *reader) first(ctx context.Context, cursor mark) (page stream.Page, told *stream.Head, err error) {
	if cursor.Seq == 0 {
		page, err = r.ask(ctx, 0)
		return page, nil, err
	}
	var headErr error
	var asking sync.WaitGroup
	asking.Go(func() { told, headErr = r.head(ctx) })
	page, err = r.ask(ctx, cursor.Seq)
	asking.Wait()
	if err == nil {
		err = headErr // who hides it may hide more
	}
	return page, told, err
}

// errGone ends the reader of a queue that was removed.
var errGone = errors.New("queue is no longer to be read")

// ask asks for the page after a number.
func (r *reader) ask(ctx context.Context, after uint64) (page stream.Page, err error) {
	err = r.line.ask(ctx, r.post.times.answer, func(ctx context.Context, c *concierge.Client) (err error) {
		page, err = c.Range(ctx, r.id, after, stream.MaxPage)
		return err
	})
	return page, err
}

// head returns the queue's head as the concierge tells it.
func (r *reader) head(ctx context.Context) (head *stream.Head, err error) {
	err = r.line.ask(ctx, r.post.times.answer, func(ctx context.Context, c *concierge.Client) error {
		s, err := c.Head(ctx, r.id)
		if err == nil {
			head = &s.Head
		}
		return err
	})
	return head, err
}

// hand hands a page to the taker, and returns the cursor after it. told is as in
// [mark.past].
func (r *reader) hand(ctx context.Context, cursor mark, page stream.Page, told *stream.Head) (mark, error) {
	last := page.Last()
	if last > maxSeq {
		return cursor, wire.Errorf(wire.Invalid, "concierge numbers an entry %d: no queue has that many", last)
	}
	next, same := cursor.past(page, told)
	if !same && !r.anew {
		// Once for each connection: a concierge whose heads do not fit its own
		// entries is read all the same.
		r.anew = true
		r.say(true, &Rolled{Box: r.id, Cursor: cursor.Seq, Head: told.Seq, Other: true})
		return cursor, errOther
	}
	if last == cursor.Seq {
		r.boxes.move(r.id, r.version, next) // its hash may be known now
		return next, nil
	}
	if page.After > cursor.Seq && cursor.Seq > 0 {
		r.say(true, &Gap{Box: r.id, Cursor: cursor.Seq, Next: page.After + 1})
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return cursor, ctx.Err()
	}
	err := r.take(r.whole, r.id, page)
	<-r.turn
	if err != nil {
		return cursor, err
	}
	if !r.boxes.move(r.id, r.version, next) {
		return cursor, errGone
	}
	return next, nil
}
