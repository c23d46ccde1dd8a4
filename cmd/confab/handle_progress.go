package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

// How long a network may be silent while it owes us an answer. Blocks come each
// second, so that ten are no coincidence; after two minutes a person is better
// told, and a script must not hang.
const (
	silence  = 10 * time.Second
	patience = 2 * time.Minute
)

// errSilent says that the network stopped answering.
var errSilent = errors.New("no news from the network")

// watch is one op or registration that is waited for.
type watch struct {
	c      *call
	what   string // "registering @alice"
	ctx    context.Context
	cancel context.CancelCauseFunc
	hint   *time.Timer // tells the person about silence
	end    *time.Timer // gives up

	mu    sync.Mutex
	line  *command.Progress
	began time.Time
	last  agent.Step
	tries uint64
	shown time.Time
}

// watch begins to wait. Give its context and report to what takes long, and the
// result to done.
func (c *call) watch(what string) *watch {
	w := &watch{c: c, what: what, line: c.Progress(), began: c.now()}
	w.ctx, w.cancel = context.WithCancelCause(c.Ctx())
	w.hint = time.AfterFunc(silence, w.tellSilence)
	w.end = time.AfterFunc(c.patience, func() { w.cancel(errSilent) })
	return w
}

func (w *watch) tellSilence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line.Keep("wait      no news for %v: is the network running? Ctrl-C stops this, and nothing is lost", silence)
}

// report takes progress: on a terminal it is one line that changes, elsewhere a
// line for each step, and with --json nothing.
func (w *watch) report(p agent.Progress) {
	w.hint.Reset(silence)
	w.end.Reset(w.c.patience)
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh := p.Step != w.last
	w.last = p.Step
	switch p.Step {
	case agent.Working:
		// Work reports hundreds of times a second; eyes want a few.
		if !fresh && (!w.line.Terminal() || w.c.now().Sub(w.shown) < 200*time.Millisecond) {
			return
		}
		w.shown, w.tries = w.c.now(), p.Tries
		w.step("work      %s", triesOf(p))
	case agent.Asking:
		w.step("ticket    asked of the sponsor, who does not learn the handle")
	case agent.Committing:
		if w.line.Terminal() && w.tries > 0 {
			w.line.Keep("work      done after %d tries", w.tries)
		}
		w.step("commit    sent: the handle is still secret")
	case agent.Revealing:
		w.step("reveal    sent: the registration is public now")
	case agent.Sending:
		w.step("op        sent to %s", p.Source)
	case agent.Waiting:
		if w.line.Terminal() {
			w.step("block     %d", p.Height)
		}
	case agent.Done:
		w.line.Keep("proof     at height %d, after %v", p.Height, w.c.now().Sub(w.began).Round(100*time.Millisecond))
	}
}

func triesOf(p agent.Progress) string {
	if p.Tries == 0 {
		return fmt.Sprintf("about %d tries are needed", p.Expected)
	}
	return fmt.Sprintf("%d tries, about %d are needed", p.Tries, p.Expected)
}

// step shows a step in the place of the last one. A line that is longer than the
// terminal is wide would not be replaced but pile up, so it is cut.
func (w *watch) step(format string, args ...any) {
	text := []rune(fmt.Sprintf(format, args...))
	if wide := w.c.columns(); w.line.Terminal() && wide > 1 && len(text) >= wide {
		text = append(text[:wide-2], '…')
	}
	w.line.Step("%s", string(text))
}

// done ends the waiting and says what an interruption means.
func (w *watch) done(err error) error {
	w.hint.Stop()
	w.end.Stop()
	cause := context.Cause(w.ctx)
	w.cancel(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line.Close()
	switch {
	case err == nil || cause == nil:
		return err
	case errors.Is(cause, errSilent):
		return wire.Errorf(wire.Unavailable, "%s: %w for %v; what was sent may still take effect", w.what, errSilent, w.c.patience)
	}
	return fmt.Errorf("%s: %w; what was sent may still take effect", w.what, command.ErrStopped)
}
