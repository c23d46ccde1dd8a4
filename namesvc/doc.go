// Package namesvc is the law of names: what a handle is, what an account is,
// which signed operations change them, and what an entry means at a given time.
//
// [ApplyBlock] is the whole of it: a function from a state, a block and its
// operations to a new state and a receipt each. The same inputs give the same
// root on every machine, in a validator, an auditor's replay, a browser or a
// fuzzer.
//
// Who decides about blocks is law too: the validator set, the votes of its
// operators, and the number of the rule set. [NextValidators] says what votes
// lead to at a checkpoint.
//
// What it guarantees: an operation on one account changes that account's leaves
// and no other's, votes among them, which have their effect at checkpoints only;
// a rejected operation changes nothing; the order in which a
// block's proposer lists registrations does not matter; no signature passes for
// another purpose, account, chain or position.
//
// What it must not know: consensus, sockets, files, databases, and the clock.
// Height, time and seed come in with the [Block]; everything else that a
// decision needs is read from the state through [View].
//
// Start reading at [Entry], then [Op], then apply.go; each kind of operation
// has a file op_*.go. validators.go and election.go are about who decides. The
// specification is docs/SPEC-names.md and docs/SPEC-validators.md.
package namesvc
