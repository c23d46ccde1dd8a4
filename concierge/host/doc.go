// Package host runs a concierge of one folder: its configuration, its keys, its
// store, its listeners, and an admin socket that only this machine's user can
// open.
//
// What it guarantees: keys are made once and never overwritten; a second process
// on one folder is refused; a folder serves the account it served first, or says
// why not; a plain listener is on loopback only.
//
// What it must not know: how a concierge works, which is package concierge's.
//
// Start at [Init], [LoadConfig] and [Open].
package host
