// Package vectors writes and reads test vectors: files of plain text that any
// language can read without a library, with every byte explained to people.
//
// What it guarantees: Format(Parse(text)) == text for what Format wrote, and
// Parse accepts only vectors whose explained bytes are exactly their whole ones.
//
// What it must not know: what the vectors are about. [Annotate] learns the names
// of fields from the Go types that it is given.
//
// The format is described in docs/vectors/README.md. Start at [Vector],
// [Annotate] and [Compare].
package vectors
