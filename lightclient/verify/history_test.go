package verify_test

import (
	"crypto/sha256"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// hashes is tlog's storage in memory.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = h[x]
	}
	return out, nil
}

func TestHistory_HasTheRootsOfATransparencyLog(t *testing.T) {
	var log hashes
	var history verify.History
	for n := range int64(300) {
		want, err := tlog.TreeHash(n, log)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			want = sha256.Sum256(nil) // RFC 6962; tlog has zeros here
		}
		if got := history.Root(); got != want {
			t.Fatalf("root over %d blocks is %x, want %v", n, got, want)
		}
		if history.Size() != uint64(n) {
			t.Fatalf("size is %d, want %d", history.Size(), n)
		}
		again := overTheWire(t, history, verify.MaxHistorySize)
		block := sha256.Sum256([]byte{byte(n), byte(n >> 8)})
		more, err := tlog.StoredHashes(n, block[:], log)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, more...)
		if n%2 == 0 {
			history = again // going on from the wire is the same
		}
		history = history.Append(block)
	}
}

func TestHistory_AppendLeavesTheOldOneAlone(t *testing.T) {
	var h verify.History
	for i := range 20 {
		before := h.Root()
		a, b := h.Append(fill(byte(i))), h.Append(fill(byte(i+100)))
		if a.Root() == b.Root() {
			t.Fatal("another block gives the same root")
		}
		if h.Root() != before || h.Append(fill(byte(i))).Root() != a.Root() {
			t.Fatalf("size %d: appending changed the history it started from", i)
		}
		h = a
	}
}

func TestHistory_RefusesPeaksThatDoNotFitTheSize(t *testing.T) {
	type bytes struct {
		_     struct{} `cbor:",toarray"`
		Size  uint64
		Peaks [][32]byte
	}
	for _, bad := range []bytes{
		{Size: 0, Peaks: make([][32]byte, 1)},
		{Size: 3, Peaks: make([][32]byte, 1)},
		{Size: 4, Peaks: make([][32]byte, 2)},
		{Size: 1 << 63, Peaks: make([][32]byte, 1)},
	} {
		var h verify.History
		if err := wire.Decode(wire.Encode(bad), &h, verify.MaxHistorySize); err == nil {
			t.Errorf("size %d with %d peaks was accepted", bad.Size, len(bad.Peaks))
		}
	}
}
