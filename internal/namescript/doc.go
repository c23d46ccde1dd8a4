// Package namescript is a small language for stories about names, and what
// runs them: on the bare law, on the chain's app in one process, on four live
// validators. One script gives the same outcomes, and the same state, on all.
//
// A script is read from top to bottom. Each line says what somebody does and,
// right of the arrow, what must come of it:
//
//	live                                         # may run on live validators
//	params reveal=20                             # others are those of DevParams
//	actor alice person                           # root keys r0 and r1, next root n1
//	actor harbor service
//
//	register harbor @harbor device=d1 role=concierge url=https://harbor.example => ok
//	commit alice @alice device=d1                => ok
//	block
//	reveal alice                                 => ok
//	block
//	records alice by=d1 concierge=harbor         => ok
//	block
//	resolve @alice                               => alice active
//	resolve @a1ice                               => confusable @alice
//	entry alice                                  => seq=2 concierges=harbor lease=30d
//
// Ops wait for the next block line; an op is "ok" or the name of its reject
// code. Whatever is not said has a sensible value: the right sequence, a distant
// expiry, all scopes, 90 days. Keys, salts and ids grow from the actors' names,
// so a script always makes the same bytes.
//
// The steps, with what they take:
//
//	actor NAME KIND [roots=r0,r1] [next=n1|none]
//	commit ACTOR [@handle]     prepare a registration, send its commit
//	reveal NAME                send the registration that was prepared
//	register ACTOR [@handle]   both, each in a block of its own
//	records ACTOR              set all records
//	devices ACTOR d1 d2/...    set all devices
//	roots ACTOR r0 r1 [next=]  set all roots
//	renew ACTOR · release ACTOR @handle · cancel ACTOR [op=NAME]
//	operate ACTOR KEY|none     offer to run a validator, or leave
//	sponsor ACTOR KEY|none     declare the key of tickets, or stop sponsoring
//	vote ACTOR SUBJECT power=N, vote ACTOR SUBJECT sponsor=N, vote ACTOR rules=N
//	fault ACTOR KEY            the next block proves a misbehaviour
//	replay NAME                send an op again: what as= named, or what commit
//	                           and reveal named NAME.commit and NAME.reveal;
//	                           window=+N gives a commit another expiry,
//	                           payment=work or sponsor=ACTOR another payment,
//	                           hash=worked|sponsored has it announce, by work or
//	                           what payment= or sponsor= says, the id that it
//	                           would have with that payment
//	raw HEX                    send these bytes
//	block [xN] [+DURATION]     cut blocks; the first carries what waits
//	time +DURATION             let time pass before the next block
//	checkpoint                 cut blocks until there is a new checkpoint
//	resolve @handle            what a client would be told
//	entry ACTOR · handle @handle · meter      what the state says
//	validators · tally · rules · operator ACTOR · quota ACTOR
//	root                       the state's root (on the bare law only)
//
// Options of every signed op: by=KEY or by=ACTOR.KEY (default r0), as=NAME,
// seq=+N, prev=zero, expires=+N (blocks after the newest), chain=NAME,
// flip=N (invert a bit of byte N, from the end if negative).
//
// Options of commit and register: device=d1/SCOPES/DURATION, all options of
// records, salt=TEXT, genesis=none|ACTOR, seq=, and for the commit itself
// window=+N, on=CHAIN, checkpoint=-N, payment=little|blind|other|short. With
// sponsor=ACTOR or sponsor=ACTOR/KEY a ticket pays, of the key s0 if none is
// named; ticket=other-chain|other-commit|other-checkpoint|flipped|short makes it
// a bad one. A sponsor line also takes the words short, long, even and small for
// keys that are malformed, and ACTOR.KEY for somebody else's.
//
// Options of records: profile= avatar= aka= url= peer= role= key= consent,
// concierge=ACTOR/accepted/priority=N/generation=N (forged in place of accepted
// signs with a wrong key, accepted=OTHER takes what the service gave to OTHER).
//
// Scripts about validators name the first set on top, as in founders anna=10
// bert=10: services with the validator key v0. Options of operate: possession=
// none, only, or an ACTOR for whom it was made; on=CHAIN. Of vote: until=DURATION
// or never, which withdraws; kind=N.
//
// A device is d1 for "as it is" (new ones get all scopes for 90 days), or
// d1/message,renew/30d, or d1/consent=none|other.
//
// What it must not know: how blocks come about. That is the [Machine]'s part.
//
// Start reading at [Parse], [Run] and [Machine]; [Law] is the machine for the
// bare law, [CheckState] the list of what must be true of every state.
package namescript
