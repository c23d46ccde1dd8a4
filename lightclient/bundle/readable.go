package bundle

import (
	"encoding/hex"

	"github.com/confab-chat/confab/namesvc"
)

// Readable implements wire.Readable: a leaf with its value decoded.
func (l Leaf) Readable() any {
	type leaf struct {
		Kind  string
		ID    string
		Value any
		Proof []byte
	}
	out := leaf{Kind: namesvc.LeafName(l.Kind), ID: hex.EncodeToString(l.ID), Value: namesvc.DecodeLeaf(l.Kind, l.Value), Proof: l.Proof}
	if l.Kind == namesvc.LeafHandle {
		out.ID = string(l.ID)
	}
	return out
}
