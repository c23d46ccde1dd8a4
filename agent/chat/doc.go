// Package chat is a person's conversations: contacts, messages, devices and the
// mail that waits to be sent. It is what a running agent is made of.
//
//	a person ──► Agent ──► store    what is shown, and what waits (SQLite, encrypted)
//	               │  ───► ratchet  secrets that must be forgotten
//	               │
//	             e2ee      seals and opens; decides what is valid
//	               │
//	             post ──► concierges: the own one, and those of contacts
//
// What it guarantees. A message that Send returned survives a crash and is sent
// until the other side's concierge has it; a message that cannot be delivered
// holds up nobody else's. Mail is acknowledged to a concierge only after what
// came of it is on disk, so nothing is lost and nothing is shown twice. Nobody
// gets into a conversation whom the chain does not list as a device of one of
// its two accounts; contacts are pinned to account and generation, and a request
// never changes what was decided before.
//
// What it must not know: terminals and flags, HTTP, how the chain reaches
// agreement, and how a concierge keeps mail.
//
// Start at Open and Agent; send.go and receive.go are the two directions,
// tend.go keeps conversations in step with the chain, many at a time.
package chat
