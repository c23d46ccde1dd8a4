// Package testnet runs a whole network in one process, on loopback: for tests,
// and for people through confab-dev.
//
// What it guarantees: when Start returns, all validators have made a block and
// answer queries; Stop leaves no goroutine, port or lock behind.
//
// Start at [Start].
package testnet
