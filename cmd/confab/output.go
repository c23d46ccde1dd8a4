package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/namesvc/wire"
)

// program is the program's name, with which each error begins.
const program = "confab"

// Exit statuses beside those of wire.Code.
const (
	exitUsage   = 2   // the command line itself is wrong
	exitStopped = 130 // the person stopped it; what shells say of Ctrl-C
)

// usageError says that the command line itself is wrong. If its text begins with
// the command, as in "confab account new: …", the program's name is not put
// before it again.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// usagef says that this command's line is wrong.
func (c *call) usagef(format string, args ...any) error {
	return usagef("%s: %s", c.Command.HelpName, fmt.Sprintf(format, args...))
}

// errStopped says that the person stopped the command at a question.
var errStopped = errors.New("stopped")

// print writes the command's result: v as one line of JSON if that is asked for,
// else what text writes.
func (c *call) print(v any, text func(io.Writer)) error {
	var b bytes.Buffer
	if c.given("json") {
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
	} else {
		text(&b)
	}
	if _, err := c.stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// say writes words for a person, a line each: progress, and what to do next.
// With --json it writes nothing, so that stderr holds an error or nothing.
func (c *call) say(format string, args ...any) {
	if !c.given("json") {
		fmt.Fprintf(c.stderr, format+"\n", args...)
	}
}

// row writes a name and its value in two columns.
func row(w io.Writer, name, value string) { fmt.Fprintf(w, "%-10s %s\n", name, value) }

// report writes the error on stderr, if there is one, and returns the exit
// status.
func (e *env) report(err error, asJSON bool) int {
	if err == nil {
		return 0
	}
	code, status := classify(err)
	if asJSON {
		var body struct {
			Error struct {
				Code string `json:"code"`
				Text string `json:"text"`
			} `json:"error"`
		}
		body.Error.Code, body.Error.Text = code, err.Error()
		enc := json.NewEncoder(e.stderr)
		enc.SetEscapeHTML(false)
		enc.Encode(body)
		return status
	}
	line := err.Error()
	if u := (*usageError)(nil); !errors.As(err, &u) || !strings.HasPrefix(line, program) {
		line = program + ": " + line
	}
	fmt.Fprintln(e.stderr, e.paint(e.stderrTerminal, red, program)+strings.TrimPrefix(line, program))
	return status
}

// classify returns what a script needs to know of an error.
func classify(err error) (code string, status int) {
	var usage *usageError
	var exit cli.ExitCoder
	switch {
	case errors.As(err, &usage), errors.As(err, &exit):
		return "usage", exitUsage
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled):
		return "stopped", exitStopped
	}
	c := wire.CodeOf(err)
	return c.String(), c.ExitStatus()
}

// wantsJSON reports whether --json is on the line. It looks by itself, because
// the error may be that the line could not be parsed.
func wantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.ContainsFunc(args, func(a string) bool {
		a = strings.TrimPrefix(a, "-")
		return a == "-json" || a == "-json=true" || a == "json=true"
	})
}

// style is an ANSI text style.
type style string

// The styles in use.
const (
	bold style = "\x1b[1m"
	red  style = "\x1b[31m"
)

// paint returns the text in a style if it goes to a terminal whose owner has not
// asked for none (no-color.org).
func (e *env) paint(terminal bool, s style, text string) string {
	if !terminal || e.getenv("NO_COLOR") != "" || e.getenv("TERM") == "dumb" {
		return text
	}
	return string(s) + text + "\x1b[0m"
}
