// Package audit computes a chain's state again: from its genesis file and the
// record of its blocks, with the law of names alone, without consensus and
// without anything that a validator computed.
//
// What it guarantees: a row that is accepted follows from those before it, and
// the root after it is what the law gives; the first row that differs is named
// with what differs. Memory is bounded, however large the state: it is kept in a
// folder.
//
// What it must not know: where rows come from, and who signed what. Whether the
// roots are those of the chain that everyone else follows shows when one is
// compared with a verified header.
//
// Start at [Auditor].
package audit
