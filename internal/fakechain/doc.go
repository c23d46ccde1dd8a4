// Package fakechain is a whole chain without consensus, for tests of whoever
// follows one: validators with keys, headers that they really sign, the law's
// state with its proofs, bundles, checkpoints with seals, and a source that
// serves them. It makes what CometBFT and the validators would, and also what
// they never should: forks that the same keys signed, heads that too few
// signed.
//
// What it guarantees: everything follows from the spec and the calls, keys and
// salts included, so that a chain made twice has the same bytes; a chain may be
// read and extended by several goroutines.
//
// What it must not know: CometBFT, sockets, files. It builds for browsers.
//
// Start at [New], [Chain.Register] and [Chain.Cut]; [Node] is the honest source
// that dishonest ones are made of.
package fakechain
