package store

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// testKeys returns keys of all kinds, in no order.
func testKeys() [][]byte {
	r := rand.New(rand.NewPCG(1, 1))
	keys := [][]byte{{identitySpace}, {stateSpace}, []byte("x"), []byte("xa"), []byte("xa\x00")}
	for _, h := range []uint64{0, 1, 2, 255, 256, 1 << 40, 1<<64 - 1} {
		keys = append(keys, heightKey(heightSpace, h), heightKey(writesSpace, h))
		for _, key := range []statetree.Key{{}, {31: 1}, {31: 255}, {1}, {255}, statetree.Key(bytes.Repeat([]byte{255}, 32))} {
			keys = append(keys, appendVersion(appendValuePrefix(nil, &key), h))
		}
		for range 20 {
			id := append([]byte{byte(r.IntN(64))}, make([]byte, 32)...)
			for i := range 32 {
				id[1+i] = byte(r.IntN(2) * 255)
			}
			n := (int(id[0]) + 1) / 2
			if id[0]%2 == 1 {
				id[n] &= 0xf0
			}
			page, err := statetree.ParsePageID(id[:1+n])
			if err != nil {
				panic(err)
			}
			keys = append(keys, appendVersion(appendPagePrefix(nil, page), h))
		}
	}
	return keys
}

// What Pebble relies on, for all pairs of keys that the store can write.
func TestComparer_KeepsItsContract(t *testing.T) {
	c := newComparer()
	prefix := func(k []byte) []byte { return k[:c.Split(k)] }
	for _, a := range testKeys() {
		p := prefix(a)
		if c.Split(p) != len(p) {
			t.Fatalf("prefix %x of %x has a suffix", p, a)
		}
		next := c.ImmediateSuccessor(nil, p)
		if c.Split(next) != len(next) || c.Compare(a, next) >= 0 {
			t.Fatalf("the prefix after that of %x is %x", a, next)
		}
		if got := c.Successor(nil, a); c.Compare(a, got) > 0 {
			t.Fatalf("successor of %x is %x", a, got)
		}
		for _, b := range testKeys() {
			whole, ofPrefix := c.Compare(a, b), c.Compare(p, prefix(b))
			if ofPrefix != 0 && ofPrefix != whole {
				t.Fatalf("%x and %x are not ordered by their prefixes", a, b)
			}
			if ofPrefix == 0 && bytes.Compare(a[len(p):], b[len(p):]) != whole {
				t.Fatalf("%x and %x are not ordered by their suffixes", a, b)
			}
			if ofPrefix < 0 && c.Compare(next, prefix(b)) > 0 {
				t.Fatalf("%x lies between the prefix of %x and the next one, %x", b, a, next)
			}
			if whole < 0 {
				if sep := c.Separator(nil, a, b); c.Compare(a, sep) > 0 || c.Compare(sep, b) >= 0 {
					t.Fatalf("separator of %x and %x is %x", a, b, sep)
				}
			}
		}
	}
}

func TestVersions_NewerComesFirst(t *testing.T) {
	key := statetree.Key{7}
	var last []byte
	for _, h := range []uint64{1<<64 - 1, 1 << 40, 256, 255, 1, 0} {
		k := appendVersion(appendValuePrefix(nil, &key), h)
		if bytes.Compare(last, k) >= 0 {
			t.Errorf("height %d does not come after newer ones", h)
		}
		if prefix, at := splitVersion(k); at != h || !bytes.Equal(prefix, appendValuePrefix(nil, &key)) {
			t.Errorf("%x is taken apart as %x, %d", k, prefix, at)
		}
		last = k
	}
}

func FuzzWriteList(f *testing.F) {
	key := statetree.Key{1}
	list := writeList{}.add(overwrite{appendValuePrefix(nil, &key), 7, true})
	f.Add([]byte(list.add(overwrite{appendPagePrefix(nil, statetree.PageID{}), 1 << 50, false})))
	f.Add(binary.BigEndian.AppendUint64([]byte{1, 'p'}, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again writeList
		for list := writeList(b); len(list) > 0; {
			w, rest, err := list.next()
			if err != nil {
				return
			}
			again, list = again.add(w), rest
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x is written again as %x", b, again)
		}
	})
}

func FuzzPrefixLen(f *testing.F) {
	for _, k := range testKeys() {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, k []byte) {
		if n := prefixLen(k); n < 0 || n > len(k) || n != len(k) && n+heightSize != len(k) {
			t.Fatalf("prefix of %x has length %d", k, n)
		}
	})
}
