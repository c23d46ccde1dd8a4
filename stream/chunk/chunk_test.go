package chunk_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

// content returns n bytes that do not repeat at the size of a chunk.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>13)
	}
	return b
}

func sum(t *testing.T, b []byte) (chunk.ID, []byte) {
	t.Helper()
	var tree chunk.Tree
	for rest := b; len(rest) > 0; {
		n := min(len(rest), 40_009) // pieces that end nowhere in particular
		if _, err := tree.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	id, leaves, err := tree.Sum()
	if err != nil {
		t.Fatal(err)
	}
	return id, leaves
}

// TestTree_IsThatOfRFC6962 compares with the checksum database's tree.
func TestTree_IsThatOfRFC6962(t *testing.T) {
	for _, n := range []int{1, chunk.Size - 1, chunk.Size, chunk.Size + 1, 3 * chunk.Size, 7*chunk.Size + 5, 8 * chunk.Size, 13 * chunk.Size} {
		b := content(n)
		id, leaves := sum(t, b)
		var hashes []tlog.Hash
		reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
			var out []tlog.Hash
			for _, i := range at {
				out = append(out, hashes[i])
			}
			return out, nil
		})
		count := int64(0)
		for rest := b; len(rest) > 0; count++ {
			part := rest[:min(len(rest), chunk.Size)]
			rest = rest[len(part):]
			more, err := tlog.StoredHashes(count, part, reader)
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, more...)
		}
		root, err := tlog.TreeHash(count, reader)
		if err != nil {
			t.Fatal(err)
		}
		if want := chunk.TagID.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)), root[:]); id != want {
			t.Errorf("%d bytes: id %v, want %x", n, id, want)
		}
		if uint64(len(leaves)) != chunk.Count(uint64(n))*chunk.HashSize || chunk.Count(uint64(n)) != uint64(count) {
			t.Errorf("%d bytes: %d bytes of leaves, %d chunks", n, len(leaves), chunk.Count(uint64(n)))
		}
	}
}

// TestIDOf_IsFrozen: another result would lose every file that people have sent.
func TestIDOf_IsFrozen(t *testing.T) {
	for n, want := range map[int]string{
		1:                  "ee84beae2c6839cf0d237e47bfd0b2518d3e32dfd7c38236bd0dbc5270f90ebb",
		2*chunk.Size + 100: "f262fc161f2f7ae7a2590c1eb8fac5179ca385b3927f3362e96a9395e86f2601",
	} {
		if id, _ := sum(t, content(n)); id.String() != want {
			t.Errorf("%d bytes: %v, want %s", n, id, want)
		}
	}
}

func TestList_TakesItsChunksAndNoOthers(t *testing.T) {
	b := content(2*chunk.Size + 100)
	id, leaves := sum(t, b)
	list, err := chunk.Check(id, uint64(len(b)), leaves)
	if err != nil || list.Length() != uint64(len(b)) {
		t.Fatalf("%v, %d bytes", err, list.Length())
	}
	parts := [][]byte{b[:chunk.Size], b[chunk.Size : 2*chunk.Size], b[2*chunk.Size:]}
	for i := range parts {
		for j, p := range parts {
			if err := list.Verify(uint64(i), p); (err == nil) != (i == j) {
				t.Errorf("chunk %d in the place of %d: %v", j, i, err)
			}
		}
		wrong := bytes.Clone(parts[i])
		wrong[len(wrong)/2] ^= 1
		if wire.CodeOf(list.Verify(uint64(i), wrong)) != wire.Invalid {
			t.Errorf("a wrong chunk %d was taken", i)
		}
		if list.Verify(uint64(i), parts[i][1:]) == nil || list.Verify(uint64(i), append(bytes.Clone(parts[i]), 0)) == nil {
			t.Errorf("a chunk %d of another length was taken", i)
		}
	}
	if list.Verify(3, nil) == nil || list.Verify(1<<60, parts[0]) == nil {
		t.Error("a chunk after the last was taken")
	}
}

func TestCheck_RefusesLies(t *testing.T) {
	b := content(2*chunk.Size + 100)
	id, leaves := sum(t, b)
	length := uint64(len(b))
	wrong := bytes.Clone(leaves)
	wrong[40] ^= 1
	swapped := append(bytes.Clone(leaves[chunk.HashSize:]), leaves[:chunk.HashSize]...)
	for name, lie := range map[string]struct {
		id     chunk.ID
		length uint64
		leaves []byte
	}{
		"another id": {chunk.ID{1}, length, leaves}, "a shorter length": {id, length - 1, leaves}, "a longer length": {id, length + 1, leaves},
		"a wrong leaf": {id, length, wrong}, "leaves in another order": {id, length, swapped}, "a leaf less": {id, length, leaves[chunk.HashSize:]},
		"half a leaf": {id, length, leaves[1:]}, "nothing": {id, 0, nil}, "a length without end": {id, 1<<64 - 1, leaves},
		// A node of the tree given out as a leaf.
		"a tree cut short": {id, chunk.Size, leaves[:chunk.HashSize]},
	} {
		if _, err := chunk.Check(lie.id, lie.length, lie.leaves); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	var tree chunk.Tree
	if _, _, err := tree.Sum(); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("content of nothing: %v", err)
	}
}

func TestParseID_TakesOneForm(t *testing.T) {
	id := chunk.ID{0xab, 1}
	if got, err := chunk.ParseID(id.String()); err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "..", "../" + id.String(), strings.ToUpper(id.String()), id.String()[1:], id.String() + "0", "g" + id.String()[1:], strings.Repeat("/", 64), strings.Repeat("\x00", 64)} {
		if _, err := chunk.ParseID(s); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q was taken: %v", s, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	b := content(chunk.Size + 9)
	var tree chunk.Tree
	tree.Write(b)
	id, leaves, _ := tree.Sum()
	f.Add(id[:], uint64(len(b)), leaves)
	f.Add([]byte{}, uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, rawID []byte, length uint64, leaves []byte) {
		var id chunk.ID
		copy(id[:], rawID)
		list, err := chunk.Check(id, length, leaves)
		if err != nil {
			return
		}
		if again, err := chunk.IDOf(length, leaves); err != nil || again != id {
			t.Errorf("accepted and not its own: %v", err)
		}
		list.Verify(length, leaves)
	})
}
