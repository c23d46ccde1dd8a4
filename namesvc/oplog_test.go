package namesvc_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc"
)

// logged is one op as the log takes it.
type logged struct {
	n, height, time uint64
	id              [32]byte
}

// naivePeaks computes the peaks of a mountain range from all its leaves: as
// many as fit into the largest perfect tree, then the rest the same way.
func naivePeaks(ops []logged) [][32]byte {
	if len(ops) == 0 {
		return nil
	}
	size := 1
	for size*2 <= len(ops) {
		size *= 2
	}
	return append([][32]byte{perfect(ops[:size])}, naivePeaks(ops[size:])...)
}

func perfect(ops []logged) [32]byte {
	if len(ops) == 1 {
		o := ops[0]
		b := []byte{0}
		for _, n := range []uint64{o.n, o.height, o.time} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		return sha256.Sum256(append(b, o.id[:]...))
	}
	left, right := perfect(ops[:len(ops)/2]), perfect(ops[len(ops)/2:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

func TestOpLog_HasThePeaksOfAMountainRange(t *testing.T) {
	var log namesvc.OpLog
	var ops []logged
	file := vectors.File{About: "Op logs: the peaks after so many ops. Op n has the height 10n, the time 1000n and as its\n" +
		"id the SHA-256 of n as 8 bytes, big-endian."}
	for n := uint64(1); n <= 200; n++ {
		id := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
		before := slices.Clone(log)
		next := log.Append(n, 10*n, 1000*n, id)
		if !slices.Equal(log, before) {
			t.Fatalf("appending op %d changed the log before", n)
		}
		log = next
		ops = append(ops, logged{n, 10 * n, 1000 * n, id})
		if want := naivePeaks(ops); !slices.Equal([][32]byte(log), want) {
			t.Fatalf("after %d ops: %d peaks, want %d", n, len(log), len(want))
		}
		if n <= 4 || n == 7 || n == 8 || n == 200 {
			v := vectors.Vector{Name: fmt.Sprintf("after-%d", n)}
			for i, p := range log {
				v.Fields = append(v.Fields, field("peak"+strconv.Itoa(i+1), "%x", p))
			}
			file.Vectors = append(file.Vectors, v)
		}
	}
	if err := vectors.Compare(filepath.Join(vectorsDir, "oplog.txt"), file, *update); err != nil {
		t.Error(err)
	}
}

// TestOpLog_OfAnEntryIsItsWholeHistory tells the chain of the vectors and checks
// that the person's entry commits to exactly the person's ops.
func TestOpLog_OfAnEntryIsItsWholeHistory(t *testing.T) {
	s := newTale(t)
	s.tell()
	var ops []logged
	for _, v := range s.ops.Vectors {
		tx, fault := namesvc.Parse(v.Bytes)
		if fault != nil {
			t.Fatal(fault)
		}
		if tx.Op == nil || tx.Op.Account != s.person.Account() {
			continue
		}
		height, _ := strconv.ParseUint(v.Get("height"), 10, 64)
		time, _ := strconv.ParseUint(v.Get("time"), 10, 64)
		ops = append(ops, logged{tx.Op.Seq, height, time, tx.ID})
	}
	e := mustEntry(t, s.law, s.person.Account())
	if uint64(len(ops)) != e.Seq || !slices.Equal(e.OpLog, naivePeaks(ops)) {
		t.Errorf("the entry says %d ops, the chain has %d", e.Seq, len(ops))
	}
	ops[2].time++
	if slices.Equal(e.OpLog, naivePeaks(ops)) {
		t.Error("an op at another time has the same peaks")
	}
}
