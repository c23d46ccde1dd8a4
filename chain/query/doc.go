// Package query is a validator's open door: proofs, submission and the record
// of blocks, over plain HTTP. CometBFT's own RPC stays shut.
//
// What it guarantees: every read that states something about a name comes as a
// bundle that proves itself, so nobody needs to trust this server; every
// request is bounded in size, time and count; what is submitted is only passed
// on, and its success is claimed by nobody until a proof shows it.
//
// What it must not know: private keys, and how consensus is reached.
//
// Answers are canonical CBOR; "Accept: application/json" gives JSON. Pages for people
// are beside the API, see explorer.go. Start at
// [Server], then bundle.go. The API is described in docs/SPEC-bundle.md §6.
package query
