// Package key holds the keys of confab's accounts and services, one file per
// purpose: [Root] controls an account, [Device] signs its daily work, [Server]
// speaks for a service. All of them are Ed25519 (RFC 8032); every signature
// carries a domain tag, so that what is signed for one purpose is worthless for
// another.
//
// What it guarantees: one rule, in one place, for what a valid key and a valid
// signature are ([Verify]); private keys do not print, do not marshal and
// cannot be compared with ==; a key type signs only what its purpose allows.
//
// What it must not know: accounts, handles, files, passphrases. Randomness
// comes in as an argument.
//
// Start at [Verify], then [Phrase] and [Root].
package key
