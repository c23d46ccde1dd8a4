package statetree_test

import (
	"bytes"
	"testing"

	"github.com/confab-chat/confab/namesvc/statetree"
)

func FuzzUnmarshalProof(f *testing.F) {
	tree, m := hashedTree(f, 20)
	for k := range m {
		for _, k := range []key{k, flip(k, 3), flip(k, 255)} {
			p, _ := tree.Prove(k)
			b, _ := p.MarshalBinary()
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := statetree.UnmarshalProof(b)
		if err != nil {
			return
		}
		if len(b) > statetree.MaxProofSize {
			t.Fatalf("%d bytes are read as a proof", len(b))
		}
		again, err := p.MarshalBinary()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is written again as %x, %v", b, again, err)
		}
	})
}

// FuzzVerify looks for a proof, of any shape, that shows what is not so.
func FuzzVerify(f *testing.F) {
	tree, m := hashedTree(f, 64)
	mustUpdate(f, tree, []statetree.Change{{Key: key{}, Value: []byte("v")}, {Key: key{31: 1}, Value: []byte("v")}})
	m[key{}], m[key{31: 1}] = []byte("v"), []byte("v")
	for k := range m {
		for _, k := range []key{k, flip(k, 2), flip(k, 254)} {
			p, _ := tree.Prove(k)
			b, _ := p.MarshalBinary()
			f.Add(k[:], []byte("v"), b)
		}
	}
	root := tree.Root()
	f.Fuzz(func(t *testing.T, kb, v, wire []byte) {
		p, err := statetree.UnmarshalProof(wire)
		if err != nil {
			return
		}
		var k key
		copy(k[:], kb)
		if statetree.VerifyAbsent(root, k, p) == nil && m[k] != nil {
			t.Fatalf("%x shows that %s has no value", wire, k)
		}
		if statetree.Verify(root, k, v, p) == nil && !bytes.Equal(m[k], v) {
			t.Fatalf("%x shows that %s has value %x", wire, k, v)
		}
		// What is so is shown by no other proof than the true one.
		if v := m[k]; v != nil && statetree.Verify(root, k, v, p) == nil {
			own, _ := tree.Prove(k)
			if b, _ := own.MarshalBinary(); !bytes.Equal(b, wire) {
				t.Fatalf("%x shows the same as %x", wire, b)
			}
		}
	})
}

// FuzzUpdate reads its input as batches of changes to keys that share long
// prefixes, and checks the tree against the definition after each.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte{0x01, 0x05, 0x02, 0x85, 0xff, 0x01, 0x00})
	f.Add([]byte("set some, delete some, and some again"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 200 {
			return
		}
		tree, m := statetree.NewMem(), model{}
		batch := make(map[key][]byte)
		flush := func() {
			var changes []statetree.Change
			for k, v := range batch {
				changes = append(changes, statetree.Change{Key: k, Value: v})
			}
			clear(batch)
			mustUpdate(t, tree, sorted(changes))
			m.apply(changes)
			checkTree(t, tree, m)
		}
		for i := 0; i+1 < len(b); i += 2 {
			if b[i] == 0xff {
				flush()
				continue
			}
			// One bit of eight positions far apart, and one anywhere.
			var k key
			for j, at := range []int{0, 3, 4, 5, 9, 64, 130, 255} {
				if b[i]>>j&1 != 0 {
					k = flip(k, at)
				}
			}
			var v []byte
			if b[i+1]&3 != 0 {
				v = []byte{b[i+1] & 3}
			}
			batch[flip(k, int(b[i+1]&0xf0))] = v
		}
		flush()
	})
}

func FuzzParsePageID(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{3, 0x12, 0x30})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := statetree.ParsePageID(b)
		if err == nil && !bytes.Equal(id.Append(nil), b) {
			t.Fatalf("%x is written again as %x", b, id.Append(nil))
		}
	})
}

// FuzzPage puts any bytes in the place of a page. They are refused unless they
// are the page.
func FuzzPage(f *testing.F) {
	tree, m := hashedTree(f, 30)
	root := statetree.PageID{}
	good, _ := tree.Page(root)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		statetree.SetPage(tree, root, b)
		for k := range m {
			_, err := tree.Prove(k)
			if (err == nil) != bytes.Equal(b, good) {
				t.Fatalf("root page %x: %v", b, err)
			}
			break
		}
		_, err := statetree.Update(tree, tree.Root(), []statetree.Change{{Key: key{1}, Value: []byte("v")}})
		if (err == nil) != bytes.Equal(b, good) {
			t.Fatalf("root page %x: %v", b, err)
		}
	})
}
