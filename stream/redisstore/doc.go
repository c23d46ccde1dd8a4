// Package redisstore keeps streams on a Redis server or cluster, so that any
// number of processes can serve the same ones.
//
// An append is one call of a function that Redis runs (stream.lua); what has been
// submitted at the same time travels as one pipeline and shares one sync of
// Redis's append-only file. Whoever watches a stream is woken by a message that
// holds only a number, over one subscription for each process and stream; each
// process then reads the entry once, however many of its clients wait for it. All
// keys of a stream have one hash tag, so they share a slot.
//
// What it guarantees is what package stream says, on a Redis that keeps what it
// acknowledges. So [Open] refuses a Redis that does not sync every write
// (appendonly yes, appendfsync always) or that may evict keys, and appends are
// refused as soon as such settings appear. A failover to a replica loses nothing
// only if [Options.Replicas] asks for it, which needs Redis 7.2 (WAITAOF).
//
// How it differs from pebblestore inside: Redis cannot compute SHA-256, so the
// chain's hash is computed by whoever asks for a head, from the sums of the
// bodies that the writers sent along, and entries are deleted only once they are
// in a hash that is kept.
//
// What it must not know: connections of clients, and who may do what.
//
// Start at [Open], then stream.lua.
package redisstore
