package ratchet

import (
	"bytes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Tags of what is sealed; the generation, the file's name or the slot follows.
const (
	tagRoot  wire.Tag = "confab/ratchet-root/1\n"
	tagTable wire.Tag = "confab/ratchet-table/1\n"
	tagShelf wire.Tag = "confab/ratchet-shelf/1\n"
)

// secret is a key that seals one thing once.
type secret [chacha20poly1305.KeySize]byte

// String never shows the key.
func (secret) String() string { return "(secret)" }

// GoString never shows the key.
func (secret) GoString() string { return "(secret)" }

// Format never shows the key, whatever the verb.
func (secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

func newSecret(rand io.Reader) (s secret, err error) {
	if _, err := io.ReadFull(rand, s[:]); err != nil {
		return s, fmt.Errorf("read randomness: %w", err)
	}
	return s, nil
}

func aead(key secret) cipher.AEAD {
	c, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("ratchet: " + err.Error()) // the key's size is a constant
	}
	return c
}

// seal encrypts under a key that seals nothing else, so the nonce is zero.
func seal(key secret, plain, about []byte) []byte {
	return aead(key).Seal(nil, make([]byte, chacha20poly1305.NonceSizeX), plain, about)
}

func open(key secret, sealed, about []byte) ([]byte, error) {
	return aead(key).Open(nil, make([]byte, chacha20poly1305.NonceSizeX), sealed, about)
}

// side is which of two files of a pair is in use. The other may be overwritten.
type side uint8

func (s side) other() side { return 1 - s }

// row is what the table says of one shelf.
type row struct {
	_    struct{} `cbor:",toarray"`
	Name []byte   // the caller's
	File [12]byte // random, so that files do not tell which conversations there are
	Side side
	Key  secret
	Size uint32 // of the sealed file
}

func (r row) file(s side) string { return shelfFile(r.File, s) }

const (
	rootFile    = "root"
	tablePrefix = "table-"
	shelfPrefix = "shelf-"
)

func shelfFile(id [12]byte, s side) string {
	return fmt.Sprintf("%s%s-%d", shelfPrefix, hex.EncodeToString(id[:]), s)
}

func tableFile(s side) string { return fmt.Sprintf("%s%d", tablePrefix, s) }

// table has its rows rising by name.
type table []row

func (t table) find(name []byte) (int, bool) {
	return slices.BinarySearchFunc(t, name, func(r row, name []byte) int { return bytes.Compare(r.Name, name) })
}

func (t table) check() error {
	for i, r := range t {
		if len(r.Name) == 0 || len(r.Name) > MaxName || r.Side > 1 || i > 0 && bytes.Compare(t[i-1].Name, r.Name) >= 0 {
			return fmt.Errorf("the table of secrets is malformed")
		}
	}
	return nil
}

// value is one value of a shelf.
type value struct {
	_     struct{} `cbor:",toarray"`
	Key   []byte
	Value []byte
}

// shelf has its values rising by key.
type shelf []value

func (s shelf) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(s, key, func(v value, key []byte) int { return bytes.Compare(v.Key, key) })
}

// apply returns the shelf after a change.
func (s shelf) apply(c Change) shelf {
	i, found := s.find(c.Key)
	switch {
	case c.Value == nil && !found:
		return s
	case c.Value == nil:
		clear(s[i].Value)
		return slices.Delete(s, i, i+1)
	case found:
		clear(s[i].Value)
		s[i].Value = bytes.Clone(c.Value)
		return s
	}
	return slices.Insert(s, i, value{Key: bytes.Clone(c.Key), Value: bytes.Clone(c.Value)})
}

func (s shelf) size() (n int) {
	for _, v := range s {
		n += len(v.Key) + len(v.Value) + 10 // two heads of at most 5 bytes
	}
	return n
}

func (s shelf) check() error {
	for i, v := range s {
		if i > 0 && bytes.Compare(s[i-1].Key, v.Key) >= 0 {
			return fmt.Errorf("a shelf of secrets is malformed")
		}
	}
	return nil
}
