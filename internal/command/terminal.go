package command

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/term"
)

// A Terminal is where a person types answers. While a question is open the terminal is in raw mode,
// so that Ctrl-C is a key like any other: it ends the question and the terminal
// is put right again. A signal from elsewhere ends the context and so has the
// same effect; the reader that still waits for a key is left behind then, and
// nothing more is asked.
type Terminal struct {
	in, out *os.File
	line    *term.Terminal
}

// NewTerminal returns the terminal of a keyboard and a screen.
func NewTerminal(in, out *os.File) *Terminal {
	t := &Terminal{in: in, out: out}
	t.begin()
	return t
}

// begin begins with an empty line.
func (t *Terminal) begin() {
	t.line = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t.in, t.out}, "")
	t.line.History = forgetful{}
}

// Ask asks a question and returns the line that is typed, or ErrStopped.
func (t *Terminal) Ask(ctx context.Context, prompt string) (string, error) {
	return t.raw(ctx, func() (string, error) {
		t.line.SetPrompt(prompt)
		return t.line.ReadLine()
	})
}

// AskHidden is Ask for what must not be seen.
func (t *Terminal) AskHidden(ctx context.Context, prompt string) (string, error) {
	return t.raw(ctx, func() (string, error) { return t.line.ReadPassword(prompt) })
}

func (t *Terminal) raw(ctx context.Context, read func() (string, error)) (text string, err error) {
	if ctx.Err() != nil {
		return "", ErrStopped
	}
	old, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(int(t.in.Fd()), old)) }()
	if width, height, err := term.GetSize(int(t.out.Fd())); err == nil && width > 0 {
		t.line.SetSize(width, height)
	}
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := read()
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		text, err = a.text, a.err
	case <-ctx.Done():
		t.out.WriteString("\r\n")
		return "", ErrStopped
	}
	switch {
	case errors.Is(err, io.EOF): // Ctrl-C, Ctrl-D, or the terminal is gone
		t.out.WriteString("\r\n")
		t.begin() // or what was typed so far would begin the next answer
		return "", ErrStopped
	case errors.Is(err, term.ErrPasteIndicator):
		err = nil
	}
	return text, err
}

// forgetful is a history that remembers nothing.
type forgetful struct{}

func (forgetful) Add(string)    {}
func (forgetful) Len() int      { return 0 }
func (forgetful) At(int) string { panic("command: there is no history") }

// Person returns the terminal that somebody types answers at, or nil if there is
// none: then a command asks for a file instead.
func (w World) Person() *Terminal {
	in, ok := w.Stdin.(*os.File)
	out, shown := w.Stderr.(*os.File)
	if !ok || !shown || !w.StderrTerminal || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return NewTerminal(in, out)
}
