// Package mls compares talk/mls with other implementations of RFC 9420. It has
// tests and nothing else, and is a module of its own so that nothing of the
// others is ever linked into the project.
//
// The oracles are mls-go 1.6.0 (in this process), ts-mls 1.6.4 and the OpenMLS
// inside Wire's core-crypto 10.3.0 (both in a Node child, see node/). node/ is
// installed with npm ci when it is absent; without node or npm the tests that
// need it are skipped, and fail if CI is set. All of it in its short form, about
// a minute, as CI runs it:
//
//	go test .
//
// # What is compared
//
// TestRandomGroups lets members of talk/mls, mls-go and ts-mls do random things
// in one group of up to 14: add, remove, update, join from outside, propose and
// commit by reference, mix in pre-shared keys, write, read late and out of
// order. After each epoch all epoch authenticators, exported secrets and member
// lists must be equal, and each message must be read by everybody who was there.
// Members on talk/mls also get damaged copies and replays, which must change
// nothing, and are restarted from what they stored.
//
//	CONFAB_LONG=1 go test -run TestRandomGroups -timeout 90m -v .
//	go test -run TestRandomGroups -mls.seed 7 -mls.suite 3 -mls.steps 200 -v .
//
// The long form makes 24 runs of 200 steps, eight of each suite. A seed decides
// what is done, by whom and in which order, and the keys of talk/mls; the
// oracles draw their own keys, on which no decision depends. X-Wing is suite
// 63047, and compared with ts-mls alone.
//
// TestOpenMLS does the same with what core-crypto can do. The tests named
// AgreesWith and AgreeWith play the rest: branches, reinitialisations, external
// senders, types of the application's own.
//
// # Faults of the oracles
//
// The faults that were found are tests too (oracle_tsmls_test.go and
// oracle_mlsgo_test.go): each shows the fault and, beside it, that talk/mls
// does the same thing right. They fail when an oracle changes. ts-mls is
// corrected while Node loads it: node/corrections.json has each correction with
// its reason and the hash of the file that it is for. mls-go is not corrected;
// the driver avoids what it cannot do.
//
// # Costs
//
// TestCosts prints time and bytes beside mls-go, in one group and one run, and
// in its long form asserts that talk/mls is nowhere slower than 1.5 times.
//
//	go test -run TestCosts -v .
//	CONFAB_LONG=1 go test -run TestCosts -timeout 60m -v . # to 10,000 members
package mls
