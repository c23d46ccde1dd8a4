package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// The layout. Numbers are big-endian, so that keys sort as they count. Streams
// have a number of their own besides their id, never used twice: it makes the
// keys of entries short, and those of a deleted stream never get in the way.
//
//	i                          identity: the format's version
//	n                          the next stream number, and the store's time
//	s ‖ stream id              number and settings
//	b ‖ number                 where the stream begins: set when entries are trimmed
//	c ‖ number ‖ reader        what the reader has acknowledged
//	e ‖ number ‖ seq           an entry
//	d ‖ age ‖ number ‖ msg id  seq, and 16 bytes of the body's SHA-256
//
// Message ids are filed under the age in which they came, an age being
// stream.Remember long. Those of this age and the last are looked at; older ages
// are deleted whole, with one range for all streams.
const (
	identitySpace = 'i'
	storeSpace    = 'n'
	streamSpace   = 's'
	baseSpace     = 'b'
	cursorSpace   = 'c'
	entrySpace    = 'e'
	idSpace       = 'd'
)

// format is the version of this layout.
const format = 1

// An entry's value: hash of the stream up to it (32) ‖ bytes of all bodies up to
// it since the stream was made (8) ‖ time it came (8) ‖ message id (16) ‖ body.
// The running totals make a stream's size the difference of two entries, and its
// head the last entry, so that an append need not update anything.
const entryHead = 32 + 8 + 8 + 16

const idValue = 8 + 16

var errDamaged = errors.New("store is damaged: restore it from a backup")

func numberKey(space byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{space}, number)
}

func streamKey(id stream.ID) []byte { return append([]byte{streamSpace}, id[:]...) }

func cursorKey(number uint64, r stream.Reader) []byte {
	return append(numberKey(cursorSpace, number), r[:]...)
}

func entryKey(number, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(numberKey(entrySpace, number), seq)
}

func ageKey(age uint32) []byte { return binary.BigEndian.AppendUint32([]byte{idSpace}, age) }

const idKeySize = 1 + 4 + 8 + 16

func putIDKey(k []byte, age uint32, number uint64, id stream.MessageID) {
	k[0] = idSpace
	binary.BigEndian.PutUint32(k[1:], age)
	binary.BigEndian.PutUint64(k[5:], number)
	copy(k[13:], id[:])
}

func decodeIDKey(k []byte) (idAt, error) {
	if len(k) != idKeySize {
		return idAt{}, errDamaged
	}
	return idAt{binary.BigEndian.Uint64(k[5:]), stream.MessageID(k[13:])}, nil
}

// storeRecord is the value under storeSpace.
type storeRecord struct {
	_       struct{} `cbor:",toarray"`
	Next    uint64   // stream number
	Seconds uint64   // of the store's clock
	Wall    int64    // Unix seconds, when that was so
}

// streamRecord is the value under streamSpace.
type streamRecord struct {
	_          struct{} `cbor:",toarray"`
	Number     uint64
	MaxEntries uint64
	MaxBytes   uint64
	TTL        uint64 // seconds
	Readers    []stream.Reader
}

// maxRecord bounds a streamRecord: its readers are the largest part.
const maxRecord = 64 + stream.MaxReaders*34

func (r streamRecord) settings() stream.Settings {
	return stream.Settings{
		MaxEntries: r.MaxEntries,
		MaxBytes:   r.MaxBytes,
		TTL:        time.Duration(r.TTL) * time.Second,
		Readers:    r.Readers,
	}
}

func recordOf(number uint64, s stream.Settings) streamRecord {
	return streamRecord{
		Number:     number,
		MaxEntries: s.MaxEntries,
		MaxBytes:   s.MaxBytes,
		TTL:        uint64(s.TTL / time.Second),
		Readers:    s.Readers,
	}
}

// place is a point between two entries of a stream, and what it says of all
// before.
type place struct {
	head stream.Head
	end  uint64 // bytes of all bodies up to here
}

// baseRecord is the value under baseSpace.
type baseRecord struct {
	_    struct{} `cbor:",toarray"`
	Head stream.Head
	End  uint64
}

func encodeBase(p place) []byte { return wire.Encode(baseRecord{Head: p.head, End: p.end}) }

func decodeBase(b []byte) (place, error) {
	var r baseRecord
	if err := wire.Decode(b, &r, maxRecord); err != nil {
		return place{}, fmt.Errorf("%w (%w)", errDamaged, err)
	}
	return place{r.Head, r.End}, nil
}

// entryValue is an entry as it is stored; its body is a part of the value.
type entryValue struct {
	place
	stamp uint64
	id    stream.MessageID
	body  []byte
}

func putEntry(v []byte, e entryValue) {
	copy(v, e.head.Hash[:])
	binary.BigEndian.PutUint64(v[32:], e.end)
	binary.BigEndian.PutUint64(v[40:], e.stamp)
	copy(v[48:], e.id[:])
	copy(v[entryHead:], e.body)
}

func decodeEntry(seq uint64, v []byte) (e entryValue, err error) {
	if len(v) < entryHead {
		return e, errDamaged
	}
	e.head = stream.Head{Seq: seq, Hash: [32]byte(v)}
	e.end = binary.BigEndian.Uint64(v[32:])
	e.stamp = binary.BigEndian.Uint64(v[40:])
	e.id = stream.MessageID(v[48:])
	e.body = v[entryHead:]
	return e, nil
}
