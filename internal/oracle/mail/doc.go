// Package mail measures a concierge beside the servers that people would use
// instead: Redis Streams that sync every write, NATS JetStream that syncs every
// write, and khatru, a Nostr relay, on LMDB. It has one test and nothing else, and
// is a module of its own so that their requirements stay out of the project's.
//
// What is measured is a message from one to another: a writer sends 512 bytes,
// the server stores them durably, tells the writer so, and pushes them to the
// reader, who was waiting on a connection of his own. Twenty pairs do so at once,
// with 1 or 16 messages on their way in each. A message is done when its writer
// has been told and its reader has it; its latency is the longer of the two.
//
// Each server is a process of its own on a core of its own, so that its processor
// time, as the kernel counts it, is that of the server alone; all load comes from
// the other core. The servers take turns, three rounds of each, and each figure is
// the median of its three. The concierge has TLS and WebSocket, checks message ids
// for repetitions and chains hashes, and the others do none of that, but for
// khatru, which checks a signature. A concierge can keep its messages in Redis, and
// then several can serve the same people: one and three of them are measured with
// their Redis, all on the one core, with writers at another one than their readers.
//
// Run it in this folder:
//
//	CONFAB_LONG=1 go test -run TestCompare -v -timeout 30m
//
// Start at compare_test.go.
package mail
