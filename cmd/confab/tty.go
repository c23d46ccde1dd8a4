package main

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/confab-chat/confab/internal/command"
)

// tty is a real terminal. While a question is open the terminal is in raw mode,
// so that Ctrl-C is a key like any other: it ends the question and the terminal
// is put right again. A signal from elsewhere ends the context and so has the
// same effect; the reader that still waits for a key is left behind then, and
// nothing more is asked.
type tty struct {
	in, out *os.File
	line    *term.Terminal
}

func newTTY(in, out *os.File) *tty {
	t := &tty{in: in, out: out}
	t.begin()
	return t
}

// begin begins with an empty line.
func (t *tty) begin() {
	t.line = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t.in, t.out}, "")
	t.line.History = forgetful{}
}

func (t *tty) ask(ctx context.Context, prompt string) (string, error) {
	return t.raw(ctx, func() (string, error) {
		t.line.SetPrompt(prompt)
		return t.line.ReadLine()
	})
}

func (t *tty) askHidden(ctx context.Context, prompt string) (string, error) {
	return t.raw(ctx, func() (string, error) { return t.line.ReadPassword(prompt) })
}

func (t *tty) raw(ctx context.Context, read func() (string, error)) (text string, err error) {
	if ctx.Err() != nil {
		return "", command.ErrStopped
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
		return "", command.ErrStopped
	}
	switch {
	case errors.Is(err, io.EOF): // Ctrl-C, Ctrl-D, or the terminal is gone
		t.out.WriteString("\r\n")
		t.begin() // or what was typed so far would begin the next answer
		return "", command.ErrStopped
	case errors.Is(err, term.ErrPasteIndicator):
		err = nil
	}
	return text, err
}

// forgetful is a history that remembers nothing.
type forgetful struct{}

func (forgetful) Add(string)    {}
func (forgetful) Len() int      { return 0 }
func (forgetful) At(int) string { panic("tty: there is no history") }
