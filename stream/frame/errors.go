package frame

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// ErrEnded reports the use of a connection that has ended. The reason is in the
// error's text.
var ErrEnded = errors.New("connection has ended")

func headError(err error) *stream.HeadError {
	var he *stream.HeadError
	if errors.As(err, &he) {
		return he
	}
	return nil
}

// telling returns what may cross of an error: its kind, and its text unless it is
// one of ours alone.
func telling(err error) (wire.Code, string) {
	code := wire.CodeOf(err)
	if code == wire.Internal {
		return code, "server has an error of its own: its operator finds it in the log"
	}
	return code, clipped(err.Error())
}

// clipped returns a text that may cross.
func clipped(text string) string {
	if len(text) <= maxText {
		return text
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// known are the errors of a store that callers tell apart; they are recognised at
// the other end by kind and text.
func known() []error {
	return []error{
		stream.ErrNotFound, stream.ErrTooLarge, stream.ErrReused, stream.ErrFull,
		stream.ErrAhead, stream.ErrUnknownReader, stream.ErrClosed,
	}
}

// received returns the error that crossed.
func received(code wire.Code, text string, head []stream.Head) error {
	if code == wire.Conflict && len(head) == 1 {
		return &stream.HeadError{Head: head[0]}
	}
	for _, err := range known() {
		if before, ok := strings.CutSuffix(text, err.Error()); ok && wire.CodeOf(err) == code {
			return wire.Errorf(code, "%s%w", before, err)
		}
	}
	if code < wire.Invalid || code > wire.Internal {
		code = wire.Internal
	}
	return wire.Errorf(code, "%s", text)
}
