// Package node puts a validator together: CometBFT, the application, its store,
// the query server and the collector of seals, from one folder and one
// configuration file.
//
// What it guarantees: one process per folder; CometBFT's RPC, profiler and
// transaction index stay off; the validator's key is of the one accepted type;
// Stop leaves everything durable.
//
// What it must not know: the law of names.
//
// Start at [Config], [Init] and [Open].
package node
