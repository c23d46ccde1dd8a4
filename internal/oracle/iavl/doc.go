// Package iavl measures the chain's state tree beside cosmos/iavl, the tree that
// most CometBFT chains use: CPU per block, proofs, and their sizes, with the same
// database under both. It has benchmarks and nothing else, and is a module of its
// own so that iavl's requirements stay out of the project's.
//
// Run it in this folder:
//
//	go test -run xxx -bench . -benchtime 300x
//
// With CONFAB_LONG=1 it also measures a million names.
package iavl
