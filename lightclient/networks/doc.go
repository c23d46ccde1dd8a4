// Package networks keeps the networks that a program knows by name: where trust
// in each begins and whom to ask, one small file each. None is embedded yet,
// because there is no public network yet.
//
// What it guarantees: a network is added whole or not at all; its pin never
// changes silently; what was verified is kept beside it.
//
// What it must not know: what is asked of a network.
//
// Start at [Dir].
package networks
