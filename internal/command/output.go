package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Exit statuses beside those of wire.Code.
const (
	ExitUsage   = 2   // the command line itself is wrong
	ExitStopped = 130 // the person stopped it; what shells say of Ctrl-C
)

// ErrStopped says that the person stopped the command at a question.
var ErrStopped = errors.New("stopped")

// usageError says that the command line itself is wrong. If its text begins with
// the command, as in "confab account new: …", the program's name is not put
// before it again.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Usagef returns an error that says that the command line itself is wrong.
func Usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// Usagef says that this command's line is wrong.
func (c *Call) Usagef(format string, args ...any) error {
	return Usagef("%s: %s", c.path, fmt.Sprintf(format, args...))
}

// Print writes the command's result: v as one line of JSON if that is asked for,
// else what text writes.
func (c *Call) Print(v any, text func(io.Writer)) error {
	var b bytes.Buffer
	if c.JSON() {
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
	} else {
		text(&b)
	}
	if _, err := c.Stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// Say writes words for a person, a line each: progress, and what to do next.
// With --json it writes nothing, so that stderr holds an error or nothing.
func (c *Call) Say(format string, args ...any) {
	if !c.JSON() {
		fmt.Fprintf(c.Stderr, format+"\n", args...)
	}
}

// Row writes a name and its value in two columns.
func Row(w io.Writer, name, value string) { fmt.Fprintf(w, "%-10s %s\n", name, value) }

// Progress shows how far something has come: on a terminal one line that
// changes, elsewhere a line for each step, with --json nothing.
type Progress struct {
	w        io.Writer
	quiet    bool
	terminal bool
	open     bool // the cursor is in a line that may still change
	counted  time.Time
}

// How often a count is shown: to eyes a few times a second, in a log once a
// minute.
const (
	countForEyes = 200 * time.Millisecond
	countForLogs = time.Minute
)

// Progress returns a Progress on stderr. Close it before anything else is said.
func (c *Call) Progress() *Progress {
	return &Progress{w: c.Stderr, quiet: c.JSON(), terminal: c.StderrTerminal}
}

// Terminal reports whether a person is watching, who can take more than a line
// for each step.
func (p *Progress) Terminal() bool { return p.terminal && !p.quiet }

// Step shows a step in the place of the last one.
func (p *Progress) Step(format string, args ...any) { p.show(false, format, args) }

// Count shows a step that is told hundreds of times a second, at this time, as
// often as somebody can use it.
func (p *Progress) Count(now time.Time, format string, args ...any) {
	pause := countForLogs
	if p.terminal {
		pause = countForEyes
	}
	if p.counted.IsZero() || now.Sub(p.counted) >= pause {
		p.counted = now
		p.show(false, format, args)
	}
}

// Keep shows a step that stays when the next one comes.
func (p *Progress) Keep(format string, args ...any) { p.show(true, format, args) }

func (p *Progress) show(keep bool, format string, args []any) {
	before, after := "", "\n"
	if p.terminal {
		before = "\r\x1b[K"
		if !keep {
			after = ""
		}
	}
	if !p.quiet {
		fmt.Fprintf(p.w, before+format+after, args...)
		p.open = after == ""
	}
}

// Close ends a line that may still change.
func (p *Progress) Close() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}

// report writes the error on stderr, if there is one, and returns the exit
// status.
func (p *Program) report(err error, asJSON bool) int {
	if err == nil {
		return 0
	}
	code, status := classify(err)
	advice := ""
	if p.Advise != nil {
		advice = p.Advise(err)
	}
	if asJSON {
		var body struct {
			Error struct {
				Code   string `json:"code"`
				Text   string `json:"text"`
				Advice string `json:"advice,omitempty"`
			} `json:"error"`
		}
		body.Error.Code, body.Error.Text, body.Error.Advice = code, err.Error(), advice
		enc := json.NewEncoder(p.World.Stderr)
		enc.SetEscapeHTML(false)
		enc.Encode(body)
		return status
	}
	line := err.Error()
	if u := (*usageError)(nil); !errors.As(err, &u) || !strings.HasPrefix(line, p.Name) {
		line = p.Name + ": " + line
	}
	fmt.Fprintln(p.World.Stderr, p.World.Paint(p.World.StderrTerminal, Red, p.Name)+strings.TrimPrefix(line, p.Name))
	if advice != "" {
		fmt.Fprintln(p.World.Stderr, advice)
	}
	return status
}

// classify returns what a script needs to know of an error.
func classify(err error) (code string, status int) {
	var usage *usageError
	var exit cli.ExitCoder
	switch {
	case errors.As(err, &usage), errors.As(err, &exit):
		return "usage", ExitUsage
	case errors.Is(err, ErrStopped), errors.Is(err, context.Canceled):
		return "stopped", ExitStopped
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

// Style is an ANSI text style.
type Style string

// The styles in use.
const (
	Bold Style = "\x1b[1m"
	Red  Style = "\x1b[31m"
)

// Paint returns the text in a style if it goes to a terminal whose owner has not
// asked for none (no-color.org).
func (w World) Paint(terminal bool, s Style, text string) string {
	if !terminal || w.Getenv("NO_COLOR") != "" || w.Getenv("TERM") == "dumb" {
		return text
	}
	return string(s) + text + "\x1b[0m"
}
