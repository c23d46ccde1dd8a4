package lightclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// ask puts a request to the sources, in an answer no older than maxAge (0 for
// DefaultMaxAge).
func (c *Client) ask(ctx context.Context, r Request, maxAge time.Duration) (Proof, error) {
	known, err := c.trusted()
	if err != nil {
		return Proof{}, err
	}
	return c.askFrom(ctx, known, r, maxAge)
}

// askFrom is ask with what the answer must stand on: a head that the client has
// verified, or nil for the pin. It takes the first answer that holds and has
// another source confirm its head.
func (c *Client) askFrom(ctx context.Context, known *verify.Trust, r Request, maxAge time.Duration) (Proof, error) {
	if maxAge <= 0 {
		maxAge = DefaultMaxAge
	}
	p, others, err := c.first(ctx, known, r, maxAge)
	if err != nil {
		return Proof{}, err
	}
	if err := c.crossCheck(ctx, &p, others); err != nil {
		return Proof{}, err
	}
	return p, c.advance(ctx, &p)
}

// first returns the first answer that holds, and the sources that can still be
// asked whether they know its head: those that have not been found silent or
// wrong. An answer from before what is known holds too, but a source that
// replays one must not keep newer ones away: the others are heard first.
func (c *Client) first(ctx context.Context, known *verify.Trust, r Request, maxAge time.Duration) (Proof, []Source, error) {
	turns, cancel := context.WithCancel(ctx)
	defer cancel()
	var older *Proof
	var behind []Source
	var notes []string
	var failures []error
	heard := make([]bool, len(c.sources))
	for i, got := range inTurn(turns, len(c.sources), patience, func(ctx context.Context, i int) (Proof, error) {
		return c.askOne(ctx, c.sources[i], known, r, maxAge)
	}) {
		heard[i] = true
		p, err := got.value, got.err
		var conflict *verify.ConflictError
		switch {
		case errors.As(err, &conflict):
			return Proof{}, nil, c.condemn(ctx, p, conflict)
		case err != nil:
			f := &failure{c.sources[i].Name(), err}
			failures, notes = append(failures, f), append(notes, f.Error())
			continue
		case known != nil && p.Height < known.Height:
			notes = append(notes, fmt.Sprintf("%s answered with height %d, although %d is known", p.Source, p.Height, known.Height))
			behind = append(behind, c.sources[i])
			if older == nil || older.Height < p.Height {
				older = &p
			}
			time.AfterFunc(patience, cancel) // there is an answer; the others get a moment
			continue
		}
		for j, s := range c.sources[:i] {
			if !heard[j] {
				notes = append(notes, fmt.Sprintf("%s has not answered within %v", s.Name(), patience))
			}
		}
		p.Notes = notes
		return p, append(c.sources[i+1:len(c.sources):len(c.sources)], behind...), nil
	}
	switch {
	case older != nil:
		older.Notes = notes
		others := slices.DeleteFunc(behind, func(s Source) bool { return s.Name() == older.Source })
		return *older, others, nil
	case ctx.Err() != nil:
		return Proof{}, nil, unanswered(ctx)
	}
	return Proof{}, nil, summary(failures)
}

// unanswered says that ctx ended first: its time was over, or the asker stopped.
func unanswered(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return wire.Errorf(wire.Unavailable, "stopped before an answer came: %w", ctx.Err())
	}
	return wire.Errorf(wire.Unavailable, "no answer in time: %w", ctx.Err())
}

// summary turns the failures of all sources into one error. Its kind is Stale if
// one had only an old answer, and Invalid only if no source can be expected to
// do better: what a liar says must not make a caller give up on the others.
func summary(failures []error) error {
	code, refused := wire.Unavailable, 0
	for _, err := range failures {
		switch wire.CodeOf(err) {
		case wire.Stale:
			code = wire.Stale
		case wire.Invalid:
			refused++
		}
	}
	if refused == len(failures) {
		code = wire.Invalid
	}
	return wire.Errorf(code, "no source gave a proof that holds: %w", errors.Join(failures...))
}

// askOne puts a request to one source and verifies the answer. With the error of
// an answer that was refused comes a Proof that says where it is from and what
// it was, unproven.
func (c *Client) askOne(ctx context.Context, s Source, known *verify.Trust, r Request, maxAge time.Duration) (Proof, error) {
	r.Pin = c.pin.Height
	if known != nil {
		r.Known = known.Height
	}
	b, err := s.Bundle(ctx, r)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Source: s.Name(), Bundle: b, from: known}
	v, err := bundle.Verify(b, bundle.Trust{Pin: c.pin, Known: known, Rules: c.rules, MaxAge: maxAge}, c.now())
	if err != nil {
		return p, err
	}
	if err := answers(r, v); err != nil {
		return p, err
	}
	p.Height, p.Time, p.Age, p.Pin, p.Assurance, p.verified = v.Trust.Height, v.Time, v.Age, v.Pin, v.Assurance, v
	return p, nil
}

// answers reports why a bundle that holds is no answer to the request. Whoever
// can give out true bundles could else keep the truth away by giving out others.
func answers(r Request, v *bundle.Verified) error {
	var err error
	var e namesvc.Entry
	switch {
	case r.At > 0 && v.Trust.Height != r.At:
		return wire.Errorf(wire.Invalid, "it answered with height %d instead of %d", v.Trust.Height, r.At)
	case r.After > 0 && v.Trust.Height <= r.After:
		return wire.Errorf(wire.Unavailable, "it answered with height %d, which is not above %d", v.Trust.Height, r.After)
	case r.Handle != "":
		var m namesvc.Meaning
		m, err = v.Handle(r.Handle)
		e = m.Entry
	case r.Account != nil:
		e, err = v.Account(*r.Account)
	case r.Commit != nil:
		_, err = v.Leaf(namesvc.CommitKey(*r.Commit))
	case r.Chain:
		_, err = chainInfo(v)
	}
	if err == nil && r.Devices {
		_, err = v.Devices(e.Account)
	}
	if err == nil && r.Sponsor {
		_, err = sponsorLeaf(v, e.Account)
	}
	for _, s := range e.Records.Concierges {
		if err == nil && r.Serving {
			_, err = v.Leaf(namesvc.AccountKey(s.Account))
		}
	}
	if wire.CodeOf(err) == wire.NotFound {
		return nil // proven, and an answer
	}
	return err
}

// trusted returns what the client has verified so far.
func (c *Client) trusted() (*verify.Trust, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known, c.poison
}

// advance keeps a newer head. That it cannot be stored is only a note: the
// answer holds, and the next one stores a newer one.
func (c *Client) advance(ctx context.Context, p *Proof) error {
	c.mu.Lock()
	known, poison, t := c.known, c.poison, p.verified.Trust
	newer := poison == nil && (known == nil || known.Height < t.Height)
	if newer {
		c.known = &t
		if err := c.store.Save(c.pin, t); err != nil {
			p.Notes = append(p.Notes, Printable(fmt.Sprintf("the verified head could not be kept for the next time: %v", err)))
		}
	}
	c.mu.Unlock()
	switch {
	case poison != nil:
		return poison
	case !newer && known.Height == t.Height && known.Hash != t.Hash:
		return c.contradict(ctx, *p, *known) // verified by another call meanwhile
	}
	return nil
}
