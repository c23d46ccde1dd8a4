package chain

import (
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/wire"
)

// MarkRecord returns the record of a block that a test wrote by hand.
func MarkRecord(m Mark) []store.Record {
	return []store.Record{{Key: markKey, Value: wire.Encode(m)}}
}

// Manifest and Chunk are what a snapshot consists of.
type (
	Manifest = manifest
	Chunk    = chunk
)
