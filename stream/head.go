package stream

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/confab-chat/confab/namesvc/wire"
)

// The tags of the chain. They are frozen.
const (
	// TagChain: a stream's hash over all its entries.
	TagChain wire.Tag = "confab/stream-chain/1\n"
	// TagHead: a server signs the head of one of its streams.
	TagHead wire.Tag = "confab/stream-head/1\n"
)

// A Head is how far a stream has come: the number of its newest entry and a
// hash over that entry and all before it. Two honest views of one stream that
// have the same number have the same hash, so readers who compare heads notice
// a server that shows them different streams; and a signed head is evidence.
type Head struct {
	_    struct{} `cbor:",toarray"`
	Seq  uint64
	Hash [32]byte
}

// Genesis returns the head of an empty stream: SHA-256(TagChain ‖ id).
func Genesis(id ID) Head { return Head{Hash: TagChain.Sum(id[:])} }

// Next returns the head after one more entry, whose body has this SHA-256:
// SHA-256(TagChain ‖ hash before ‖ number, 8 bytes big-endian ‖ message id ‖ sum).
func (h Head) Next(id MessageID, sum [32]byte) Head {
	b := make([]byte, 0, len(TagChain)+32+8+16+32)
	b = append(b, TagChain...)
	b = append(b, h.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Seq+1)
	b = append(b, id[:]...)
	b = append(b, sum[:]...)
	return Head{Seq: h.Seq + 1, Hash: sha256.Sum256(b)}
}

// Follow returns the head after the entries of a page that begins where h ends.
// A reader that follows its stream this way can compare its head with the
// server's and with other readers'.
func (h Head) Follow(entries []Entry) Head {
	for _, e := range entries {
		h = h.Next(e.ID, sha256.Sum256(e.Body))
	}
	return h
}

// Message returns the bytes that a server signs to vouch for a stream's head:
// TagHead ‖ id ‖ number, 8 bytes big-endian ‖ hash.
func (h Head) Message(id ID) []byte {
	b := make([]byte, 0, len(TagHead)+32+8+32)
	b = append(b, TagHead...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Seq)
	return append(b, h.Hash[:]...)
}
