// Package chunk names content by a hash that every part of it can be checked
// against as it comes, so that content may be fetched from anybody, in any
// pieces, and whoever stands in between can only withhold it.
//
//	content  ├── 64 KiB ──┼── 64 KiB ──┼─ rest ─┤      length
//	leaves      SHA-256      SHA-256     SHA-256          │
//	                 ╲          │          ╱              │
//	                  RFC 6962 tree → root ── SHA-256 ◄───┘ → id
//
// A reader who has the id gets the length and the list of leaves from whoever
// has the content (32 bytes for each 64 KiB), checks both with [Check], and then
// each chunk before he uses it.
//
// What it guarantees: nobody finds two contents, two lengths or two lists of
// leaves for one id, unless SHA-256 breaks.
//
// What it must not know: what the content is, who has it, and how it travels.
//
// Start at [Tree] for who makes an id and [List] for who checks.
package chunk
