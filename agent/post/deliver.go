package post

import (
	"context"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// with has do speak with the concierge of a party: as a device if the party is of
// the own account, as a guest otherwise. If that concierge cannot be had, or says
// that it is the wrong one, the party is looked up anew; if the chain names
// another, do speaks with that.
func (p *Post) with(ctx context.Context, who message.Party, do func(context.Context, *line) error) error {
	own := who.Account == p.self.Account
	office, err := p.whereIs(ctx, who, false)
	if err != nil {
		return err
	}
	err = p.try(ctx, office, own, do)
	if !elsewhere(err) || ctx.Err() != nil {
		return err
	}
	newer, lookErr := p.whereIs(ctx, who, true)
	switch code := wire.CodeOf(lookErr); {
	case code == wire.Conflict || code == wire.NotFound:
		return lookErr // which is why
	case lookErr != nil || newer.same(office):
		return err
	}
	return p.try(ctx, newer, own, do)
}

// elsewhere reports whether an error may mean that a party, or its concierge, is
// to be found elsewhere by now.
func elsewhere(err error) bool {
	switch wire.CodeOf(err) {
	case wire.NotFound, wire.Unauthorized, wire.Stale, wire.Unavailable:
		return true
	}
	return false
}

// Deliver appends messages to the queue of an address, which is kept by the
// concierge of the party that it belongs to. It returns how many of them, from
// the first on, are durable there, and why the next is not: kind Exists if its id
// belongs to another body, NotFound or Stale if no concierge of the party has
// such a queue, Exhausted if the queue is full or is written too fast, Conflict
// if the account is another party now, Unavailable if it should be tried again,
// which is safe: a message that is there already is not added again.
//
// Messages are handed over in their order, some before those before them are
// answered. If one is refused, a few after it may have been taken; what must
// never overtake is given to a Deliver of its own, after the others.
func (p *Post) Deliver(ctx context.Context, to message.Party, address concierge.Address, ms []stream.Message) (int, error) {
	count := 0
	if len(ms) == 0 {
		return 0, nil
	}
	err := p.with(ctx, to, func(ctx context.Context, l *line) error {
		d := delivery{line: l, patience: p.times.answer, address: address, rest: ms[count:]}
		err := d.run(ctx)
		count += d.count()
		return err
	})
	return count, err
}

// delivery is some messages on their way over one line.
type delivery struct {
	line     *line
	patience time.Duration // for one answer
	address  concierge.Address
	rest     []stream.Message

	next    int    // to be handed over
	flying  int    // without an answer
	done    []bool // of those handed over
	refused int    // the first that was refused, if err is not nil
	err     error
}

type answer struct {
	message int
	err     error
}

// count returns how many from the first on were taken.
func (d *delivery) count() int {
	for i, ok := range d.done {
		if !ok {
			return i
		}
	}
	return len(d.done)
}

// run hands the messages over until all are answered, or one was refused and
// those on their way are answered.
func (d *delivery) run(ctx context.Context) error {
	answers := make(chan answer, maxQueueFlight)
	late := time.NewTimer(d.patience)
	defer late.Stop()
	for {
		if err := d.submit(ctx, answers); err != nil {
			return err
		}
		if d.flying == 0 {
			return d.err
		}
		late.Reset(d.patience)
		select {
		case a := <-answers:
			d.answered(ctx, a)
		case <-late.C:
			d.line.hang()
			return errSilent
		case <-ctx.Done():
			return stopped(ctx)
		}
	}
}

// submit hands over as many as may be on their way.
func (d *delivery) submit(ctx context.Context, answers chan<- answer) error {
	f := d.line.flight
	for d.err == nil && d.next < len(d.rest) && d.flying < maxQueueFlight {
		i, m := d.next, d.rest[d.next]
		size := len(m.Body) + stream.EntryCost
		if !f.try(size) {
			if d.flying > 0 {
				return nil
			}
			if err := f.take(ctx, size); err != nil {
				return err
			}
		}
		d.next++
		d.flying++
		d.done = append(d.done, false)
		d.line.client.Submit(stream.ID(d.address), m, func(_ stream.Receipt, err error) {
			f.land(size)
			answers <- answer{i, err}
		})
	}
	return nil
}

// answered notes an answer. Of several refusals the one of the first message
// counts.
func (d *delivery) answered(ctx context.Context, a answer) {
	d.flying--
	if a.err == nil {
		d.done[a.message] = true
		return
	}
	if d.err == nil || a.message < d.refused {
		d.refused, d.err = a.message, heard(ctx, a.err)
		if d.line.silent.Load() {
			d.err = errSilent
		}
	}
}

// Announce passes a sign, such as that somebody types, to whoever reads the queue
// of an address just now. Nobody keeps it and nobody says whether it was heard;
// one that would have to wait is dropped, with kind Exhausted.
func (p *Post) Announce(ctx context.Context, to message.Party, address concierge.Address, body []byte) error {
	if len(body) > stream.MaxAnnouncement {
		return stream.ErrTooLarge
	}
	return p.with(ctx, to, func(ctx context.Context, l *line) error {
		select {
		case l.whisper <- struct{}{}:
		default:
			return wire.Errorf(wire.Exhausted, "announce: the connection is busy")
		}
		// Away from here, since it waits if the concierge takes nothing.
		p.running.Go(func() {
			defer func() { <-l.whisper }()
			late := time.AfterFunc(p.times.answer, l.hang)
			defer late.Stop()
			l.client.Announce(stream.ID(address), body)
		})
		return nil
	})
}
