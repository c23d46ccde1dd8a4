package main

import (
	"context"
	"os"

	"github.com/confab-chat/confab/internal/command"
)

// tty is a real terminal.
type tty struct{ terminal *command.Terminal }

func newTTY(in, out *os.File) *tty { return &tty{command.NewTerminal(in, out)} }

func (t *tty) ask(ctx context.Context, prompt string) (string, error) {
	return t.terminal.Ask(ctx, prompt)
}

func (t *tty) askHidden(ctx context.Context, prompt string) (string, error) {
	return t.terminal.AskHidden(ctx, prompt)
}
