// Command confab is what a person uses: it keeps accounts on this machine,
// registers, shows and changes handles, and holds conversations.
//
// confab agent run is the program in the background that sends, receives and keeps
// messages; the nouns contact, chat, concierge and device ask it, over the local
// API that other programs use too. Handles, accounts, networks and proofs need no
// agent.
//
// Commands are a noun and then a verb: confab account new. Each noun has a file
// of its name here with a function that returns its command; app.go adds them
// together. Results go to stdout and words to stderr; with --json the result is
// one line of JSON on stdout, and an error one line of JSON on stderr.
//
// What it guarantees: a flag that stands where it would be ignored is refused; a
// passphrase or phrase is taken from a terminal or a file and never from the
// command line, where other users and the shell's history would see it; what
// ends with exit status 0 is done and on disk.
//
// What it must not know: how accounts are encrypted (agent/keyring), what a name
// means (namesvc), who is to be believed (lightclient), how messages travel
// (agent/chat).
//
// Everything from outside, such as the terminal, the clock and randomness, comes
// in through an [env], so that tests are ordinary calls of run. Start there, then
// at app.go.
package main
