package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

func runVerb() command.Verb {
	return command.Verb{
		Name:  "run",
		Short: "run the validator until it is interrupted",
		Long: `Runs the validator of the folder. Its log goes to stderr, as validator.toml
says. Ctrl-C or SIGTERM stops it in good order; what was committed is
durable, and a validator that was killed goes on where it was.

The exit status is 0 if it was stopped, or has come to its halt height; 10 if
it was past that when it started; 17 if it cannot go on before somebody does
something, as with a rule set that this program does not know; 18 if
consensus failed. A supervisor should start it again after 18, or a kill.`,
		Examples: []string{"confab-validator run", "confab-validator run --home v0 --halt-height 250000"},
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "halt-height", DefaultText: "never", Usage: "stop after the block of this `HEIGHT`, as block.halt_height in validator.toml does"},
		},
		Run: run,
	}
}

func run(c *command.Call) error {
	home := c.Setting("home")
	config, err := node.LoadConfig(home)
	if err != nil {
		return err
	}
	if c.IsSet("halt-height") {
		config.Block.HaltHeight = c.Uint64("halt-height")
	}
	logger, err := node.NewLogger(c.Stderr, config.Log)
	if err != nil {
		return err
	}
	t, err := trusted(config)
	if err != nil {
		return err
	}
	n, err := node.OpenWith(home, config, node.Parts{Trusted: t}, logger)
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		n.Stop()
		return err
	}
	logger.Info("validator runs", "chain", n.Query.Chain, "query", "http://"+n.QueryAddr(), "peer_address", n.PeerAddr())
	var cause error
	select {
	case <-c.Ctx().Done():
		logger.Info("stopping", "why", "interrupted")
	case <-n.Failed():
		if cause = stopped(n); cause == nil {
			logger.Info("stopping", "why", "halt height")
		}
	}
	if err := n.Stop(); err != nil {
		return fmt.Errorf("stop validator: %w", err)
	}
	if cause != nil {
		return cause
	}
	logger.Info("stopped")
	return nil
}

// stopped returns why a validator stopped by itself: nothing if it has come to the
// height that was asked for, what halted it if that is known, else where to look.
func stopped(n *node.Node) error {
	cause := n.Cause()
	var asked *chain.HaltError
	switch {
	case errors.As(cause, &asked):
		return nil
	case wire.CodeOf(cause) == wire.Unavailable:
		return cause
	}
	return wire.Errorf(wire.Internal, "consensus stopped by itself; the log above says why")
}
