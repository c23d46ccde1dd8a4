package node

import (
	"log/slog"
	"path/filepath"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
)

// Archive is the record of a folder whose validator does not run.
type Archive struct {
	App     *chain.App
	Genesis *cmttypes.GenesisDoc
	store   *store.Store
}

// OpenArchive opens a folder's record for reading. It fails while the validator
// runs.
func OpenArchive(home string, logger *slog.Logger) (*Archive, error) {
	doc, err := loadGenesis(home)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(filepath.Join(home, stateData), store.Options{Chain: doc.ChainID, Logger: logger})
	if err != nil {
		return nil, err
	}
	app, err := chain.New(s, doc.ChainID, logger)
	if err != nil {
		s.Close()
		return nil, err
	}
	return &Archive{App: app, Genesis: doc, store: s}, nil
}

// State returns the folder's newest state.
func (a *Archive) State() store.State { return a.store.State() }

// Close ends the reading.
func (a *Archive) Close() error { return a.store.Close() }
