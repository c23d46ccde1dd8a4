package main

import (
	"fmt"

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
durable, and a validator that was killed goes on where it was.`,
		Examples: []string{"confab-validator run", "confab-validator run --home v0"},
		Run:      run,
	}
}

func run(c *command.Call) error {
	home := c.Setting("home")
	config, err := node.LoadConfig(home)
	if err != nil {
		return err
	}
	logger, err := node.NewLogger(c.Stderr, config.Log)
	if err != nil {
		return err
	}
	n, err := node.Open(home, config, logger)
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		n.Stop()
		return err
	}
	logger.Info("validator runs", "chain", n.Query.Chain, "query", "http://"+n.QueryAddr(), "peer_address", n.PeerAddr())
	stopped := wire.Errorf(wire.Internal, "consensus stopped by itself; the log above says why")
	select {
	case <-c.Ctx().Done():
		logger.Info("stopping", "why", "interrupted")
		stopped = nil
	case <-n.Failed():
	}
	if err := n.Stop(); err != nil {
		return fmt.Errorf("stop validator: %w", err)
	}
	if stopped != nil {
		return stopped
	}
	logger.Info("stopped")
	return nil
}
