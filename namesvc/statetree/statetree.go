package statetree

import (
	"bytes"
	"errors"
	"fmt"
)

// A Key is the place of a value in the tree: a SHA-256, made by the caller.
type Key [32]byte

// String returns the key in hexadecimal.
func (k Key) String() string { return fmt.Sprintf("%x", k[:]) }

// Compare orders keys by their bytes: -1, 0 or 1.
func (k Key) Compare(l Key) int { return bytes.Compare(k[:], l[:]) }

// keyBits is the number of levels that a path can have.
const keyBits = 256

// A Change sets the value of one key, or deletes it.
type Change struct {
	Key   Key
	Value []byte // nil deletes; of zero length it is an error
}

// A Leaf is what the tree holds of a key and its value.
type Leaf struct {
	Key       Key
	ValueHash [32]byte // SHA-256 of the value
}

// Store is where a tree is read from. Both methods return nil for what is not
// there. This package only reads what they return, and only until its next call
// of either.
type Store interface {
	// Page returns the bytes that a Delta last wrote for this page.
	Page(id PageID) ([]byte, error)
	// Get returns the value of a key.
	Get(key Key) ([]byte, error)
}

// A Delta is what an update changes. A store must apply all of it at once or
// none of it. Pages are in ascending order of id, values of key; what is listed
// differs from what the store held.
type Delta struct {
	Base   [32]byte // the root it was made from
	Root   [32]byte // the root after it
	Pages  []PageWrite
	Values []Change // the slices of the caller of Update, not copies
}

// A PageWrite replaces one page.
type PageWrite struct {
	ID   PageID
	Data []byte // nil deletes
}

var (
	// ErrCorrupt reports a store whose pages do not add up to the root. The
	// error around it names the page.
	ErrCorrupt = errors.New("state tree is corrupt")
	// ErrChanges reports changes that are not sorted, not unique, or that set
	// an empty value.
	ErrChanges = errors.New("changes are not a sorted batch")
	// ErrProof reports a proof that is malformed or does not show what it was
	// given for.
	ErrProof = errors.New("proof does not hold")
)
