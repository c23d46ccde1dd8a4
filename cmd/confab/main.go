package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/confab-chat/confab/agent/keyring"
)

func main() {
	// A registration or change that is interrupted can be given again; the
	// first Ctrl-C lets it say so, a second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	status := run(ctx, systemEnv(), os.Args)
	stop()
	os.Exit(status)
}

// run runs one command line, args[0] being the program's name, and returns the
// exit status.
func run(ctx context.Context, e *env, args []string) int {
	return e.report(newApp(e).RunContext(ctx, args), wantsJSON(args))
}

// systemEnv is the real world.
func systemEnv() *env {
	e := &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		stdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		stderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		getenv:         os.Getenv,
		configDir:      os.UserConfigDir,
		now:            time.Now,
		rand:           rand.Reader,
		cost:           keyring.DefaultCost(),
	}
	// Questions go to stderr and answers come from stdin; with either of them
	// elsewhere, nobody would see the question or it would be answered by
	// accident.
	if e.stderrTerminal && term.IsTerminal(int(os.Stdin.Fd())) {
		e.person = newTTY(os.Stdin, os.Stderr)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		e.version = info.Main.Version
	}
	return e
}
