package main

import (
	"crypto/rand"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
)

func main() { command.Main(newProgram(systemEnv())) }

// columns asks each time, because a person may make the window narrower.
func columns() int {
	wide, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil {
		return 0
	}
	return wide
}

// systemEnv is the real world.
func systemEnv() *env {
	e := &env{
		world:     command.System(),
		columns:   columns,
		configDir: os.UserConfigDir,
		now:       time.Now,
		rand:      rand.Reader,
		cost:      keyring.DefaultCost(),
		patience:  patience,
		local:     time.Local,
	}
	if path, err := os.Executable(); err == nil {
		e.self = self{path: path, name: os.Args[0]}
	}
	// Questions go to stderr and answers come from stdin; with either of them
	// elsewhere, nobody would see the question or it would be answered by
	// accident.
	if e.world.StderrTerminal && term.IsTerminal(int(os.Stdin.Fd())) {
		e.person = newTTY(os.Stdin, os.Stderr)
	}
	return e
}
