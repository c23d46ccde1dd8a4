package wire

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Raw is an encoded value kept as it came, to be decoded once its kind is known.
type Raw = cbor.RawMessage

// Errors of Decode. All of them are of kind [Invalid].
var (
	// ErrTooLarge reports input longer than its kind may be.
	ErrTooLarge = errors.New("encoding is too large")
	// ErrNotCanonical reports input that decodes but is not the one encoding
	// of its value.
	ErrNotCanonical = errors.New("encoding is not canonical")
)

// Limits of nesting and counts inside one value. They stop a small input from
// costing much memory: the largest of our values, a skip path of heads, holds
// 10,000 signatures in 5 levels.
const (
	maxNesting  = 16
	maxElements = 16384
)

var (
	encoder = mustEncMode()
	decoder = mustDecMode()
)

func mustEncMode() cbor.EncMode {
	o := cbor.CoreDetEncOptions()
	// A nil slice and an empty one are the same value to us, so they must
	// have the same bytes.
	o.NilContainers = cbor.NilContainerAsEmpty
	o.TagsMd = cbor.TagsForbidden
	m, err := o.EncMode()
	if err != nil {
		panic("wire: encoder options: " + err.Error())
	}
	return m
}

func mustDecMode() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   maxNesting,
		MaxArrayElements:  maxElements,
		MaxMapPairs:       maxElements,
	}.DecMode()
	if err != nil {
		panic("wire: decoder options: " + err.Error())
	}
	return m
}

// Encode returns the canonical encoding of v. It panics only if v's type cannot
// be encoded at all, which is a mistake in the program and not in its input.
func Encode(v any) []byte {
	b, err := encoder.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("wire: %T cannot be encoded: %v", v, err))
	}
	return b
}

// Recall parses what this very program encoded and kept where nobody else
// writes: it leaves out the comparison that makes Decode strict, which is half
// of its cost. Anything that came from elsewhere must go through Decode.
func Recall(b []byte, v any) error {
	if err := decoder.Unmarshal(b, v); err != nil {
		return fmt.Errorf("malformed encoding: %w", err)
	}
	return nil
}

// Decode parses b, at most max bytes, into v, which must be a non-nil pointer.
// On error v's contents are unspecified.
func Decode(b []byte, v any, max int) error {
	if len(b) > max {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(b), max)
	}
	if err := decoder.Unmarshal(b, v); err != nil {
		return fmt.Errorf("malformed encoding: %w", err)
	}
	again, err := encoder.Marshal(v)
	if err != nil {
		return fmt.Errorf("malformed encoding: %w", err)
	}
	if !bytes.Equal(b, again) {
		return ErrNotCanonical
	}
	return nil
}
