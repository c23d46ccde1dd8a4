// Package pebblestore keeps streams in a folder, in one Pebble database that
// one process uses.
//
// All writing is done by one goroutine, the committer: it takes whatever has
// been submitted meanwhile, gives each append its number, writes everything as
// one batch, syncs the log once, and only then answers and lets readers see it.
// So the cost of a sync is shared by all who append at the same time, and what
// nobody was promised nobody has seen. Reads go past the committer; nothing is
// ever written for them. See keys.go for the layout.
//
// What it guarantees is what package stream says. Beyond that: when the disk is
// nearly full it refuses to append while it still reads, acknowledges and trims;
// when the disk fails in the middle of a commit it refuses everything until it
// is opened again, and nothing that it answered is lost.
//
// What it must not know: Redis, connections, and who may do what.
//
// Start at [Open], then [Store.Submit] and commit.go.
package pebblestore
