package lightclient

import (
	"context"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// sourceTimeout bounds one question to one source, the time included that
	// the question itself asks it to wait.
	sourceTimeout = 15 * time.Second
	// patience is how long a source may be silent until the next one is asked
	// too: long for an honest one, short for who has to wait behind one that
	// stalls on purpose.
	patience = 2 * time.Second
)

// result is what one call came to.
type result[T any] struct {
	value T
	err   error
}

// inTurn calls f with 0, 1, … n-1: the next when one has come back, or when the
// last one called has been silent for the given time. It yields what comes back,
// in that order, and ends when its caller has had enough. Calls that are under
// way then are cancelled and not waited for, since one of them may never return.
func inTurn[T any](ctx context.Context, n int, silent time.Duration, f func(ctx context.Context, i int) (T, error)) iter.Seq2[int, result[T]] {
	return func(yield func(int, result[T]) bool) {
		ctx, cancel := context.WithTimeout(ctx, sourceTimeout+time.Duration(n)*silent)
		defer cancel()
		type numbered struct {
			i int
			r result[T]
		}
		back := make(chan numbered, n) // room for all, so that nobody waits to send
		out := make(map[int]bool, n)   // calls under way
		next := 0
		timer := time.NewTimer(silent)
		defer timer.Stop()
		call := func() {
			if next == n {
				return
			}
			i := next
			next++
			out[i] = true
			timer.Reset(silent)
			go func() {
				ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
				defer cancel()
				v, err := f(ctx, i)
				back <- numbered{i, result[T]{v, err}}
			}()
		}
		for call(); len(out) > 0; {
			select {
			case b := <-back:
				delete(out, b.i)
				if !yield(b.i, b.r) {
					return
				}
				call()
			case <-timer.C:
				call()
			case <-ctx.Done():
				for i := range next {
					if out[i] && !yield(i, result[T]{err: wire.Errorf(wire.Unavailable, "no answer in time")}) {
						return
					}
				}
				return
			}
		}
	}
}

// failure is why a source was of no use. Its text may be the source's own.
type failure struct {
	source string
	err    error
}

func (f *failure) Error() string { return Printable(f.source + ": " + f.err.Error()) }

// Unwrap returns the error itself.
func (f *failure) Unwrap() error { return f.err }

// maxPrintable bounds in bytes what of a stranger's text reaches a person.
const maxPrintable = 400

// Printable returns a stranger's text fit for a terminal and a log: on one
// line, at most 400 bytes, without characters that control, are invisible, or
// change the direction of writing.
func Printable(text string) string {
	text = strings.ToValidUTF8(text, "")
	if len(text) > maxPrintable {
		cut := maxPrintable
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == '…' || unicode.IsPrint(r):
			return r
		}
		return -1
	}, text)
}
