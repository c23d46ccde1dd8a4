// Package keyring keeps a person's accounts on this machine: one file per
// account in one folder, and beside each a journal of what is under way.
//
// An account's file has a clear part, which says whose it is, and an encrypted
// part with this machine's device key and, if wanted, a lower root key. Root 0
// is not here: it grows from the phrase ([namesvc/key.Phrase]), which is never
// stored. The same format, under another passphrase, is what a person carries
// to another machine ([Account.Reencrypt], [Account.File], [Parse]).
//
// What it guarantees: a file is either wholly old or wholly new, also after a
// crash at any moment; damage is told apart from a wrong passphrase; a hostile
// file costs bounded memory and time; a passphrase, seed or phrase is in no
// error and on no disk in the clear; two processes never change one folder at
// the same time.
//
// What it must not know: chains, networks, terminals, the clock and where
// randomness comes from. Times, randomness and the cost of a passphrase are
// arguments.
//
// What it cannot do: Go keeps copies of its own, so the wiping of buffers here
// narrows the time that a secret stays in memory and does not end it. The clear
// part is authenticated only once [Account.Unlock] succeeded.
//
// Start at [Account] and [New], then [Ring]; file.go is the format, cost.go the
// cryptography, journal.go what is under way.
package keyring
