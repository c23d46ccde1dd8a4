package store

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/namesvc/statetree"
)

// The keys of the database. The first byte says what follows; numbers are
// big-endian, and ^h means all bits of h flipped, so that newer comes first.
//
//	i                        what the folder is: format and chain
//	s                        the newest state: height and root
//	h ‖ height               a kept height: whether it is marked, and its root
//	p ‖ page id ‖ ^height    a page as that height wrote it; empty: deleted
//	v ‖ key ‖ ^height        a value as that height wrote it; empty: deleted
//	w ‖ height               what that height overwrote
//	k ‖ mark ‖ key of p or v a version that is there for this mark alone
//	x ‖ key                  a record of the chain's own
//
// A page or value as of height h is its newest version not above h.
const (
	identitySpace = 'i'
	stateSpace    = 's'
	heightSpace   = 'h'
	pageSpace     = 'p'
	valueSpace    = 'v'
	writesSpace   = 'w'
	keptSpace     = 'k'
	recordSpace   = 'x'
)

const (
	heightSize = 8
	keySize    = len(statetree.Key{})
)

func heightKey(space byte, height uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{space}, height)
}

// appendPagePrefix appends what all versions of a page begin with.
func appendPagePrefix(b []byte, id statetree.PageID) []byte { return id.Append(append(b, pageSpace)) }

// appendValuePrefix appends what all versions of a value begin with.
func appendValuePrefix(b []byte, key *statetree.Key) []byte {
	return append(append(b, valueSpace), key[:]...)
}

// appendVersion appends to such a prefix the rest of the key of one version.
func appendVersion(prefix []byte, height uint64) []byte {
	return binary.BigEndian.AppendUint64(prefix, ^height)
}

// splitVersion takes the key of a version apart.
func splitVersion(key []byte) (prefix []byte, height uint64) {
	n := len(key) - heightSize
	return key[:n], ^binary.BigEndian.Uint64(key[n:])
}

// prefixLen returns how many bytes of a database key all versions share: all of
// it, unless it is the key of a version.
func prefixLen(key []byte) int {
	if len(key) < 2 {
		return len(key)
	}
	n := len(key)
	switch key[0] {
	case pageSpace:
		n = 2 + (int(key[1])+1)/2
	case valueSpace:
		n = 1 + keySize
	}
	if n+heightSize != len(key) {
		return len(key)
	}
	return n
}

// newComparer orders keys by their bytes and tells Pebble where a version's
// height begins, so that its filters work on pages and values rather than on
// versions. Separators in index blocks are kept whole: a shortened key would
// have its height elsewhere.
func newComparer() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "confab.versions.1"
	c.Split = prefixLen
	c.Separator = func(dst, a, _ []byte) []byte { return append(dst, a...) }
	c.Successor = func(dst, a []byte) []byte { return append(dst, a...) }
	c.ImmediateSuccessor = appendNextPrefix
	return &c
}

// appendNextPrefix appends what lies above all versions of this prefix and above
// nothing else. All prefixes of a kind have one length, so that is the next
// number; zeros at its end would lie above shorter keys.
func appendNextPrefix(dst, prefix []byte) []byte {
	n := len(dst)
	dst = append(dst, prefix...)
	if len(prefix) == 0 || prefix[0] != pageSpace && prefix[0] != valueSpace {
		return append(dst, 0)
	}
	for i := len(dst) - 1; i >= n; i-- {
		if dst[i]++; dst[i] != 0 {
			return dst[:i+1]
		}
	}
	return dst
}
