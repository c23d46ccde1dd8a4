// Package wire says how anything of confab's crosses a boundary: one canonical
// encoding, one list of domain tags, one table of error kinds, one list of
// sizes.
//
// The encoding is CBOR in the core deterministic form of RFC 8949 §4.2.1,
// decoded strictly: unknown fields, duplicate keys, indefinite lengths, tags,
// floats, non-shortest integers, trailing bytes and anything else that does not
// encode back to the same bytes are errors. So every value has one encoding,
// every encoding has one hash, and a decoder never has to guess.
//
// What it guarantees: Encode(v) is a function of v alone, and Decode accepts b
// only if Encode(Decode(b)) == b.
//
// What it must not know: what the bytes mean. It knows no handle, no header and
// no message, reads no clock and opens no file.
//
// Start at [Encode] and [Decode], then [Tag], then [Code].
package wire
