// Package media seals files, so that whoever keeps them learns a size class and
// nothing else, and opens them as they come.
//
//	content ── zeros to a size of Padmé ──► chunks of 65,520 bytes
//	  each chunk: ChaCha20-Poly1305, nonce = counter ‖ is it the last? ──► 64 KiB
//	  id = the hash of all chunks (package stream/chunk)
//
// A message carries the id, the key and the size (message.Ref). A reader checks
// each chunk against the id before he decrypts it, and may begin anywhere.
//
// What it guarantees: a file that was cut, reordered, lengthened or changed does
// not open, and what was given out before that showed was right. Memory is bounded
// however large the file is: a chunk, and 32 bytes for each.
//
// One key seals one content: two contents under one key would show both. So a
// [Sealed] reads its source twice, first for the id; what it gives out afterwards
// it compares with that, and a file that has changed in between gives an error and
// no bytes. [Again], for an upload that a restart has interrupted, does likewise.
//
// What it must not know: where sealed files are kept and how they get there.
//
// Start at [Seal] and [Open].
package media
