// Command confab-dev runs a whole confab network in one process, for trying
// things and for developing against: validators, a query endpoint, and two
// concierges to choose from. It prints what to type next.
//
// What it guarantees: everything listens on loopback only; without --home
// nothing is left behind; with --home a second start is the same network, with
// the same accounts, services and mail; what it prints works when typed.
//
// What it must not know: how a validator works (chain/node), how validators
// find one another (internal/testnet), how a concierge works (concierge/host).
//
// Start at dev.
package main

import "github.com/confab-chat/confab/internal/command"

func main() { command.Main(newProgram(command.System())) }
