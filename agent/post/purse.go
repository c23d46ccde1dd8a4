package post

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// purse holds tokens of the own concierge, which pay for knocks. It is in memory
// only: after a start new ones are got, a few of the day's thirty, and who starts so
// often that these are used up pays with a second of work. Kept on disk, they would
// be one secret more for little.
type purse struct {
	mu     sync.Mutex
	tokens []concierge.Token
	next   time.Time // when to get more
}

// take takes a token out, if there is one that is good for a while.
func (p *purse) take(now time.Time) (concierge.Token, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clean(now)
	if len(p.tokens) == 0 {
		return concierge.Token{}, false
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t, true
}

// put puts tokens in, as many as there is room for.
func (p *purse) put(ts ...concierge.Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens = append(p.tokens, ts[:min(len(ts), max(0, wantTokens-len(p.tokens)))]...)
}

// clean lets go of old tokens; p.mu is held.
func (p *purse) clean(now time.Time) {
	p.tokens = slices.DeleteFunc(p.tokens, func(t concierge.Token) bool { return t.Until().Before(now.Add(tokenLasts)) })
}

// wants returns how many tokens are to be got now, and takes it for done.
func (p *purse) wants(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.next) {
		return 0
	}
	p.next = now.Add(tokensEvery)
	p.clean(now)
	return wantTokens - len(p.tokens)
}

// failed has the next attempt be made sooner.
func (p *purse) failed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = now.Add(tokensAgain)
}

// refill gets tokens over a line of this device, if it is time to.
func (p *Post) refill(ctx context.Context, l *line) {
	n := p.purse.wants(p.now())
	if n <= 0 {
		return
	}
	err := l.ask(ctx, p.times.answer, func(ctx context.Context, c *concierge.Client) error {
		ts, err := c.Tokens(ctx, n)
		p.purse.put(ts...)
		return err
	})
	if err != nil {
		p.purse.failed(p.now())
		p.logger.Debug("tokens were not got: knocks are paid for with work", "error", err)
	}
}

// knockWithToken pays for a knock with a token. It reports whether that was the
// end of it: otherwise work may do.
func (p *Post) knockWithToken(ctx context.Context, to message.Party, k concierge.Knock, progress func(string)) (bool, error) {
	t, ok := p.purse.take(p.now())
	if !ok {
		return false, nil
	}
	k.Token = t.Encode()
	progress("handing it in, with a token of the own concierge")
	err := p.with(ctx, to, func(ctx context.Context, l *line) error {
		return l.ask(ctx, p.times.answer, func(ctx context.Context, c *concierge.Client) error { return c.Knock(ctx, k) })
	})
	switch wire.CodeOf(err) {
	case 0:
		return true, nil
	case wire.NotFound, wire.Conflict:
		p.purse.put(t) // it was not looked at
		return true, err
	case wire.Unavailable:
		p.purse.put(t)
		return ctx.Err() != nil, err
	}
	p.logger.Debug("token was not taken", "error", err)
	return false, nil
}
