package mls

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// writer appends the presentation language of RFC 9420 §2.1.
type writer struct{ b []byte }

func (w *writer) u8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) raw(b []byte) { w.b = append(w.b, b...) }

// vec writes opaque b<V>.
func (w *writer) vec(b []byte) {
	w.b = appendLength(w.b, len(b))
	w.b = append(w.b, b...)
}

// nested writes a vector whose contents f appends.
func (w *writer) nested(f func()) {
	start := len(w.b)
	w.b = append(w.b, 0, 0, 0, 0) // room for the longest length
	f()
	n := len(w.b) - start - 4
	head := appendLength(nil, n)
	copy(w.b[start:], head)
	if len(head) < 4 {
		copy(w.b[start+len(head):], w.b[start+4:])
		w.b = w.b[:start+len(head)+n]
	}
}

// appendLength writes a vector length: two bits of size, then 6, 14 or 30
// bits, always the shortest that fits. Nothing here is ever 1 GiB long: inputs
// are bounded by MaxMessage and callers' data by the operations that take it.
func appendLength(b []byte, n int) []byte {
	switch {
	case n < 1<<6:
		return append(b, byte(n))
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(b, uint16(n)|1<<14)
	case n < 1<<30:
		return binary.BigEndian.AppendUint32(b, uint32(n)|1<<31)
	}
	panic("mls: vector longer than 2^30 bytes")
}

// reader takes apart what a writer wrote. The first error sticks and empties
// the input, so that loops over it end; slices it returns alias the input.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(kind error, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(ErrMalformed, "input ends early")
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// length reads a vector length and refuses one that has a shorter form.
func (r *reader) length() int {
	first := r.u8()
	size := 1 << (first >> 6)
	if size == 8 {
		r.fail(ErrMalformed, "vector length of 8 bytes")
		return 0
	}
	n := int(first & 0x3f)
	for _, b := range r.take(size - 1) {
		n = n<<8 | int(b)
	}
	if r.err == nil && size > 1 && bits.Len(uint(n)) <= 8*(size/2)-2 {
		r.fail(ErrMalformed, "vector length not in its shortest form")
	}
	return n
}

// vec reads opaque<V> of at most max bytes.
func (r *reader) vec(max int) []byte {
	n := r.length()
	if r.err == nil && n > max {
		r.fail(ErrMalformed, "vector of %d bytes, at most %d allowed", n, max)
	}
	b := r.take(n)
	if r.err == nil && b == nil {
		b = []byte{}
	}
	return b
}

// sub reads a vector of at most max bytes as an input of its own; the caller
// passes its error back with join.
func (r *reader) sub(max int) *reader { return &reader{b: r.vec(max), err: r.err} }

func (r *reader) join(s *reader) {
	if s.err != nil && r.err == nil {
		r.err, r.b = s.err, nil
	}
}

// list reads the elements of a vector of at most max bytes and count elements.
func (r *reader) list(max, count int, element func(*reader)) {
	s := r.sub(max)
	for n := 0; s.err == nil && len(s.b) > 0; n++ {
		if n == count {
			s.fail(ErrMalformed, "vector of more than %d elements", count)
			break
		}
		element(s)
	}
	r.join(s)
}

// optional reads the presence byte of optional<T>.
func (r *reader) optional() bool {
	switch r.u8() {
	case 0:
		return false
	case 1:
		return r.err == nil
	}
	r.fail(ErrMalformed, "presence byte neither 0 nor 1")
	return false
}

// end requires that the input is used up.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(ErrMalformed, "%d bytes left over", len(r.b))
	}
	return r.err
}

// consumed returns the part of from that has been read since.
func (r *reader) consumed(from []byte) []byte {
	n := len(from) - len(r.b)
	if r.err != nil {
		return nil
	}
	return from[:n:n]
}
