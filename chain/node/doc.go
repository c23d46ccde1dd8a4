// Package node puts a validator together: CometBFT, the application, its store,
// the query server and the collector of seals, from one folder and one
// configuration file.
//
// What it guarantees: one process per folder; CometBFT's RPC, profiler and
// transaction index stay off; the validator's key is of the one accepted type;
// Stop leaves everything durable. A node that joins by a snapshot believes what its
// [Trusted] has verified, and nothing of a snapshot that fails is left. A backup
// holds state and blocks that fit together, and no secret unless it is asked for.
//
// What it must not know: the law of names.
//
// Start at [Config], [Init] and [Open]; join.go for a node without a block,
// backup.go and control.go for what an operator asks of one that runs.
package node
