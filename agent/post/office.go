package post

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// An Office is a concierge and where it is, as the chain had it. It is plain
// data: kept over a restart it is where mail was last, until the chain is heard.
type Office struct {
	Service concierge.Service
	URL     string         // to be tried first
	Others  []string       // of its further URLs
	Handle  namesvc.Handle // for people, empty if its lease is over
}

func (o Office) same(other Office) bool {
	return o.Service == other.Service && o.URL == other.URL && slices.Equal(o.Others, other.Others)
}

// urls returns all its URLs in the order in which they are tried.
func (o Office) urls() []string { return append([]string{o.URL}, o.Others...) }

// officeOf returns the office that a concierge's entry tells of.
func officeOf(chain string, e namesvc.Entry, now time.Time) (Office, error) {
	s, err := concierge.ServiceOf(chain, e)
	if err != nil {
		return Office{}, err
	}
	urls := e.Records.Service.URLs
	if len(urls) == 0 {
		return Office{}, wire.Errorf(wire.NotFound, "concierge %v has no URL", e.Account)
	}
	return Office{Service: s, URL: urls[0], Others: urls[1:], Handle: e.At(uint64(now.Unix())).Primary()}, nil
}

// whereabouts is what is known of an account's concierge.
type whereabouts struct {
	office     Office
	generation uint32
	proven     time.Time // of the head
}

// Home returns the concierge that the own entry names, proven at most maxAge ago
// (0 for lightclient.DefaultMaxAge). NotFound if it names none that serves.
func (p *Post) Home(ctx context.Context, maxAge time.Duration) (Office, error) {
	w, err := p.locate(ctx, p.self.Account, or(maxAge, lightclient.DefaultMaxAge))
	return w.office, err
}

// HomeNow is Home asked of the chain whatever is known: the own entry was changed
// a moment ago.
func (p *Post) HomeNow(ctx context.Context) (Office, error) {
	w, err := p.lookUp(ctx, p.self.Account, lightclient.DefaultMaxAge)
	return w.office, err
}

// Find returns the concierge of a party, proven at most maxAge ago (0 for
// lightclient.DefaultMaxAge). Conflict if the account's generation is another,
// NotFound if it names none that serves.
func (p *Post) Find(ctx context.Context, who message.Party, maxAge time.Duration) (Office, error) {
	w, err := p.locate(ctx, who.Account, or(maxAge, lightclient.DefaultMaxAge))
	if err != nil {
		return Office{}, err
	}
	return w.of(who)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// of returns the office, if the account is still that party.
func (w whereabouts) of(who message.Party) (Office, error) {
	if w.generation != who.Generation {
		return Office{}, wire.Errorf(wire.Conflict, "account %v has generation %d, and %d was known: somebody else may control it now; confirm the contact anew", who.Account, w.generation, who.Generation)
	}
	return w.office, nil
}

// locate returns an account's concierge, from memory if that is fresh enough.
func (p *Post) locate(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (whereabouts, error) {
	p.mu.Lock()
	w, ok := p.known[id]
	p.mu.Unlock()
	if ok && p.now().Sub(w.proven) <= maxAge {
		return w, nil
	}
	return p.join(ctx, id, maxAge)
}

// A search is one question to the chain, for all who want to know at that moment.
type search struct {
	maxAge time.Duration
	done   chan struct{} // closed when w and err are there
	w      whereabouts
	err    error
}

// lookUp asks the chain where an account's concierge is. What it returns was asked
// after the call.
func (p *Post) lookUp(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (whereabouts, error) {
	p.mu.Lock()
	before := p.searches[id]
	p.mu.Unlock()
	if before != nil {
		select {
		case <-before.done:
		case <-ctx.Done():
			return whereabouts{}, notAsked(ctx)
		}
	}
	return p.join(ctx, id, maxAge)
}

// join takes the answer of the search that is under way, or begins one.
func (p *Post) join(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (whereabouts, error) {
	s, err := p.searching(id, maxAge)
	if err != nil {
		return whereabouts{}, err
	}
	select {
	case <-s.done:
		return s.w, s.err
	case <-ctx.Done():
		return whereabouts{}, notAsked(ctx)
	}
}

func notAsked(ctx context.Context) error {
	return wire.Errorf(wire.Unavailable, "ask the chain for a concierge: stopped before the answer came (%w)", context.Cause(ctx))
}

// searching returns the search for an account, begun if there is none that does.
// It is nobody's own: whoever began it may leave.
func (p *Post) searching(id namesvc.AccountID, maxAge time.Duration) (*search, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if s := p.searches[id]; s != nil && s.maxAge <= maxAge {
		return s, nil
	}
	s := &search{maxAge: maxAge, done: make(chan struct{})}
	p.searches[id] = s
	p.running.Go(func() {
		s.w, s.err = p.askChain(id, maxAge)
		p.mu.Lock()
		if p.searches[id] == s {
			delete(p.searches, id)
		}
		p.mu.Unlock()
		close(s.done)
	})
	return s, nil
}

// askChain does a search.
func (p *Post) askChain(id namesvc.AccountID, maxAge time.Duration) (whereabouts, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.times.ask)
	defer cancel()
	e, proof, err := p.names.Account(ctx, id, maxAge)
	if err != nil && p.ctx.Err() != nil {
		err = errClosed
	}
	if err != nil {
		return whereabouts{}, err
	}
	office, err := serving(p.names.Pin().ChainID, e, proof, p.now())
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		delete(p.known, id)
		return whereabouts{}, err
	}
	w := whereabouts{office: office, generation: e.Generation, proven: proof.Time}
	if old, ok := p.known[id]; ok && old.proven.After(w.proven) {
		return w, nil // an answer of another call was newer
	}
	p.forgetOldest()
	p.known[id] = w
	return w, nil
}

// forgetOldest makes room for one more account; p.mu is held.
func (p *Post) forgetOldest() {
	if len(p.known) < maxKnown {
		return
	}
	var oldest namesvc.AccountID
	var when time.Time
	for id, w := range p.known {
		if when.IsZero() || w.proven.Before(when) {
			oldest, when = id, w.proven
		}
	}
	delete(p.known, oldest)
}

// serving returns the first of an account's concierges that still is the one
// which the account named.
func serving(chain string, e namesvc.Entry, proof lightclient.Proof, now time.Time) (Office, error) {
	list := slices.Clone(e.Records.Concierges)
	slices.SortStableFunc(list, func(a, b namesvc.Concierge) int { return int(a.Priority) - int(b.Priority) })
	why := errors.New("it names none")
	for _, c := range list {
		se, err := proof.Serving(c)
		if err == nil && se.Generation != c.Generation {
			err = wire.Errorf(wire.Conflict, "concierge %v has generation %d, and %d was chosen", c.Account, se.Generation, c.Generation)
		}
		var o Office
		if err == nil {
			o, err = officeOf(chain, se, now)
		}
		if err == nil {
			return o, nil
		}
		why = err
	}
	return Office{}, wire.Errorf(wire.NotFound, "account %v has no concierge that can be reached (%w)", e.Account, why)
}

// whereIs returns a party's office for writing to it: from memory for a minute,
// and for longer while the chain does not answer. With anew, memory does not do.
func (p *Post) whereIs(ctx context.Context, who message.Party, anew bool) (Office, error) {
	find := p.recall
	if anew {
		find = p.lookUp
	}
	w, err := find(ctx, who.Account, lightclient.DefaultMaxAge)
	if err != nil {
		return Office{}, err
	}
	return w.of(who)
}

// recall is locate that does with an older answer while the chain is silent.
func (p *Post) recall(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (whereabouts, error) {
	w, err := p.locate(ctx, id, maxAge)
	if code := wire.CodeOf(err); proven(err) || code != wire.Unavailable && code != wire.Stale {
		return w, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.known[id]; ok && p.now().Sub(old.proven) <= p.times.grace {
		return old, nil
	}
	return w, err
}

// proven reports whether the chain itself says so.
func proven(err error) bool {
	var answer *lightclient.AnswerError
	return errors.As(err, &answer)
}

// renew returns a concierge as its own entry has it now, since it may have
// another key or address; if that cannot be known, as it was.
func (p *Post) renew(ctx context.Context, o Office) Office {
	ctx, cancel := context.WithTimeout(ctx, p.times.ask)
	defer cancel()
	e, _, err := p.names.Account(ctx, o.Service.Account, lightclient.DefaultMaxAge)
	if err != nil || e.Generation != o.Service.Generation {
		return o
	}
	if newer, err := officeOf(o.Service.Chain, e, p.now()); err == nil {
		return newer
	}
	return o
}
