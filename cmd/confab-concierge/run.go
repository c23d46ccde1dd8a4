package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/concierge/host"
	"github.com/confab-chat/confab/internal/command"
)

func runVerb() command.Verb {
	return command.Verb{
		Name:  "run",
		Short: "run the concierge until it is interrupted",
		Long: `Runs the concierge of the folder. Its log goes to stderr, as concierge.toml
says. Ctrl-C or SIGTERM tells all clients to connect again later and stops
it; what was acknowledged is durable, also if it is killed.

With --redis several processes, each with a folder of its own and the same
server key, serve the same users.`,
		Examples: []string{"confab-concierge run", "confab-concierge run --home c1 --redis redis://127.0.0.1:6379"},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "redis", Usage: "keep messages in the Redis at this `URL`, as store.redis in concierge.toml does"},
		},
		Run: run,
	}
}

// patience is how long clients may take to hear that the concierge stops.
const patience = 10 * time.Second

func run(c *command.Call) error {
	home := c.Setting("home")
	config, err := host.LoadConfig(home)
	if err != nil {
		return err
	}
	if c.IsSet("redis") {
		config.Store.Redis = c.String("redis")
	}
	logger, err := host.NewLogger(c.Stderr, config.Log)
	if err != nil {
		return err
	}
	h, err := host.Open(c.Ctx(), home, config, logger)
	if err != nil {
		return err
	}
	logger.Info("concierge runs", "listen", h.Addr(), "chain", h.Service().Chain)
	var stopped error
	select {
	case <-c.Ctx().Done():
		logger.Info("stopping", "why", "interrupted")
	case stopped = <-h.Failed():
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		return fmt.Errorf("stop concierge: %w", err)
	}
	if stopped != nil {
		return stopped
	}
	logger.Info("stopped")
	return nil
}
