// Package anchor gathers the seals of checkpoints: the validators' signatures
// that Ethereum, and anyone else, can check. It reads them from the votes that
// the node keeps anyway, checks them, and stores them with the checkpoint.
//
// What it guarantees: stored seals are more than two thirds of the power, over
// one checkpoint, from one height and round.
//
// What it must not know: how a checkpoint comes about (chain's), and what it
// means (the law's).
//
// Start at [Collector].
package anchor
