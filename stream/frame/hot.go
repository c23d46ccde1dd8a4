package frame

import (
	"bytes"
	"encoding/binary"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// The frames that every message needs (Append, Done, Pushed, Page, Acknowledge)
// are written and read by hand: by reflection, and with the second encoding that
// proves an encoding canonical, they took a fifth of a server's time. What is here
// takes and gives exactly the bytes that package wire does, which tests and
// FuzzDecode hold it to; package wire does all other frames.

// The major types of CBOR that occur (RFC 8949 §3.1), shifted to their place, and
// the two simple values.
const (
	majorUint  = 0 << 5
	majorBytes = 2 << 5
	majorArray = 4 << 5
	valueFalse = 0xf4
	valueTrue  = 0xf5
)

// appendHead appends the shortest head of a major type with an argument.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= 0xff:
		return append(b, major|24, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, majorBytes, uint64(len(s))), s...)
}

// The most bytes that parts take: a head, an id, and an entry without its body.
const (
	headRoom  = 9
	idRoom    = headRoom + 32
	entryRoom = 1 + 1 + 16 + headRoom
)

// encodeHot returns a frame's bytes, or nil if the frame is not one of the hot
// ones.
func encodeHot(f Frame) []byte {
	switch f := f.(type) {
	case *Append:
		b := begin(f, 5, headRoom+idRoom+1+16+1+len(f.Expect)*(1+headRoom+idRoom)+headRoom+len(f.Body))
		b = appendBytes(appendHead(b, majorUint, f.Request), f.Stream[:])
		b = appendHead(appendBytes(b, f.Message[:]), majorArray, uint64(len(f.Expect)))
		for _, h := range f.Expect {
			b = appendBytes(appendHead(append(b, majorArray|2), majorUint, h.Seq), h.Hash[:])
		}
		return appendBytes(b, f.Body)
	case *Acknowledge:
		b := begin(f, 3, idRoom+2*headRoom)
		b = appendBytes(appendHead(b, majorUint, f.Request), f.Stream[:])
		return appendHead(b, majorUint, f.Seq)
	case *Done:
		b := begin(f, 3, 2*headRoom+1)
		b = appendHead(appendHead(b, majorUint, f.Request), majorUint, f.Seq)
		if f.Again {
			return append(b, valueTrue)
		}
		return append(b, valueFalse)
	case *Page:
		b := begin(f, 4, 3*headRoom+entriesRoom(f.Entries))
		b = appendHead(appendHead(b, majorUint, f.Request), majorUint, f.After)
		return appendEntries(appendHead(b, majorUint, f.Head), f.Entries)
	case *Pushed:
		b := begin(f, 5, idRoom+3*headRoom+entriesRoom(f.Entries))
		b = appendHead(appendBytes(b, f.Stream[:]), majorUint, f.From)
		b = appendHead(appendHead(b, majorUint, f.After), majorUint, f.Head)
		return appendEntries(b, f.Entries)
	}
	return nil
}

// begin returns the kind and the head of a frame's array, with room for the rest.
func begin(f Frame, parts byte, room int) []byte {
	return append(make([]byte, 0, 2+room), byte(f.kind()), majorArray|parts)
}

func entriesRoom(entries []Entry) int {
	n := headRoom
	for i := range entries {
		n += entryRoom + len(entries[i].Body)
	}
	return n
}

func appendEntries(b []byte, entries []Entry) []byte {
	b = appendHead(b, majorArray, uint64(len(entries)))
	for i := range entries {
		b = appendBytes(append(b, majorArray|2), entries[i].Message[:])
		b = appendBytes(b, entries[i].Body)
	}
	return b
}

// errMalformed says that a hot frame is not the one encoding of any.
var errMalformed error = wire.Errorf(wire.Invalid, "encoding is malformed or not canonical")

// decodeHot decodes the array of a frame if its kind is a hot one; f is nil if it
// is not. Bodies of one page share their memory, which is no more than what came.
func decodeHot(k Kind, b []byte) (f Frame, err error) {
	var p parser
	switch k {
	case KindAppend:
		p.rest = b
		f = p.append()
	case KindAcknowledge:
		p.rest = b
		p.array(3)
		a := &Acknowledge{Request: p.uint()}
		p.fixed(a.Stream[:])
		a.Seq, f = p.uint(), a
	case KindDone:
		p.rest = b
		p.array(3)
		f = &Done{Request: p.uint(), Seq: p.uint(), Again: p.bool()}
	case KindPage:
		p.rest = bytes.Clone(b)
		p.array(4)
		f = &Page{Request: p.uint(), After: p.uint(), Head: p.uint(), Entries: p.entries()}
	case KindPushed:
		p.rest = bytes.Clone(b)
		p.array(5)
		u := &Pushed{}
		p.fixed(u.Stream[:])
		u.From, u.After, u.Head = p.uint(), p.uint(), p.uint()
		u.Entries, f = p.entries(), u
	default:
		return nil, nil
	}
	if p.bad || len(p.rest) > 0 {
		return nil, errMalformed
	}
	return f, nil
}

// A parser takes a canonical encoding apart. Once something is wrong, all that
// follows is empty.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) fail() {
	p.rest, p.bad = nil, true
}

// head takes a head of a major type, which must be the shortest, and returns its
// argument.
func (p *parser) head(major byte) uint64 {
	if len(p.rest) == 0 || p.rest[0]&0xe0 != major {
		p.fail()
		return 0
	}
	info := p.rest[0] & 0x1f
	if info < 24 {
		p.rest = p.rest[1:]
		return uint64(info)
	}
	size := 1 << (info - 24)
	if info > 27 || len(p.rest) < 1+size {
		p.fail()
		return 0
	}
	var n, least uint64
	switch b := p.rest[1:]; size {
	case 1:
		n, least = uint64(b[0]), 24
	case 2:
		n, least = uint64(binary.BigEndian.Uint16(b)), 1<<8
	case 4:
		n, least = uint64(binary.BigEndian.Uint32(b)), 1<<16
	default:
		n, least = binary.BigEndian.Uint64(b), 1<<32
	}
	if n < least {
		p.fail()
		return 0
	}
	p.rest = p.rest[1+size:]
	return n
}

func (p *parser) uint() uint64 { return p.head(majorUint) }

// array takes the head of an array of so many parts.
func (p *parser) array(parts uint64) {
	if p.head(majorArray) != parts {
		p.fail()
	}
}

func (p *parser) bool() bool {
	if len(p.rest) == 0 || p.rest[0] != valueFalse && p.rest[0] != valueTrue {
		p.fail()
		return false
	}
	v := p.rest[0] == valueTrue
	p.rest = p.rest[1:]
	return v
}

// bytes takes a byte string, which stays a part of what is parsed.
func (p *parser) bytes() []byte {
	n := p.head(majorBytes)
	if n > uint64(len(p.rest)) {
		p.fail()
		return nil
	}
	s := p.rest[:n:n]
	p.rest = p.rest[n:]
	return s
}

// fixed takes a byte string of the length of into.
func (p *parser) fixed(into []byte) {
	if s := p.bytes(); len(s) == len(into) {
		copy(into, s)
	} else {
		p.fail()
	}
}

func (p *parser) append() *Append {
	p.array(5)
	f := &Append{Request: p.uint()}
	p.fixed(f.Stream[:])
	p.fixed(f.Message[:])
	switch p.head(majorArray) {
	case 0:
	case 1:
		p.array(2)
		h := stream.Head{Seq: p.uint()}
		p.fixed(h.Hash[:])
		f.Expect = []stream.Head{h}
	default:
		p.fail()
	}
	f.Body = bytes.Clone(p.bytes())
	return f
}

// entryLeast is the fewest bytes of an entry: it bounds what a count may claim.
const entryLeast = 1 + 1 + 16 + 1

func (p *parser) entries() []Entry {
	n := p.head(majorArray)
	if n > maxEntries || n > uint64(len(p.rest)/entryLeast) {
		p.fail()
		return nil
	}
	entries := make([]Entry, n)
	for i := range entries {
		p.array(2)
		p.fixed(entries[i].Message[:])
		entries[i].Body = p.bytes()
	}
	return entries
}
