package verify

import "encoding/binary"

// CometBFT hashes and signs protobuf. These helpers write the few forms that
// occur, with fields in ascending order as its encoder does. Fields of value
// zero are left out, except messages, which gogoproto writes even when empty
// where they are marked as not nullable.

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

func appendVarint(b []byte, field byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, field<<3|wireVarint), v)
}

func appendFixed64(b []byte, field byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.LittleEndian.AppendUint64(append(b, field<<3|wireFixed64), v)
}

func appendBytes[T string | []byte](b []byte, field byte, v T) []byte {
	if len(v) == 0 {
		return b
	}
	return appendMessage(b, field, v)
}

func appendMessage[T string | []byte](b []byte, field byte, v T) []byte {
	b = binary.AppendUvarint(append(b, field<<3|wireBytes), uint64(len(v)))
	return append(b, v...)
}

// appendHash writes a hash, or nothing for the zero hash, which stands for an
// empty one.
func appendHash(b []byte, field byte, hash [32]byte) []byte {
	if hash == ([32]byte{}) {
		return b
	}
	return appendMessage(b, field, hash[:])
}

// delimited returns message behind its length, the form that gets signed.
func delimited(message []byte) []byte {
	b := make([]byte, 0, len(message)+2)
	b = binary.AppendUvarint(b, uint64(len(message)))
	return append(b, message...)
}
