package wire

import (
	"errors"
	"fmt"
)

// Code is the kind of an error where it crosses a boundary: a process, a
// socket, a command's exit. There are nine and no more; the text beside it
// says what happened and what to do.
type Code uint8

// The kinds. The numbers are frozen: they travel.
const (
	Invalid      Code = 1 // the request can never succeed as it is
	Unauthorized Code = 2 // the key is not allowed to do this
	NotFound     Code = 3 // it does not exist, provably where a proof is attached
	Exists       Code = 4 // it is there already, or something too like it
	Conflict     Code = 5 // two answers cannot both be true
	Stale        Code = 6 // true once, too old now
	Exhausted    Code = 7 // a quota or limit is used up; wait
	Unavailable  Code = 8 // not now; the same request may succeed later
	Internal     Code = 9 // our fault; the cause is in the log under the request's id
)

// kind is one row of the table that maps a Code to what other layers speak.
type kind struct {
	name  string
	http  int
	exit  int
	retry bool
}

// kinds is indexed by Code. Exit statuses stay clear of 1 (unspecified), 2
// (usage) and 126 and above (the shell's).
var kinds = [...]kind{
	Invalid:      {"invalid", 400, 10, false},
	Unauthorized: {"unauthorized", 403, 11, false},
	NotFound:     {"not-found", 404, 12, false},
	Exists:       {"exists", 409, 13, false},
	Conflict:     {"conflict", 409, 14, false},
	Stale:        {"stale", 410, 15, true},
	Exhausted:    {"exhausted", 429, 16, true},
	Unavailable:  {"unavailable", 503, 17, true},
	Internal:     {"internal", 500, 18, true},
}

func (c Code) row() kind {
	if c == 0 || int(c) >= len(kinds) {
		return kinds[Internal]
	}
	return kinds[c]
}

// String returns the kind's name as it appears in JSON and in text.
func (c Code) String() string { return c.row().name }

// HTTPStatus returns the HTTP status of this kind.
func (c Code) HTTPStatus() int { return c.row().http }

// ExitStatus returns the exit status of a command that ends with this kind.
func (c Code) ExitStatus() int { return c.row().exit }

// Retry reports whether the same request may succeed later.
func (c Code) Retry() bool { return c.row().retry }

// CodeNamed returns the Code with this name, and Internal for an unknown one,
// since a name we do not know says nothing we may act on.
func CodeNamed(name string) Code {
	for c := Invalid; c <= Internal; c++ {
		if kinds[c].name == name {
			return c
		}
	}
	return Internal
}

// Error is an error with its kind, fit to cross a boundary.
type Error struct {
	Code Code
	Text string
	Err  error // the cause; it does not cross
}

// Errorf returns an Error of this kind. A %w in the format keeps its cause.
func Errorf(c Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: c, Text: err.Error(), Err: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause, if any.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the kind of err: that of the outermost Error it wraps, or
// Internal. CodeOf(nil) is 0.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
