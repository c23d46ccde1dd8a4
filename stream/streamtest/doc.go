// Package streamtest holds every stream.Store to the contract of package stream.
//
// [Run] is the conformance suite: what each store must do, one subtest for each
// sentence. [Ledger] knows every message that was ever sent to a store and finds
// what was lost, doubled, reordered or invented, whatever happened in between.
//
// What it must not know: any particular store.
package streamtest
