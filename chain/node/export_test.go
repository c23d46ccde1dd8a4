package node

import (
	"log/slog"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/statesync"
)

// CometConfig is what CometBFT is run with.
func CometConfig(home string, c Config) *cmtcfg.Config { return cometConfig(home, c) }

// NewProvider is what CometBFT's state sync asks.
func NewProvider(t Trusted, logger *slog.Logger) statesync.StateProvider {
	return &provider{trusted: t, logger: logger}
}
