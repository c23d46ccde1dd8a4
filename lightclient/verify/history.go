package verify

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
	"slices"

	"github.com/confab-chat/confab/namesvc/wire"
)

// History is a Merkle tree as in RFC 6962 §2.1 over the hashes of a chain's
// blocks, kept as its peaks: the roots of the full subtrees that it consists
// of, largest first, one for each bit of the size. So it grows by a block at a
// time and never needs the old ones. The zero value is the empty history. A
// History does not change: Append returns another.
type History struct {
	size  uint64
	peaks [][32]byte
}

// Size returns the number of blocks.
func (h History) Size() uint64 { return h.size }

// Append returns the history with one more block, of this hash. A chain's
// history starts with its first block, so the block of height n is its n-th.
func (h History) Append(block [32]byte) History {
	node := leafHash(block[:])
	n := len(h.peaks)
	for size := h.size; size&1 == 1; size >>= 1 {
		n--
		node = nodeHash(h.peaks[n], node)
	}
	return History{size: h.size + 1, peaks: append(slices.Clip(h.peaks[:n]), node)}
}

// Root returns the root over all blocks, which for none is SHA-256 of nothing.
func (h History) Root() [32]byte {
	if len(h.peaks) == 0 {
		return sha256.Sum256(nil)
	}
	root := h.peaks[len(h.peaks)-1]
	for i := len(h.peaks) - 2; i >= 0; i-- {
		root = nodeHash(h.peaks[i], root)
	}
	return root
}

// historyWire is how a history travels: its size and its peaks.
type historyWire struct {
	_     struct{} `cbor:",toarray"`
	Size  uint64
	Peaks [][32]byte
}

// MarshalCBOR encodes the history: size, peaks.
func (h History) MarshalCBOR() ([]byte, error) {
	return wire.Encode(historyWire{Size: h.size, Peaks: h.peaks}), nil
}

// UnmarshalCBOR decodes a history that has as many peaks as its size demands.
// That the peaks are true is not in them: compare the root with a checkpoint's.
func (h *History) UnmarshalCBOR(b []byte) error {
	var w historyWire
	if err := wire.Decode(b, &w, MaxHistorySize); err != nil {
		return fmt.Errorf("decode history: %w", err)
	}
	if w.Size > maxHeight || bits.OnesCount64(w.Size) != len(w.Peaks) {
		return fmt.Errorf("decode history: %w", invalid("%d peaks for size %d", len(w.Peaks), w.Size))
	}
	*h = History{size: w.Size, peaks: w.Peaks}
	return nil
}
