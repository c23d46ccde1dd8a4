package node

import cmtcfg "github.com/cometbft/cometbft/config"

// CometConfig is what CometBFT is run with.
func CometConfig(home string, c Config) *cmtcfg.Config { return cometConfig(home, c) }
