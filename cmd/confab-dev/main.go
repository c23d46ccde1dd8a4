// Confab-dev runs a whole confab network in one process, for trying things and
// for developing against: four validators, a query endpoint, and two services
// to point a handle at. It prints what to type next.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/confab-chat/confab/namesvc/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newApp(os.Stdout, os.Stderr).RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "confab-dev:", err)
		os.Exit(wire.CodeOf(err).ExitStatus())
	}
}
