package chain

import (
	"fmt"
	"sync"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Law is the law of names as an app applies it: what this program knows, up to
// its newest rule set.
type Law struct {
	Newest uint32
	Apply  func(rules uint32, v namesvc.View, b namesvc.Block, txs []*namesvc.Tx) ([]namesvc.Receipt, error)
}

// UseLaw replaces the law that is built in: this is how a rule set is rehearsed
// before there is a release with it. It must be called before the first block.
func (a *App) UseLaw(l Law) { a.law = l }

// Rules returns the rule set by which the block after the newest is applied.
func (a *App) Rules() uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rules
}

// unknown reports that the program does not know the rule set that begins at
// this height, nil if it does.
func (a *App) unknown(rules uint32, height uint64) error {
	if rules <= a.law.Newest {
		return nil
	}
	return wire.Errorf(wire.Unavailable, "rule set %d of %s begins at height %d, voted for by its validators' operators, and this program knows no newer one than %d: "+
		"install a newer confab and start again; nothing is lost and nothing was signed wrongly", rules, a.chain, height, a.law.Newest)
}

// HaltError is why an app has stopped that was asked to: see [App.HaltAt].
type HaltError struct {
	Height uint64 // of the newest block, the last one for now
}

func (e *HaltError) Error() string {
	return fmt.Sprintf("stopped after height %d, as halt_height says; start without it to go on", e.Height)
}

// Unwrap gives the error its kind.
func (e *HaltError) Unwrap() error { return &wire.Error{Code: wire.Unavailable, Text: e.Error()} }

// halt is the end of an app's work at a height, asked for or forced. What comes
// after that height is neither proposed nor voted for nor applied.
type halt struct {
	mu   sync.Mutex
	at   uint64 // stop after this height; 0 for never
	err  error  // why it has stopped
	done chan struct{}
	free chan struct{}
	once sync.Once
}

func newHalt() *halt { return &halt{done: make(chan struct{}), free: make(chan struct{})} }

// reached tells that a block is durable, and why the next one cannot be applied,
// if so.
func (h *halt) reached(height uint64, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if why == nil && h.at != 0 && height >= h.at {
		why = &HaltError{Height: height}
	}
	if why != nil && h.err == nil {
		h.err = why
		close(h.done)
	}
}

// cause returns why the app has stopped, or nil.
func (h *halt) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// wait returns at once if the app goes on. If it has stopped, it holds up the
// caller until the node does: CometBFT takes an error for a fault of its own and
// would end the process before anyone has read why.
func (h *halt) wait() error {
	err := h.cause()
	if err != nil {
		<-h.free
	}
	return err
}

func (h *halt) release() { h.once.Do(func() { close(h.free) }) }

// HaltAt makes the app stop after the block of a height; 0 takes that back. It
// must be called before the first block.
func (a *App) HaltAt(height uint64) {
	a.halt.mu.Lock()
	defer a.halt.mu.Unlock()
	a.halt.at = height
}

// Halted returns a channel that is closed when the app can or shall not go on,
// and [App.HaltCause] says why. It is to be looked at before the first block
// too.
func (a *App) Halted() <-chan struct{} {
	last, _ := a.Last()
	if last.Height > 0 {
		a.halt.reached(last.Height, a.unknown(a.Rules(), last.Height+1))
	}
	return a.halt.done
}

// HaltCause returns why the app has stopped, or nil.
func (a *App) HaltCause() error {
	a.Halted()
	return a.halt.cause()
}

// Release lets go of who waits in a halted app, because the node stops.
func (a *App) Release() { a.halt.release() }

// KnownRules returns the newest rule set that this program knows.
func (a *App) KnownRules() uint32 { return a.law.Newest }
