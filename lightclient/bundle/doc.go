// Package bundle is the portable proof: some leaves of the state tree, the head
// of the chain whose state they are in, and whatever lies between that head and
// what the reader already trusts. It is verified offline, in one call.
//
// What it guarantees: [Verify] accepts a bundle only if every leaf in it is
// proven, present or absent, under one header that the chain's validators
// signed, on a path from the reader's own pin. It says which pin that was and
// how old the answer is, and nothing of where the bundle came from.
//
// What it must not know: sockets, files, clocks. The time is an argument.
//
// Start at [Verify], then [Bundle]. The specification is docs/SPEC-bundle.md.
package bundle
