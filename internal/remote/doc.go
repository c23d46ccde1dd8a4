// Package remote is a running network as a node sees it that does not take part
// yet: heads verified from a pin, and beside them what the validators' query API
// says of its network, of its blocks and of whose turn it is.
//
// What it guarantees: a [Network.Head] is proven from the pin; where two sources
// are named, both know the same one, or one of them is silent. All else is what
// one source says, and it is for the caller to check. Every answer is bounded.
//
// What it must not know: folders, keys, and how a node runs.
//
// Start at [New].
package remote
