// Package ticket is what pays for a registration where nobody pays with coins:
// memory-hard work, or a sponsor's blind signature (RFC 9474). Either is bound
// to one commit and to a recent checkpoint, so that it can be neither reused,
// nor shared, nor prepared long ahead.
//
// What it guarantees: checking costs one evaluation of Argon2id, or of RSA with
// a small exponent; the same inputs give the same verdict everywhere.
//
// What it must not know: accounts, ops, state, and how a signature is blinded:
// that is between a person and her sponsor.
//
// Start at [Challenge]; then [Bits] and [Solve] for work, [VerifyBlind] for
// tickets.
package ticket
