package namesvc

import (
	"fmt"
	"strings"
)

// Handle is a name such as alice, without the @. Only [ParseHandle] makes one;
// a Handle that did not come from it must not be trusted.
type Handle string

// Lengths of a handle in characters. Frozen. A chain's parameters may ask for
// more than MinHandle, never for less.
const (
	MinHandle = 3
	MaxHandle = 20
)

// HandleError says why a text is no handle.
type HandleError struct {
	Text   string // what was given, at most 40 bytes of it
	Reason string // a sentence for people
}

func (e *HandleError) Error() string {
	return fmt.Sprintf("%q is not a handle: %s", e.Text, e.Reason)
}

// ParseHandle reads a handle as people type it: a leading @ is dropped and
// upper case becomes lower case. What remains must be 3 to 20 of a-z, 0-9 and
// _, begin with a letter, not end with _ and have no two _ together
// (SPEC-names §2). Errors are of type *HandleError.
func ParseHandle(text string) (Handle, error) {
	h := Handle(asciiLower(strings.TrimPrefix(text, "@")))
	if reason := h.fault(); reason != "" {
		if len(text) > 40 {
			text = text[:40]
		}
		return "", &HandleError{Text: text, Reason: reason}
	}
	return h, nil
}

// String returns the handle with its @.
func (h Handle) String() string { return "@" + string(h) }

// valid reports whether h is exactly in the form that ParseHandle returns.
// Inside operations only this form is accepted, so that one handle has one
// encoding.
func (h Handle) valid() bool { return h.fault() == "" }

func (h Handle) fault() string {
	switch {
	case len(h) < MinHandle:
		return fmt.Sprintf("it must have at least %d characters", MinHandle)
	case len(h) > MaxHandle:
		return fmt.Sprintf("it must have at most %d characters", MaxHandle)
	}
	for i := 0; i < len(h); i++ {
		c := h[i]
		if !isLetter(c) && !isDigit(c) && c != '_' {
			return "only the letters a to z, digits and _ are allowed"
		}
	}
	switch {
	case !isLetter(h[0]):
		return "it must begin with a letter"
	case h[len(h)-1] == '_':
		return "it must not end with _"
	case strings.Contains(string(h), "__"):
		return "it must not have two _ together"
	}
	return ""
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// asciiLower folds A-Z only. Unicode folding would turn some letters of other
// scripts into ASCII (the Kelvin sign into k) and let them pass.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}
