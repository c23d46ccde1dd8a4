// Package message is what people say to each other: the events of a
// conversation, how they are encoded, how each author's events hang together,
// and what a reader sees after any set of them.
//
//	author's chain     1 ◄── 2 ◄── 3 ◄── 4        each names the hash of the one before
//	                   text  text  edit  react
//	                          ▲     │     │
//	what is seen              └─────┴─────┘        2, edited, with a reaction
//
// What it guarantees. An event has one encoding and one [ID], the SHA-256 of its
// bytes. Whatever [Decode] accepts is within the bounds of limits.go and its
// text is safe to print. A [Chain] shows every gap in what an author's device
// sent, accepts events in any order within a bound, and tells when a device sent
// two histories. A [Conversation] that was given the same events looks the same
// to everyone, in whatever order and however often they came; nobody changes
// another person's words.
//
// What it must not know: keys, encryption, servers, clocks and randomness. That
// an event's author is who encrypted it is for the caller to check (talk/e2ee);
// here an author is what the event says.
//
// What a time means: nothing that decides. [Event.Time] is the author's clock,
// to be shown; order comes from [Event.Clock], a counter.
//
// Start at [Event], then the bodies in body.go; [Chain] for gaps, [View] for what
// is seen, [Pad] for what the network sees. The format is docs/SPEC-messages.md.
package message
