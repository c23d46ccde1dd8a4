package post

import (
	"context"
	"errors"

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
		sub, err = c.Subscribe(ctx, r.id, cursor, r.whisper)
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
		if cursor, err = r.hand(ctx, cursor, page); err != nil {
			return err
		}
	}
}

// whisper takes what is announced, or drops it.
func (r *reader) whisper(body []byte) {
	offer(r.whispers, whisper{r.id, body})
}

// catchUp takes what waits, and returns the cursor.
func (r *reader) catchUp(ctx context.Context) (uint64, error) {
	select {
	case r.catching <- struct{}{}:
		defer func() { <-r.catching }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	cursor, ok := r.boxes.from(r.id, r.version)
	if !ok {
		return 0, errGone
	}
	page, err := r.ask(ctx, cursor)
	switch {
	case errors.Is(err, stream.ErrAhead) && cursor > 0:
		r.say(true, &Rolled{Box: r.id, Cursor: cursor, Head: r.head(ctx)})
		if cursor = 0; !r.boxes.move(r.id, r.version, 0) {
			return 0, errGone
		}
		page, err = r.ask(ctx, 0)
	case wire.CodeOf(err) == wire.NotFound:
		if !r.missed {
			r.missed = true
			r.say(true, &Missing{Box: r.id})
		}
	case err == nil && cursor > 0:
		r.line.client.Acknowledge(r.id, cursor) // the last time it may have got lost
	}
	for err == nil {
		r.missed = false
		before := cursor
		if cursor, err = r.hand(ctx, cursor, page); err != nil || cursor == before || cursor >= page.Head {
			break
		}
		page, err = r.ask(ctx, cursor)
	}
	return cursor, err
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

// head returns the newest number that the concierge tells of, or 0.
func (r *reader) head(ctx context.Context) (head uint64) {
	r.line.ask(ctx, r.post.times.answer, func(ctx context.Context, c *concierge.Client) error {
		s, err := c.Head(ctx, r.id)
		if err == nil {
			head = s.Head.Seq
		}
		return err
	})
	return head
}

// hand hands a page to the taker and, once it has it, acknowledges it. It returns
// the cursor after it.
func (r *reader) hand(ctx context.Context, cursor uint64, page stream.Page) (uint64, error) {
	last := page.Last()
	switch {
	case last > maxSeq:
		return cursor, wire.Errorf(wire.Invalid, "concierge numbers an entry %d: no queue has that many", last)
	case last == cursor:
		return cursor, nil
	case page.After > cursor && cursor > 0:
		r.say(true, &Gap{Box: r.id, Cursor: cursor, Next: page.After + 1})
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
	if !r.boxes.move(r.id, r.version, last) {
		return cursor, errGone
	}
	r.line.client.Acknowledge(r.id, last)
	return last, nil
}
