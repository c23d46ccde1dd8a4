// Package verify decides whether a chain's header is to be believed, from
// signatures alone. It holds CometBFT v0.40.0's headers, commits and validator
// sets as plain values with one encoding, the rules by which a light client
// goes from a header it trusts to a later one, and confab's checkpoints with
// the seals that validators put on them.
//
// What it guarantees:
//
//   - [Advance], [Adjacent], [Skipping] and [Head.Check] accept what CometBFT's
//     light.Verify, light.VerifyAdjacent, light.VerifyNonAdjacent and
//     types.VerifyCommitLight accept, and refuse what they refuse, apart from
//     the differences listed below. A differential test over random and
//     mutated input holds it to that.
//   - A value that came off the wire is well formed: counts and sizes are
//     within the bounds of limits.go, every validator's key is a point on the
//     curve, every set is in CometBFT's order without doubles.
//   - All of it is a function of its arguments, so it gives the same answer
//     in a server, a phone and a browser.
//
// What it must not know: clocks, sockets, files, what an app hash stands for,
// where a head came from. The caller brings the time.
//
// # Deliberate differences from CometBFT
//
// Looser in one point: a vote belongs to the validator at its index. The
// address that CometBFT stores beside a vote is signed by nobody (what went
// wrong when code trusted it is advisory CSA-2026-001), so it has no place
// here, and neither has the address beside a validator's key, which no hash
// covers. What CometBFT refuses only because of such an address passes here;
// with the right addresses it passes there. (The reverse is rarer: a wrong
// signature that CometBFT overlooks, since the address beside it is of no
// trusted validator, is found here.)
//
// Stricter in these, none of which a working chain produces:
//
//   - only secp256k1eth keys: a validator is an Ethereum address, and what it
//     signs can be checked by ecrecover;
//   - at most 256 validators, each with power above zero, in CometBFT's order
//     (a set taken from CometBFT's wire format may be in any);
//   - an app hash has 32 bytes, any other hash 32 that are not all zeros, or
//     none; a signature has 65; a chain id is UTF-8;
//   - a vote's time is within 292 years of the header's;
//   - a header with a time outside protobuf's years 1 to 9999, which CometBFT
//     cannot hash, fails [Head.Check] as well, where theirs would compare an
//     empty hash with an empty hash.
//
// And one convenience: a head that is the trusted header itself is no error.
//
// # Which validators are trusted
//
// As in CometBFT's light client, a [Trust] at height X holds the validators that
// signed X, and only the hash of those of X+1. An adjacent head must come from
// the set with that hash. For any later head, more than a third of X's own
// validators must have signed, and more than two thirds of its own.
//
// Start at [Pin] and [Trust], then [Advance]; [Head] and [Validators] are what
// travels. For the Ethereum side start at [Checkpoint] and [CheckSeals].
package verify
