// Package chain carries the law of names on CometBFT: it is the ABCI
// application around namesvc.ApplyBlock. It answers "who agreed, and when?",
// and contains no rule about a handle; deleting it leaves every naming test
// green.
//
// What it guarantees: the app hash is the root of namesvc's state; what Info
// reports is durable; a block's lanes keep registrations from delaying updates;
// an op that is refused is refused with the law's own code; every checkpoint is
// sealed by the validators' own keys; consensus has the validators that the law
// says; a rule set that the program does not know is never guessed.
//
// What it must not know: handles, roots, devices (the law's), and sockets
// (chain/query's and chain/node's).
//
// Start at [App], then lanes.go, mempool.go and seal.go; validators.go and
// evidence.go are how consensus follows the law and the law consensus, law.go
// how a chain goes from one rule set to the next. chain/store keeps the
// state, chain/query serves it, chain/anchor gathers seals, chain/node puts all
// of it together with CometBFT.
package chain
