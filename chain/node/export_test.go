package node

import (
	"log/slog"

	cmtcfg "github.com/cometbft/cometbft/config"
)

// OpenTuned is Open with something changed in CometBFT's configuration.
func OpenTuned(home string, c Config, logger *slog.Logger, tune func(*cmtcfg.Config)) (*Node, error) {
	config := cometConfig(home, c)
	tune(config)
	return open(home, c, config, logger)
}

// CometConfig is what CometBFT is run with.
func CometConfig(home string, c Config) *cmtcfg.Config { return cometConfig(home, c) }
