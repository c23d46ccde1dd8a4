// Package ticket is what pays for a registration where nobody pays with coins:
// memory-hard work, bound to one commit and to a recent checkpoint, so that it
// can be neither reused, nor shared, nor prepared long ahead.
//
// What it guarantees: checking costs one evaluation of Argon2id; the same
// inputs give the same verdict everywhere.
//
// What it must not know: accounts, ops, state. Blind tickets from sponsors
// (RFC 9474) will live beside the work, as a second kind of [Payment].
//
// Start at [Challenge], [Bits] and [Solve].
package ticket
