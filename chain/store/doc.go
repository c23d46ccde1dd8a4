// Package store keeps the state tree, and the chain's records beside it, on
// disk: in one Pebble database, whose every block is one atomic synced batch.
//
// A block is written in two steps, because consensus wants the root before it
// says that the block stands. [Store.Prepare] computes the root and writes
// nothing; [Prepared.Commit] writes pages, values, root, height and records at
// once. A Prepared that is dropped costs nothing.
//
// What it guarantees: [Store.State] is what is durable, after a crash too. The
// newest [Window] heights and every marked height can be read and proven,
// whatever was committed since and however often the process died in between;
// all others are gone, with bounded work for each block. A [Reader] sees one
// height until it is closed. A folder is used by one process and for one chain.
//
// How it keeps heights: nothing is overwritten. A page or value is stored under
// its name and the height that wrote it, newest first, so that what it was as of
// a height is one seek away, for the newest height and for the oldest. Each
// height lists what it overwrote; when a height leaves the window, the versions
// that no kept height can see any more are deleted. See keys.go for the layout
// and prune.go for the rule.
//
//	height     5    6    7    8    9           kept: 7 (marked), 9
//	page a     v5 ──────────► v8 ─────►        v5 stays, for 7
//	page b     v5 ► v6 ► v7 ──────────►        v5 and v6 are gone
//
// What it must not know: consensus, ops, handles, and what the records say.
//
// Start reading at [Open], then [Store.Prepare] and [Store.At].
package store
