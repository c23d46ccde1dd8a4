// Package command is the frame of confab's programs: what every command line of
// theirs has in common.
//
// A [Program] has nouns with verbs (confab handle show), or verbs alone
// (confab-validator run), or does one thing (confab-dev). What it guarantees for
// each of them: a flag that stands after an argument, where it would be ignored,
// is refused, and so is a wrong number of arguments; a mistyped name is answered
// with the one that was meant; results go to stdout and words to stderr; with
// --json the result is one line of JSON on stdout and an error one line of JSON
// on stderr; an error ends the program with the exit status of its kind
// (wire.Code), 2 if the command line itself is wrong and 130 if the person
// stopped it. A [Terminal] asks a person, shows no secret that is typed, and is
// as it was when a question has ended, however that was.
//
// What it must not know: what any command does, accounts, keys, chains.
//
// Everything from outside comes in through a [World], so that tests are ordinary
// calls of [Program.Run]. Package commandtest checks the guarantees for a whole
// program, and has terminals with a person before them; package story runs the txtar stories of docs/stories.
//
// Start at [Program] and [Program.Run].
package command
